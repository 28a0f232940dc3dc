"""The feature store over any backend of tables: declarations, snapshots, reads."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from feature_store.columns import (
    canonical,
    canonical_schema,
    column_types,
    index_columns,
    require,
    require_distinct,
    without_index,
)
from feature_store.config import FeatureStoreConfig
from feature_store.dataset import open_dataset, part_of, rows_in
from feature_store.errors import (
    InvalidView,
    SchemaMismatch,
    UndeclaredView,
    UnknownVersion,
    UnknownView,
    ViewExists,
    nearest,
)
from feature_store.event_times import LATEST, plausible, refuse_impossible
from feature_store.location import Documents, missing
from feature_store.snapshot import Part, Snapshot, Version
from feature_store.states import States, vanished
from feature_store.tables import Commit, DataFile, Tables
from feature_store.views import FeatureView, StoredView, from_document, to_document, validate

_SUFFIX = ".view.json"


class ViewStore:
    """Views over the tables of one backend; the rules stand in `feature_store.store`."""

    def __init__(self, config: FeatureStoreConfig, tables: Tables) -> None:
        self._config = config
        self._tables = tables
        self._documents = Documents(tables.root)
        self._states = States(tables)

    # --- declarations ---------------------------------------------------------------------------

    def create(self, view: FeatureView, schema: pa.Schema | None = None) -> FeatureView:
        """Declare a view, and make its empty table (version 0)."""
        validate(view)
        wanted = None if schema is None else _offered(view.name, schema)
        document = self._documents.read(view.name + _SUFFIX)
        if document is not None:
            return _same(view, wanted, from_document(document))
        there = self._tables.exists(view.name)
        if there:
            wanted = self._tables.schema(view.name, self._tables.latest(view.name))
        if wanted is not None:
            _check_schema(view, wanted, outside=there)
            self._tables.create(view.name, wanted)
        self._record(view, wanted)
        return view

    def replace(self, view: FeatureView) -> FeatureView:
        """Change a view's declaration, and record its table's present schema."""
        validate(view)
        self._stored(view.name)
        schema = None
        if self._tables.exists(view.name):
            schema = self._tables.schema(view.name, self._tables.latest(view.name))
            _check_schema(view, schema, outside=True)
        self._record(view, schema)
        return view

    def view(self, name: str) -> FeatureView:
        """Return a declared view."""
        return self._stored(name).view

    def views(self) -> tuple[str, ...]:
        """Names of the declared views, sorted."""
        return tuple(n.removesuffix(_SUFFIX) for n in self._documents.names("", _SUFFIX))

    def declared_columns(self, name: str) -> dict[str, str]:
        """Column -> type as recorded when the view was declared."""
        return self._stored(name).columns

    # --- versions -------------------------------------------------------------------------------

    def append(
        self,
        name: str,
        table: Any,
        *,
        key: str | None = None,
        merge_schema: bool = False,
        now: datetime | None = None,
    ) -> int:
        """Add rows as one version, and return its number."""
        stored = self._stored(name)
        rows = without_index(_arrow(name, table))
        require_distinct(name, rows.column_names)
        _check_times(stored.view, rows, now or datetime.now(UTC))
        rows = canonical(_in_zone(stored.view, rows))
        if not self._tables.exists(name):
            _check_schema(stored.view, rows.schema)
            self._tables.create(name, rows.schema)
        if not stored.columns:
            self._record(stored.view, self._tables.schema(name, self._tables.latest(name)))
        return self._tables.append(name, rows, key=key, merge_schema=merge_schema)

    def latest_version(self, name: str) -> int:
        """The newest version."""
        self._stored(name)
        return self._tables.latest(name)

    def history(self, name: str, *, after: int = -1) -> tuple[Version, ...]:
        """Versions after one that the log still tells of, oldest first."""
        self._stored(name)
        commits = self._tables.commits(name, after, self._tables.latest(name), whole=False)
        return tuple(
            Version(
                version=commit.version,
                at=commit.at,
                operation=commit.operation,
                rows=_rows_brought(commit),
                key=commit.key,
            )
            for commit in commits
        )

    def restore(self, name: str, version: int) -> int:
        """Make the rows of an earlier version current again, as a new version."""
        self._stored(name)
        self._require_version(name, version, self._tables.latest(name))
        return self._tables.restore(name, version)

    # --- snapshots ------------------------------------------------------------------------------

    def snapshot(
        self,
        name: str,
        *,
        version: int | None = None,
        since: int | None = None,
        exclude: Iterable[int] = (),
    ) -> Snapshot:
        """Pin the view at a version, and count what is new since another."""
        view = self.view(name)
        latest = self._tables.latest(name)
        version = latest if version is None else version
        self._require_version(name, version, latest)
        if since is not None:
            self._require_version(name, since, latest)
        excluded = tuple(sorted({number for number in exclude if number <= version}))
        active = self._states.at(view, version, set(excluded))
        new = active if since is None else self._states.new(view, since, version, set(excluded))
        self._require_files(name, version, (*active.files, *new.files))
        return Snapshot(
            view=name,
            uri=self._tables.uri(name),
            format=self._config.format,
            version=version,
            since=since,
            rows=sum(rows_in(file) for file in active.files),
            new_rows=sum(rows_in(file) for file in new.files),
            watermark=self._watermark(view, version, active.files),
            excluded=excluded,
            table=self._states.table_id(name),
            notes=tuple(dict.fromkeys((*active.notes, *new.notes))),
            estimated=new.estimated,
        )

    def changes(self, snapshot: Snapshot) -> tuple[Part, ...]:
        """Files that versions in `(since, version]` added, in order of version."""
        name, version, since = snapshot.view, snapshot.version, snapshot.since
        if since is None:
            return self.parts(snapshot)
        held = self._states.new(self.view(name), since, version, set(snapshot.excluded))
        self._require_files(name, version, held.files)
        return _parts(held.files)

    def parts(self, snapshot: Snapshot) -> tuple[Part, ...]:
        """Every file that is active at the version, without those of excluded versions."""
        name, version = snapshot.view, snapshot.version
        held = self._states.at(self.view(name), version, set(snapshot.excluded))
        self._require_files(name, version, held.files)
        return _parts(self._dated(name, version, held.files))

    def schema(self, snapshot: Snapshot) -> pa.Schema:
        """The table's schema at the snapshot's version."""
        return self._schema(snapshot.view, snapshot.version)

    def dataset(self, snapshot: Snapshot, parts: Sequence[Part] | None = None) -> Any:
        """Open parts (by default all of the snapshot's) as a lazy dataset."""
        chosen = self.parts(snapshot) if parts is None else parts
        return open_dataset(chosen, self.schema(snapshot))

    def read(
        self,
        snapshot: Snapshot,
        columns: Sequence[str] | None = None,
        *,
        parts: Sequence[Part] | None = None,
    ) -> pa.Table:
        """Read the snapshot (or some parts of it), in order of version."""
        chosen, schema = self.parts(snapshot) if parts is None else parts, self.schema(snapshot)
        names = schema.names if columns is None else list(columns)
        require(snapshot.view, names, schema.names)
        try:
            return open_dataset(chosen, schema, names).to_table(columns=names)
        except FileNotFoundError as error:
            raise vanished(snapshot.view, snapshot.version, [str(error)]) from error

    def set_aside(self, name: str, versions: Iterable[int]) -> tuple[int, ...]:
        """Note which rows some versions brought, and return those versions that brought any."""
        return self._states.set_aside(self.view(name), versions)

    def table_id(self, name: str) -> str | None:
        """Id of the view's table, also when the log no longer tells it."""
        return self._states.table_id(name)

    # --- inside ---------------------------------------------------------------------------------

    def _stored(self, name: str) -> StoredView:
        document = self._documents.read(name + _SUFFIX)
        if document is not None:
            return from_document(document)
        if self._tables.exists(name):
            raise UndeclaredView(
                f"{self._tables.uri(name)} is a table, but no view is declared over it",
                hint=f"declare it once: store.create(FeatureView(name={name!r}, entities=..., "
                "event_time=..., features=...)); then `ratchet check`",
            )
        raise UnknownView(
            f"no view {name!r} in {self._tables.root}{nearest(name, self.views())}",
            hint=f"correct the name, or declare the view: ratchet features create {name} FILE",
        )

    def _record(self, view: FeatureView, schema: pa.Schema | None) -> None:
        columns = {} if schema is None else column_types(schema)
        stored = StoredView(view=view, columns=columns)
        self._documents.write(view.name + _SUFFIX, to_document(stored))

    def _schema(self, name: str, version: int) -> pa.Schema:
        if self._tables.exists(name):
            return self._tables.schema(name, version)
        raise InvalidView(
            f"view {name} has no schema yet: it was declared without one and holds no rows",
            hint="append rows, or declare it with a schema",
        )

    def _require_version(self, name: str, version: int, latest: int) -> None:
        if not 0 <= version <= latest:
            raise UnknownVersion(
                f"view {name} has no version {version}; the latest is {latest}",
                hint="if the table was restored from a copy, its consumers begin anew after: "
                f"ratchet features reset {name} --reason TEXT",
            )

    def _dated(self, name: str, version: int, files: Sequence[DataFile]) -> list[DataFile]:
        """Fill in the version that added each file, as far as the log still says."""
        if all(file.version for file in files):
            return list(files)
        first: dict[str, int] = {}
        for commit in self._tables.commits(name, -1, version, whole=False):
            for added in commit.added:
                first.setdefault(added.path, commit.version)
        return [replace(file, version=first.get(file.path, file.version)) for file in files]

    def _require_files(self, name: str, version: int, files: Sequence[DataFile]) -> None:
        absent = missing(sorted({file.uri for file in files}))
        if absent:
            raise vanished(name, version, absent)

    def _watermark(
        self, view: FeatureView, version: int, files: Sequence[DataFile]
    ) -> datetime | None:
        """Read the newest event time, from the only files that can hold it."""
        if not files:
            return None
        column = view.event_time
        ends = {file.path: file.newest.get(column) for file in files}
        known = max((at for at in ends.values() if at and at <= LATEST), default=None)
        # Delta cuts statistics to the millisecond, so equals and unknowns are read; so is a file
        # with a time that cannot be, which hides its newest one.
        candidates = [
            file for file in files if (at := ends[file.path]) is None or at == known or at > LATEST
        ]
        schema = self._schema(view.name, version)
        require(view.name, [column], schema.names)
        dataset = open_dataset(_parts(candidates), schema, [column])
        times = plausible(dataset.to_table(columns=[column]).column(column))
        newest = pc.max(times).as_py()
        if newest is None:
            return None
        if isinstance(newest, datetime):
            return newest.astimezone(UTC)
        return datetime(newest.year, newest.month, newest.day, tzinfo=UTC)


def _offered(view: str, schema: pa.Schema) -> pa.Schema:
    """The schema of a new table, without the index of a pandas frame."""
    index = index_columns(schema)
    kept = pa.schema([field for field in schema if field.name not in index])
    require_distinct(view, kept.names)
    return canonical_schema(kept)


def _rows_brought(commit: Commit) -> int:
    """As the log tells it; of a rewrite whose writer does not say, no less than there were."""
    if not commit.brings:
        return 0
    if commit.rewrites and commit.changed is not None:
        return commit.changed
    removed = set(commit.removed)
    return sum(rows_in(file) for file in commit.added if file.path not in removed)


def _same(view: FeatureView, schema: pa.Schema | None, stored: StoredView) -> FeatureView:
    differs = schema is not None and stored.columns and column_types(schema) != stored.columns
    if view != stored.view or differs:
        raise ViewExists(
            f"view {view.name} is declared already, with another "
            f"{'schema' if view == stored.view else 'definition'}",
            hint="use store.replace(view) to change it, or another name",
        )
    return view


def _arrow(view: str, rows: Any) -> pa.Table:
    if isinstance(rows, pa.Table):
        return rows
    try:
        return pa.table(rows)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:  # pandas: any objects in one column
        reason = ", ".join(str(part) for part in reversed(error.args))
        raise SchemaMismatch(
            f"view {view}: the values of a column are not of one type: {reason}",
            hint="cast the column to one type, for example df.astype({'NAME': 'string'})",
        ) from error


def _check_times(view: FeatureView, rows: pa.Table, now: datetime) -> None:
    place = rows.schema.get_field_index(view.event_time)
    kind = rows.schema.field(place).type if place >= 0 else pa.null()
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        refuse_impossible(view.name, view.event_time, rows.column(place), now)


def _in_zone(view: FeatureView, rows: pa.Table) -> pa.Table:
    """Times without a zone as those of the view's, where it names one."""
    if view.time_zone is None:
        return rows
    for place, field in enumerate(rows.schema):
        if pa.types.is_timestamp(field.type) and field.type.tz is None:
            # Of an hour that comes twice, the first; of one that never comes, what follows it.
            times = pc.assume_timezone(
                rows.column(place), view.time_zone, ambiguous="earliest", nonexistent="latest"
            )
            rows = rows.set_column(place, field.name, times)
    return rows


def _check_schema(view: FeatureView, schema: pa.Schema, *, outside: bool = False) -> None:
    """`outside`: of a table that others may have made; what the view does not use is theirs."""
    require(view.name, view.columns, schema.names)
    kind = schema.field(view.event_time).type
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        raise InvalidView(
            f"view {view.name}: event time {view.event_time} is {kind}, not a timestamp or date",
            hint=f"cast {view.event_time} to a timestamp",
        )
    looked_at = set(view.columns) if outside else set(schema.names)
    untyped = [f.name for f in schema if f.name in looked_at and pa.types.is_null(f.type)]
    if untyped:
        raise InvalidView(
            f"view {view.name}: column {untyped[0]} holds nothing but nulls, so it has no type",
            hint=f"name its type: ratchet features create NAME FILE --type {untyped[0]}=double, or "
            "store.create(view, schema)",
        )


def _parts(files: Iterable[DataFile]) -> tuple[Part, ...]:
    ordered = sorted(files, key=lambda file: (file.written, file.version, file.uri))
    return tuple(part_of(file) for file in ordered)
