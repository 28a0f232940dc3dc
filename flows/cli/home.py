"""The home of an installation: whether it can be written, has room, and lies on a local disk."""

from __future__ import annotations

import errno
import shutil
import tempfile
from pathlib import Path

from flows.core.findings import Finding
from flows.core.store.file_system import network_of

ENOUGH_DISK = 2 * 2**30
"""Bytes that a few training sets and models need."""


def home_finding(folder: Path, *, in_file: bool) -> Finding:
    """How the home is; `in_file`: the state store is a file of SQLite, which is mostly in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"ratchet")
    except OSError as error:
        full = error.errno == errno.ENOSPC
        return Finding(
            what="home",
            ok=False,
            sentence=f"{folder} cannot be written: {error.strerror}",
            next=f"{'free some space, or ' if full else ''}choose another: "
            "ratchet --home FOLDER ..., or RATCHET_HOME",
        )
    free, kind = shutil.disk_usage(folder).free, network_of(folder) if in_file else None
    sentence, next_step = f"{folder}, {free / 2**30:.1f} GiB free", None
    if free < ENOUGH_DISK:
        next_step = "free some space"
    elif kind is not None:
        sentence = f"{folder} lies on {kind}, and SQLite needs a local disk"
        next_step = "choose another: ratchet --home FOLDER ..., or take PostgreSQL: store=postgres"
    return Finding(what="home", ok=next_step is None, sentence=sentence, next=next_step)
