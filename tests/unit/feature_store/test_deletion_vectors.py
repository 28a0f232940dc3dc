"""Tables whose rows others deleted without rewriting files."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from feature_store import FeatureStore, FeatureStoreConfig, connect
from tests.unit.feature_store.deletion_vectors import delete_rows, purge
from tests.unit.feature_store.test_delta import VIEW, ids, new_ids, rows


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return str(tmp_path / "a store" / "meter")


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    opened = connect(FeatureStoreConfig(uri=str(tmp_path / "a store")))
    opened.create(VIEW, rows(1).schema)
    opened.append("meter", rows(5, day=1))
    opened.append("meter", rows(5, day=2, first=10))
    return opened


def file_of(uri: str, version: int) -> str:
    before = set(DeltaTable(uri, version=version - 1).file_uris())
    (added,) = set(DeltaTable(uri, version=version).file_uris()) - before
    return Path(added).name


def test_deleted_rows_are_neither_read_nor_new(store: FeatureStore, uri: str) -> None:
    assert delete_rows(uri, file_of(uri, 2), [1, 4]) == 3
    assert ids(store) == [0, 1, 2, 3, 4, 10, 12, 13]
    assert ids(store, version=2) == [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]
    assert new_ids(store, since=1) == [10, 12, 13]
    assert new_ids(store, since=2) == []
    assert store.history("meter")[-1].rows == 0
    assert store.snapshot("meter").watermark == rows(4, day=2).column("at")[3].as_py()


def test_a_row_that_is_deleted_and_written_again_is_new_once(store: FeatureStore, uri: str) -> None:
    delete_rows(uri, file_of(uri, 2), [1])
    store.append("meter", rows(1, day=5, first=11))
    assert new_ids(store, since=2) == [11]
    assert new_ids(store, since=3) == [11]


def test_a_version_in_quarantine_stays_out_when_its_rows_are_deleted(
    store: FeatureStore, uri: str
) -> None:
    store.set_aside("meter", [2])
    delete_rows(uri, file_of(uri, 2), [1, 4])
    delete_rows(uri, file_of(uri, 1), [0])
    assert ids(store, exclude=(2,)) == [1, 2, 3, 4]


def test_purged_vectors_change_nothing(store: FeatureStore, uri: str) -> None:
    path = file_of(uri, 2)
    delete_rows(uri, path, [1, 4])
    left = pq.read_table(f"{uri}/{path}").take(pa.array([0, 2, 3]))
    pq.write_table(left, f"{uri}/purged.parquet")
    size = Path(uri, "purged.parquet").stat().st_size
    added = {
        "path": "purged.parquet",
        "size": size,
        "partitionValues": {},
        "modificationTime": 1_800_000_001_000,
        "dataChange": False,
    }
    purge(uri, path, added)
    assert ids(store) == [0, 1, 2, 3, 4, 10, 12, 13]
    assert new_ids(store, since=3) == []
    assert new_ids(store, since=1) == [10, 12, 13]
    assert [version.rows for version in store.history("meter")] == [0, 5, 5, 0, 0]
