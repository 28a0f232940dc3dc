"""Types are made to fit every backend, or refused by the column's name."""

import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from feature_store import SchemaMismatch, conversions
from feature_store.columns import (
    canonical,
    canonical_schema,
    column_types,
    conform,
    require_distinct,
    without_index,
)

UTC_US = pa.timestamp("us", tz="UTC")


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (pa.uint8(), pa.int16()),
        (pa.uint32(), pa.int64()),
        (pa.float16(), pa.float32()),
        (pa.large_string(), pa.string()),
        (pa.string_view(), pa.string()),
        (pa.binary(4), pa.binary()),
        (pa.date64(), pa.date32()),
        (pa.timestamp("ns"), UTC_US),
        (pa.timestamp("s", tz="Europe/Berlin"), UTC_US),
        (pa.dictionary(pa.int8(), pa.large_string()), pa.string()),
        (pa.decimal128(10, 2), pa.decimal128(10, 2)),
        (pa.decimal32(5, 2), pa.decimal128(5, 2)),
        (pa.decimal64(12, 3), pa.decimal128(12, 3)),
        (pa.decimal256(40, 2), pa.decimal128(38, 2)),
        (pa.time64("us"), pa.float64()),
        (pa.duration("ms"), pa.float64()),
        (pa.run_end_encoded(pa.int32(), pa.large_string()), pa.string()),
        (pa.uuid(), pa.string()),
        (pa.bool8(), pa.bool_()),
        (pa.json_(), pa.string()),
        (pa.fixed_shape_tensor(pa.float32(), (2, 2)), pa.list_(pa.field("element", pa.float32()))),
        (pa.list_view(pa.uint8()), pa.list_(pa.field("element", pa.int16()))),
        (pa.list_(pa.timestamp("ns")), pa.list_(pa.field("element", UTC_US))),
        (pa.list_(pa.float32(), 3), pa.list_(pa.field("element", pa.float32()))),
        (pa.large_list(pa.uint8()), pa.list_(pa.field("element", pa.int16()))),
        (pa.struct([("a", pa.uint8())]), pa.struct([("a", pa.int16())])),
        (pa.map_(pa.large_string(), pa.uint8()), pa.map_(pa.string(), pa.int16())),
    ],
)
def test_each_type_has_one_that_is_stored(given: pa.DataType, stored: pa.DataType) -> None:
    schema = canonical_schema(pa.schema([pa.field("x", given, nullable=False)]))
    assert schema.field("x").type == stored
    assert canonical_schema(schema) == schema


@pytest.mark.parametrize(
    "given", [pa.month_day_nano_interval(), pa.list_(pa.duration("s")), pa.decimal256(70, 60)]
)
def test_a_type_that_cannot_be_stored_is_named(given: pa.DataType) -> None:
    with pytest.raises(SchemaMismatch, match=r"column x: type .* cannot be stored"):
        canonical_schema(pa.schema([("x", given)]))


def test_moments_are_cut_to_the_microsecond_in_utc() -> None:
    table = pa.table({"at": pa.array([1_999], pa.timestamp("ns", tz="Europe/Berlin"))})
    assert canonical(table).column("at").to_pylist() == [datetime(1970, 1, 1, 0, 0, 0, 1, UTC)]


def test_vectors_keep_their_values() -> None:
    table = pa.table({"x": pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32(), 2))})
    assert canonical(table).column("x").to_pylist() == [[1.0, 2.0], [3.0, 4.0]]


ID = uuid.UUID(int=7)
IDS = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([ID.bytes, None], pa.binary(16)))
BOOLS = pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, 0, None], pa.int8()))
LISTS = pa.array([[1, 2], None, [3]], pa.list_view(pa.int8()))
PRICES = pa.array([Decimal("1.25")], pa.decimal128(5, 2)).cast(pa.decimal256(40, 2))
MOMENTS = pa.array([[1_999]], pa.list_(pa.timestamp("ns")))


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (pa.array([time(1, 0, 0, 500_000), None], pa.time64("us")), [3600.5, None]),
        (pa.array([time(0, 1)], pa.time32("s")), [60.0]),
        (pa.array([timedelta(days=1)], pa.duration("ms")), [86_400.0]),
        (PRICES, [Decimal("1.25")]),
        (pc.run_end_encode(pa.array(["a", "a", None])), ["a", "a", None]),
        (IDS, [str(ID), None]),
        (BOOLS, [True, False, None]),
        (LISTS, [[1, 2], None, [3]]),
        (LISTS[1:], [None, [3]]),
        (MOMENTS, [[datetime(1970, 1, 1, 0, 0, 0, 1, UTC)]]),
        (pa.array(["a", None, "a"]).dictionary_encode(), ["a", None, "a"]),
        (pa.array(["a", None], pa.string_view()), ["a", None]),
    ],
)
def test_what_is_stored_has_the_values_that_came(given: pa.Array, stored: list[Any]) -> None:
    assert canonical(pa.table({"x": given})).column("x").to_pylist() == stored


@pytest.mark.parametrize(
    "given", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.large_string())]
)
def test_more_text_than_a_string_array_holds_is_stored_in_pieces(
    given: pa.DataType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversions, "PIECE", 100)
    texts = [str(number) * 20 for number in range(10)]
    column = canonical(pa.table({"x": pa.array(texts, given)})).column("x")
    assert column.type == pa.string()
    assert column.num_chunks > 1
    assert all(chunk.buffers()[2].size <= 100 for chunk in column.chunks)
    assert column.to_pylist() == texts


