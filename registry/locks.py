"""One process at a time: a file lock beside an SQLite file, an advisory lock in PostgreSQL.

Both are given back by the operating system or the server when their holder dies.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from registry.errors import RegistryUnreachable

# Longer than any holder needs: creating MLflow's tables takes seconds, moving an alias less.
TIMEOUT_SECONDS = 120.0
_LONGEST = 80
"""Letters of a lock's name in its file's."""


def sqlite_path(url: str) -> Path | None:
    """The file of an SQLite URL; None for other databases, servers and `:memory:`."""
    if not url.startswith("sqlite"):
        return None
    database = make_url(url).database
    return Path(database).absolute() if database and database != ":memory:" else None


Held = Callable[[], None]
"""Raises RegistryUnreachable when the lock was lost meanwhile: ask before what cannot be undone."""


@contextmanager
def exclusive(url: str, name: str) -> Iterator[Held]:
    """Hold the lock `name` of the database at `url`; does nothing for a server (`http://...`)."""
    path = sqlite_path(url)
    if path is not None:
        with _file_lock(path.with_name(f"{path.name}.{_safe(name)}.lock")):
            yield _held
    elif url.startswith("postgresql"):
        with _advisory_lock(url, name) as held:
            yield held
    else:
        yield _held


def _held() -> None:
    """The operating system keeps a file's lock until its holder ends."""


@contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=TIMEOUT_SECONDS)
        lock.acquire()
    except Timeout:
        raise RegistryUnreachable(
            f"Another process has held {path} for {TIMEOUT_SECONDS:.0f} s.",
            hint="see which process holds it (fuser), and end it if it hangs",
        ) from None
    except OSError as error:
        raise RegistryUnreachable(
            f"{path.parent} cannot be written: {error.strerror or error}.",
            hint="give the registry a folder that it may write to",
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _advisory_lock(url: str, name: str) -> Iterator[Held]:
    # PostgreSQL names advisory locks by a signed 64-bit number.
    number = int.from_bytes(hashlib.sha256(f"ratchet {name}".encode()).digest()[:8], signed=True)
    values = {"number": number, "high": number >> 32 & 0xFFFFFFFF, "low": number & 0xFFFFFFFF}
    try:
        # Nothing is pooled: closing the connection ends the session and so gives the lock back.
        # Nor is a transaction left open: servers end sessions that are idle in one.
        engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        connection = engine.connect()
        connection.execute(text(f"SET lock_timeout = '{TIMEOUT_SECONDS:.0f}s'"))
        connection.execute(text("SELECT pg_advisory_lock(:number)"), values)
    except (SQLAlchemyError, ArgumentError) as error:
        raise RegistryUnreachable(f"The database does not answer: {_first_line(error)}") from error

    def held() -> None:
        try:
            mine = connection.execute(_IS_MINE, values).scalar()
        except SQLAlchemyError as error:
            raise _lost(name, _first_line(error)) from error
        if not mine:
            raise _lost(name, "another session answers, as a pooler by transactions makes it")

    try:
        yield held
    finally:
        # The server may have ended the session already, and the lock with it.
        with suppress(SQLAlchemyError):
            connection.close()


_IS_MINE = text(
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted "
    "AND pid = pg_backend_pid() AND classid = :high AND objid = :low"
)


def _lost(name: str, why: str) -> RegistryUnreachable:
    return RegistryUnreachable(
        f"The lock {name} in PostgreSQL was lost while it was needed: {why}.",
        hint="try again; if it happens again, see which setting of the server or of a pooler "
        "between ends sessions",
    )


def _safe(name: str) -> str:
    """A file name for any lock name: readable where it can be, unique always, never too long."""
    letters = (one if one.isascii() and (one.isalnum() or one in "-_") else "-" for one in name)
    plain = "".join(letters)
    if plain == name and len(name) <= _LONGEST:
        return name
    return f"{plain[:_LONGEST]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _first_line(error: Exception) -> str:
    return str(getattr(error, "orig", error)).strip().splitlines()[0]
