"""Delta tables: a local folder or any object-store URI, through the `deltalake` package.

Snapshots follow from the commits in `_delta_log`, which are read as they are written there:
who added which file is not to be had from a table's state. Checkpoints carry the state on when
old commits have been cleaned up.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote

import pyarrow as pa

from feature_store.columns import canonical_schema, conform
from feature_store.errors import (
    AppendConflict,
    FeatureStoreError,
    SchemaMismatch,
    StoreUnavailable,
    UnsupportedTable,
    VersionGone,
)
from feature_store.event_times import readable
from feature_store.location import Documents, first_line, is_local, resolve
from feature_store.tables import Commit, DataFile

_KEY = "ratchet.key"
_COMMIT = re.compile(r"\d{20}\.json")
_ATTEMPTS = 20
_APP = "ratchet:"
# Old versions stay readable for a year and listed for ten, unless somebody decides otherwise.
_RETENTION = {
    "delta.deletedFileRetentionDuration": "interval 365 days",
    "delta.logRetentionDuration": "interval 3650 days",
}
# Reader features that leave each Parquet file readable alone; deletion vectors only in the tables
# where none is in use, which is looked up.
_FILE_BY_FILE = {
    "deletionVectors",
    "timestampNtz",
    "typeWidening",
    "v2Checkpoint",
    "vacuumProtocolCheck",
}


class DeltaTables:
    """Delta tables under one root."""

    def __init__(self, uri: str) -> None:
        self.root = resolve(uri)
        self._documents = Documents(self.root)

    def uri(self, name: str) -> str:
        """Location of a table."""
        return f"{self.root}/{name}"

    def exists(self, name: str) -> bool:
        """Whether there is a table."""
        return bool(self._versions(name))

    def create(self, name: str, schema: pa.Schema) -> None:
        """Make an empty table (version 0), unless there is one."""
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError

        try:
            DeltaTable.create(
                self.uri(name), schema=schema, name=name, mode="ignore", configuration=_RETENTION
            )
        except (DeltaError, OSError) as error:
            if not self.exists(name):  # else another process created it at the same moment
                raise _unavailable(self.uri(name), error) from error

    def latest(self, name: str) -> int:
        """The newest version; 0 when there is no table yet."""
        return max(self._versions(name), default=0)

    def schema(self, name: str, version: int) -> pa.Schema:
        """Schema at a version, in canonical types."""
        return _schema(self._open(name, version))

    def active(self, name: str, version: int) -> tuple[DataFile, ...]:
        """Files that make up a version."""
        table = self._open(name, version)
        if _deletion_vectors(table):
            raise _unsupported(name, "deletion vectors")
        actions = pa.table(table.get_add_actions(flatten=True))
        partitions = table.metadata().partition_columns
        times = {
            f.name: f.name.removeprefix("max.")
            for f in actions.schema
            if f.name.startswith("max.") and pa.types.is_timestamp(f.type)
        }
        wanted = ["path", "num_records", *times, *(f"partition.{c}" for c in partitions)]
        present = [column for column in wanted if column in actions.column_names]
        found = actions.select(present)
        for place, column in enumerate(present):
            if column in times:
                found = found.set_column(place, column, readable(found.column(column)))
        return tuple(
            DataFile(
                path=row["path"],
                uri=self._file_uri(name, row["path"]),
                rows=row.get("num_records"),
                newest={column: _utc(row[flat]) for flat, column in times.items() if row[flat]},
                partition={c: _partition_text(row[f"partition.{c}"]) for c in partitions},
            )
            for row in found.to_pylist()
        )

    def commits(
        self, name: str, after: int, upto: int, *, whole: bool = True
    ) -> tuple[Commit, ...]:
        """Commits in `(after, upto]`, ascending."""
        numbers = list(range(after + 1, upto + 1))
        texts = self._documents.read_texts(
            [f"{name}/_delta_log/{number:020}.json" for number in numbers]
        )
        commits = []
        for number, text in zip(numbers, texts, strict=True):
            if text is not None:
                commits.append(self._commit(name, number, text))
            elif whole:
                raise VersionGone(
                    f"version {number} of view {name}: its log entry has been cleaned up, so what "
                    f"is new since version {after} cannot be told",
                    hint="take a snapshot since a later version, or without since",
                )
        return tuple(commits)

    def append(self, name: str, table: pa.Table, *, key: str | None, merge_schema: bool) -> int:
        """Add rows as one version, atomically, once for each key.

        The key is a Delta application transaction: it is looked up in the very state that the
        write starts from, and Delta refuses a commit whose transaction was made meanwhile.
        """
        from deltalake import CommitProperties, Transaction, write_deltalake
        from deltalake.exceptions import CommitFailedError, DeltaError

        for _ in range(_ATTEMPTS):
            handle = self._open(name, None)
            if key is not None:
                made = self._version_of(name, handle, key)
                if made is not None:
                    return made
            stored = pa.schema(handle.schema().to_arrow())
            rows = conform(name, table, canonical_schema(stored), merge_schema=merge_schema)
            properties = CommitProperties(
                custom_metadata=None if key is None else {_KEY: key},
                app_transactions=None
                if key is None
                else [Transaction(_APP + key, handle.version() + 1)],
            )
            try:
                write_deltalake(
                    handle,
                    _as_stored(rows, stored),
                    mode="append",
                    schema_mode="merge" if rows.num_columns > len(stored) else None,
                    commit_properties=properties,
                )
            except CommitFailedError:
                continue
            except DeltaError as error:
                raise SchemaMismatch(
                    f"view {name}: Delta refused the rows: {first_line(error)}",
                    hint="correct the rows, or the table's constraints",
                ) from error
            except Exception as error:  # deltalake raises bare Exceptions for failed writes
                raise _unavailable(self.uri(name), error) from error
            return int(handle.version())
        raise AppendConflict(
            f"view {name}: other writers won {_ATTEMPTS} times in a row", hint="append again"
        )

    def restore(self, name: str, version: int) -> int:
        """Make an earlier version's files current again, as a new version."""
        from deltalake.exceptions import CommitFailedError, DeltaError

        for _ in range(_ATTEMPTS):
            handle = self._open(name, None)
            try:
                handle.restore(version)
            except CommitFailedError:
                continue
            except DeltaError as error:
                raise VersionGone(
                    f"version {version} of view {name} cannot be restored: {first_line(error)}",
                    hint="restore a later version",
                ) from error
            return int(handle.version())
        raise AppendConflict(
            f"view {name}: other writers won {_ATTEMPTS} times in a row", hint="restore again"
        )

    def _versions(self, name: str) -> list[int]:
        names = self._documents.names(f"{name}/_delta_log", ".json")
        return [int(found[:20]) for found in names if _COMMIT.fullmatch(found)]

    def _open(self, name: str, version: int | None) -> Any:
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError

        try:
            table = DeltaTable(self.uri(name), version=version)
        except DeltaError as error:
            if version is None or version == self.latest(name):
                raise _unavailable(self.uri(name), error) from error
            raise VersionGone(
                f"version {version} of view {name} can no longer be opened: {first_line(error)}",
                hint="its log was cleaned up: use a later version",
            ) from error
        except OSError as error:
            raise _unavailable(self.uri(name), error) from error
        _require_file_by_file(name, table)
        return table

    def _version_of(self, name: str, handle: Any, key: str) -> int | None:
        first = handle.transaction_version(_APP + key)
        if first is None:
            return None
        # The writer noted the earliest version it could become; others may have come between.
        for commit in self.commits(name, first - 1, handle.version(), whole=False):
            if commit.key == key:
                return commit.version
        return int(first)

    def _commit(self, name: str, version: int, text: str) -> Commit:
        info: dict[str, Any] = {}
        adds: list[dict[str, Any]] = []
        removes: list[dict[str, Any]] = []
        for line in text.splitlines():
            action = json.loads(line) if line.strip() else {}
            info = action.get("commitInfo", info)
            adds += [action["add"]] if "add" in action else []
            removes += [action["remove"]] if "remove" in action else []
        moved = any(not action.get("dataChange", True) for action in (*adds, *removes))
        parameters = info.get("operationParameters") or {}
        return Commit(
            version=version,
            at=datetime.fromtimestamp(_milliseconds(info, adds) / 1000, tz=UTC),
            operation="compact" if moved else _operation(info.get("operation", ""), parameters),
            key=info.get(_KEY),
            added=tuple(self._added(name, version, action) for action in adds),
            removed=tuple(action["path"] for action in removes),
        )

    def _added(self, name: str, version: int, action: Mapping[str, Any]) -> DataFile:
        stats = json.loads(action.get("stats") or "{}")
        if action.get("deletionVector"):
            raise _unsupported(name, "deletion vectors")
        return DataFile(
            path=action["path"],
            uri=self._file_uri(name, action["path"]),
            version=version,
            rows=stats.get("numRecords"),
            partition=action.get("partitionValues") or {},
        )

    def _file_uri(self, name: str, path: str) -> str:
        if "://" in path:  # a shallow clone points into another table
            return resolve(path)
        # The log percent-encodes paths; an object-store URI keeps one level of it.
        place = unquote(path)
        return f"{self.uri(name)}/{place if is_local(self.root) else quote(place, safe='/=')}"


