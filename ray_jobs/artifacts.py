"""Small files next to the data: a local folder or an object store behind one class.

What a reader finds is always a whole file: a local write goes to a temporary file in the same
folder, is fsynced and renamed; an object store is written with a single put.
"""

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from ray_jobs.conditional_put import conditional_store, create
from ray_jobs.errors import ArtifactError

_HINTS = {
    errno.ENOSPC: "Free some space there, then: ratchet retry RUN",
    errno.EDQUOT: "Free some space or raise the quota, then: ratchet retry RUN",
    errno.EROFS: "The file system is read-only: choose another folder for the artifacts.",
    errno.EACCES: "Make the folder writable for this user, or choose another one.",
    errno.EPERM: "Make the folder writable for this user, or choose another one.",
    errno.ENOTDIR: "A part of the path is a file: choose another folder for the artifacts.",
}
Stamp = tuple[int, int]
"""Bytes of a file, and when it was written, in nanoseconds."""
_PERMANENT = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR}


@dataclass(frozen=True)
class ArtifactStore:
    """A folder of small files, addressed by names relative to `uri`.

    - `uri` is a local path, `file://...`, or whatever pyarrow opens: `s3://`, `gs://`,
      `abfs://`, `hdfs://`, or `fsspec+PROTOCOL://` for the rest.
    - A name that does not exist raises `FileNotFoundError`; a store that cannot be read or
      written raises `ArtifactError` with one sentence and a hint.
    """

    uri: str

    @cached_property
    def folder(self) -> Path | None:
        """The local folder, or None when the store is remote."""
        parts = urlsplit(self.uri)
        if len(parts.scheme) <= 1:  # no scheme, or the drive letter of a Windows path
            return Path(self.uri).expanduser().absolute()
        if parts.scheme == "file":
            return Path(unquote(parts.path))
        return None

    @cached_property
    def _remote(self) -> tuple[pafs.FileSystem, str]:
        try:
            filesystem, path = pafs.FileSystem.from_uri(self.uri)
        except (pa.ArrowException, ImportError, ValueError, OSError) as error:
            raise ArtifactError(
                f"The artifact store {self.uri} cannot be opened: {_sentence(error)}",
                hint="Use a folder, or a URI such as s3://bucket/folder.",
                permanent=isinstance(error, (pa.ArrowInvalid, ImportError, ValueError)),
            ) from error
        return filesystem, path.rstrip("/")

    @cached_property
    def _conditional(self) -> Any:
        filesystem, _ = self._remote
        return conditional_store(self.uri, getattr(filesystem, "region", None))

    @property
    def location(self) -> str:
        """The URI as it reads from any working directory."""
        return self.uri if self.folder is None else str(self.folder)

    @property
    def is_local(self) -> bool:
        """Whether the store is a folder of this machine (or one mounted on it)."""
        return self.folder is not None

    def child(self, name: str) -> "ArtifactStore":
        """The store rooted at a folder below this one."""
        if self.folder is not None:
            return ArtifactStore(str(self.folder / name))
        return ArtifactStore(f"{self.uri.rstrip('/')}/{name}")

    def read_bytes(self, name: str, *, offset: int = 0) -> bytes:
        """The file's content from byte `offset` on."""
        with self._errors("read", name):
            if self.folder is not None:
                with (self.folder / name).open("rb") as file:
                    file.seek(offset)
                    return file.read()
            filesystem, root = self._remote
            with filesystem.open_input_file(f"{root}/{name}") as stream:
                size = stream.size()
                return stream.read_at(size - offset, offset) if size > offset else b""

    def read_text(self, name: str) -> str:
        """The file's content as UTF-8 text."""
        return self.read_bytes(name).decode()

    def exists(self, name: str) -> bool:
        """Whether a file of that name is there."""
        with self._errors("read", name):
            if self.folder is not None:
                return (self.folder / name).is_file()
            filesystem, root = self._remote
            info = filesystem.get_file_info(f"{root}/{name}")
            return bool(info.type == pafs.FileType.File)

    def write_bytes(self, name: str, data: bytes) -> None:
        """Puts a whole file in place, replacing one of the same name."""
        with self._errors("write", name):
            if self.folder is not None:
                with _beside(self.folder / name, data) as temporary:
                    temporary.replace(self.folder / name)
                return
            filesystem, root = self._remote
            path = f"{root}/{name}"
            filesystem.create_dir(path.rpartition("/")[0], recursive=True)
            with filesystem.open_output_stream(path) as stream:
                stream.write(data)

    def write_text(self, name: str, text: str) -> None:
        """Puts a whole UTF-8 file in place, replacing one of the same name."""
        self.write_bytes(name, text.encode())

    def create_text(self, name: str, text: str) -> bool:
        """Writes the file unless it exists; says whether this call created it.

        Exactly one of several callers gets True, in a local folder and in S3, GCS and Azure. HDFS
        and fsspec offer no such promise: there two callers within milliseconds may both get True.
        """
        if self.folder is None:
            if self._conditional is not None:
                with self._errors("write", name):
                    return create(self._conditional, name, text.encode())
            if self.exists(name):
                return False
            self.write_text(name, text)
            return True
        with self._errors("write", name), _beside(self.folder / name, text.encode()) as temporary:
            try:
                os.link(temporary, self.folder / name)
            except FileExistsError:
                return False
            return True

    def list(self, name: str = "") -> tuple[str, ...]:
        """The names of the files and folders directly below, sorted; empty when none."""
        with self._errors("read", name):
            if self.folder is not None:
                there = self.folder / name
                return tuple(sorted(p.name for p in there.iterdir())) if there.is_dir() else ()
            filesystem, root = self._remote
            selector = pafs.FileSelector(f"{root}/{name}".rstrip("/"), allow_not_found=True)
            return tuple(sorted(info.base_name for info in filesystem.get_file_info(selector)))

    def delete(self, name: str) -> None:
        """Removes the file; nothing happens when it does not exist."""
        with self._errors("delete", name):
            if self.folder is not None:
                (self.folder / name).unlink(missing_ok=True)
                return
            filesystem, root = self._remote
            if self.exists(name):
                filesystem.delete_file(f"{root}/{name}")

    def sizes(self, name: str = "") -> dict[str, int]:
        """The files in a folder and below it with their bytes, sorted; empty when it is not."""
        with self._errors("read", name):
            if self.folder is not None:
                there = self.folder / name
                found = [path for path in sorted(there.rglob("*")) if path.is_file()]
                return {path.relative_to(there).as_posix(): path.stat().st_size for path in found}
            return {path: info.size for path, info in self._infos(name).items()}

    def _infos(self, name: str) -> dict[str, pafs.FileInfo]:
        filesystem, root = self._remote
        base = f"{root}/{name}".rstrip("/")
        selector = pafs.FileSelector(base, allow_not_found=True, recursive=True)
        infos = sorted(filesystem.get_file_info(selector), key=lambda info: info.path)
        files = (info for info in infos if info.type == pafs.FileType.File)
        return {info.path[len(base) + 1 :]: info for info in files}

    def stamps(self, name: str = "") -> dict[str, Stamp]:
        """The files in a folder and below it; a stamp that differs: it was written again."""
        with self._errors("read", name):
            if self.folder is not None:
                there = self.folder / name
                stats = {path: path.stat() for path in there.rglob("*") if path.is_file()}
                return {
                    path.relative_to(there).as_posix(): (stat.st_size, stat.st_mtime_ns)
                    for path, stat in sorted(stats.items())
                }
            return {
                path: (info.size, info.mtime_ns or 0) for path, info in self._infos(name).items()
            }

    def delete_folder(self, name: str = "") -> None:
        """Removes a folder with all that is in it; nothing happens when it does not exist."""
        with self._errors("delete", name):
            if self.folder is not None:
                if (self.folder / name).is_dir():
                    shutil.rmtree(self.folder / name)
                return
            filesystem, root = self._remote
            path = f"{root}/{name}".rstrip("/")
            if filesystem.get_file_info(path).type == pafs.FileType.Directory:
                filesystem.delete_dir(path)

    @contextmanager
    def _errors(self, verb: str, name: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            # pyarrow raises plain OSError for object stores, with the reason in its text.
            raise ArtifactError(
                f"Cannot {verb} {self.uri.rstrip('/')}/{name}: {_sentence(error)}",
                hint=_HINTS.get(error.errno or 0),
                permanent=error.errno in _PERMANENT,
            ) from error


@contextmanager
def _beside(target: Path, data: bytes) -> Iterator[Path]:
    """A durable temporary file with `data` in the target's folder, gone at the end."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from error
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _sentence(error: BaseException) -> str:
    """The reason without errno and path: "No space left on device"."""
    text = getattr(error, "strerror", None) or str(error)
    return text.splitlines()[0].rstrip(".") + "." if text else f"{type(error).__name__}."
