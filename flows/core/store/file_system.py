"""On what a file lies: SQLite shares memory between processes, which no network does."""

from __future__ import annotations

from pathlib import Path

NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "vboxsf", "lustre", "beegfs"}
    | {"gpfs", "ceph", "fuse.ceph", "glusterfs", "fuse.glusterfs", "afs", "ncpfs", "drvfs"}
)
"""Kinds of file systems, as Linux names them, on which several machines see one file."""


def file_system(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str | None:
    """The kind of the file system that a path is on, `ext4` or `nfs4`; None: it is not known."""
    try:
        entries = [line.split() for line in mounts.read_text("utf-8", "replace").splitlines()]
    except OSError:  # not Linux
        return None
    place = path.absolute()
    found = [
        (len(Path(folder).parts), number, kind)
        for number, (_, folder, kind, *_) in enumerate(entries)
        if place.is_relative_to(folder.replace("\\040", " "))
    ]
    return max(found)[2] if found else None  # of several at one folder, the last lies on top


def network_of(path: Path) -> str | None:
    """The kind of the file system, where several machines see one file; None: a local disk."""
    kind = file_system(path)
    return kind if kind in NETWORK else None
