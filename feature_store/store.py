"""The feature store as the rest of Ratchet sees it."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Protocol

import pyarrow as pa

from feature_store.config import FeatureStoreConfig
from feature_store.delta import DeltaTables
from feature_store.errors import InvalidConfig, nearest
from feature_store.parquet import ParquetTables
from feature_store.snapshot import Part, Snapshot, Version
from feature_store.view_store import ViewStore
from feature_store.views import FeatureView


class FeatureStore(Protocol):
    """Views, their versions, and snapshots of them.

    Versions
    - Version 0 is the view as created: a schema and no rows. The first append makes version 1.
    - Every append is exactly one version, also one of no rows; versions are never renumbered.
    - Other writers' commits to a Delta table (optimize, delete, update ...) are versions too.

    Types
    - Columns are stored as the types that every backend can hold: timestamps in microseconds UTC
      (finer digits are cut off, a time without zone is taken as of the view's `time_zone`, by
      default UTC), dictionaries as their values, unsigned integers one size up; the whole table
      stands in `feature_store.conversions`.
    """

    def create(self, view: FeatureView, schema: pa.Schema | None = None) -> FeatureView:
        """Declare a view, and make its empty table (version 0).

        - Declaring the same view twice changes nothing; another definition is `ViewExists`.
        - With a table already there (others wrote it), the view is laid over it; its schema is
          recorded as it stands now.
        - Without a schema and without a table, the first append decides the schema.
        - Columns of the view that the schema lacks: `UnknownColumn`; an event time that is not a
          timestamp or date: `InvalidView`.
        """
        ...

    def replace(self, view: FeatureView) -> FeatureView:
        """Change a view's declaration, and record its table's present schema.

        - The table and its versions stay as they are; older snapshots stay readable.
        """
        ...

    def view(self, name: str) -> FeatureView:
        """Return a declared view; `UnknownView` names the nearest, `UndeclaredView` says that
        only a table is there."""
        ...

    def views(self) -> tuple[str, ...]:
        """Names of the declared views, sorted."""
        ...

    def declared_columns(self, name: str) -> dict[str, str]:
        """Column -> type as recorded when the view was declared."""
        ...

    def append(
        self,
        name: str,
        table: Any,
        *,
        key: str | None = None,
        merge_schema: bool = False,
        now: datetime | None = None,
    ) -> int:
        """Add rows as one version, and return its number.

        - `table`: a pyarrow table, or anything that exports Arrow streams (pandas, polars).
        - Atomic: whoever is killed when, readers see the whole version or nothing of it.
        - Idempotent by `key`: a key that was used before adds nothing and returns the version
          that it made then, also when two writers use it at the same moment.
        - Concurrent appends all succeed, each as its own version.
        - A missing or extra column is `SchemaMismatch`. With `merge_schema`, missing columns
          become nulls and extra ones are added.
        - Numbers of another type fit where no digit is lost: whole ones into a column of doubles,
          `1.0` and NaN (as pandas has them) into one of integers. Else `SchemaMismatch`.
        - The index of a pandas frame is no column: row numbers are left out, an index without a
          name that holds anything else is `SchemaMismatch`; one with a name is a column.
        - Rows with an event time before 1900, or more than a day after `now` (by default the
          machine's clock), are `ImpossibleTime`, with their number.
        """
        ...

    def latest_version(self, name: str) -> int:
        """The newest version."""
        ...

    def history(self, name: str, *, after: int = -1) -> tuple[Version, ...]:
        """Versions after `after` (by default all) that the log still tells of, oldest first."""
        ...

    def snapshot(
        self,
        name: str,
        *,
        version: int | None = None,
        since: int | None = None,
        exclude: Iterable[int] = (),
    ) -> Snapshot:
        """Pin the view at a version (the latest by default), and count what is new since another.

        - A snapshot does not change when rows are appended, compacted, restored or deleted later.
        - Every file of it is looked for now: `VersionGone` when some have disappeared.
        - `exclude`: versions to leave out (quarantine): the rows that they brought are not there,
          and those that they replaced or removed are there as before. Compactions, restores and
          deletes brought none; a delete stands. A row that was mended since is used as it is now.
          `ExclusionLost` when nothing tells any more which rows a version brought: its files were
          deleted, and `set_aside` was not called before.
        - An empty view gives a snapshot of 0 rows without watermark.
        """
        ...

    def changes(self, snapshot: Snapshot) -> tuple[Part, ...]:
        """Files with the rows that are there at `version` and were not at `since`, oldest first.

        - Rows are compared by value where commits rewrote files: of an update or merge, the rows
          changed and inserted are new; of a delete, a compaction (OPTIMIZE) or a restore, none.
        - The files as first appended are returned for as long as they exist. After a VACUUM, new
          rows are told from older ones by their event times, where these and the log's counts tell
          them apart. Where they do not, or where the log has been cleaned up, all rows in doubt
          are new: `estimated`, and `notes` says so.
        - With `since=None`, the same as `parts`.
        """
        ...

    def parts(self, snapshot: Snapshot) -> tuple[Part, ...]:
        """Every file that is active at the version, without those of excluded versions."""
        ...

    def schema(self, snapshot: Snapshot) -> pa.Schema:
        """The table's schema at the snapshot's version."""
        ...

    def dataset(self, snapshot: Snapshot, parts: Sequence[Part] | None = None) -> Any:
        """Open parts (by default all of the snapshot's) as a lazy `pyarrow.dataset.Dataset`.

        - Columns that a file is older than are null; Hive-style partition columns are filled in.
        """
        ...

    def read(
        self,
        snapshot: Snapshot,
        columns: Sequence[str] | None = None,
        *,
        parts: Sequence[Part] | None = None,
    ) -> pa.Table:
        """Read the snapshot (or some parts of it), in order of version; same call, same rows.

        - `UnknownColumn` names the nearest; `VersionGone` when files have disappeared.
        """
        ...

    def set_aside(self, name: str, versions: Iterable[int]) -> tuple[int, ...]:
        """Note which rows some versions brought, and return those versions that brought any.

        - To be called before they go into quarantine: then `exclude` leaves out these rows
          wherever a later merge, delete or compaction moves them.
        - Fingerprints are kept, not rows. Doing it twice is doing it once.
        """
        ...

    def table_id(self, name: str) -> str | None:
        """Id of the view's table, which one made anew does not share; None: not known."""
        ...

    def restore(self, name: str, version: int) -> int:
        """Make the rows of an earlier version current again, as a new version.

        - Nothing is erased: every version stays readable.
        """
        ...


def connect(config: FeatureStoreConfig) -> FeatureStore:
    """Open a feature store; nothing is read or made before it is needed."""
    if config.format == "delta":
        return ViewStore(config, DeltaTables(config.uri))
    if config.format == "parquet":
        return ViewStore(config, ParquetTables(config.uri))
    raise InvalidConfig(
        f"feature store format {config.format!r} is unknown"
        f"{nearest(config.format, ('delta', 'parquet'))}",
        hint="set feature_store.format to delta or parquet",
    )
