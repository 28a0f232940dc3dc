"""Delta tables that others write, compact, clean up and rewrite."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from feature_store import (
    ExclusionLost,
    FeatureStore,
    FeatureStoreConfig,
    FeatureView,
    SchemaMismatch,
    UnsupportedTable,
    VersionGone,
    connect,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
VIEW = FeatureView(name="meter", entities=("id",), event_time="at", features=("load",))
Rows = Callable[..., pa.Table]


def rows(count: int, *, day: int = 0, first: int = 0) -> pa.Table:
    moments = [START + timedelta(days=day, seconds=i) for i in range(count)]
    return pa.table(
        {
            "id": pa.array(range(first, first + count), pa.int64()),
            "at": pa.array(moments, pa.timestamp("us", tz="UTC")),
            "load": pa.array([float(day)] * count, pa.float64()),
        }
    )


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    opened = connect(FeatureStoreConfig(uri=str(tmp_path / "a store")))
    opened.create(VIEW, rows(1).schema)
    return opened


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return str(tmp_path / "a store" / "meter")


def ids(store: FeatureStore, **kwargs: object) -> list[int]:
    snapshot = store.snapshot("meter", **kwargs)  # type: ignore[arg-type]
    return sorted(store.read(snapshot, ["id"]).column("id").to_pylist())


def new_ids(store: FeatureStore, since: int) -> list[int]:
    snapshot = store.snapshot("meter", since=since)
    read = store.read(snapshot, ["id"], parts=store.changes(snapshot))
    assert read.num_rows == snapshot.new_rows
    return sorted(read.column("id").to_pylist())


def three_days(store: FeatureStore) -> None:
    for day in range(3):
        store.append("meter", rows(1, day=day, first=day))


def compact(uri: str) -> None:
    DeltaTable(uri).optimize.compact()


def vacuum(uri: str) -> None:
    DeltaTable(uri).vacuum(0, dry_run=False, enforce_retention_duration=False)


def test_a_compaction_brings_nothing_new(store: FeatureStore, uri: str) -> None:
    three_days(store)
    compact(uri)
    store.append("meter", rows(1, day=4, first=9))
    assert store.latest_version("meter") == 5
    assert ids(store) == [0, 1, 2, 9]
    assert new_ids(store, since=1) == [1, 2, 9]
    assert new_ids(store, since=3) == [9]
    assert new_ids(store, since=4) == [9]
    assert store.history("meter")[4].operation == "compact"
    assert store.history("meter")[4].rows == 0


def test_a_version_that_was_vacuumed_is_gone_but_what_is_current_stays(
    store: FeatureStore, uri: str
) -> None:
    three_days(store)
    old = store.snapshot("meter", since=1)
    compact(uri)
    vacuum(uri)
    assert ids(store) == [0, 1, 2]
    with pytest.raises(VersionGone, match="version 3 of view meter: 3 of its files") as caught:
        store.snapshot("meter", version=3)
    assert caught.value.permanent
    assert "vacuumed" in str(caught.value.hint)
    with pytest.raises(VersionGone):
        store.read(old)
    with pytest.raises(VersionGone, match="version 3 of view meter cannot be restored"):
        store.restore("meter", 3)
    assert store.snapshot("meter", since=store.latest_version("meter")).new_rows == 0


def test_a_log_that_was_cleaned_up_names_the_version(store: FeatureStore, uri: str) -> None:
    three_days(store)
    DeltaTable(uri).create_checkpoint()
    for version in range(3):
        Path(uri, "_delta_log", f"{version:020}.json").unlink()
    snapshot = store.snapshot("meter")
    assert snapshot.rows == 3
    assert [part.version for part in store.parts(snapshot)] == [0, 0, 3]
    assert [version.version for version in store.history("meter")] == [3]
    assert store.snapshot("meter", since=2).new_rows == 1
    everything = store.snapshot("meter", since=0)
    assert (everything.new_rows, everything.estimated) == (3, True)
    assert "all rows count as new: version 1 of view meter" in everything.notes[0]
    with pytest.raises(VersionGone, match="version 1 of view meter can no longer be opened"):
        store.snapshot("meter", version=1)


def test_a_key_is_known_after_its_log_entry_was_cleaned_up(store: FeatureStore, uri: str) -> None:
    store.append("meter", rows(1), key="monday")
    store.append("meter", rows(1))
    DeltaTable(uri).create_checkpoint()
    for version in range(2):
        Path(uri, "_delta_log", f"{version:020}.json").unlink()
    assert store.append("meter", rows(1), key="monday") == 1
    assert store.latest_version("meter") == 2


def test_deleted_rows_are_gone_and_only_changed_ones_are_new(store: FeatureStore, uri: str) -> None:
    store.append("meter", rows(3, first=0))
    store.append("meter", rows(2, first=10))
    DeltaTable(uri).delete("id = 1")
    assert ids(store) == [0, 2, 10, 11]
    assert ids(store, version=2) == [0, 1, 2, 10, 11]
    assert new_ids(store, since=2) == []
    DeltaTable(uri).update(updates={"load": "9.0"}, predicate="id = 11")
    assert new_ids(store, since=3) == [11]


def test_an_overwrite_is_new_as_a_whole(store: FeatureStore, uri: str) -> None:
    three_days(store)
    write_deltalake(uri, rows(2, first=50), mode="overwrite")
    assert ids(store) == [50, 51]
    assert new_ids(store, since=1) == [50, 51]
    assert store.snapshot("meter", exclude=(2, 3)).rows == 2


def test_an_excluded_version_stays_out_after_a_compaction(store: FeatureStore, uri: str) -> None:
    three_days(store)
    compact(uri)
    store.append("meter", rows(1, day=1, first=9))
    compact(uri)
    assert ids(store, exclude=(2,)) == [0, 2, 9]
    assert ids(store, exclude=(2, 4, 5)) == [0, 2]
    assert ids(store, exclude=(4,)) == [0, 1, 2, 9]
    snapshot = store.snapshot("meter", exclude=(3,))
    assert snapshot.watermark == START + timedelta(days=1)


def test_an_excluded_version_stays_out_after_a_delete(store: FeatureStore, uri: str) -> None:
    store.append("meter", rows(3))
    store.append("meter", rows(3, first=10, day=1))
    compact(uri)
    DeltaTable(uri).delete("id in (0, 10)")
    assert ids(store, exclude=(2,)) == [1, 2]
    store.set_aside("meter", (2,))
    compact(uri)
    vacuum(uri)
    assert ids(store, exclude=(2,)) == [1, 2]
    assert store.snapshot("meter", exclude=(2,)).rows == 2


def test_what_nothing_tells_any_more_is_said(store: FeatureStore, uri: str) -> None:
    store.append("meter", rows(2))
    store.append("meter", rows(2, first=10))
    compact(uri)
    vacuum(uri)
    with pytest.raises(ExclusionLost, match="which rows version 2 of view meter brought") as caught:
        store.snapshot("meter", exclude=(2,))
    assert "ratchet features release meter --version 2" in str(caught.value.hint)


def test_a_table_with_rows_at_version_0_can_be_taken_over(tmp_path: Path) -> None:
    write_deltalake(str(tmp_path / "meter"), rows(3))
    store = connect(FeatureStoreConfig(uri=str(tmp_path)))
    store.create(VIEW)
    assert store.snapshot("meter").rows == 3
    assert store.snapshot("meter", since=0).new_rows == 0
    assert store.declared_columns("meter") == {
        "id": "int64",
        "at": "timestamp[us, tz=UTC]",
        "load": "double",
    }


def test_a_partitioned_table_is_read_whole(tmp_path: Path) -> None:
    table = rows(4).append_column("region", pa.array(["north sea", "south", None, "50%"]))
    table = table.append_column("zone", pa.array([1, 2, 3, None], pa.int32()))
    write_deltalake(str(tmp_path / "meter"), table, partition_by=["region", "zone"])
    store = connect(FeatureStoreConfig(uri=str(tmp_path)))
    store.create(VIEW)
    for snapshot in (store.snapshot("meter"), store.snapshot("meter", since=0)):
        read = store.read(snapshot, ["id", "region", "zone"]).sort_by("id")
        assert read.to_pylist() == table.select(["id", "region", "zone"]).to_pylist()
    store.append("meter", table)
    snapshot = store.snapshot("meter", since=0)
    read = store.read(snapshot, ["id", "region"], parts=store.changes(snapshot)).sort_by("id")
    assert read.to_pylist() == table.select(["id", "region"]).to_pylist()
    assert {part.partition["region"] for part in store.changes(snapshot)} == {
        "north sea",
        "south",
        None,
        "50%",
    }


def test_event_times_without_zone_are_read_as_utc_and_written_back(tmp_path: Path) -> None:
    naive = rows(2).set_column(1, "at", rows(2).column("at").cast(pa.timestamp("us")))
    write_deltalake(str(tmp_path / "meter"), naive)
    store = connect(FeatureStoreConfig(uri=str(tmp_path)))
    store.create(VIEW)
    assert store.snapshot("meter").watermark == START + timedelta(seconds=1)
    store.append("meter", rows(1, day=3))
    assert store.snapshot("meter").watermark == START + timedelta(days=3)
    assert pa.schema(DeltaTable(str(tmp_path / "meter")).schema().to_arrow()).field(
        "at"
    ).type == pa.timestamp("us")


def test_event_times_that_are_dates_give_midnight(tmp_path: Path) -> None:
    dates = rows(1).set_column(1, "at", pa.array([START.date()]))
    store = connect(FeatureStoreConfig(uri=str(tmp_path)))
    store.create(VIEW, dates.schema)
    store.append("meter", dates)
    assert store.snapshot("meter").watermark == START


def test_column_mapping_is_refused(tmp_path: Path) -> None:
    write_deltalake(str(tmp_path / "meter"), rows(1))
    log = tmp_path / "meter" / "_delta_log" / f"{0:020}.json"
    actions = {
        key: a for line in log.read_text().splitlines() for key, a in json.loads(line).items()
    }
    actions["protocol"] = {"minReaderVersion": 2, "minWriterVersion": 5}
    schema = json.loads(actions["metaData"]["schemaString"])
    for number, column in enumerate(schema["fields"]):
        column["metadata"] = {
            "delta.columnMapping.id": number,
            "delta.columnMapping.physicalName": column["name"],
        }
    actions["metaData"]["schemaString"] = json.dumps(schema)
    actions["metaData"]["configuration"] = {"delta.columnMapping.mode": "name"}
    log.write_text("\n".join(json.dumps({key: action}) for key, action in actions.items()))
    store = connect(FeatureStoreConfig(uri=str(tmp_path)))
    with pytest.raises(UnsupportedTable, match="have other names in its files"):
        store.create(VIEW)


def test_rows_that_break_a_constraint_are_refused(store: FeatureStore, uri: str) -> None:
    DeltaTable(uri).alter.add_constraint({"small": "load < 2"})
    with pytest.raises(SchemaMismatch, match="Delta refused the rows"):
        store.append("meter", rows(1, day=5))
    assert store.snapshot("meter").rows == 0


def test_an_append_killed_after_its_commit_is_not_repeated(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    import deltalake

    def killed(*args: object, **kwargs: object) -> None:
        write_deltalake(*args, **kwargs)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(deltalake, "write_deltalake", killed)
        with pytest.raises(KeyboardInterrupt):
            store.append("meter", rows(2), key="monday")
    assert store.append("meter", rows(2), key="monday") == 1
    assert store.snapshot("meter").rows == 2


def test_our_tables_keep_old_versions_for_a_year(store: FeatureStore, uri: str) -> None:
    configuration = DeltaTable(uri).metadata().configuration
    assert configuration["delta.deletedFileRetentionDuration"] == "interval 365 days"
    assert configuration["delta.logRetentionDuration"] == "interval 3650 days"


def test_a_file_uri_is_a_local_folder_too(tmp_path: Path) -> None:
    store = connect(FeatureStoreConfig(uri=(tmp_path / "a b").as_uri()))
    store.create(VIEW, rows(1).schema)
    store.append("meter", rows(2))
    assert store.snapshot("meter").uri == str(tmp_path / "a b" / "meter")
    assert ids(store) == [0, 1]