def test_a_number_that_does_not_fit_is_named() -> None:
    with pytest.raises(SchemaMismatch, match=r"uint64 does not fit into int64: .*9223372"):
        canonical(pa.table({"x": pa.array([2**63 + 1], pa.uint64())}))


@pytest.mark.parametrize(
    ("given", "wanted", "stored"),
    [
        (pa.array([1, 2]), pa.float64(), [1.0, 2.0]),
        (pa.array([1, None]), pa.int16(), [1, None]),
        (pa.array([1.0, float("nan"), None]), pa.int64(), [1, None, None]),
        (pa.array([1, 2]), pa.decimal128(10, 2), [Decimal(1), Decimal(2)]),
        (pa.array([Decimal("1.5")]), pa.decimal128(18, 4), [Decimal("1.5")]),
        (pa.array([date(2026, 1, 1)]), UTC_US, [datetime(2026, 1, 1, tzinfo=UTC)]),
        (pa.nulls(1), pa.string(), [None]),
    ],
)
def test_a_batch_of_another_type_fits_where_no_digit_is_lost(
    given: pa.Array, wanted: pa.DataType, stored: list[Any]
) -> None:
    schema = pa.schema([("x", wanted)])
    assert (
        conform("v", pa.table({"x": given}), schema, merge_schema=False)["x"].to_pylist() == stored
    )


@pytest.mark.parametrize(
    ("given", "wanted", "said"),
    [
        (pa.array([1.0, 10.5, 2.5]), pa.int64(), "2 of 3 values are not whole, such as 10.5"),
        (pa.array([2**53 + 1]), pa.float64(), "9007199254740993 not in range"),
        (pa.array([300]), pa.int8(), "300 not in range"),
        (pa.array([0.1]), pa.float32(), "column x is double, expected float"),
        (pa.array(["1"]), pa.int64(), "column x is string, expected int64"),
        (pa.array([True]), pa.int64(), "column x is bool, expected int64"),
    ],
)
def test_a_batch_that_would_lose_something_is_refused_with_value_and_count(
    given: pa.Array, wanted: pa.DataType, said: str
) -> None:
    with pytest.raises(SchemaMismatch, match=said) as caught:
        conform("v", pa.table({"x": given}), pa.schema([("x", wanted)]), merge_schema=False)
    assert caught.value.hint


def test_a_column_of_whole_numbers_says_how_it_could_become_a_wider_one() -> None:
    with pytest.raises(SchemaMismatch) as caught:
        conform("v", pa.table({"x": [10.5]}), pa.schema([("x", pa.int64())]), merge_schema=False)
    assert "--type x=double" in str(caught.value.hint)


@pytest.mark.parametrize("names", [["Amount", "amount"], ["a", "a"], ["Größe", "größe"]])
def test_names_that_sql_cannot_tell_apart_are_refused(names: list[str]) -> None:
    with pytest.raises(SchemaMismatch, match=f"column {names[0]} "):
        require_distinct("v", names)


def test_the_row_numbers_of_a_pandas_frame_are_left_out() -> None:
    frame = pd.DataFrame({"a": [3, 1, 2]}).sort_values("a")
    assert without_index(pa.table(frame)).column_names == ["a"]
    assert without_index(pa.table({"Unnamed: 0": [1], "a": [1]})).column_names == ["a"]


def test_a_named_index_of_a_pandas_frame_is_a_column() -> None:
    frame = pd.DataFrame({"a": [1]}, index=pd.Index(["x"], name="customer"))
    assert set(without_index(pa.table(frame)).column_names) == {"a", "customer"}


def test_an_index_that_says_something_and_has_no_name_is_refused_with_the_words() -> None:
    frame = pd.DataFrame({"a": [1]}, index=["x"])
    with pytest.raises(SchemaMismatch, match="is an index without a name, of") as caught:
        without_index(pa.table(frame))
    assert "reset_index(drop=True)" in str(caught.value.hint)


def test_columns_are_put_in_the_order_of_the_table() -> None:
    schema = pa.schema([("a", pa.int64()), ("b", pa.string())])
    table = pa.table({"b": ["x"], "a": [1]})
    assert conform("v", table, schema, merge_schema=False).to_pylist() == [{"a": 1, "b": "x"}]


def test_a_long_list_of_wrong_columns_is_cut() -> None:
    schema = pa.schema([(f"c{i}", pa.int64()) for i in range(9)])
    with pytest.raises(SchemaMismatch) as caught:
        conform("v", pa.table({"x": [1]}), schema, merge_schema=False)
    assert str(caught.value) == (
        "view v: column c0 is missing; column c1 is missing; column c2 is missing; "
        "column x is not in the view (and 6 more)"
    )


def test_a_new_column_of_nulls_has_no_type() -> None:
    schema = pa.schema([("a", pa.int64())])
    with pytest.raises(SchemaMismatch, match="new column b holds nothing but nulls"):
        conform("v", pa.table({"a": [1], "b": pa.nulls(1)}), schema, merge_schema=True)


def test_types_are_told_as_text() -> None:
    schema = pa.schema([("a", pa.int64()), ("at", UTC_US)])
    assert column_types(schema) == {"a": "int64", "at": "timestamp[us, tz=UTC]"}
