"""Where a Ray on this machine keeps its sockets and logs: a folder that no other user reaches.

Ray makes its own folder writable for everybody, and a folder for temporary files is everybody's:
whoever makes ours first, or reaches the sockets in it, could speak for our Ray. So Ray's folder
lies inside one that is ours alone. What killed ones left in there goes when the next is started.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from ray_jobs.errors import RayJobError

_LONGEST = 107  # bytes of a socket's path
_BELOW = len("/session_2026-11-22_13-29-58_508286_4194304/sockets/plasma_store")

KEPT_SESSIONS = 10
"""Of each Ray, the newest of those that ended without removing what they left: their logs ..."""
KEPT_SECONDS = 7 * 86400.0
"""... and for how long."""


def session_folder(name: str) -> Path:
    """The folder for the Ray of this name, of this user; short, as socket paths have to be.

    Raises RayJobError when somebody else has, or may change, what stands in its place.
    """
    inside = Path(f"ratchet-{os.getuid()}") / f"ray-{name}"
    parent = Path(tempfile.gettempdir())
    if len(os.fsencode(parent / inside)) + _BELOW > _LONGEST:
        parent = Path("/tmp")
    _require_fixed(parent)
    ours = _own(parent / inside.parent)
    if Path("/proc/self").exists():
        _sweep(ours)
    return _own(parent / inside)


def _sweep(ours: Path) -> None:
    """Remove what killed Rays left, but for the newest, whose logs somebody may want."""
    for folder in ours.glob("ray-*"):
        # session_2026-11-22_13-29-58_508286_30662: the time, which sorts, and a process's id
        sessions = sorted(folder.glob("session_2*_*"), reverse=True)
        for number, session in enumerate(sessions):
            lives = Path(f"/proc/{session.name.rpartition('_')[2]}").exists()
            old = number >= KEPT_SESSIONS or _age(session) > KEPT_SECONDS
            if old and not lives:
                shutil.rmtree(session, ignore_errors=True)
        if not sessions and _age(folder) > KEPT_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def _age(folder: Path) -> float:
    """Seconds since something was last made in it; 0 when it has just been removed."""
    with suppress(FileNotFoundError):
        return time.time() - folder.stat().st_mtime
    return 0.0


def _require_fixed(parent: Path) -> None:
    """Nobody may rename what others have made in there."""
    mode = parent.stat().st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise RayJobError(
            f"everybody may replace what is in {parent}, the folder for temporary files",
            hint=f"chmod +t {parent}, or set TMPDIR to a short path of your own",
        )


def _own(folder: Path) -> Path:
    """The folder, made where there is none, and closed to others."""
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    there = folder.lstat()
    if not stat.S_ISDIR(there.st_mode) or there.st_uid != os.getuid():
        raise RayJobError(
            f"{folder} is not a folder of this user, so Ray's files would not be safe in it",
            hint="remove it, or set TMPDIR to a short path of your own",
        )
    folder.chmod(0o700)
    return folder
