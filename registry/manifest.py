"""What a folder of files holds: each file's size and SHA-256, and one digest for them all."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# MLflow writes this into a local model when somebody loads it; it is no part of what was stored.
IGNORED = frozenset({"registered_model_meta"})


@dataclass(frozen=True, kw_only=True)
class ManifestFile:
    """One file."""

    path: str
    """Relative to the folder, with forward slashes."""
    size: int
    """Bytes."""
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """All files of a folder, in the order of their paths."""

    files: tuple[ManifestFile, ...]

    @property
    def digest(self) -> str:
        """One SHA-256 for the whole: it changes when any name, size or byte does."""
        lines = "".join(f"{file.sha256} {file.size} {file.path}\n" for file in self.files)
        return hashlib.sha256(lines.encode()).hexdigest()


def manifest_of(folder: Path) -> Manifest:
    """Read every file under the folder."""
    return Manifest(files=tuple(_files(folder)))


def _files(folder: Path) -> Iterator[ManifestFile]:
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    for name, path in sorted(paths.items()):
        if path.is_file() and name not in IGNORED:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            yield ManifestFile(path=name, size=path.stat().st_size, sha256=digest)
