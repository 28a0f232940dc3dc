"""One process at a time: a file lock beside an SQLite file, an advisory lock in PostgreSQL.

Both are given back by the operating system or the server when their holder dies.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from registry.errors import RegistryUnreachable

# Longer than any holder needs: creating MLflow's tables takes seconds, moving an alias less.
TIMEOUT_SECONDS = 120.0


def sqlite_path(url: str) -> Path | None:
    """The file of an SQLite URL; None for other databases, servers and `:memory:`."""
    if not url.startswith("sqlite"):
        return None
    database = make_url(url).database
    return Path(database).absolute() if database and database != ":memory:" else None


@contextmanager
def exclusive(url: str, name: str) -> Iterator[None]:
    """Hold the lock `name` of the database at `url`; does nothing for a server (`http://...`)."""
    path = sqlite_path(url)
    if path is not None:
        with _file_lock(path.with_name(f"{path.name}.{_safe(name)}.lock")):
            yield
    elif url.startswith("postgresql"):
        with _advisory_lock(url, name):
            yield
    else:
        yield


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
def _advisory_lock(url: str, name: str) -> Iterator[None]:
    # PostgreSQL names advisory locks by a signed 64-bit number.
    number = int.from_bytes(hashlib.sha256(f"ratchet {name}".encode()).digest()[:8], signed=True)
    try:
        # Nothing is pooled: closing the connection ends the session and so gives the lock back.
        connection = create_engine(url, poolclass=NullPool).connect()
        connection.execute(text(f"SET lock_timeout = '{TIMEOUT_SECONDS:.0f}s'"))
        connection.execute(text("SELECT pg_advisory_lock(:number)"), {"number": number})
    except (SQLAlchemyError, ArgumentError) as error:
        raise RegistryUnreachable(f"The database does not answer: {_first_line(error)}") from error
    try:
        yield
    finally:
        connection.close()


def _safe(name: str) -> str:
    """A file name for any lock name: readable where it can be, unique always."""
    plain = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in name)
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _first_line(error: Exception) -> str:
    return str(getattr(error, "orig", error)).strip().splitlines()[0]
