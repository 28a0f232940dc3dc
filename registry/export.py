"""The champion's files in a folder or an object store, whole or not at all.

Layout: `<uri>/<model>/v<version>/` holds the files and, written last, `MANIFEST.json` with each
file's size and SHA-256: a version without it is not there. `<uri>/<model>/CURRENT.json` names the
champion and is replaced in one go. Locally the version is written beside its place and renamed;
object stores have no rename, but show an object only when it is complete.
"""

import json
import os
import shutil
import tempfile
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pyarrow as pa
from pyarrow import fs

from registry.errors import ExportFailed
from registry.ledger import LedgerEntry
from registry.manifest import Manifest, manifest_of

MANIFEST_FILE = "MANIFEST.json"
CURRENT_FILE = "CURRENT.json"


def export_champion(uri: str, entry: LedgerEntry, files: Path) -> str:
    """Copy `files` to `<uri>/<model>/v<version>/` and point CURRENT.json to it; the new URI.

    Repeated, it changes nothing; an older epoch never replaces a newer CURRENT.json.
    """
    manifest = manifest_of(files)
    text = _json({"model": entry.model, "version": entry.version, **_listed(manifest)})
    current = {
        "model": entry.model,
        "version": entry.version,
        "epoch": entry.epoch,
        "path": f"v{entry.version}",
        "digest": manifest.digest,
        "at": entry.at.isoformat(),
    }
    folder = _local(uri)
    try:
        if folder is not None:
            _to_folder(folder / entry.model, entry.version, files, text, current)
        else:
            _to_store(f"{uri.rstrip('/')}/{entry.model}", entry.version, files, text, current)
    except (OSError, ValueError, ImportError) as error:
        raise ExportFailed(
            f"Version {entry.version} of {entry.model} cannot be exported to {uri}: {error}.",
            hint="check registry.export_uri and its credentials; the promotion itself stands. "
            f"Then: ratchet champion {entry.model} --export",
        ) from error
    return f"{uri.rstrip('/')}/{entry.model}/v{entry.version}"


def exported_epoch(uri: str, model: str) -> int | None:
    """The epoch that `CURRENT.json` names; None: it names none, or cannot be read."""
    folder = _local(uri)
    try:
        if folder is None:
            filesystem, root = _filesystem(f"{uri.rstrip('/')}/{model}")
            there = _text(filesystem, f"{root}/{CURRENT_FILE}")
        else:
            there = Path(folder, model, CURRENT_FILE).read_text(encoding="utf-8")
    except (OSError, ValueError, ImportError):
        return None
    return None if there is None else _epoch(there)


def _local(uri: str) -> Path | None:
    parsed = urlparse(uri)
    if parsed.scheme == "file":
        return Path(unquote(parsed.path))
    return None if "://" in uri else Path(uri)


def _to_folder(
    home: Path, version: str, files: Path, manifest: str, current: dict[str, Any]
) -> None:
    home.mkdir(parents=True, exist_ok=True)
    for left in home.glob(".v*-*"):  # by a process that was killed: one exports at a time
        shutil.rmtree(left, ignore_errors=True)
    place = home / f"v{version}"
    if not _same(place / MANIFEST_FILE, manifest):
        with tempfile.TemporaryDirectory(prefix=f".v{version}-", dir=home) as temporary:
            fresh = Path(temporary, "files")
            _copy(files, fresh)
            Path(fresh, MANIFEST_FILE).write_text(manifest, encoding="utf-8")
            for path in fresh.rglob("*"):
                _sync(path)
            if place.exists() and not _same(place / MANIFEST_FILE, manifest):
                place.rename(Path(temporary, "replaced"))
            if not place.exists():
                fresh.rename(place)
            _sync(home)
    pointer = home / CURRENT_FILE
    if pointer.exists() and _newer(pointer.read_text("utf-8", "replace"), current["epoch"]):
        return
    written = home / f".current-{uuid.uuid4().hex}"
    written.write_text(_json(current), encoding="utf-8")
    _sync(written)
    written.replace(pointer)
    _sync(home)


def _copy(files: Path, target: Path) -> None:
    """Copy a folder; who may read it is for the umask to say, not for the download's modes."""
    target.mkdir()
    for path in files.iterdir():
        if path.is_dir():
            _copy(path, target / path.name)
        else:
            shutil.copyfile(path, target / path.name)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _same(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


def _to_store(home: str, version: str, files: Path, manifest: str, current: dict[str, Any]) -> None:
    filesystem, root = _filesystem(home)
    place = f"{root}/v{version}"
    if _text(filesystem, f"{place}/{MANIFEST_FILE}") != manifest:
        for path in sorted(files.rglob("*")):
            if path.is_file():
                _upload(filesystem, path, f"{place}/{path.relative_to(files).as_posix()}")
        _write(filesystem, f"{place}/{MANIFEST_FILE}", manifest)
    there = _text(filesystem, f"{root}/{CURRENT_FILE}")
    if there is None or not _newer(there, current["epoch"]):
        _write(filesystem, f"{root}/{CURRENT_FILE}", _json(current))


def _filesystem(uri: str) -> tuple[fs.FileSystem, str]:
    """PyArrow's own stores (s3, gs, abfs, hdfs); any other that fsspec knows."""
    try:
        return fs.FileSystem.from_uri(uri)  # type: ignore[no-any-return]
    except pa.ArrowInvalid:
        import fsspec  # type: ignore[import-untyped]

        other, root = fsspec.core.url_to_fs(uri)
        return fs.PyFileSystem(fs.FSSpecHandler(other)), str(root)


def _upload(filesystem: fs.FileSystem, path: Path, target: str) -> None:
    with path.open("rb") as source, filesystem.open_output_stream(target) as sink:
        shutil.copyfileobj(source, sink)


def _write(filesystem: fs.FileSystem, path: str, text: str) -> None:
    with filesystem.open_output_stream(path) as sink:
        sink.write(text.encode())


def _text(filesystem: fs.FileSystem, path: str) -> str | None:
    try:
        with filesystem.open_input_stream(path) as source:
            return bytes(source.read()).decode(errors="replace")
    except FileNotFoundError:
        return None


def _newer(there: str, epoch: int) -> bool:
    known = _epoch(there)
    return known is not None and known > epoch


def _epoch(there: str) -> int | None:
    """The epoch of a `CURRENT.json`; None: somebody else wrote it, or it is damaged."""
    try:
        return int(json.loads(there)["epoch"])
    except (ValueError, LookupError, TypeError):
        return None


def _listed(manifest: Manifest) -> dict[str, Any]:
    return {"digest": manifest.digest, "files": [asdict(file) for file in manifest.files]}


def _json(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=2, sort_keys=True) + "\n"
