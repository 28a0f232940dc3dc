"""Which files a table would have if some of its commits had not been: the algebra of its log.

Everything here follows from the log alone; no data is read.
"""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field, replace

from feature_store.tables import Commit, DataFile


@dataclass(kw_only=True)
class Lineage:
    """What became of a table's files over some commits, those of excluded versions left out."""

    files: dict[str, DataFile]
    """The files that would be current, by path."""
    mixed: set[str] = field(default_factory=set)
    """Files that hold rows of excluded versions, perhaps beside others."""
    blurred: bool = False
    """Whether a later commit changed files of an excluded version: then `files` is not the answer,
    and rows have to be compared."""

    def there(self, commits: Iterable[Commit]) -> set[str]:
        """Those of the mixed files that are in the table after the commits."""
        found: set[str] = set()
        for commit in commits:
            found.difference_update(commit.removed)
            found |= self.mixed & {added.path for added in commit.added}
        return found


def replay(
    base: Mapping[str, DataFile],
    commits: Iterable[Commit],
    *,
    excluded: Set[int] = frozenset(),
    follow_compaction: bool = False,
) -> Lineage:
    """Apply commits to a table's files, without the excluded ones that brought rows.

    An excluded commit is left out as a whole: what it added is not there, what it removed still
    is. Compaction moves rows without changing them, so the files that it replaced stay in the
    answer, and leave it when the compacted file is removed; with `follow_compaction`, that is done
    only where the compacted file holds rows of excluded versions.
    """
    found = Lineage(files=dict(base))
    seen = dict(base)
    sources: dict[str, set[str]] = {}
    taken: set[str] = set()  # what excluded commits removed
    for commit in commits:
        removed = set(commit.removed)
        if commit.version in excluded and commit.brings:
            found.mixed.update(added.path for added in commit.added)
            taken |= removed
            continue
        if commit.operation == "compact":
            touched = bool(removed & found.mixed)
            if follow_compaction and not touched and removed <= found.files.keys():
                _apply(found.files, seen, commit, removed)
                continue
            replaced = removed.union(*(sources.get(path, set()) for path in removed))
            sources.update({added.path: replaced for added in commit.added})
            if touched:
                found.mixed.update(added.path for added in commit.added)
            continue
        if removed & found.mixed and commit.operation != "restore":
            # A refresh of the whole table may bring the same rows once more.
            again = commit.operation == "overwrite" and bool(commit.added)
            found.blurred = found.blurred or commit.rewrites or again or bool(taken)
            found.mixed.update(added.path for added in commit.added)
        removed = removed.union(*(sources.get(path, ()) for path in removed))
        if commit.operation == "overwrite" and found.files.keys() <= removed | taken:
            removed |= taken  # of the whole table, not of some partitions
        _apply(found.files, seen, commit, removed)
        if commit.operation == "restore":
            for path in found.mixed.intersection(added.path for added in commit.added):
                found.files.pop(path, None)
                found.blurred = found.blurred or path in sources
    return found


def _apply(
    files: dict[str, DataFile], seen: dict[str, DataFile], commit: Commit, removed: Set[str]
) -> None:
    before = {path: files.pop(path) for path in removed if path in files}
    for added in commit.added:
        known = before.get(added.path) or (
            seen.get(added.path) if commit.operation == "restore" else None
        )
        if known is None or known.vector != added.vector:
            known = replace(added, version=known.version if known else commit.version)
        seen[added.path] = files[added.path] = known
