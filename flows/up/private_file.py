"""Files for this user alone: tokens, and the lock that only one `ratchet up` holds."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from flows.core.errors import Refused


def token(path: Path) -> str:
    """The secret in this file, made at the first call; several processes get the same.

    Raises Refused when the file is empty: whoever shows nothing would be let in.
    """
    with suppress(FileNotFoundError):
        path.chmod(0o600)
        return _kept(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _written(path.parent, secrets.token_hex(32))
    try:
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink()
    return _kept(path)


def _kept(path: Path) -> str:
    if not (kept := path.read_text().strip()):
        raise Refused(f"{path} holds no token", hint="remove the file, and a new one is made")
    return kept


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write one JSON object; a reader finds the old one or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _written(path.parent, json.dumps(data, indent=1)).replace(path)


def read_json(path: Path) -> dict[str, Any] | None:
    """What `write_json` wrote; None when there is none that can be read."""
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


class HomeLock:
    """Held by the one `ratchet up` of a home; given back by the kernel when its process ends."""

    def __init__(self, home: Path) -> None:
        self._path = home / "up" / "lock"
        self._file: Any = None

    def take(self, note: str) -> None:
        """Take it, and leave `note` for whoever is refused. Raises Refused."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            holder = file.read().strip()
            file.close()
            raise Refused(
                f"ratchet up runs on this home already: {holder or 'no more is known'}",
                hint="a worker beside it: ratchet worker; a second loop: ratchet --home FOLDER up",
            ) from None
        file.truncate(0)
        file.write(note)
        file.flush()
        self._file = file

    def release(self) -> None:
        """Give it back."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _written(folder: Path, text: str) -> Path:
    descriptor, name = tempfile.mkstemp(dir=folder, prefix=".")  # for this user alone
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    return Path(name)
