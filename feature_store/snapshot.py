"""Frozen references to data: a view at a version, and the files that it is made of."""

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A view at one version: what a run reads, whatever is appended meanwhile.

    "New" rows are those of the versions in `(since, version]`; with `since=None` every row is
    new. The rows of the versions in `excluded` (the quarantine) are in neither count.
    """

    view: str
    """Name of the view."""
    uri: str
    """Where its table is."""
    format: str
    """`delta` or `parquet`."""
    version: int
    """The version that is read; 0 is the empty view as it was created."""
    since: int | None = None
    """Last version that was used before, or None when none was."""
    rows: int
    """Rows at `version`, without the excluded ones."""
    new_rows: int
    """Rows of `changes`."""
    watermark: datetime | None = None
    """Newest event time (UTC) among `rows`, or None when there is none."""
    excluded: tuple[int, ...] = ()
    """Versions left out, ascending."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One Parquet file of a snapshot: the unit of extraction, one shard for each."""

    version: int
    """The version that added the file; 0 when the log no longer says."""
    uri: str
    """Absolute local path or object-store URI of the file."""
    rows: int
    """Rows in the file."""
    partition: dict[str, str | None] = field(default_factory=dict)
    """Columns that are not in the file but in its folder's name (Hive style), as text."""


@dataclass(frozen=True, kw_only=True)
class Version:
    """One entry in a view's history."""

    version: int
    """Its number."""
    at: datetime
    """When it was made (UTC), by the writer's clock."""
    operation: str
    """`create`, `append`, `restore`, or the name that another writer gave (upper case)."""
    rows: int
    """Rows in the files that it added; 0 when it only moved rows (compaction) or removed some."""
    key: str | None = None
    """The idempotency key of the append, if it had one."""
