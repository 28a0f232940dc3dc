"""The door of the feature store: every Arrow type, and the one in which every backend keeps it.

| comes as | is stored as |
|---|---|
| bool, signed integers, float, double, decimal128, string, binary, date32 | the same |
| unsigned integers | one size up (uint64: int64, where the values fit) |
| half float | float |
| decimal32, decimal64, decimal256 | decimal128 (where the values fit) |
| large and view text and bytes, fixed-size bytes | string, binary, in pieces of at most 1 GB |
| timestamp | microseconds UTC: finer digits are cut off, no zone is UTC |
| date64 | date32 |
| time, duration | double: seconds |
| dictionary, run-end encoded | its values |
| list of any kind, struct, map | the same, of stored types; views and fixed sizes are lists |
| uuid | string; other extension types: what they are stored as |
| interval, union | refused |
"""

import uuid
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from feature_store.errors import SchemaMismatch

EVENT_TIME = pa.timestamp("us", tz="UTC")

PIECE = 1 << 30
"""Bytes of text in one piece of a column at most; a string array holds less than twice as many."""

_STORED = {
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.int64(),
    pa.float16(): pa.float32(),
    pa.large_string(): pa.string(),
    pa.string_view(): pa.string(),
    pa.large_binary(): pa.binary(),
    pa.binary_view(): pa.binary(),
    pa.date64(): pa.date32(),
} | {
    kind: kind
    for kind in (
        *(pa.null(), pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64()),
        *(pa.float32(), pa.float64(), pa.string(), pa.binary(), pa.date32()),
    )
}
_LISTS = (
    types.is_list,
    types.is_large_list,
    types.is_fixed_size_list,
    types.is_list_view,
    types.is_large_list_view,
)
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_BIG = {
    pa.string(): pa.large_string(),
    pa.string_view(): pa.large_string(),
    pa.large_string(): pa.large_string(),
    pa.binary(): pa.large_binary(),
    pa.binary_view(): pa.large_binary(),
    pa.large_binary(): pa.large_binary(),
}


def stored_type(kind: Any, column: str) -> Any:
    """The type in which a column is stored; `SchemaMismatch` names one that cannot be."""
    if types.is_time(kind) or types.is_duration(kind):
        return pa.float64()
    if types.is_run_end_encoded(kind):
        return stored_type(kind.value_type, column)
    if isinstance(kind, pa.BaseExtensionType):
        own = {"arrow.uuid": pa.string(), "arrow.bool8": pa.bool_()}.get(kind.extension_name)
        return own or stored_type(kind.storage_type, column)
    return _inner_type(kind, column)


