"""Types are made to fit every backend, or refused by the column's name."""

from datetime import UTC, datetime

import pyarrow as pa
import pytest

from feature_store import SchemaMismatch
from feature_store.columns import canonical, canonical_schema, column_types, conform

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


@pytest.mark.parametrize("given", [pa.duration("s"), pa.time64("us"), pa.decimal256(40, 2)])
def test_a_type_that_cannot_be_stored_is_named(given: pa.DataType) -> None:
    with pytest.raises(SchemaMismatch, match=r"column x: type .* cannot be stored"):
        canonical_schema(pa.schema([("x", given)]))


def test_moments_are_cut_to_the_microsecond_in_utc() -> None:
    table = pa.table({"at": pa.array([1_999], pa.timestamp("ns", tz="Europe/Berlin"))})
    assert canonical(table).column("at").to_pylist() == [datetime(1970, 1, 1, 0, 0, 0, 1, UTC)]


def test_vectors_keep_their_values() -> None:
    table = pa.table({"x": pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32(), 2))})
    assert canonical(table).column("x").to_pylist() == [[1.0, 2.0], [3.0, 4.0]]


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
