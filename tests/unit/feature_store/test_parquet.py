"""Parquet folders: what a killed append leaves behind, and who gets a version's number."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_store import (
    FeatureStore,
    FeatureStoreConfig,
    FeatureView,
    InvalidConfig,
    SchemaMismatch,
    StoreUnavailable,
    VersionGone,
    connect,
)
from feature_store.parquet import ParquetTables

VIEW = FeatureView(name="meter", entities=("id",), event_time="at", features=("load",))


def rows(count: int, *, first: int = 0) -> pa.Table:
    moments = [datetime(2026, 1, 1, tzinfo=UTC)] * count
    return pa.table(
        {
            "id": pa.array(range(first, first + count), pa.int64()),
            "at": pa.array(moments, pa.timestamp("us", tz="UTC")),
            "load": pa.array([0.5] * count, pa.float64()),
        }
    )


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    opened = connect(FeatureStoreConfig(uri=str(tmp_path), format="parquet"))
    opened.create(VIEW, rows(1).schema)
    return opened


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "meter"


def manifests(table: Path) -> list[str]:
    return sorted(path.name for path in (table / "_versions").iterdir())


def killed(*args: object, **kwargs: object) -> None:
    raise KeyboardInterrupt


def killed_after(action: Callable[..., Any]) -> Callable[..., None]:
    def run(*args: Any, **kwargs: Any) -> None:
        action(*args, **kwargs)
        raise KeyboardInterrupt

    return run


def test_an_append_killed_before_its_manifest_leaves_nothing_to_see(
    store: FeatureStore, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("feature_store.parquet.os.link", killed)
        with pytest.raises(KeyboardInterrupt):
            store.append("meter", rows(2), key="monday")
    assert len(list((table / "data").glob("*.parquet"))) == 1
    assert store.latest_version("meter") == 0
    assert store.snapshot("meter").rows == 0
    assert store.append("meter", rows(2), key="monday") == 1
    assert store.snapshot("meter").rows == 2


def test_an_append_killed_after_its_manifest_is_one_whole_version(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    with monkeypatch.context() as patched:
        patched.setattr("feature_store.parquet.os.link", killed_after(os.link))
        with pytest.raises(KeyboardInterrupt):
            store.append("meter", rows(2), key="monday")
    assert store.snapshot("meter").rows == 2
    assert store.append("meter", rows(2), key="monday") == 1
    assert store.snapshot("meter").rows == 2


def test_half_written_files_are_never_seen(store: FeatureStore, table: Path) -> None:
    store.append("meter", rows(2))
    (table / "data" / ".half.parquet.tmp").write_bytes(b"PAR1")
    (table / "data" / "orphan.parquet").write_bytes(b"PAR1")
    (table / "_versions" / f".{2:020}.json.abc.tmp").write_text('{"version": 2, "op')
    assert store.latest_version("meter") == 1
    assert store.read(store.snapshot("meter")).num_rows == 2
    assert store.append("meter", rows(1)) == 2


def test_a_data_file_is_whole_before_it_has_its_name(
    store: FeatureStore, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(data: pa.Table, where: Path, **kwargs: object) -> None:
        where.write_bytes(b"PAR1")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(pq, "write_table", half)
        with pytest.raises(StoreUnavailable, match="No space left on device") as caught:
            store.append("meter", rows(2))
    assert not caught.value.permanent
    assert list((table / "data").iterdir()) == []
    assert store.append("meter", rows(2)) == 1


def test_a_number_that_another_appender_took_is_not_taken_again(
    store: FeatureStore, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = ParquetTables._publish
    rival = connect(FeatureStoreConfig(uri=str(table.parent), format="parquet"))
    raced: list[int] = []

    def late(self: ParquetTables, name: str, version: int, entry: dict[str, Any]) -> bool:
        if not raced:
            raced.append(0)
            raced[0] = rival.append("meter", rows(5, first=50), key="rival")
        return publish(self, name, version, entry)

    monkeypatch.setattr(ParquetTables, "_publish", late)
    assert store.append("meter", rows(1)) == 2
    assert raced == [1]
    assert store.snapshot("meter").rows == 6
    assert manifests(table) == [f"{version:020}.json" for version in range(3)]


@pytest.mark.parametrize("loser", ["same key", "narrower"])
def test_an_appender_that_lost_leaves_no_data_files(
    store: FeatureStore, table: Path, monkeypatch: pytest.MonkeyPatch, loser: str
) -> None:
    publish = ParquetTables._publish
    rival = connect(FeatureStoreConfig(uri=str(table.parent), format="parquet"))
    raced: list[int] = []

    def late(self: ParquetTables, name: str, version: int, entry: dict[str, Any]) -> bool:
        if not raced:
            raced.append(1)
            wider = rows(5).append_column("extra", pa.array([1.0] * 5))
            rival.append("meter", wider, key="monday", merge_schema=True)
        return publish(self, name, version, entry)

    monkeypatch.setattr(ParquetTables, "_publish", late)
    if loser == "same key":
        assert store.append("meter", rows(1), key="monday") == 1
    else:
        with pytest.raises(SchemaMismatch, match="column extra is missing"):
            store.append("meter", rows(1))
    assert len(list((table / "data").iterdir())) == 1
    assert store.snapshot("meter").rows == 5


def test_a_manifest_can_be_read_by_people(store: FeatureStore, table: Path) -> None:
    store.append("meter", rows(2), key="monday")
    created, appended = (
        json.loads((table / "_versions" / name).read_text()) for name in manifests(table)
    )
    assert created["operation"] == "create"
    assert created["columns"] == {"id": "int64", "at": "timestamp[us, tz=UTC]", "load": "double"}
    assert (appended["operation"], appended["key"]) == ("append", "monday")
    assert appended["added"][0]["rows"] == 2
    assert appended["added"][0]["newest"] == {"at": "2026-01-01T00:00:00+00:00"}


def test_a_manifest_that_disappeared_is_a_version_gone(store: FeatureStore, table: Path) -> None:
    store.append("meter", rows(1))
    store.append("meter", rows(1))
    (table / "_versions" / f"{1:020}.json").unlink()
    with pytest.raises(VersionGone, match="version 1 of view meter: its manifest") as caught:
        store.snapshot("meter")
    assert caught.value.permanent


def test_a_large_append_is_several_files_and_one_version(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feature_store.parquet._ROWS_PER_FILE", 4)
    store.append("meter", rows(10))
    snapshot = store.snapshot("meter")
    assert sorted(part.rows for part in store.changes(snapshot)) == [2, 4, 4]
    assert {part.version for part in store.changes(snapshot)} == {1}
    assert sorted(store.read(snapshot).column("id").to_pylist()) == list(range(10))


def test_an_object_store_is_refused_with_what_to_use_instead() -> None:
    with pytest.raises(InvalidConfig, match="needs a local folder") as caught:
        connect(FeatureStoreConfig(uri="s3://bucket/features", format="parquet"))
    assert "format=delta" in str(caught.value.hint)


def test_an_unknown_format_names_the_nearest() -> None:
    with pytest.raises(InvalidConfig, match="'detla' is unknown; did you mean 'delta'"):
        connect(FeatureStoreConfig(uri="x", format="detla"))
