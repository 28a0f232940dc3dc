"""What a database or its driver complains of: which complaint it is, and what to do about it."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from flows.core.errors import RowRefused, StoreBusy, StoreError
from flows.core.masking import mask
from flows.core.store.file_system import network_of

BUSY_SECONDS = 30.0
"""How long a writer waits for another process's transaction on the same SQLite file."""
_ABOUT_A_ROW = ("DataError", "IntegrityError")  # as the driver of every database names them


def is_about_a_row(error: Exception) -> bool:
    """Whether the database refuses what one row holds; the database itself is well."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    state = getattr(cause, "sqlstate", None) or ""
    return (
        not {kind.__name__ for kind in type(cause).__mro__}.isdisjoint(_ABOUT_A_ROW)
        or state == "42804"  # a value of another type than the column
        or state.startswith("54")  # larger than an index or a page may hold
        or any(words in str(cause) for words in ("cannot adapt", "binding parameter"))
    )


def unwritable(url: URL, error: Exception) -> StoreError:
    return StoreError(
        f"the state store {url.database} cannot be written: {error}",
        hint="choose a writable folder: ratchet --home FOLDER ..., or set store.url",
    )


def explained(error: Exception, url: URL) -> StoreError:
    """The database's complaint as one sentence with the next step; never with its passwords."""
    text = str(error.orig if isinstance(error, DBAPIError) and error.orig else error)
    text = text.strip().partition("\n")[0]
    where = mask(url.render_as_string(hide_password=True))
    if is_about_a_row(error):
        return RowRefused(f"the state store {where} refuses a row: {text}")
    if url.get_backend_name() != "sqlite" and (found := _of_server(text, where)):
        return found
    if "locking protocol" in text or ("disk I/O" in text and _of_network(url.database)):
        kind = _of_network(url.database) or "a file system that cannot lock it"
        return StoreError(
            f"the state store {where} lies on {kind}: {text}; SQLite needs a local disk",
            hint="move the home: ratchet --home FOLDER ..., or take PostgreSQL: store=postgres",
        )
    if is_full(text):
        return StoreError(
            f"the disk of the state store is full ({where}); what was recorded is safe",
            hint="free some space, then: ratchet retry RUN",
        )
    if "readonly" in text or "unable to open" in text:
        return unwritable(url, Exception(text))
    if "not a database" in text or "malformed" in text:
        return StoreError(
            f"{where} is not a usable state store: {text}",
            hint="restore it from a backup, or choose another: store.url=sqlite:///FILE",
        )
    if "locked" in text:
        return StoreBusy(
            f"another process has held {where} for more than {BUSY_SECONDS:g} s",
            hint="see who: ratchet doctor",
        )
    return StoreError(f"the state store {where} answers: {text}", hint="check: ratchet doctor")


def _of_network(path: str | None) -> str | None:
    return None if path is None else network_of(Path(path))


def is_full(text: str) -> bool:
    return "full" in text or "disk I/O" in text


def _of_server(text: str, where: str) -> StoreError | None:
    """What a database server says about who may come in, or that it no longer says anything."""
    cause = text.rpartition("FATAL:")[2].rpartition(" failed: ")[2].strip()
    if any(word in text for word in ("authentication failed", "no password", "expired")):
        return StoreError(
            f"{where} does not let us in: {cause}",
            hint="give the new password: set store.url, or the secret that it names",
        )
    if any(word in text for word in _GONE):
        return StoreError(
            f"{where} cannot be reached: {cause}", hint="is the server up? ratchet doctor"
        )
    return None


_GONE = (
    "connection failed",
    "connection is bad",
    "server closed the connection",
    "terminating connection",
    "the connection is closed",
    "connection timeout",
    "starting up",
    "shutting down",
)
