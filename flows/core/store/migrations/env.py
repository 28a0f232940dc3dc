"""Run by Alembic; the connection comes from `flows.core.store.migrate`."""

from __future__ import annotations

from alembic import context

from flows.core.store.migrate import SCHEMA_TABLE
from flows.core.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=SCHEMA_TABLE,
    render_as_batch=True,
)
context.run_migrations()
