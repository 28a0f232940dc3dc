"""The ledger's database: opened, brought to the newest schema by one process, and used."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, event, inspect, text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError

from registry.errors import RegistryError, RegistryUnreachable
from registry.locks import exclusive, sqlite_path

VERSION_TABLE = "registry_version"
HEAD = "0005"
"""The newest migration; a test compares it with the scripts."""
# How long a writer waits for another one's transaction of a few milliseconds.
BUSY_SECONDS = 30


def open_database(url: str) -> Engine:
    """An engine on an up-to-date schema; RegistryUnreachable when that cannot be had."""
    path = sqlite_path(url)
    try:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(url)
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
        _upgrade(engine, url)
    except (DBAPIError, OSError) as error:
        reason = str(getattr(error, "orig", error)).strip().splitlines()[0]
        raise RegistryUnreachable(
            f"The ledger's database cannot be opened: {reason}.",
            hint="check registry.ledger_url, and that its folder exists and can be written",
        ) from error
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise RegistryError(
            f"registry.ledger_url is no database that is known here: {error}.",
            hint="use sqlite:///path/ledger.db or postgresql+psycopg://...",
        ) from error
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One transaction that only reads."""
    with _translated(), engine.connect() as connection:
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction that reads and writes, durable once it is left."""
    with _translated(), engine.connect() as connection:
        # SQLite: take the write lock before reading, so that what is read is still true.
        connection.execution_options(ratchet_write=True)
        with connection.begin():
            if connection.dialect.name == "postgresql":
                connection.execute(text("SET LOCAL synchronous_commit = on"))
            yield connection


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except IntegrityError:
        raise
    except DBAPIError as error:
        raise RegistryUnreachable(
            f"The ledger cannot be used: {str(error.orig).strip().splitlines()[0]}.",
            hint="check registry.ledger_url, the free space, and that it can be written",
        ) from error


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # sqlite3 shall not begin transactions by itself: `_begin_sqlite` says how they begin.
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout = {BUSY_SECONDS * 1000}",
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("ratchet_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _upgrade(engine: Engine, url: str) -> None:
    if _revision(engine) == HEAD:
        return
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with exclusive(url, "registry-schema"):
        if _revision(engine) == HEAD:
            return
        with engine.connect().execution_options(ratchet_write=True) as connection:
            config.attributes["connection"] = connection
            with connection.begin():
                command.upgrade(config, "head")


def _revision(engine: Engine) -> str | None:
    with engine.connect() as connection:
        if not inspect(connection).has_table(VERSION_TABLE):
            return None
        found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    return None if found is None else str(found)
