"""The algebra of files, on logs written by hand."""

from datetime import UTC, datetime

import pytest

from feature_store.lineage import Lineage, replay
from feature_store.tables import Commit, DataFile

AT = datetime(2026, 1, 1, tzinfo=UTC)


def commit(version: int, operation: str, added: str = "", removed: str = "") -> Commit:
    return Commit(
        version=version,
        at=AT,
        operation=operation,
        added=tuple(DataFile(path=path, uri=path) for path in added.split()),
        removed=tuple(removed.split()),
    )


def after(base: str, *commits: Commit, excluded: tuple[int, ...] = ()) -> Lineage:
    files = {path: DataFile(path=path, uri=path) for path in base.split()}
    return replay(files, commits, excluded=set(excluded), follow_compaction=bool(excluded))


def versions(base: str, *commits: Commit) -> dict[str, int]:
    return {path: file.version for path, file in after(base, *commits).files.items()}


def test_files_have_the_version_that_added_them() -> None:
    log = [commit(1, "append", "a"), commit(2, "append", "b c"), commit(3, "UPDATE", "d", "a")]
    assert versions("", *log) == {"b": 2, "c": 2, "d": 3}


def test_compaction_changes_nothing() -> None:
    log = [commit(3, "append", "c"), commit(4, "compact", "z", "a b c")]
    assert versions("a b", *log) == {"a": 0, "b": 0, "c": 3}


def test_removing_a_compacted_file_removes_what_went_into_it() -> None:
    log = [
        commit(3, "append", "c"),
        commit(4, "compact", "y", "a c"),
        commit(5, "append", "d"),
        commit(6, "compact", "z", "y d"),
    ]
    assert versions("a", *log, commit(7, "DELETE", "", "z")) == {}
    assert versions("a", *log, commit(7, "overwrite", "e", "z")) == {"e": 7}


def test_a_restore_over_a_compaction_brings_back_the_files_before() -> None:
    log = [
        commit(3, "append", "c"),
        commit(4, "compact", "z", "a b c"),
        commit(5, "restore", "a c", "z"),
    ]
    assert versions("a b", *log) == {"a": 0, "c": 3}


def test_an_excluded_rewrite_is_undone_as_a_whole() -> None:
    log = [commit(2, "MERGE", "m", "a"), commit(3, "append", "c")]
    found = after("a b", *log, excluded=(2,))
    assert set(found.files) == {"a", "b", "c"}
    assert not found.blurred


def test_an_excluded_overwrite_brings_back_the_table_until_the_next_one() -> None:
    log = [commit(2, "overwrite", "m", "a b"), commit(3, "append", "c")]
    assert set(after("a b", *log, excluded=(2,)).files) == {"a", "b", "c"}
    log.append(commit(4, "overwrite", "w", "m c"))
    assert set(after("a b", *log, excluded=(2,)).files) == {"w"}


@pytest.mark.parametrize("operation", ["compact", "restore", "DELETE"])
def test_what_brings_no_rows_is_not_undone(operation: str) -> None:
    log = [commit(2, operation, "z", "a")]
    assert set(after("a b", *log, excluded=(2,)).files) == {"z", "b"}


def test_compactions_without_excluded_rows_are_followed() -> None:
    log = [
        commit(2, "append", "bad"),
        commit(3, "compact", "y", "a b"),
        commit(4, "append", "c"),
        commit(5, "compact", "z", "y bad"),
        commit(6, "compact", "w", "z c"),
    ]
    found = after("a b", *log, excluded=(2,))
    assert set(found.files) == {"y", "c"}
    assert {"z", "w"} <= found.mixed
    assert not found.blurred


@pytest.mark.parametrize("operation", ["UPDATE", "DELETE", "MERGE"])
def test_a_rewrite_of_excluded_rows_asks_for_a_look_at_rows(operation: str) -> None:
    log = [
        commit(2, "append", "b"),
        commit(3, "compact", "y", "a b"),
        commit(4, operation, "z", "y"),
        commit(5, "compact", "w", "z"),
    ]
    found = after("a", *log, excluded=(2,))
    assert found.blurred
    assert found.mixed == {"b", "y", "z", "w"}


def test_excluded_files_that_were_deleted_leave_no_question() -> None:
    log = [commit(2, "append", "b"), commit(3, "DELETE", "", "b"), commit(4, "append", "c")]
    found = after("a", *log, excluded=(2,))
    assert (set(found.files), found.blurred) == ({"a", "c"}, False)
