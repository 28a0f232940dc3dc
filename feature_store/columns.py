"""The column types that every backend can hold, and how rows are made to fit them."""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from feature_store.errors import SchemaMismatch, UnknownColumn, nearest

EVENT_TIME = pa.timestamp("us", tz="UTC")

_CANONICAL = {
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
}
_PLAIN = {
    pa.null(),
    pa.bool_(),
    pa.int8(),
    pa.int16(),
    pa.int32(),
    pa.int64(),
    pa.float32(),
    pa.float64(),
    pa.string(),
    pa.binary(),
    pa.date32(),
}
# What fits into what without losing a digit.
_WIDER = {
    pa.int8(): {pa.int16(), pa.int32(), pa.int64(), pa.float32(), pa.float64()},
    pa.int16(): {pa.int32(), pa.int64(), pa.float32(), pa.float64()},
    pa.int32(): {pa.int64(), pa.float64()},
    pa.float32(): {pa.float64()},
}


def canonical_schema(schema: pa.Schema) -> pa.Schema:
    """Return the schema as it is stored; `SchemaMismatch` names a type that cannot be."""
    return pa.schema([pa.field(f.name, _canonical(f.type, f.name)) for f in schema])


def column_types(schema: pa.Schema) -> dict[str, str]:
    """Column -> type as text, in the schema's order."""
    return {f.name: str(f.type) for f in schema}


def require(view: str, columns: Iterable[str], known: Iterable[str]) -> None:
    """Raise `UnknownColumn` for the first column that is not known, naming the nearest."""
    names = list(known)
    for column in columns:
        if column not in names:
            raise UnknownColumn(
                f"view {view} has no column {column!r}{nearest(column, names)}",
                hint="correct the column's name",
            )


def conform(view: str, table: pa.Table, schema: pa.Schema, *, merge_schema: bool) -> pa.Table:
    """Cast rows to the table's schema; columns that it lacks come last.

    Raises `SchemaMismatch` for missing and extra columns (unless `merge_schema`) and for types
    that do not fit without loss.
    """
    table = canonical(table)
    absent = [f.name for f in schema if f.name not in table.column_names]
    extra = [name for name in table.column_names if name not in schema.names]
    if (absent or extra) and not merge_schema:
        parts = [f"column {name} is missing" for name in absent[:3]]
        parts += [f"column {name} is not in the view" for name in extra[:3]]
        left = len(absent) + len(extra) - len(parts)
        more = f" (and {left} more)" if left else ""
        raise SchemaMismatch(
            f"view {view}: {'; '.join(parts)}{more}",
            hint="correct the rows, or append them with merge_schema=True",
        )
    arrays, fields = [], []
    for wanted in schema:
        if wanted.name in absent:
            arrays.append(pa.chunked_array([pa.nulls(table.num_rows, wanted.type)]))
        else:
            arrays.append(_fit(view, table.column(wanted.name), wanted))
        fields.append(wanted)
    for name in extra:
        if pa.types.is_null(table.schema.field(name).type):
            raise SchemaMismatch(
                f"view {view}: new column {name} holds nothing but nulls, so it has no type",
                hint=f"cast {name} to a type, or leave it out",
            )
        arrays.append(table.column(name))
        fields.append(table.schema.field(name))
    return pa.table(arrays, schema=pa.schema(fields))


def canonical(table: pa.Table) -> pa.Table:
    """Cast rows to the types that are stored."""
    schema = canonical_schema(table.schema)
    arrays = []
    for column, wanted in zip(table.columns, schema, strict=True):
        if column.type != wanted.type:
            column = _cast(column, wanted)
        arrays.append(column)
    return pa.table(arrays, schema=schema)


def _cast(column: pa.ChunkedArray, wanted: pa.Field) -> pa.ChunkedArray:
    # Only a timestamp may lose digits: those finer than the microsecond.
    loses = pa.types.is_timestamp(wanted.type)
    try:
        return column.cast(wanted.type, safe=not loses)
    except pa.ArrowInvalid as error:
        raise SchemaMismatch(
            f"column {wanted.name}: {column.type} does not fit into {wanted.type}: {error}",
            hint=f"cast {wanted.name} to {wanted.type} before the append",
        ) from error


def _fit(view: str, column: pa.ChunkedArray, wanted: pa.Field) -> pa.ChunkedArray:
    if column.type == wanted.type:
        return column
    if pa.types.is_null(column.type) or wanted.type in _WIDER.get(column.type, ()):
        return column.cast(wanted.type)
    raise SchemaMismatch(
        f"view {view}: column {wanted.name} is {column.type}, expected {wanted.type}",
        hint=f"cast {wanted.name} to {wanted.type} before the append",
    )


def _canonical(kind: Any, column: str) -> Any:
    if kind in _PLAIN or pa.types.is_decimal128(kind):
        return kind
    if kind in _CANONICAL:
        return _CANONICAL[kind]
    if pa.types.is_timestamp(kind):
        return EVENT_TIME
    if pa.types.is_dictionary(kind):
        return _canonical(kind.value_type, column)
    if pa.types.is_fixed_size_binary(kind):
        return pa.binary()
    if pa.types.is_map(kind):
        return pa.map_(_canonical(kind.key_type, column), _canonical(kind.item_type, column))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(f.name, _canonical(f.type, column)) for f in kind])
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.list_(pa.field("element", _canonical(kind.value_type, column)))
    raise SchemaMismatch(
        f"column {column}: type {kind} cannot be stored",
        hint=f"cast {column} to a number, a text, a timestamp or a list of them",
    )
