"""Runs the ledger's migrations on the connection that `registry.database` hands over."""

from alembic import context

from registry.database import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
context.run_migrations()
