"""Parts of a dataset have one shape."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from feature_store import FeatureStoreConfig, FeatureView, connect
from ray_jobs.dataset import DatasetPart
from ray_jobs.extraction import Extraction, _new_rows, _require_one_shape
from ray_jobs.training_errors import FeatureError


def part(name: str, kind: str, rows: int = 1) -> DatasetPart:
    return DatasetPart(
        name=name,
        rows=rows,
        bytes=1,
        sha256="",
        version=1,
        source=f"/s/{name}",
        time_from=None,
        time_until=None,
        inputs=("z",),
        schema={"z": kind},
    )


def test_parts_of_other_types_are_named_before_anything_is_trained() -> None:
    with pytest.raises(FeatureError, match=r"column z is int64 for some.*string for others.*a of"):
        _require_one_shape([part("a", "int64"), part("b", "string")])


def test_decimals_are_not_mixed_with_numbers_that_may_be_larger() -> None:
    with pytest.raises(FeatureError, match=r"column z is int64 for some.*decimal128"):
        _require_one_shape([part("a", "int64"), part("b", "decimal128(10, 2)")])


@pytest.mark.parametrize(
    ("one", "other"),
    [("int32", "int64"), ("int64", "double"), ("string", "large_string"), ("null", "bool")],
)
def test_widths_and_missing_columns_may_differ(one: str, other: str) -> None:
    _require_one_shape([part("a", one), part("b", other), part("c", "list<string>", rows=0)])


def test_a_dataset_counts_as_many_new_rows_as_its_snapshot_whatever_its_shards(
    tmp_path: Path,
) -> None:
    view = FeatureView(name="v", entities=("id",), event_time="at", features=("x",), label="y")
    at = pa.array([0] * 30, pa.timestamp("s", "UTC"))
    table = pa.table({"id": range(30), "at": at, "x": [0.5] * 30, "y": [1] * 30})
    store: Any = connect(FeatureStoreConfig(uri=str(tmp_path)))
    store.create(view, table.schema)
    store.append("v", table[:20])
    write_deltalake(str(tmp_path / "v"), table, mode="overwrite")
    snapshot = store.snapshot("v", since=1)
    (source,) = store.parts(snapshot)
    definition: Any = None
    extraction = Extraction(
        store=store, snapshot=snapshot, definition=definition, joined=(), folder=""
    )
    shards = [replace(part("a", "int64", rows=10), source=source.uri) for _ in range(3)]
    assert _new_rows(extraction, [source], shards) == snapshot.new_rows == 10
