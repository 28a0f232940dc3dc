"""Which rows a view holds at a version without its quarantine, and which are new since another.

Where whole files answer that, none is read. Where a commit rewrote files, rows are compared by
value: a row is new when it was not there before, and bad when a quarantined version brought it.
What that version replaced is used as it was before. When files that would tell were deleted
(VACUUM), the answer says so.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import pyarrow as pa

from feature_store.dataset import part_of, read_part
from feature_store.errors import ExclusionLost, VersionGone
from feature_store.lineage import Lineage, replay
from feature_store.location import Documents, missing
from feature_store.quarantined import Brought, Quarantined, standing
from feature_store.row_sets import (
    by_path,
    cut_like,
    difference,
    fingerprints,
    fingerprints_of,
    narrowed_files,
    unmatched,
)
from feature_store.tables import Commit, DataFile, Tables
from feature_store.views import FeatureView

_MILLISECOND = timedelta(milliseconds=1)
_NONE = np.array([], dtype=np.uint64)


@dataclass(frozen=True, kw_only=True)
class Held:
    """Files, as far as their rows count."""

    files: tuple[DataFile, ...]
    """The files, each with the rows that count."""
    notes: tuple[str, ...] = ()
    """What is to be said of it."""
    estimated: bool = False
    """Whether rows may be among them that do not belong there."""


class States:
    """The states of the tables of one backend."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._quarantined = Quarantined(tables.root)
        self._documents = Documents(tables.root)

    def table_id(self, name: str) -> str | None:
        """Id of a table; it is noted, for a log that is cleaned up no longer tells it."""
        path = f"_tables/{name}.json"
        noted = (self._documents.read(path) or {}).get("id")
        found = self._tables.identity(name)
        if found is not None and found != noted:
            self._documents.write(path, {"id": found})
        return found or noted

    def at(self, view: FeatureView, version: int, excluded: Set[int]) -> Held:
        """What is there at a version, without what excluded versions brought.

        Raises `VersionGone`, and `ExclusionLost` when nothing tells any more which rows an
        excluded version brought.
        """
        name = view.name
        if not self._tables.exists(name):
            return Held(files=())
        if not excluded:
            return Held(files=self._tables.active(name, version))
        first = min(excluded)
        try:
            base = by_path(self._tables.active(name, first - 1)) if first else {}
            commits = self._tables.commits(name, first - 1, version)
        except VersionGone:
            return self._by_rows(view, version, excluded, (), None)
        lineage = replay(base, commits, excluded=excluded, follow_compaction=True)
        if not lineage.blurred:
            files = self._resolved(name, version, lineage.files)
            if not missing([file.uri for file in files]):
                noted = self._noted(name, excluded) if lineage.there(commits) else []
                return Held(files=files, notes=_left_out(name, noted))
        return self._by_rows(view, version, excluded, commits, lineage)

    def new(self, view: FeatureView, since: int, version: int, excluded: Set[int]) -> Held:
        """What is there at a version that was not there at an earlier one."""
        name = view.name
        try:
            commits = self._tables.commits(name, since, version)
            # Where nothing was removed, the state before need not be known.
            base = {} if _only_adds(commits) else by_path(self._tables.active(name, since))
        except VersionGone as error:
            whole = self.at(view, version, excluded)
            return replace(whole, notes=(*whole.notes, _all_new(error)), estimated=True)
        lineage = replay(base, commits, excluded={n for n in excluded if n > since})
        added, removed = difference(self._resolved(name, version, lineage.files), base.values())
        if not lineage.blurred and not missing([f.uri for f in (*added, *removed)]):
            return Held(files=self._without(name, version, added, self._rows(name, since, removed)))
        whole = self.at(view, version, excluded)
        before = base.values() if lineage.blurred else self._before(view, since, excluded, base)
        present, gone = difference(whole.files, before)
        if not missing([file.uri for file in gone]):
            files = self._without(name, version, present, self._rows(name, since, gone))
            return replace(whole, files=files)
        if not removed and not lineage.blurred:
            told = self._by_time(view, version, present, gone, added)
            if told is not None:
                return replace(whole, files=told)
        return replace(
            whole,
            files=tuple(present),
            notes=(*whole.notes, _as_new(view, since, present)),
            estimated=True,
        )

    def set_aside(self, view: FeatureView, versions: Iterable[int]) -> tuple[int, ...]:
        """Note which rows some versions brought, so that no later rewrite can hide them.

        Returns the versions that brought any, or may have.
        """
        table, bad = self.table_id(view.name), []
        for version in versions:
            noted = self._quarantined.read(view.name, table, version)
            try:
                brought = noted or self._brought(view, version)
            except ExclusionLost:  # `at` says so, when it is asked to leave these rows out
                bad.append(version)
                continue
            if brought is not None and len(brought.rows):
                bad.append(version)
                if noted is None:
                    self._quarantined.write(view.name, table, version, brought)
        return tuple(bad)

    def _noted(self, name: str, excluded: Set[int]) -> list[Brought]:
        table = self.table_id(name)
        noted = [self._quarantined.read(name, table, version) for version in sorted(excluded)]
        return [one for one in noted if one is not None]

    # --- by rows --------------------------------------------------------------------------------

    def _by_rows(
        self,
        view: FeatureView,
        version: int,
        excluded: Set[int],
        commits: Sequence[Commit],
        lineage: Lineage | None,
    ) -> Held:
        """What is there, less the rows that excluded versions brought, with those they replaced."""
        name, table = view.name, self.table_id(view.name)
        found = []
        for number in sorted(excluded):
            known = self._quarantined.read(name, table, number) or self._brought(view, number)
            found += [] if known is None else [known]
        bad = np.concatenate([_NONE, *(one.rows for one in found)])
        real = self._tables.active(name, version)
        doubtful = [f for f in real if lineage is None or f.path in lineage.mixed]
        if absent := missing([file.uri for file in doubtful]):
            raise vanished(name, version, absent)
        schema = self._tables.schema(name, version)
        numbers = [fingerprints(part_of(file), schema) for file in doubtful]
        chosen = cut_like(unmatched(np.concatenate([_NONE, *numbers]), bad), numbers)
        kept = narrowed_files(doubtful, chosen)
        out = narrowed_files(doubtful, [~mask for mask in chosen])
        later = [commit for commit in commits if commit.version not in excluded]
        replaced = _last_of({"overwrite", "WRITE"}, later, lineage) if lineage else version
        refreshed = _last_of({"overwrite"}, later, lineage) if lineage else -1
        revived, notes = self._revived(view, version, found, bad, out, replaced, refreshed)
        doubted = {file.path for file in doubtful}
        clear = [file for file in real if file.path not in doubted]
        return Held(files=(*clear, *kept, *revived), notes=notes)

    def _revived(
        self,
        view: FeatureView,
        version: int,
        found: Sequence[Brought],
        bad: np.ndarray,
        out: Sequence[DataFile],
        replaced: int,
        refreshed: int,
    ) -> tuple[list[DataFile], tuple[str, ...]]:
        """The rows that excluded versions took away, unless what came in their place was mended.

        `replaced`: the last version that replaced rows of excluded versions as a whole;
        `refreshed`: the whole table, which then lacks what it was to lack.
        """
        schema, keys = self._tables.schema(view.name, version), view.keys
        there = fingerprints_of(out, schema)
        left = [replace(one, rows=one.rows[~unmatched(one.rows, there)]) for one in found]
        own = fingerprints_of(out, schema, keys)
        versions, keys_there = standing(found, there, own)
        known = np.concatenate([_NONE, *(one.keys for one in found)])
        revived: list[DataFile] = []
        notes = list(_left_out(view.name, left))
        for one in found:
            wanted = one.took[unmatched(one.took, bad)]
            if not len(wanted) or (one.version < replaced and one.version not in versions):
                continue
            files = self._removed_by(view.name, one.version)
            if not files or missing([file.uri for file in files]):
                notes.append(
                    f"{len(wanted)} rows that version {one.version} replaced or removed are not "
                    "used as they were before: their files were deleted"
                )
                continue
            numbers = [fingerprints(part_of(file), schema) for file in files]
            chosen = cut_like(~unmatched(np.concatenate(numbers), wanted), numbers)
            for file in narrowed_files(files, chosen):
                key = fingerprints(part_of(file), schema, keys)
                mended = ~np.isin(key, keys_there)
                if one.version > refreshed:
                    mended &= np.isin(key, known)
                revived += narrowed_files([file], [~mended])
        return revived, tuple(notes)

    def _brought(self, view: FeatureView, version: int) -> Brought | None:
        """Which rows a version brought, and took away; None when it brought none."""
        name = view.name
        try:
            commit = self._commit(name, version)
            if not commit.brings:
                return None
            paths = {added.path for added in commit.added}
            added = [f for f in self._tables.active(name, version) if f.path in paths]
            added, removed = difference(added, self._removed_by(name, version))
            absent = missing([file.uri for file in (*added, *removed)])
        except VersionGone as error:
            raise _lost(name, version, str(error)) from error
        if absent:
            raise _lost(name, version, f"{absent[0]} was deleted")
        schema = self._tables.schema(name, version)
        own, other = self._rows(name, version, added), self._rows(name, version - 1, removed)
        left = unmatched(own, other)
        return Brought(
            version=version,
            rows=own[left],
            keys=fingerprints_of(added, schema, view.keys)[left],
            took=other[unmatched(other, own)],
        )

    def _removed_by(self, name: str, version: int) -> tuple[DataFile, ...]:
        """The files that a version removed; none when the log no longer tells."""
        try:
            removed = set(self._commit(name, version).removed)
            before = self._tables.active(name, version - 1) if removed else ()
        except VersionGone:
            return ()
        return tuple(file for file in before if file.path in removed)

    def _commit(self, name: str, version: int) -> Commit:
        return self._tables.commits(name, version - 1, version)[0]

    def _rows(self, name: str, version: int, files: Sequence[DataFile]) -> np.ndarray:
        return fingerprints_of(files, self._tables.schema(name, version)) if files else _NONE

    def _without(
        self, name: str, version: int, files: Sequence[DataFile], rows: np.ndarray
    ) -> tuple[DataFile, ...]:
        """The files without rows that equal others, one for one."""
        if not len(rows) or not files:
            return tuple(files)
        schema = self._tables.schema(name, version)
        numbers = [fingerprints(part_of(file), schema) for file in files]
        return tuple(
            narrowed_files(files, cut_like(unmatched(np.concatenate(numbers), rows), numbers))
        )

    # --- when files were deleted ----------------------------------------------------------------

    def _before(
        self, view: FeatureView, since: int, excluded: Set[int], base: Mapping[str, DataFile]
    ) -> Iterable[DataFile]:
        """What was there at an earlier version without its quarantine, or else with it."""
        earlier = {number for number in excluded if number <= since}
        try:
            return self.at(view, since, earlier).files if earlier else base.values()
        except (VersionGone, ExclusionLost):
            return base.values()

    def _by_time(
        self,
        view: FeatureView,
        version: int,
        present: Sequence[DataFile],
        gone: Sequence[DataFile],
        added: Sequence[DataFile],
    ) -> tuple[DataFile, ...] | None:
        """New rows told from older ones by their event times; None when these do not tell.

        `added`: the files as they were appended, of which the log still says the number of rows
        and the range of their times.
        """
        time = view.event_time
        if any(time not in f.newest or time not in f.oldest or f.rows is None for f in added):
            return None
        if not added or any(time not in f.newest or time not in f.oldest for f in gone):
            return None
        first = min(file.oldest[time] for file in added) - _MILLISECOND
        last = max(file.newest[time] for file in added) + _MILLISECOND
        if any(f.newest[time] >= first and f.oldest[time] <= last for f in gone):
            return None
        schema = self._tables.schema(view.name, version)
        chosen = []
        for file in present:
            values = read_part(part_of(file), schema, [time]).column(0)
            at = np.asarray(values.cast(pa.timestamp("us")).to_numpy())
            bounds = [np.datetime64(b.replace(tzinfo=None), "us") for b in (first, last)]
            chosen.append((at >= bounds[0]) & (at <= bounds[1]))
        if sum(int(mask.sum()) for mask in chosen) != sum(f.rows or 0 for f in added):
            return None
        return tuple(narrowed_files(present, chosen))

    def _resolved(
        self, name: str, version: int, files: Mapping[str, DataFile]
    ) -> tuple[DataFile, ...]:
        """The files with their deletion vectors looked up."""
        waiting = {f.vector_at for f in files.values() if f.vector and f.kept is None}
        known = {at: by_path(self._tables.active(name, at)) for at in waiting}
        return tuple(
            replace(known[f.vector_at][f.path], version=f.version)
            if f.vector and f.kept is None
            else f
            for f in files.values()
        )


