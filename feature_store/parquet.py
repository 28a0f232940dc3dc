"""Plain Parquet folders: data files, and one small JSON manifest for each version.

    <root>/<view>/data/<random>.parquet          written whole under another name, then renamed
    <root>/<view>/_versions/00000000000000000001.json    what version 1 added and removed

A manifest is linked into place, which fails when the name is taken: of two appenders only one
gets a number, the other takes the next. Data files that no manifest names belong to an append
that was killed; nobody reads them, and they may be deleted when no append is running.
"""

import base64
import json
import os
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from feature_store.columns import EVENT_TIME, canonical_schema, column_types, conform
from feature_store.errors import (
    AppendConflict,
    InvalidConfig,
    SchemaMismatch,
    StoreUnavailable,
    VersionGone,
)
from feature_store.event_times import readable
from feature_store.lineage import replay
from feature_store.location import (
    Documents,
    first_line,
    is_local,
    resolve,
    sync_folder,
    write_temporary,
)
from feature_store.tables import Commit, DataFile

_VERSIONS = "_versions"
_ATTEMPTS = 1000
_ROWS_PER_FILE = 1_000_000


class ParquetTables:
    """Parquet folders under one local root."""

    def __init__(self, uri: str) -> None:
        self.root = resolve(uri)
        if not is_local(self.root):
            raise InvalidConfig(
                f"feature store format parquet needs a local folder, not {self.root}",
                hint="use feature_store.format=delta for an object store",
            )
        self._documents = Documents(self.root)

    def uri(self, name: str) -> str:
        """Location of a table."""
        return f"{self.root}/{name}"

    def exists(self, name: str) -> bool:
        """Whether there is a table."""
        return bool(self._documents.names(f"{name}/{_VERSIONS}", ".json"))

    def create(self, name: str, schema: pa.Schema) -> None:
        """Make an empty table (version 0), unless there is one."""
        if not self.exists(name):
            entry = {"operation": "create", "id": uuid.uuid4().hex, **_schema_entry(0, schema)}
            self._publish(name, 0, entry)

    def identity(self, name: str) -> str | None:
        """The id in version 0; of a table older than ids, the moment when it was made."""
        if not self.exists(name):
            return None
        first = self._read(name, 0)
        return str(first.get("id", first["at"]))

    def latest(self, name: str) -> int:
        """The newest version; 0 when there is no table yet."""
        names = self._documents.names(f"{name}/{_VERSIONS}", ".json")
        return int(names[-1].removesuffix(".json")) if names else 0

    def schema(self, name: str, version: int) -> pa.Schema:
        """Schema at a version."""
        source = self._read(name, self._read(name, version)["schema_version"])
        encoded = base64.b64decode(source["arrow_schema"])
        return pa.ipc.read_schema(pa.py_buffer(encoded))

    def active(self, name: str, version: int) -> tuple[DataFile, ...]:
        """Files that make up a version."""
        return tuple(replay({}, self.commits(name, -1, version)).files.values())

    def commits(
        self, name: str, after: int, upto: int, *, whole: bool = True
    ) -> tuple[Commit, ...]:
        """Commits in `(after, upto]`, ascending."""
        commits = []
        for number in range(after + 1, upto + 1):
            try:
                manifest = self._read(name, number)
            except VersionGone:
                if whole:
                    raise
                continue
            commits.append(self._commit(name, number, manifest))
        return tuple(commits)

    def append(self, name: str, table: pa.Table, *, key: str | None, merge_schema: bool) -> int:
        """Add rows as one version, atomically, once for each key."""
        known = -1
        added: list[dict[str, Any]] | None = None
        for _ in range(_ATTEMPTS):
            latest = self.latest(name)
            # A key can only have appeared in the versions that we have not looked at yet.
            made = self._version_of(name, key, known, latest)
            if made is not None:
                self._discard(name, added)
                return made
            schema = self.schema(name, latest)
            try:
                rows = conform(name, table, schema, merge_schema=merge_schema)
            except SchemaMismatch:
                self._discard(name, added)
                raise
            if added is None:
                added = self._write(name, rows)
            entry: dict[str, Any] = {"operation": "append", "key": key, "added": added}
            if rows.num_columns > len(schema):
                entry |= _schema_entry(latest + 1, rows.schema)
            else:
                entry["schema_version"] = self._read(name, latest)["schema_version"]
            if self._publish(name, latest + 1, entry):
                return latest + 1
            known = latest
        raise AppendConflict(
            f"view {name}: other writers won {_ATTEMPTS} times in a row", hint="append again"
        )

    def restore(self, name: str, version: int) -> int:
        """Make an earlier version's files current again, as a new version."""
        for _ in range(_ATTEMPTS):
            latest = self.latest(name)
            target = {file.path: file for file in self.active(name, version)}
            current = {file.path for file in self.active(name, latest)}
            absent = [f.uri for f in target.values() if not Path(f.uri).exists()]
            if absent:
                raise VersionGone(
                    f"version {version} of view {name} cannot be restored: {len(absent)} of its "
                    f"files have disappeared (such as {absent[0]})",
                    hint="restore a later version, or bring the files back",
                )
            entry = {
                "operation": "restore",
                "added": [_file_entry(f) for p, f in target.items() if p not in current],
                "removed": sorted(current - target.keys()),
                "schema_version": self._read(name, version)["schema_version"],
            }
            if self._publish(name, latest + 1, entry):
                return latest + 1
        raise AppendConflict(
            f"view {name}: other writers won {_ATTEMPTS} times in a row", hint="restore again"
        )

    def _read(self, name: str, version: int) -> dict[str, Any]:
        manifest = self._documents.read(f"{name}/{_manifest(version)}")
        if manifest is None:
            raise _gone(name, version)
        return manifest

    def _version_of(self, name: str, key: str | None, after: int, upto: int) -> int | None:
        if key is None:
            return None
        commits = self.commits(name, after, upto, whole=False)
        return next((commit.version for commit in commits if commit.key == key), None)

    def _write(self, name: str, rows: pa.Table) -> list[dict[str, Any]]:
        """Write the rows as Parquet files that nobody knows of yet."""
        import pyarrow.parquet as pq

        times = [f.name for f in rows.schema if f.type == EVENT_TIME]
        folder = Path(self.uri(name), "data")
        files = []
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for start in range(0, rows.num_rows, _ROWS_PER_FILE):
                chunk = rows.slice(start, _ROWS_PER_FILE)
                target = folder / f"{uuid.uuid4().hex}.parquet"
                temporary = target.with_name(f".{target.name}.tmp")
                try:
                    pq.write_table(chunk, temporary, compression="zstd")
                    _sync_file(temporary)
                    temporary.rename(target)
                finally:
                    temporary.unlink(missing_ok=True)
                newest = {time: pc.max(readable(chunk.column(time))).as_py() for time in times}
                files.append(
                    {
                        "path": f"data/{target.name}",
                        "rows": chunk.num_rows,
                        "newest": {t: at.isoformat() for t, at in newest.items() if at},
                    }
                )
            sync_folder(folder)
        except OSError as error:
            raise _unwritable(self.uri(name), error) from error
        return files

    def _discard(self, name: str, added: list[dict[str, Any]] | None) -> None:
        for file in added or []:
            Path(self.uri(name), file["path"]).unlink(missing_ok=True)

    def _publish(self, name: str, version: int, entry: dict[str, Any]) -> bool:
        """Make a version, unless another writer made it; this is the moment it is seen."""
        target = Path(self.uri(name), _manifest(version))
        # The one look at the clock: when the version was made, for people who read the history.
        content = {"version": version, "at": datetime.now(UTC).isoformat(), **entry}
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        try:
            temporary = write_temporary(target, text.encode())
            try:
                os.link(temporary, target)
            except FileExistsError:
                return False
            finally:
                temporary.unlink()
            sync_folder(target.parent)
        except OSError as error:
            raise _unwritable(self.uri(name), error) from error
        return True

    def _commit(self, name: str, version: int, manifest: dict[str, Any]) -> Commit:
        return Commit(
            version=version,
            at=datetime.fromisoformat(manifest["at"]),
            operation=manifest["operation"],
            key=manifest.get("key"),
            added=tuple(self._file(name, manifest, file) for file in manifest.get("added", ())),
            removed=tuple(manifest.get("removed", ())),
        )

    def _file(self, name: str, manifest: dict[str, Any], entry: dict[str, Any]) -> DataFile:
        made = datetime.fromisoformat(manifest["at"])
        return DataFile(
            path=entry["path"],
            uri=f"{self.uri(name)}/{entry['path']}",
            version=manifest["version"],
            written=int(made.timestamp() * 1000),
            rows=entry["rows"],
            newest={c: datetime.fromisoformat(at) for c, at in entry["newest"].items()},
        )


def _file_entry(file: DataFile) -> dict[str, Any]:
    return {
        "path": file.path,
        "rows": file.rows,
        "newest": {column: at.isoformat() for column, at in file.newest.items()},
    }


def _schema_entry(version: int, schema: pa.Schema) -> dict[str, Any]:
    """Write a schema for people (`columns`) and for pyarrow (`arrow_schema`)."""
    schema = canonical_schema(schema)
    encoded = base64.b64encode(schema.serialize().to_pybytes()).decode()
    return {
        "schema_version": version,
        "columns": column_types(schema),
        "arrow_schema": encoded,
    }


def _manifest(version: int) -> str:
    return f"{_VERSIONS}/{version:020}.json"


def _gone(name: str, version: int) -> VersionGone:
    return VersionGone(
        f"version {version} of view {name}: its manifest has disappeared",
        hint=f"bring back {_manifest(version)} from a backup",
    )


def _sync_file(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _unwritable(uri: str, error: OSError) -> StoreUnavailable:
    return StoreUnavailable(
        f"{uri} cannot be written: {error.strerror or first_line(error)}",
        hint="check that the folder exists, is writable and has free space",
    )
