"""Delta tables: a local folder or any object-store URI, through the `deltalake` package.

Snapshots follow from the commits in `_delta_log`, which are read as they are written there:
who added which file is not to be had from a table's state. Checkpoints carry the state on when
old commits have been cleaned up.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import quote, unquote

import pyarrow as pa

from feature_store.columns import canonical_schema, conform
from feature_store.delta_log import KEY, commit_of, table_id, utc
from feature_store.errors import (
    AppendConflict,
    FeatureStoreError,
    SchemaMismatch,
    StoreUnavailable,
    UnsupportedTable,
    VersionGone,
)
from feature_store.event_times import readable
from feature_store.location import Documents, first_line, is_local, place_of, resolve
from feature_store.partitions import partition_text
from feature_store.snapshot import Kept
from feature_store.tables import Commit, DataFile

_COMMIT = re.compile(r"\d{20}\.json")
_ATTEMPTS = 20
_APP = "ratchet:"
# Old versions stay readable for a year and listed for ten, unless somebody decides otherwise.
_RETENTION = {
    "delta.deletedFileRetentionDuration": "interval 365 days",
    "delta.logRetentionDuration": "interval 3650 days",
}
# Reader features that leave each Parquet file readable alone.
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

    def identity(self, name: str) -> str | None:
        """The id in the metadata of version 0, as long as the log has it.

        A table that is replaced in its own log (CREATE OR REPLACE) goes on under its versions.
        """
        text = self._documents.read_text(f"{name}/_delta_log/{0:020}.json")
        return None if text is None else table_id(text)

    def latest(self, name: str) -> int:
        """The newest version; 0 when there is no table yet."""
        return max(self._versions(name), default=0)

    def schema(self, name: str, version: int) -> pa.Schema:
        """Schema at a version, in canonical types."""
        return _schema(self._open(name, version))

    def active(self, name: str, version: int) -> tuple[DataFile, ...]:
        """Files that make up a version."""
        table = self._open(name, version)
        actions = pa.table(table.get_add_actions(flatten=True))
        partitions = table.metadata().partition_columns
        times = [
            f.name
            for f in actions.schema
            if f.name.startswith(("min.", "max.")) and pa.types.is_timestamp(f.type)
        ]
        wanted = ["path", "num_records", "modification_time", *times]
        wanted += [f"partition.{c}" for c in partitions]
        present = [column for column in wanted if column in actions.column_names]
        found = actions.select(present)
        for place, column in enumerate(present):
            if column in times:
                found = found.set_column(place, column, readable(found.column(column)))
        kept = _kept_rows(table)
        files = (
            DataFile(
                path=row["path"],
                uri=self._file_uri(name, row["path"]),
                rows=row.get("num_records"),
                newest=_bounds(row, times, "max."),
                oldest=_bounds(row, times, "min."),
                partition={c: partition_text(row[f"partition.{c}"]) for c in partitions},
                written=_epoch_ms(row.get("modification_time")),
            )
            for row in found.to_pylist()
        )
        return tuple(_masked(file, kept.get(place_of(file.uri))) for file in files)

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
                commits.append(commit_of(number, text, partial(self._file_uri, name)))
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
                custom_metadata=None if key is None else {KEY: key},
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


def _bounds(row: Mapping[str, Any], columns: list[str], prefix: str) -> dict[str, datetime]:
    named = ((column.removeprefix(prefix), row[column]) for column in columns if prefix in column)
    return {column: utc(value) for column, value in named if value}


def _epoch_ms(value: Any) -> int:
    return int(utc(value).timestamp() * 1000) if isinstance(value, datetime) else int(value or 0)


def _kept_rows(table: Any) -> dict[str, Kept]:
    """Which rows count, by the place of each file that has a deletion vector."""
    if "deletionVectors" not in (table.protocol().reader_features or ()):
        return {}
    kept = {}
    for batch in pa.RecordBatchReader.from_stream(table.deletion_vectors()):
        for path, mask in zip(batch["filepath"], batch["selection_vector"], strict=True):
            values = mask.values.to_numpy(zero_copy_only=False)
            kept[place_of(path.as_py())] = Kept.of(values)
    return kept


def _masked(file: DataFile, kept: Kept | None) -> DataFile:
    """The file without its deleted rows; its statistics may be theirs."""
    if kept is None:
        return file
    digest = hashlib.sha256(kept.bits).hexdigest()[:16]
    return replace(file, rows=kept.rows, kept=kept, newest={}, oldest={}, vector=digest)


def _require_file_by_file(name: str, table: Any) -> None:
    features = set(table.protocol().reader_features or ()) - _FILE_BY_FILE
    if table.metadata().configuration.get("delta.columnMapping.mode", "none") == "none":
        features.discard("columnMapping")
    else:
        features.add("columnMapping")
    if features:
        raise _unsupported(name, ", ".join(sorted(features)))


def _unsupported(name: str, feature: str) -> UnsupportedTable:
    if "columnMapping" in feature:
        return UnsupportedTable(
            f"view {name}: the columns of the Delta table have other names in its files (column "
            "mapping), which cannot be read here",
            hint="declare the view over a copy (CREATE TABLE ... AS SELECT), or remove it: "
            "ALTER TABLE ... SET TBLPROPERTIES ('delta.columnMapping.mode' = 'none')",
        )
    return UnsupportedTable(
        f"view {name}: the Delta table uses {feature}, so its files cannot be read one by one",
        hint="declare the view over a copy without that feature (CREATE TABLE ... AS SELECT)",
    )


def _unavailable(uri: str, error: BaseException) -> FeatureStoreError:
    return StoreUnavailable(
        f"{uri} cannot be read or written: {first_line(error)}",
        hint="check the address, the permissions, the free space and the credentials",
    )