def to_stored(column: pa.ChunkedArray, wanted: pa.Field) -> pa.ChunkedArray:
    """A column in the type that it is stored as; `SchemaMismatch` where a value does not fit."""
    if column.type == wanted.type:
        return column
    try:
        pieces = [piece for chunk in column.chunks for piece in _pieces(_plain(chunk))]
        return pa.chunked_array([_cast(piece, wanted.type) for piece in pieces], wanted.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise SchemaMismatch(
            f"column {wanted.name}: {column.type} does not fit into {wanted.type}: {error}",
            hint=f"cast {wanted.name} to {wanted.type} before the append",
        ) from error


def take(table: pa.Table, rows: pa.Array) -> pa.Table:
    """Rows of a table by number, whatever its text columns add up to."""
    columns = [_taken(column, rows) for column in table.columns]
    return pa.table(columns, schema=table.schema)


def _taken(column: pa.ChunkedArray, rows: pa.Array) -> pa.ChunkedArray:
    if column.type not in _BIG:
        return column.take(rows)
    found = column.cast(_BIG[column.type]).take(rows)
    pieces = [piece for chunk in found.chunks for piece in _pieces(chunk)]
    return pa.chunked_array([_cast(piece, column.type) for piece in pieces], column.type)


def _inner_type(kind: Any, column: str) -> Any:
    """The same for the types that may stand inside of another."""
    if kind in _STORED:
        return _STORED[kind]
    if types.is_decimal(kind) and kind.scale <= 38:
        return pa.decimal128(min(kind.precision, 38), kind.scale)
    if types.is_timestamp(kind):
        return EVENT_TIME
    if types.is_dictionary(kind):
        return _inner_type(kind.value_type, column)
    if types.is_fixed_size_binary(kind):
        return pa.binary()
    if types.is_map(kind):
        return pa.map_(_inner_type(kind.key_type, column), _inner_type(kind.item_type, column))
    if types.is_struct(kind):
        return pa.struct([pa.field(f.name, _inner_type(f.type, column)) for f in kind])
    if any(is_one(kind) for is_one in _LISTS):
        return pa.list_(pa.field("element", _inner_type(kind.value_type, column)))
    raise SchemaMismatch(
        f"column {column}: type {kind} cannot be stored",
        hint=f"cast {column} to a number, a text, a timestamp or a list of them",
    )


def _plain(chunk: pa.Array) -> pa.Array:
    """The values of a chunk without what only encodes them."""
    kind = chunk.type
    if isinstance(kind, pa.BaseExtensionType):
        return _of_extension(chunk)
    if types.is_run_end_encoded(kind):
        return _plain(pc.run_end_decode(chunk))
    if types.is_dictionary(kind):
        values = _plain(chunk.dictionary)
        return values.cast(_BIG.get(values.type, values.type)).take(chunk.indices)
    if types.is_time(kind) or types.is_duration(kind):
        ticks = chunk.cast(pa.int32() if kind.bit_width == 32 else pa.int64()).cast(pa.int64())
        return pc.divide(ticks.cast(pa.float64(), safe=False), float(_PER_SECOND[kind.unit]))
    if types.is_list_view(kind) or types.is_large_list_view(kind):
        lengths = pc.fill_null(pc.list_value_length(chunk), 0).cast(pa.int64())
        offsets = pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(lengths)])
        return pa.LargeListArray.from_arrays(offsets, chunk.flatten(), mask=chunk.is_null())
    return chunk


def _of_extension(chunk: pa.Array) -> pa.Array:
    name = chunk.type.extension_name
    if name == "arrow.bool8":
        return chunk.cast(pa.bool_())
    if name == "arrow.uuid":
        known = (one and str(uuid.UUID(bytes=one)) for one in chunk.storage.to_pylist())
        return pa.array(known, pa.string())
    return _plain(chunk.storage)


def _pieces(chunk: pa.Array) -> Iterator[pa.Array]:
    """A chunk of text in pieces that a string array can hold."""
    if chunk.type in _BIG:
        chunk = chunk.cast(_BIG[chunk.type])
        if chunk.nbytes > PIECE and len(chunk) > 1:
            half = len(chunk) // 2
            yield from _pieces(chunk[:half])
            yield from _pieces(chunk[half:])
            return
        text = chunk.buffers()[2]
        if text is not None and text.size > PIECE:  # a slice refers to all that it was cut from
            chunk = pa.concat_arrays([chunk])
    yield chunk


def _cast(chunk: pa.Array, wanted: Any) -> pa.Array:
    """Only a timestamp may lose digits: those finer than the microsecond."""
    if chunk.type == wanted:
        return chunk
    coarse = _coarse(chunk.type)
    return chunk.cast(coarse, safe=coarse == chunk.type).cast(wanted)


def _coarse(kind: Any) -> Any:
    """The type, with its nanoseconds as microseconds."""
    if types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz) if kind.unit == "ns" else kind
    if types.is_map(kind):
        return pa.map_(_coarse(kind.key_type), _coarse(kind.item_type))
    if types.is_struct(kind):
        return pa.struct([f.with_type(_coarse(f.type)) for f in kind])
    for is_one, made in ((types.is_list, pa.list_), (types.is_large_list, pa.large_list)):
        if is_one(kind):
            return made(kind.value_field.with_type(_coarse(kind.value_type)))
    if types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(_coarse(kind.value_type)), kind.list_size)
    return kind
