"""Where files are: local paths and object-store URIs, and small documents in either.

A local location is an absolute path. Anything else is a URI that pyarrow's file systems and
Delta both understand; credentials come from the environment (AWS_*, GOOGLE_*, AZURE_*).
"""

import json
import os
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from feature_store.errors import DamagedFile, InvalidConfig, StoreUnavailable

_PARALLEL_READS = 16


def resolve(uri: str) -> str:
    """Make a local path absolute, and strip a URI's last slash; `InvalidConfig` when empty."""
    if not uri:
        raise InvalidConfig("the feature store's uri is empty", hint="set feature_store.uri")
    scheme = urlsplit(uri).scheme
    if scheme == "file":
        return os.path.abspath(unquote(urlsplit(uri).path))  # noqa: PTH100 (keeps symlinks)
    if is_local(uri):
        return os.path.abspath(Path(uri).expanduser())  # noqa: PTH100 (keeps symlinks)
    return uri.rstrip("/")


def is_local(uri: str) -> bool:
    """Tell a local path from a URI."""
    return "://" not in uri


def place_of(uri: str) -> str:
    """One spelling of a location, by which two of them can be compared."""
    return unquote(uri.removeprefix("file://")) if uri.startswith("file://") else unquote(uri)


def filesystem(uri: str) -> tuple[Any, str]:
    """Open the pyarrow file system of a resolved location, and its path there."""
    files, paths = filesystem_of([uri])
    return files, paths[0]


def filesystem_of(uris: Sequence[str]) -> tuple[Any, list[str]]:
    """Open the one pyarrow file system of some locations, and their paths there."""
    import pyarrow as pa
    import pyarrow.fs as pafs

    if is_local(uris[0]):
        return pafs.LocalFileSystem(), list(uris)
    split = [urlsplit(uri) for uri in uris]
    place = f"{split[0].scheme.replace('s3a', 's3')}://{split[0].netloc}"
    try:
        files, base = pafs.FileSystem.from_uri(place)
    except (pa.ArrowInvalid, OSError) as error:
        raise StoreUnavailable(
            f"{uris[0]} cannot be opened: {first_line(error)}",
            hint="use s3://, gs:// or abfss://, and check the credentials in the environment",
        ) from error
    return files, [f"{base.rstrip('/')}{unquote(part.path)}" for part in split]


def first_line(error: BaseException) -> str:
    """Say in one line what a library said in many."""
    return str(error).strip().split("\n", 1)[0] or type(error).__name__


def missing(uris: Sequence[str]) -> list[str]:
    """Return those of some files (all in one store) that do not exist."""
    if not uris:
        return []
    if is_local(uris[0]):
        return [uri for uri in uris if not os.path.exists(uri)]  # noqa: PTH110 (ten times faster)
    from pyarrow.fs import FileType

    files, paths = filesystem_of(uris)
    found = files.get_file_info(paths)
    return [uri for uri, info in zip(uris, found, strict=True) if info.type == FileType.NotFound]


class Documents:
    """Small JSON documents under one root; each write is whole or not there at all."""

    def __init__(self, root: str) -> None:
        self.root = root

    @cached_property
    def _place(self) -> tuple[Any, str]:
        return filesystem(self.root)

    def read(self, path: str) -> dict[str, Any] | None:
        """Return a document, or None when there is none."""
        text = self.read_text(path)
        if text is None:
            return None
        try:
            document = json.loads(text)
        except ValueError as error:
            raise DamagedFile(
                f"{self.root}/{path} is not JSON: {error}", hint="restore the file from a backup"
            ) from error
        return dict(document)

    def read_text(self, path: str) -> str | None:
        """Return a file's text, or None when there is none."""
        data = self.read_bytes(path)
        return None if data is None else data.decode()

    def read_bytes(self, path: str) -> bytes | None:
        """Return a file's content, or None when there is none."""
        try:
            if is_local(self.root):
                return Path(self.root, path).read_bytes()
            files, base = self._place
            with files.open_input_stream(f"{base}/{path}") as stream:
                return bytes(stream.read())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _unavailable(self.root, path, "read", error) from error

    def read_texts(self, paths: list[str]) -> list[str | None]:
        """Read many files; in an object store, several at a time."""
        if is_local(self.root) or len(paths) < 2:
            return [self.read_text(path) for path in paths]
        with ThreadPoolExecutor(_PARALLEL_READS) as pool:
            return list(pool.map(self.read_text, paths))

    def write(self, path: str, document: dict[str, Any]) -> None:
        """Write a document over whatever was there."""
        self.write_bytes(path, (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode())

    def write_bytes(self, path: str, content: bytes) -> None:
        """Write a file over whatever was there."""
        try:
            if is_local(self.root):
                target = Path(self.root, path)
                temporary = write_temporary(target, content)
                temporary.replace(target)
                sync_folder(target.parent)
                return
            files, base = self._place
            with files.open_output_stream(f"{base}/{path}") as stream:
                stream.write(content)
        except OSError as error:
            raise _unavailable(self.root, path, "written", error) from error

    def names(self, folder: str, suffix: str) -> tuple[str, ...]:
        """Names in a folder that end in `suffix`, sorted; none when there is no such folder."""
        try:
            if is_local(self.root):
                found = [entry.name for entry in Path(self.root, folder).iterdir()]
            else:
                from pyarrow.fs import FileSelector

                files, base = self._place
                place = "/".join(part for part in (base, folder) if part)
                selector = FileSelector(place, allow_not_found=True)
                found = [info.base_name for info in files.get_file_info(selector)]
        except (FileNotFoundError, NotADirectoryError):
            return ()
        except OSError as error:
            raise _unavailable(self.root, folder, "read", error) from error
        return tuple(sorted(n for n in found if n.endswith(suffix) and not n.startswith(".")))

    def remove(self, path: str) -> None:
        """Remove a document, if it is there."""
        try:
            if is_local(self.root):
                Path(self.root, path).unlink(missing_ok=True)
            else:
                files, base = self._place
                files.delete_file(f"{base}/{path}")
        except FileNotFoundError:
            return
        except OSError as error:
            raise _unavailable(self.root, path, "removed", error) from error


def write_temporary(target: Path, content: bytes) -> Path:
    """Write a hidden sibling of `target` down to the disk; the caller renames or links it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def sync_folder(folder: Path) -> None:
    """Bring a folder's entries down to the disk, so that a rename outlives a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unavailable(root: str, path: str, verb: str, error: OSError) -> StoreUnavailable:
    return StoreUnavailable(
        f"{f'{root}/{path}'.rstrip('/')} cannot be {verb}: {error.strerror or first_line(error)}",
        hint="check that the place exists, can be reached and written, and has free space",
    )
