"""SQLite files on network drives, which its write-ahead log cannot bear."""

from pathlib import Path

from registry.errors import RegistryError
from registry.locks import sqlite_path

NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "afs", "ncpfs"})
_MOUNTS = Path("/proc/self/mounts")


def refuse_network_drive(url: str, mounts: Path = _MOUNTS) -> None:
    """Raise RegistryError for an SQLite file on a network drive; says nothing where none is known.

    Two machines that write to it break it, and locks on such drives hold on one machine only.
    """
    path = sqlite_path(url)
    kind = None if path is None or not mounts.exists() else _kind_of(path, mounts.read_text())
    if kind in NETWORK:
        raise RegistryError(
            f"{path} is an SQLite file on a network drive ({kind}), where it breaks sooner or "
            "later.",
            hint="keep it on a local disk, or use PostgreSQL: registry=server",
        )


def _kind_of(path: Path, mounts: str) -> str | None:
    """The file system that a path lies on: that of the longest mount point above it."""
    points = [line.split()[1:3] for line in mounts.splitlines() if len(line.split()) > 2]
    above = [
        (point.replace("\\040", " "), kind)
        for point, kind in points
        if path.is_relative_to(point.replace("\\040", " "))
    ]
    return max(above, key=lambda one: len(one[0]), default=("", None))[1]