def _schema(table: Any) -> pa.Schema:
    return canonical_schema(pa.schema(table.schema().to_arrow()))


def _as_stored(rows: pa.Table, stored: pa.Schema) -> pa.Table:
    """Cast back to what another writer chose, such as timestamps without zone."""
    fields = [
        pa.field(f.name, stored.field(f.name).type if f.name in stored.names else f.type)
        for f in rows.schema
    ]
    return rows.cast(pa.schema(fields))


def _operation(name: str, parameters: Mapping[str, Any]) -> str:
    mode = str(parameters.get("mode", "")).lower()
    if name == "WRITE" and mode == "append":
        return "append"
    if name == "WRITE" and mode == "overwrite" and not parameters.get("predicate"):
        return "overwrite"
    return {"CREATE TABLE": "create", "RESTORE": "restore"}.get(name, name)


def _milliseconds(info: Mapping[str, Any], adds: list[dict[str, Any]]) -> int:
    if "timestamp" in info:
        return int(info["timestamp"])
    return int(max((action.get("modificationTime", 0) for action in adds), default=0))


def _partition_text(value: Any) -> str | None:
    if value is None:
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)


def _utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _require_file_by_file(name: str, table: Any) -> None:
    features = set(table.protocol().reader_features or ()) - _FILE_BY_FILE
    if table.metadata().configuration.get("delta.columnMapping.mode", "none") == "none":
        features.discard("columnMapping")
    else:
        features.add("columnMapping")
    if features:
        raise _unsupported(name, ", ".join(sorted(features)))


def _deletion_vectors(table: Any) -> bool:
    if "deletionVectors" not in (table.protocol().reader_features or ()):
        return False
    return bool(pa.table(table.deletion_vectors()).num_rows)


def _unsupported(name: str, feature: str) -> UnsupportedTable:
    return UnsupportedTable(
        f"view {name}: the Delta table uses {feature}, so its files cannot be read one by one",
        hint="rewrite the table without that feature (REORG TABLE ... APPLY (PURGE) for deletion "
        "vectors), or declare the view over a copy",
    )


def _unavailable(uri: str, error: BaseException) -> FeatureStoreError:
    return StoreUnavailable(
        f"{uri} cannot be read or written: {first_line(error)}",
        hint="check the address, the permissions, the free space and the credentials",
    )
