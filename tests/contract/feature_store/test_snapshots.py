"""Every store pins, counts and reads snapshots alike."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_store import (
    FeatureStore,
    FeatureStoreConfig,
    UnknownColumn,
    UnknownVersion,
    VersionGone,
    connect,
)

Rows = Callable[..., pa.Table]


@pytest.fixture
def three_days(store: FeatureStore, rows: Rows) -> FeatureStore:
    for day in range(3):
        store.append("meter", rows(day + 1, day=day, first=10 * day))
    return store


def ids(table: pa.Table) -> list[int]:
    found: list[int] = table.column("id").to_pylist()
    return found


def test_a_snapshot_does_not_change_when_data_is_appended(
    three_days: FeatureStore, rows: Rows
) -> None:
    before = three_days.snapshot("meter", since=1)
    read, parts = three_days.read(before), three_days.parts(before)
    changes = three_days.changes(before)
    three_days.append("meter", rows(5, day=4))
    three_days.restore("meter", 1)
    assert three_days.read(before).equals(read)
    assert three_days.parts(before) == parts
    assert three_days.changes(before) == changes
    assert three_days.snapshot("meter", version=3, since=1) == before


def test_a_snapshot_reads_the_same_from_another_process_of_the_store(
    three_days: FeatureStore, config: FeatureStoreConfig
) -> None:
    snapshot = three_days.snapshot("meter")
    assert connect(config).read(snapshot).equals(three_days.read(snapshot))


def test_rows_come_in_order_of_version(three_days: FeatureStore) -> None:
    table = three_days.read(three_days.snapshot("meter"))
    assert ids(table) == [0, 10, 11, 20, 21, 22]


def test_only_the_columns_asked_for_are_read(three_days: FeatureStore) -> None:
    table = three_days.read(three_days.snapshot("meter"), ["load", "id"])
    assert table.column_names == ["load", "id"]


def test_an_unknown_column_names_the_nearest(three_days: FeatureStore) -> None:
    with pytest.raises(UnknownColumn, match="'laod'; did you mean 'load'"):
        three_days.read(three_days.snapshot("meter"), ["laod"])


def test_changes_are_the_files_since_a_version(three_days: FeatureStore) -> None:
    snapshot = three_days.snapshot("meter", since=1)
    assert (snapshot.rows, snapshot.new_rows) == (6, 5)
    changes = three_days.changes(snapshot)
    assert [(part.version, part.rows) for part in changes] == [(2, 2), (3, 3)]
    for part in changes:
        assert pq.ParquetFile(part.uri).metadata.num_rows == part.rows
    assert ids(three_days.read(snapshot, parts=changes)) == [10, 11, 20, 21, 22]


def test_without_since_everything_is_new(three_days: FeatureStore) -> None:
    snapshot = three_days.snapshot("meter")
    assert snapshot.new_rows == snapshot.rows == 6
    assert three_days.changes(snapshot) == three_days.parts(snapshot)
    assert [part.version for part in three_days.parts(snapshot)] == [1, 2, 3]


def test_nothing_is_new_since_the_latest_version(three_days: FeatureStore) -> None:
    snapshot = three_days.snapshot("meter", since=3)
    assert (snapshot.rows, snapshot.new_rows) == (6, 0)
    assert three_days.changes(snapshot) == ()
    assert three_days.read(snapshot, parts=()).num_rows == 0


def test_the_watermark_is_the_newest_event_time_to_the_microsecond(
    three_days: FeatureStore,
) -> None:
    assert three_days.snapshot("meter").watermark == datetime(2026, 1, 3, 0, 0, 0, 2, UTC)
    early = three_days.snapshot("meter", version=1)
    assert early.watermark == datetime(2026, 1, 1, tzinfo=UTC)


def test_the_watermark_ignores_the_order_of_arrival(store: FeatureStore, rows: Rows) -> None:
    store.append("meter", rows(1, day=5))
    store.append("meter", rows(1, day=2))
    assert store.snapshot("meter").watermark == datetime(2026, 1, 6, tzinfo=UTC)


def test_event_times_that_are_all_null_leave_no_watermark(store: FeatureStore, rows: Rows) -> None:
    nulls = pa.nulls(2, pa.timestamp("us", tz="UTC"))
    store.append("meter", rows(2).set_column(1, "at", nulls))
    assert store.snapshot("meter").watermark is None
    store.append("meter", rows(1))
    assert store.snapshot("meter").watermark == datetime(2026, 1, 1, tzinfo=UTC)


def test_an_excluded_version_is_left_out_of_everything(three_days: FeatureStore) -> None:
    snapshot = three_days.snapshot("meter", since=1, exclude=(3, 99))
    assert snapshot.excluded == (3,)
    assert (snapshot.rows, snapshot.new_rows) == (3, 2)
    assert snapshot.watermark == datetime(2026, 1, 2, 0, 0, 0, 1, UTC)
    assert ids(three_days.read(snapshot)) == [0, 10, 11]
    assert [part.version for part in three_days.changes(snapshot)] == [2]


def test_a_restore_is_a_new_version_with_the_old_rows(three_days: FeatureStore) -> None:
    assert three_days.restore("meter", 1) == 4
    assert ids(three_days.read(three_days.snapshot("meter"))) == [0]
    assert ids(three_days.read(three_days.snapshot("meter", version=3))) == [0, 10, 11, 20, 21, 22]


def test_what_a_restore_took_back_is_not_new(three_days: FeatureStore, rows: Rows) -> None:
    three_days.restore("meter", 2)
    three_days.append("meter", rows(4, day=7, first=70))
    snapshot = three_days.snapshot("meter", since=1)
    changes = three_days.changes(snapshot)
    assert [(part.version, part.rows) for part in changes] == [(2, 2), (5, 4)]
    assert (snapshot.rows, snapshot.new_rows) == (7, 6)


def test_what_a_restore_brings_back_is_new_only_once(three_days: FeatureStore) -> None:
    three_days.restore("meter", 1)
    three_days.restore("meter", 3)
    assert ids(three_days.read(three_days.snapshot("meter"))) == [0, 10, 11, 20, 21, 22]
    assert three_days.snapshot("meter", since=3).new_rows == 0
    assert three_days.snapshot("meter", since=1).new_rows == 5
    assert [p.version for p in three_days.parts(three_days.snapshot("meter"))] == [1, 2, 3]


def test_a_restored_schema_is_the_old_one(store: FeatureStore, rows: Rows) -> None:
    store.append("meter", rows(1))
    wider = rows(1, day=1).append_column("power", pa.array([1.0]))
    store.append("meter", wider, merge_schema=True)
    store.restore("meter", 1)
    assert "power" not in store.schema(store.snapshot("meter")).names
    assert store.append("meter", rows(1, day=2)) == 4


def test_an_unknown_version_is_refused(three_days: FeatureStore) -> None:
    with pytest.raises(UnknownVersion, match="no version 7; the latest is 3"):
        three_days.snapshot("meter", version=7)
    with pytest.raises(UnknownVersion, match="no version 9"):
        three_days.snapshot("meter", since=9)
    with pytest.raises(UnknownVersion, match="no version -1"):
        three_days.snapshot("meter", version=-1)
    with pytest.raises(UnknownVersion, match="no version 8"):
        three_days.restore("meter", 8)


def test_a_version_whose_files_are_gone_says_so(three_days: FeatureStore) -> None:
    snapshot = three_days.snapshot("meter", since=1)
    lost = three_days.changes(snapshot)[0].uri
    dataset = three_days.parts(snapshot)
    Path(lost).unlink()
    for action in (
        lambda: three_days.snapshot("meter"),
        lambda: three_days.snapshot("meter", since=1),
        lambda: three_days.changes(snapshot),
        lambda: three_days.parts(snapshot),
        lambda: three_days.read(snapshot),
        lambda: three_days.read(snapshot, parts=dataset),
    ):
        with pytest.raises(VersionGone, match="version 3 of view meter") as caught:
            action()
        assert caught.value.permanent
        assert caught.value.hint is not None
    assert three_days.snapshot("meter", version=1).rows == 1
    three_days.restore("meter", 1)
    with pytest.raises(VersionGone, match="cannot be restored"):
        three_days.restore("meter", 3)
