"""What a backend must offer: tables as logs of commits, each adding and removing Parquet files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import pyarrow as pa

from feature_store.snapshot import Kept


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """One Parquet file of a table."""

    path: str
    """Its name in the log; the same file has the same path in every commit."""
    uri: str
    """Where it can be read."""
    version: int = 0
    """The version that added it, when known."""
    rows: int | None = None
    """Rows of it that count, when the log says."""
    newest: Mapping[str, datetime] = field(default_factory=dict)
    """Newest value of timestamp columns, where the log says; may be cut to the millisecond."""
    oldest: Mapping[str, datetime] = field(default_factory=dict)
    """Oldest value of timestamp columns, where the log says; may be cut to the millisecond."""
    partition: Mapping[str, str | None] = field(default_factory=dict)
    """Hive-style partition columns, as text."""
    written: int = 0
    """When the file was written (milliseconds since 1970), as the log says."""
    vector: str | None = None
    """Id of the deletion vector that says which of its rows are deleted; None: none are."""
    vector_at: int = 0
    """The version that gave it that vector, where the log was read."""
    kept: Kept | None = None
    """Which rows count; None: all of them, or not looked up yet where there is a vector."""


@dataclass(frozen=True, kw_only=True)
class Commit:
    """One version of a table: what it added and removed."""

    version: int
    """Its number."""
    at: datetime
    """When it was made (UTC)."""
    operation: str
    """`create`, `append`, `restore`, `overwrite`, `compact`, or another writer's name for it."""
    key: str | None = None
    """Idempotency key of the append."""
    added: tuple[DataFile, ...] = ()
    """Files that it made current."""
    removed: tuple[str, ...] = ()
    """Paths that it took away."""
    changed: int | None = None
    """Rows that a rewrite inserted or changed, when its writer says."""

    @property
    def rewrites(self) -> bool:
        """Whether rows of the removed files may live on in the added ones."""
        return bool(self.added and self.removed) and self.operation not in {"restore", "overwrite"}

    @property
    def brings(self) -> bool:
        """Whether rows may have come with it that were not there before."""
        return bool(self.added) and self.operation not in {"compact", "restore", "DELETE"}


class Tables(Protocol):
    """A backend: tables under one root, by the name of their view."""

    root: str
    """Resolved location that holds the tables."""

    def uri(self, name: str) -> str:
        """Location of a table."""
        ...

    def exists(self, name: str) -> bool:
        """Whether there is a table."""
        ...

    def identity(self, name: str) -> str | None:
        """Id of the table, which one made anew does not share; None when it cannot be known."""
        ...

    def create(self, name: str, schema: pa.Schema) -> None:
        """Make an empty table (version 0), unless there is one."""
        ...

    def latest(self, name: str) -> int:
        """The newest version; 0 when there is no table yet."""
        ...

    def schema(self, name: str, version: int) -> pa.Schema:
        """Schema at a version, in canonical types; raises `VersionGone`."""
        ...

    def active(self, name: str, version: int) -> tuple[DataFile, ...]:
        """Files that make up a version; raises `VersionGone`."""
        ...

    def commits(
        self, name: str, after: int, upto: int, *, whole: bool = True
    ) -> tuple[Commit, ...]:
        """Commits in `(after, upto]`, ascending.

        - `whole`: a commit that the log no longer has is `VersionGone`; else it is left out.
        """
        ...

    def append(self, name: str, table: pa.Table, *, key: str | None, merge_schema: bool) -> int:
        """Add rows as one version, atomically, once for each key."""
        ...

    def restore(self, name: str, version: int) -> int:
        """Make an earlier version's files current again, as a new version."""
        ...
