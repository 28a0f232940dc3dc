"""Bring the state store's tables to this version, once, whoever comes first."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from flows.core.errors import StoreError
from flows.core.store.database import Database

VERSION_TABLE = "ratchet_version"
"""Ours, so that MLflow's `alembic_version` may live in the same database."""

HEAD = "0002"
"""The newest migration; a test compares it with the scripts."""


def migrate(database: Database) -> None:
    """Create or upgrade the tables. Safe when several processes open a new store at once.

    Raises:
        StoreError: the store was written by a newer Ratchet, or cannot be written.
    """
    with database.read() as connection:
        if _version(connection) == HEAD:
            return
    with database.write() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(7282438)"))
        version = _version(connection)  # another process may have been faster
        if version == HEAD:
            return
        if version is not None and version > HEAD:
            raise StoreError(
                f"this store is at version {version}, and this Ratchet knows {HEAD}",
                hint="upgrade ratchet-ml",
            )
        _upgrade(connection)


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    return str(found) if found is not None else None


def _upgrade(connection: Connection) -> None:
    # Alembic takes a tenth of a second to import, and is needed once in a store's life.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
