"""Frozen references to data: a view at a version, and the files that it is made of."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


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
    table: str | None = None
    """Id of the table: a table made anew under the same name has another. None: not known."""
    notes: tuple[str, ...] = ()
    """What a reader should know of `rows` and `new_rows`, one sentence each."""
    estimated: bool = False
    """Whether `new_rows` may count rows that are not new, because the files that would tell were
    deleted."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Which rows of a file count, where not all of them do."""

    stored: int
    """Rows in the file."""
    rows: int
    """Rows that count."""
    bits: bytes = field(repr=False)
    """One bit for each row of the file; the first row is the highest bit."""

    @classmethod
    def of(cls, mask: np.ndarray) -> Kept:
        """From one boolean for each row."""
        import numpy as np

        return cls(stored=len(mask), rows=int(mask.sum()), bits=np.packbits(mask).tobytes())

    def mask(self) -> np.ndarray:
        """One boolean for each row."""
        import numpy as np

        packed = np.frombuffer(self.bits, np.uint8)
        return np.unpackbits(packed, count=self.stored).astype(bool)


@dataclass(frozen=True, kw_only=True)
class Part:
    """One Parquet file of a snapshot: the unit of extraction, one shard for each."""

    version: int
    """The version that added the file; 0 when the log no longer says."""
    uri: str
    """Absolute local path or object-store URI of the file."""
    rows: int
    """Rows of it that count."""
    partition: dict[str, str | None] = field(default_factory=dict)
    """Columns that are not in the file but in its folder's name (Hive style), as text."""
    kept: Kept | None = None
    """Which rows of the file count; None: all of them."""

    @property
    def identity(self) -> str:
        """What its rows are known by: the file, and which rows of it count."""
        if self.kept is None:
            return self.uri
        return f"{self.uri}#{hashlib.sha256(self.kept.bits).hexdigest()[:32]}"

    @property
    def stored_rows(self) -> int:
        """Rows in the file, those included that do not count."""
        return self.rows if self.kept is None else self.kept.stored


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
    """Rows that it brought, as the log tells it: of an append all, of an update or merge the rows
    changed and inserted, of a compaction, a restore or a delete none."""
    key: str | None = None
    """The idempotency key of the append, if it had one."""
