"""Rows that others merge, update, delete and compact: which are new, and which are set aside."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from feature_store import (
    ChecksConfig,
    FeatureStore,
    FeatureStoreConfig,
    FeatureView,
    connect,
    run_checks,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
VIEW = FeatureView(name="v", entities=("id",), event_time="at", features=("x",), label="y")
SAME_TIME = pa.array([START] * 1000, pa.timestamp("us", tz="UTC"))


def rows(first: int, count: int, *, x: float = 0.0, y: int = 0) -> pa.Table:
    """Rows of one and the same event time, which then tells nothing."""
    return pa.table(
        {
            "id": pa.array(range(first, first + count), pa.int64()),
            "at": SAME_TIME.slice(0, count),
            "x": pa.array([x] * count, pa.float64()),
            "y": pa.array([y] * count, pa.int64()),
        }
    )


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return str(tmp_path / "v")


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    opened = connect(FeatureStoreConfig(uri=str(tmp_path)))
    opened.create(VIEW, rows(0, 1).schema)
    return opened


def merge(uri: str, table: pa.Table) -> None:
    (
        DeltaTable(uri)
        .merge(table, predicate="t.id = s.id", source_alias="s", target_alias="t")
        .when_matched_update_all()
        .when_not_matched_insert_all()
        .execute()
    )


def compact(uri: str) -> None:
    DeltaTable(uri).optimize.compact()


def vacuum(uri: str) -> None:
    DeltaTable(uri).vacuum(0, dry_run=False, enforce_retention_duration=False)


def held(store: FeatureStore, **kwargs: object) -> dict[int, float]:
    snapshot = store.snapshot("v", **kwargs)  # type: ignore[arg-type]
    read = store.read(snapshot, ["id", "x"])
    assert read.num_rows == snapshot.rows
    return dict(zip(read["id"].to_pylist(), read["x"].to_pylist(), strict=True))


def new(store: FeatureStore, since: int, **kwargs: object) -> list[int]:
    snapshot = store.snapshot("v", since=since, **kwargs)  # type: ignore[arg-type]
    read = store.read(snapshot, ["id"], parts=store.changes(snapshot))
    assert read.num_rows == snapshot.new_rows
    return sorted(read["id"].to_pylist())


def test_of_a_merge_the_changed_and_inserted_rows_are_new(store: FeatureStore, uri: str) -> None:
    for start in range(0, 2000, 100):
        store.append("v", rows(start, 100))
    compact(uri)
    seen = store.latest_version("v")
    merge(uri, rows(1950, 100, y=1))
    snapshot = store.snapshot("v", since=seen)
    assert new(store, seen) == list(range(1950, 2050))
    assert store.history("v")[-1].rows == 100
    assert run_checks(store, snapshot, ChecksConfig(volume_factor=10.0), now=START).passed


def test_a_merge_in_quarantine_takes_no_history_with_it(store: FeatureStore, uri: str) -> None:
    for start in range(0, 2000, 100):
        store.append("v", rows(start, 100))
    compact(uri)
    merge(uri, rows(1950, 100, x=-999.0))
    bad = store.latest_version("v")
    store.append("v", rows(2050, 100))
    found = held(store, exclude=(bad,))
    assert sorted(found) == [*range(2000), *range(2050, 2150)]
    assert set(found.values()) == {0.0}
    assert new(store, bad, exclude=(bad,)) == list(range(2050, 2150))


@pytest.mark.parametrize("cleaned", [False, True])
def test_bad_rows_stay_out_wherever_later_rewrites_move_them(
    store: FeatureStore, uri: str, cleaned: bool
) -> None:
    store.append("v", rows(0, 10))
    merge(uri, rows(8, 4, x=-999.0))  # changes 8 and 9, inserts 10 and 11
    store.set_aside("v", [2])
    merge(uri, rows(5, 4, x=5.0))  # changes 5 to 7, and mends 8
    DeltaTable(uri).delete("id = 11")
    compact(uri)
    if cleaned:
        vacuum(uri)
    snapshot = store.snapshot("v", exclude=(2,))
    found = held(store, exclude=(2,))
    good = dict.fromkeys(range(5), 0.0) | dict.fromkeys(range(5, 9), 5.0)
    if cleaned:  # what 9 was before is gone with its file
        assert found == good
        assert snapshot.notes[0] == "2 rows of version 2 of v are left out (quarantine)"
        assert "2 rows that version 2 replaced" in snapshot.notes[1]
    else:
        assert found == good | {9: 0.0}
        assert snapshot.notes == ("2 rows of version 2 of v are left out (quarantine)",)


def test_equal_rows_are_set_aside_one_for_one(store: FeatureStore, uri: str) -> None:
    store.append("v", pa.concat_tables([rows(0, 2), rows(0, 2)]))
    store.append("v", rows(0, 1))
    store.set_aside("v", [2])
    compact(uri)
    vacuum(uri)
    snapshot = store.snapshot("v", exclude=(2,))
    assert sorted(store.read(snapshot)["id"].to_pylist()) == [0, 0, 1, 1]


def test_a_refresh_in_quarantine_leaves_the_table_as_it_was(store: FeatureStore, uri: str) -> None:
    store.append("v", rows(0, 10))
    write_deltalake(uri, rows(0, 10, x=-999.0), mode="overwrite")
    store.append("v", rows(20, 2))
    assert held(store, exclude=(2,)) == dict.fromkeys([*range(10), 20, 21], 0.0)


def test_of_a_refresh_only_what_differs_is_new(store: FeatureStore, uri: str) -> None:
    store.append("v", rows(0, 10))
    write_deltalake(uri, pa.concat_tables([rows(0, 9), rows(50, 2)]), mode="overwrite")
    assert new(store, 1) == [50, 51]


def test_of_a_replaced_partition_only_what_differs_is_new(store: FeatureStore, uri: str) -> None:
    store.append("v", rows(0, 10, y=1))
    store.append("v", rows(10, 10, y=2))
    replaced = pa.concat_tables([rows(10, 9, y=2), rows(30, 1, y=2)])
    write_deltalake(uri, replaced, mode="overwrite", predicate="y = 2")
    assert new(store, 2) == [30]
    assert sorted(held(store)) == [*range(19), 30]
    assert sorted(held(store, exclude=(3,))) == list(range(20))


def test_rows_that_event_times_do_not_tell_apart_count_as_new_and_are_named(
    store: FeatureStore, uri: str
) -> None:
    for start in range(0, 40, 10):
        store.append("v", rows(start, 10))
    compact(uri)
    vacuum(uri)
    snapshot = store.snapshot("v", since=1)
    assert snapshot.new_rows == 40
    assert snapshot.estimated
    assert "40 rows count as new" in snapshot.notes[0]
    checks = ChecksConfig(volume_factor=1.5, max_age=None)
    assert run_checks(store, store.snapshot("v", since=3), checks, now=START).passed
    store.append("v", rows(40, 10))
    assert new(store, 5) == list(range(40, 50))


def test_new_rows_in_a_compacted_file_are_told_by_their_event_times(
    store: FeatureStore, uri: str
) -> None:
    for day in range(4):
        later = SAME_TIME.slice(0, 10).to_pylist()
        moments = pa.array([at + timedelta(days=day) for at in later], SAME_TIME.type)
        store.append("v", rows(10 * day, 10).set_column(1, "at", moments))
    compact(uri)
    vacuum(uri)
    assert new(store, 1) == list(range(10, 40))
    assert not store.snapshot("v", since=1).estimated


def test_a_new_column_does_not_make_old_rows_new(store: FeatureStore, uri: str) -> None:
    store.append("v", rows(0, 10))
    store.append("v", rows(10, 1).append_column("z", pa.array([1])), merge_schema=True)
    merged = rows(9, 1, x=3.0).append_column("z", pa.array([2]))
    merge(uri, merged)
    assert new(store, 2) == [9]


def test_the_order_of_parts_outlives_the_log(store: FeatureStore, uri: str) -> None:
    for start in range(0, 80, 10):
        store.append("v", rows(start, 10))
    before = [part.identity for part in store.parts(store.snapshot("v"))]
    DeltaTable(uri).create_checkpoint()
    for version in range(8):
        Path(uri, "_delta_log", f"{version:020}.json").unlink()
    assert [part.identity for part in store.parts(store.snapshot("v"))] == before


@pytest.mark.parametrize(
    "values",
    [
        pa.array([START, START + timedelta(hours=1), None], pa.timestamp("us", tz="UTC")),
        pa.array([START, START + timedelta(microseconds=5), None]).cast(pa.timestamp("us")),
        pa.array([b"ab", b"\x00\xff", None], pa.binary()),
        pa.array([START.date(), None, None], pa.date32()),
    ],
    ids=["timestamp", "timestamp without zone", "binary", "date"],
)
def test_partition_values_of_any_type_are_read(tmp_path: Path, values: pa.Array) -> None:
    table = rows(0, 3).append_column("part", values)
    uri = str(tmp_path / "v")
    write_deltalake(uri, table.slice(0, 0), partition_by=["part"])
    write_deltalake(uri, table, mode="append")
    store = connect(FeatureStoreConfig(uri=str(tmp_path)))
    store.create(VIEW)
    snapshot = store.snapshot("v", since=0)
    for parts in (store.parts(snapshot), store.changes(snapshot)):
        read = store.read(snapshot, ["id", "part"], parts=parts).sort_by("id")
        assert read["part"].cast(values.type).to_pylist() == values.to_pylist()


def test_a_row_mended_after_two_bad_versions_is_used_once(store: FeatureStore, uri: str) -> None:
    store.append("v", rows(0, 3))
    merge(uri, rows(0, 2, x=-1.0))
    merge(uri, rows(0, 2, x=-2.0))
    store.set_aside("v", [2, 3])
    merge(uri, rows(0, 1, x=4.0))
    assert held(store, exclude=(2, 3)) == {0: 4.0, 1: 0.0, 2: 0.0}


def test_what_a_refresh_in_quarantine_replaced_does_not_outlive_the_next_refresh(
    store: FeatureStore, uri: str
) -> None:
    store.append("v", rows(0, 3))
    write_deltalake(uri, rows(3, 2, x=-999.0), mode="overwrite")
    DeltaTable(uri).delete("id = 3")
    write_deltalake(uri, rows(5, 2), mode="overwrite")
    assert held(store, exclude=(2,)) == {5: 0.0, 6: 0.0}


def test_bad_rows_stay_out_of_the_next_refresh_that_brings_them_again(
    store: FeatureStore, uri: str
) -> None:
    store.append("v", rows(0, 10))
    bad = pa.concat_tables([rows(0, 8), rows(20, 2, x=-999.0)])  # 8 and 9 are gone
    write_deltalake(uri, bad, mode="overwrite")
    store.set_aside("v", [2])
    write_deltalake(uri, pa.concat_tables([bad, rows(30, 2)]), mode="overwrite")
    assert new(store, 2, exclude=(2,)) == [30, 31]
    assert sorted(held(store, exclude=(2,))) == [*range(8), 30, 31]
    mended = pa.concat_tables([rows(0, 8), rows(20, 2, x=1.0), rows(30, 2)])
    write_deltalake(uri, mended, mode="overwrite")
    assert new(store, 3, exclude=(2,)) == [20, 21]
    assert held(store, exclude=(2,))[20] == 1.0


@pytest.mark.parametrize("wider", [pa.float64(), pa.decimal128(22, 2)])
def test_a_column_of_a_wider_type_makes_no_row_new_and_lets_no_bad_one_in(
    store: FeatureStore, uri: str, wider: pa.DataType
) -> None:
    store.append("v", rows(0, 10, y=7))
    store.append("v", rows(10, 2, x=-999.0, y=7))
    store.set_aside("v", [2])
    whole = pa.concat_tables([rows(0, 10, y=7), rows(10, 2, x=-999.0, y=7), rows(20, 1, y=7)])
    whole = whole.set_column(3, "y", whole["y"].cast(wider))
    write_deltalake(uri, whole, mode="overwrite", schema_mode="overwrite")
    assert new(store, 2, exclude=(2,)) == [20]
    assert sorted(held(store, exclude=(2,))) == [*range(10), 20]


def test_quarantined_rows_that_are_gone_are_not_said_to_be_left_out(
    store: FeatureStore, uri: str
) -> None:
    store.append("v", rows(0, 3))
    store.append("v", rows(3, 2, x=-999.0))
    store.set_aside("v", [2])
    said = ("2 rows of version 2 of v are left out (quarantine)",)
    assert store.snapshot("v", exclude=(2,)).notes == said
    compact(uri)
    assert store.snapshot("v", exclude=(2,)).notes == said
    write_deltalake(uri, rows(0, 5), mode="overwrite")
    assert store.snapshot("v", exclude=(2,)).notes == ()


def test_a_quarantined_file_that_was_deleted_is_not_said_to_be_left_out(
    store: FeatureStore, uri: str
) -> None:
    store.append("v", rows(0, 3))
    store.append("v", rows(3, 2, x=-999.0))
    store.set_aside("v", [2])
    DeltaTable(uri).delete("x = -999.0")
    snapshot = store.snapshot("v", exclude=(2,))
    assert (snapshot.rows, snapshot.notes) == (3, ())
