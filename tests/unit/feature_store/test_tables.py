"""The algebra of files, on logs written by hand."""

from datetime import UTC, datetime

import pytest

from feature_store.errors import ExclusionLost
from feature_store.tables import Commit, DataFile, exclusion, replay

AT = datetime(2026, 1, 1, tzinfo=UTC)


def commit(version: int, operation: str, added: str = "", removed: str = "") -> Commit:
    return Commit(
        version=version,
        at=AT,
        operation=operation,
        added=tuple(DataFile(path=path, uri=path) for path in added.split()),
        removed=tuple(removed.split()),
    )


def new(*commits: Commit) -> dict[str, int]:
    return {path: file.version for path, file in replay({}, commits, only_new=True).items()}


def test_appends_are_new_with_their_version() -> None:
    assert new(commit(1, "append", "a"), commit(2, "append", "b c")) == {"a": 1, "b": 2, "c": 2}


def test_compaction_brings_nothing_new() -> None:
    log = [commit(3, "append", "c"), commit(4, "compact", "z", "a b c")]
    assert new(*log) == {"c": 3}
    assert new(log[1]) == {}


def test_removing_a_compacted_file_removes_what_went_into_it() -> None:
    log = [
        commit(3, "append", "c"),
        commit(4, "compact", "y", "a c"),
        commit(5, "append", "d"),
        commit(6, "compact", "z", "y d"),
    ]
    assert new(*log, commit(7, "DELETE", "", "z")) == {}
    assert new(*log, commit(7, "overwrite", "e", "z")) == {"e": 7}


def test_a_restore_over_a_compaction_brings_back_what_was_new() -> None:
    log = [
        commit(3, "append", "c"),
        commit(4, "compact", "z", "a b c"),
        commit(5, "restore", "a c", "z"),
    ]
    assert new(*log) == {"c": 3}
    base = {path: DataFile(path=path, uri=path) for path in ("a", "b")}
    assert set(replay(base, log, only_new=False)) == {"a", "c"}


def test_a_rewritten_file_is_new_as_a_whole() -> None:
    assert new(commit(2, "append", "b"), commit(3, "UPDATE", "c", "a")) == {"b": 2, "c": 3}


def test_an_exclusion_is_the_files_of_its_versions() -> None:
    log = [commit(2, "append", "b"), commit(3, "append", "c"), commit(4, "restore", "b", "c")]
    found = exclusion("v", log, ["a", "b"], {2, 4})
    assert found.paths == {"b"}
    assert found.compacted_at is None


def test_an_excluded_compaction_excludes_nothing_of_its_own() -> None:
    log = [commit(2, "append", "b"), commit(3, "compact", "z", "a b")]
    found = exclusion("v", log, ["z"], {3})
    assert (found.paths, found.compacted_at) == (frozenset(), None)


def test_a_compaction_of_excluded_rows_is_found_through_several_steps() -> None:
    log = [
        commit(2, "append", "b"),
        commit(3, "compact", "y", "a b"),
        commit(4, "append", "c"),
        commit(5, "compact", "z", "y c"),
    ]
    assert exclusion("v", log, ["z"], {2}).compacted_at == 3
    assert exclusion("v", log[2:], ["z"], {4}).compacted_at == 5


@pytest.mark.parametrize("operation", ["UPDATE", "DELETE", "MERGE"])
def test_excluded_rows_that_were_rewritten_are_lost(operation: str) -> None:
    log = [
        commit(2, "append", "b"),
        commit(3, "compact", "y", "a b"),
        commit(4, operation, "z", "y"),
        commit(5, "compact", "w", "z"),
    ]
    with pytest.raises(ExclusionLost, match=f"version 2 of view v is excluded, but {operation}"):
        exclusion("v", log, ["w"], {2})


def test_excluded_rows_that_were_removed_are_not_missed() -> None:
    log = [commit(2, "append", "b"), commit(3, "overwrite", "c", "a b")]
    found = exclusion("v", log, ["c"], {2})
    assert (found.paths, found.compacted_at) == ({"b"}, None)
