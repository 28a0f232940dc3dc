"""What a backend must offer, and the algebra of files that both share.

A table is a log of commits, each adding and removing whole Parquet files. Everything that a
snapshot says follows from that log, so it is computed here, once, without reading data.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

import pyarrow as pa

from feature_store.errors import ExclusionLost


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
    """Rows in it, when the log says."""
    newest: Mapping[str, datetime] = field(default_factory=dict)
    """Newest value of timestamp columns, where the log says; may be cut to the millisecond."""
    partition: Mapping[str, str | None] = field(default_factory=dict)
    """Hive-style partition columns, as text."""


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

    @property
    def rewrites(self) -> bool:
        """Whether rows of the removed files may live on in the added ones."""
        return bool(self.added and self.removed) and self.operation not in {"restore", "overwrite"}


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


def replay(
    base: Mapping[str, DataFile], commits: Iterable[Commit], *, only_new: bool
) -> dict[str, DataFile]:
    """Return the files that are current after some commits, as if nothing had been compacted.

    Compaction moves rows without changing them, so the files that it replaced stay in the
    answer, and leave it when the compacted file is removed. With `only_new`, a restore brings
    back only what these commits had added before: rows are new once.
    """
    current = dict(base)
    seen = dict(base)
    sources: dict[str, set[str]] = {}
    for commit in commits:
        if commit.operation == "compact":
            replaced = set(commit.removed).union(
                *(sources.get(path, set()) for path in commit.removed)
            )
            sources.update({added.path: replaced for added in commit.added})
            continue
        for path in commit.removed:
            for gone in {path, *sources.get(path, ())}:
                current.pop(gone, None)
        for added in commit.added:
            if commit.operation == "restore" and added.path in seen:
                current[added.path] = seen[added.path]
            elif commit.operation != "restore" or not only_new:
                seen[added.path] = current[added.path] = replace(added, version=commit.version)
    return current


@dataclass(frozen=True, kw_only=True)
class Exclusion:
    """Where the rows of excluded versions are."""

    paths: frozenset[str]
    """Files that the excluded versions added."""
    compacted_at: int | None
    """First version that moved such rows into a file that is active now, if any did."""


def exclusion(
    view: str, commits: Sequence[Commit], active: Iterable[str], excluded: set[int]
) -> Exclusion:
    """Find the rows of excluded versions; `commits` reach from the first of them to the snapshot.

    Raises `ExclusionLost` when an update, delete or merge carried such rows into a file that is
    active now. An excluded compaction or restore excludes nothing: it added no rows of its own.
    """
    own: set[str] = set()
    origin: dict[str, int] = {}  # path -> excluded version whose rows it holds
    compacted: dict[str, int] = {}  # path -> first version that moved them on the way there
    rewritten: dict[str, Commit] = {}  # path -> the commit after which they can't be told apart
    for commit in commits:
        if commit.version in excluded and commit.operation not in {"compact", "restore"}:
            own.update(added.path for added in commit.added)
            origin.update({added.path: commit.version for added in commit.added})
        elif commit.rewrites:
            touched = [path for path in commit.removed if path in origin]
            if not touched:
                continue
            blurred = [rewritten[path] for path in touched if path in rewritten]
            if commit.operation != "compact":
                blurred.append(commit)
            for added in commit.added:
                origin[added.path] = origin[touched[0]]
                if blurred:
                    rewritten[added.path] = blurred[0]
                compacted[added.path] = min(compacted.get(p, commit.version) for p in touched)
    current = set(active)
    for path in sorted(current & rewritten.keys()):
        raise ExclusionLost(
            f"version {origin[path]} of view {view} is excluded, but {rewritten[path].operation} "
            f"at version {rewritten[path].version} rewrote its rows into other files",
            hint=f"delete the rows of version {origin[path]} and release it from quarantine, or "
            f"restore version {origin[path] - 1}",
        )
    return Exclusion(
        paths=frozenset(own),
        compacted_at=min((compacted[p] for p in current & compacted.keys()), default=None),
    )
