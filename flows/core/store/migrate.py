"""The versions of the state store: what its tables are, and what code may work on them.

Two numbers stand in the store (`docs/adr/0010`). `ratchet_schema` says what its tables are.
`ratchet_version` says what code has to know at least to work on them: a migration that only adds
leaves it as it is, so that workers of the release before go on beside new ones.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import OperationalError

from flows.core.clock import SystemClock
from flows.core.errors import Outdated, StoreBusy, StoreError
from flows.core.store.database import Database, has_table
from flows.core.store.schema import metadata

if TYPE_CHECKING:
    from alembic.config import Config

VERSION_TABLE = "ratchet_version"
"""Ours, so that MLflow's `alembic_version` may live in the same database."""
SCHEMA_TABLE = "ratchet_schema"
"""Alembic's: the newest migration that was carried out. Absent before the third."""

HEAD = "0003"
"""The newest migration; a test compares it with the scripts."""
OLDEST = "0002"
"""The oldest tables that this code works on, until it is told to upgrade them."""

TRIES, PAUSE = 60, 0.2
"""How often an upgrade asks for a server's tables, and how many seconds others work in between."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Version:
    """Of a store that exists."""

    schema: str  # what its tables are
    needs: str  # what code has to know at least

    @property
    def is_newest(self) -> bool:
        """Whether there is nothing to upgrade."""
        return self.schema >= HEAD

    def check(self) -> None:
        """Raises Outdated when this code cannot work on the store."""
        if self.needs > HEAD:
            raise Outdated(
                f"this store is at version {self.needs}, and this Ratchet knows {HEAD}",
                hint="upgrade ratchet-ml",
            )
        if self.schema < OLDEST:
            raise Outdated(
                f"this store is at version {self.schema}, and this Ratchet works on {OLDEST} "
                "or newer",
                hint="stop all workers, then: ratchet store upgrade",
            )


@dataclass(frozen=True, kw_only=True)
class Migration:
    """One step from one schema to the next."""

    number: str
    summary: str
    needs: str  # what code has to know at least to work on the tables that it leaves


def prepare(database: Database) -> None:
    """Make a new store's tables; see that those of an old one are such as this code works on.

    A SQLite file is upgraded as it is opened, as long as older workers may go on beside that; a
    server's tables only by `upgrade`. Safe when several processes open a new store at once.

    Raises:
        Outdated: the store is too new or too old for this code.
        StoreError: it cannot be written.
    """
    version = version_of(database)
    if version is None:
        upgrade(database)
        return
    if not version.is_newest and database.url.get_backend_name() == "sqlite":
        version = _upgrade_file(database, version)
    version.check()


def version_of(database: Database) -> Version | None:
    """Which version a store has; None for one that is still empty."""
    with database.read() as connection:
        return _version(connection)


def migrations(since: str | None) -> tuple[Migration, ...]:
    """The steps from a schema to the newest; None: all."""
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(_config()).walk_revisions()
    return tuple(
        Migration(number=script.revision, summary=script.doc, needs=script.module.needs)
        for script in reversed(list(scripts))
        if since is None or script.revision > since
    )


def announce(database: Database, needs: str) -> None:
    """Say that older code may not go on: its workers drain, and none can be started any more."""
    with database.write() as connection:
        _keep_schema(connection, _version(connection))
        _keep_number(connection, VERSION_TABLE, needs)


def upgrade(database: Database) -> Version:
    """Bring the tables to the newest version, once, whoever comes first. Raises StoreError."""
    with database.write() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(7282438)"))
        version = _version(connection)  # another process may have been faster
        if version is not None and version.is_newest:
            return version
        if connection.dialect.name == "postgresql":
            _stop_others(connection)
        return _upgrade(connection, version)


def _stop_others(connection: Connection) -> None:
    """Take all tables before the first is changed, or none of them; workers wait meanwhile.

    Table by table, a worker could hold one that comes later and wait for one that came before:
    a deadlock. What is asked for is given back before a worker's wait for it counts as one
    (PostgreSQL looks after a second), so that no transaction of a worker is ever ended by this.
    """
    existing = inspect(connection).get_table_names()
    tables = [f'"{table.name}"' for table in metadata.sorted_tables if table.name in existing]
    if not tables:
        return
    connection.execute(text("SET LOCAL statement_timeout = '500ms'"))
    for attempt in range(TRIES):
        try:
            with connection.begin_nested():
                connection.execute(text(f"LOCK TABLE {', '.join(tables)}"))
            break
        except OperationalError as error:
            if attempt == TRIES - 1:
                raise StoreBusy(
                    "others work in the state store all the time: the tables were not upgraded",
                    hint="stop long-running queries or some workers, then: ratchet store upgrade",
                ) from error
            SystemClock().sleep(PAUSE)
    connection.execute(text("SET LOCAL statement_timeout = 0"))


def _upgrade_file(database: Database, version: Version) -> Version:
    """A file's tables, upgraded if older workers may go on; a file that is read only stays."""
    if version.schema >= OLDEST and any(
        m.needs > version.needs for m in migrations(version.schema)
    ):
        return version
    try:
        upgraded = upgrade(database)
    except StoreError:
        if version.schema < OLDEST:
            raise
        return version
    _log.warning(
        "The state store was upgraded from schema %s to %s; workers that know %s may go on.",
        version.schema,
        upgraded.schema,
        upgraded.needs,
    )
    return upgraded


def _version(connection: Connection) -> Version | None:
    needs = _number(connection, VERSION_TABLE)
    if needs is None:
        return None
    return Version(schema=_number(connection, SCHEMA_TABLE) or needs, needs=needs)


def _number(connection: Connection, table: str) -> str | None:
    if not has_table(connection, table):
        return None
    number = connection.execute(text(f"SELECT version_num FROM {table}")).scalar()
    return str(number) if number is not None else None


def _upgrade(connection: Connection, version: Version | None) -> Version:
    # Alembic takes a tenth of a second to import, and is needed once in a store's life.
    from alembic import command

    _keep_schema(connection, version)
    command.upgrade(_config(connection), "head")
    needs = max(migration.needs for migration in migrations(None))
    _keep_number(connection, VERSION_TABLE, needs)
    return Version(schema=HEAD, needs=needs)


def _keep_schema(connection: Connection, version: Version | None) -> None:
    """Of a store from before the third migration, whose only number says both."""
    if version is not None and not has_table(connection, SCHEMA_TABLE):
        _keep_number(connection, SCHEMA_TABLE, version.schema)


def _keep_number(connection: Connection, table: str, number: str) -> None:
    connection.execute(
        text(f"CREATE TABLE IF NOT EXISTS {table} (version_num VARCHAR(32) PRIMARY KEY)")
    )
    connection.execute(text(f"DELETE FROM {table}"))
    connection.execute(text(f"INSERT INTO {table} VALUES (:number)"), {"number": number})


def _config(connection: Connection | None = None) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config
