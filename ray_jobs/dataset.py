"""A training set in the artifact store: Parquet parts, and a manifest that names them all."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class Source:
    """A view version that went into a dataset."""

    view: str
    version: int


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A reference to a training set: what it was made of, never the rows themselves."""

    uri: str
    """Folder with manifest.json."""

    digest: str
    """Content digest: same inputs, same digest (sha256, hex)."""

    rows: int
    """Rows in the dataset."""

    new_rows: int
    """Rows from the versions after the snapshot's `since`."""

    view: str
    """The view it was extracted from."""

    version: int
    """The view's version."""

    excluded: tuple[int, ...] = ()
    """Quarantined versions that were left out."""

    watermark: datetime | None = None
    """Newest event time in the snapshot."""

    columns: tuple[str, ...]
    """Model inputs, in order."""

    label: str
    """Column to predict."""

    event_time: str
    """Column with the time of each row."""

    definition: str
    """Digest of the feature definition and its source code."""

    parts: int
    """Number of Parquet parts."""

    reused: int = 0
    """Parts that an earlier extraction had made."""

    sources: tuple[Source, ...] = ()
    """Versions of the view and of the joined ones."""
