"""Every store appends atomically, once for each key, and says what does not fit."""

from collections.abc import Callable
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from feature_store import FeatureStore, SchemaMismatch

Rows = Callable[..., pa.Table]


def test_every_append_is_one_version(store: FeatureStore, rows: Rows) -> None:
    assert store.append("meter", rows(3)) == 1
    assert store.append("meter", rows(2, day=1)) == 2
    assert store.latest_version("meter") == 2
    assert store.read(store.snapshot("meter")).num_rows == 5


def test_an_append_of_no_rows_is_a_version_too(store: FeatureStore, rows: Rows) -> None:
    assert store.append("meter", rows(0)) == 1
    assert store.append("meter", rows(2)) == 2
    snapshot = store.snapshot("meter", since=0)
    assert (snapshot.rows, snapshot.new_rows) == (2, 2)


def test_a_repeated_key_adds_nothing_and_returns_its_version(
    store: FeatureStore, rows: Rows
) -> None:
    assert store.append("meter", rows(3), key="monday") == 1
    assert store.append("meter", rows(2, day=1), key="tuesday") == 2
    assert store.append("meter", rows(3), key="monday") == 1
    assert store.append("meter", rows(9), key="tuesday") == 2
    assert store.latest_version("meter") == 2
    assert store.snapshot("meter").rows == 5


def test_a_key_outlives_a_restore(store: FeatureStore, rows: Rows) -> None:
    store.append("meter", rows(3), key="monday")
    store.restore("meter", 0)
    assert store.append("meter", rows(3), key="monday") == 1


def test_a_retyped_column_is_named_with_both_types(store: FeatureStore, rows: Rows) -> None:
    wrong = rows(2).set_column(2, "load", pa.array(["1.5", "2"]))
    for merge in (False, True):
        with pytest.raises(SchemaMismatch, match="column load is string, expected double"):
            store.append("meter", wrong, merge_schema=merge)
    assert store.latest_version("meter") == 0


def test_missing_and_extra_columns_are_named(store: FeatureStore, rows: Rows) -> None:
    wrong = rows(2).rename_columns(["id", "at", "laod", "peak"])
    with pytest.raises(SchemaMismatch) as caught:
        store.append("meter", wrong)
    assert "column load is missing; column laod is not in the view" in str(caught.value)
    assert caught.value.permanent
    assert store.latest_version("meter") == 0


def test_merge_schema_adds_columns_and_fills_gaps_with_nulls(
    store: FeatureStore, rows: Rows
) -> None:
    store.append("meter", rows(2))
    changed = rows(2, day=1).rename_columns(["id", "at", "power", "peak"])
    assert store.append("meter", changed, merge_schema=True) == 2
    table = store.read(store.snapshot("meter"))
    assert table.column("load").to_pylist() == [0.0, 0.5, None, None]
    assert table.column("power").to_pylist() == [None, None, 0.0, 0.5]
    assert "power" not in store.schema(store.snapshot("meter", version=1)).names
    assert "power" not in store.read(store.snapshot("meter", version=1)).column_names


def test_numbers_that_fit_without_loss_are_widened(store: FeatureStore, rows: Rows) -> None:
    narrow = rows(2).set_column(2, "load", pa.array([1, 2], pa.int32()))
    store.append("meter", narrow)
    store.append("meter", rows(2).set_column(2, "load", pa.nulls(2)))
    column = store.read(store.snapshot("meter"), ["load"]).column("load")
    assert column.type == pa.float64()
    assert column.to_pylist() == [1.0, 2.0, None, None]
    with pytest.raises(SchemaMismatch, match="column id is double, expected int64"):
        store.append("meter", rows(2).set_column(0, "id", pa.array([1.0, 2.5])))


def test_types_that_no_store_holds_are_made_to_fit(store: FeatureStore) -> None:
    moment = datetime(2026, 1, 1, 12, tzinfo=UTC)
    table = pa.table(
        {
            "id": pa.array([200], pa.uint8()),
            "at": pa.array([moment.replace(tzinfo=None)], pa.timestamp("ns")),
            "load": pa.array([1.5], pa.float32()),
            "peak": pa.array(["no"]).dictionary_encode(),
        }
    )
    store.append("meter", table)
    row = store.read(store.snapshot("meter")).to_pylist()[0]
    assert row == {"id": 200, "at": moment, "load": 1.5, "peak": "no"}


def test_a_number_that_does_not_fit_is_refused(store: FeatureStore, rows: Rows) -> None:
    wrong = rows(1).set_column(0, "id", pa.array([2**63], pa.uint64()))
    with pytest.raises(SchemaMismatch, match="column id: uint64 does not fit into int64"):
        store.append("meter", wrong)


# pyarrow 25 reads zoned pandas columns through `.values`, which pandas 3.1 deprecates.
@pytest.mark.filterwarnings("ignore:Series.values returning an ndarray that drops timezone")
def test_rows_from_polars_and_pandas_are_taken(store: FeatureStore, rows: Rows) -> None:
    import polars

    assert store.append("meter", polars.from_arrow(rows(2))) == 1
    assert store.append("meter", rows(2).to_pandas()) == 2
    assert store.snapshot("meter").rows == 4


@pytest.mark.filterwarnings("ignore:Series.values returning an ndarray that drops timezone")
def test_a_pandas_column_of_several_types_is_named(store: FeatureStore, rows: Rows) -> None:
    frame = rows(2).to_pandas().astype({"id": object})
    frame.loc[1, "id"] = "two"
    with pytest.raises(SchemaMismatch, match=r"not of one type: .*column id") as told:
        store.append("meter", frame)
    assert told.value.hint is not None


def test_history_tells_who_added_what(store: FeatureStore, rows: Rows) -> None:
    store.append("meter", rows(3), key="monday")
    store.append("meter", rows(2, day=1))
    store.restore("meter", 1)
    told = [(v.version, v.operation, v.rows, v.key) for v in store.history("meter")]
    assert told == [
        (0, "create", 0, None),
        (1, "append", 3, "monday"),
        (2, "append", 2, None),
        (3, "restore", 0, None),
    ]
    assert all(version.at.tzinfo is not None for version in store.history("meter"))