def _left_out(name: str, brought: Iterable[Brought]) -> tuple[str, ...]:
    return tuple(
        f"{len(one.rows)} rows of version {one.version} of {name} are left out (quarantine)"
        for one in brought
        if len(one.rows)
    )


def _last_of(operations: Set[str], commits: Sequence[Commit], lineage: Lineage) -> int:
    """The last version that replaced files with rows of excluded ones, whatever was in them."""
    found = [commit for commit in commits if commit.operation in operations]
    return max((c.version for c in found if lineage.mixed & set(c.removed)), default=-1)


def _only_adds(commits: Sequence[Commit]) -> bool:
    return all(not commit.removed and commit.operation != "restore" for commit in commits)


def vanished(name: str, version: int, files: Sequence[str]) -> VersionGone:
    """That files of a version have been deleted."""
    return VersionGone(
        f"version {version} of view {name}: {len(files)} of its files have disappeared (such as "
        f"{files[0]})",
        hint="they were deleted or vacuumed: bring them back, or restore a later version of the "
        "table",
    )


def _lost(name: str, version: int, why: str) -> ExclusionLost:
    return ExclusionLost(
        f"which rows version {version} of view {name} brought, which is in quarantine, cannot be "
        f"told any more: {why}",
        hint=f"delete its bad rows from the table, then: ratchet features release {name} "
        f"--version {version} --reason TEXT",
    )


def _all_new(error: VersionGone) -> str:
    return f"all rows count as new: {error}"


def _as_new(view: FeatureView, since: int, files: Sequence[DataFile]) -> str:
    rows = sum(part_of(file).rows for file in files)
    return (
        f"{rows} rows count as new, in files of {view.name} that were rewritten since version "
        f"{since}: which of them were there before cannot be told, as the files from before were "
        "deleted (VACUUM)"
    )
