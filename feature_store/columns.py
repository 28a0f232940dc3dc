"""The columns of rows that come in: their names, and how they are made to fit a view."""

import re
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from feature_store.conversions import EVENT_TIME, stored_type, to_stored
from feature_store.errors import SchemaMismatch, UnknownColumn, nearest

__all__ = [
    "EVENT_TIME",
    "canonical",
    "canonical_schema",
    "column_types",
    "conform",
    "index_columns",
    "require",
    "require_distinct",
    "without_index",
]

_INDEX = re.compile(r"__index_level_\d+__|Unnamed: \d+|")


def canonical_schema(schema: pa.Schema) -> pa.Schema:
    """Return the schema as it is stored; `SchemaMismatch` names a type that cannot be."""
    return pa.schema([pa.field(f.name, stored_type(f.type, f.name)) for f in schema])


def column_types(schema: pa.Schema) -> dict[str, str]:
    """Column -> type as text, in the schema's order."""
    return {f.name: str(f.type) for f in schema}


def require(view: str, columns: Iterable[str], known: Iterable[str]) -> None:
    """Raise `UnknownColumn` for the first column that is not known, naming the nearest."""
    names = dict.fromkeys(known)
    for column in columns:
        if column not in names:
            raise UnknownColumn(
                f"view {view} has no column {column!r}{nearest(column, names)}",
                hint="correct the column's name",
            )


def require_distinct(view: str, names: Iterable[str]) -> None:
    """Refuse names that are the same, or differ by case only: SQL cannot tell them apart."""
    seen: dict[str, str] = {}
    for name in names:
        twin = seen.get(name.lower())
        if twin is not None:
            how = "is there twice" if twin == name else f"and {name} differ by case only"
            raise SchemaMismatch(
                f"view {view}: column {twin} {how}, and Delta and SQL cannot tell them apart",
                hint="rename one of them, or leave it out",
            )
        seen[name.lower()] = name


def index_columns(schema: pa.Schema) -> tuple[str, ...]:
    """Columns that are nothing but the row numbers of a pandas frame.

    Raises `SchemaMismatch` for an index without a name that holds something else.
    """
    found = [field for field in schema if _INDEX.fullmatch(field.name)]
    for field in found:
        if not (types.is_integer(field.type) or types.is_null(field.type)):
            raise SchemaMismatch(
                f"column {field.name!r} is an index without a name, of {field.type}",
                hint="give it a name to keep it (df.rename_axis('name').reset_index()), or drop it "
                "(df.reset_index(drop=True))",
            )
    return tuple(field.name for field in found)


def without_index(table: pa.Table) -> pa.Table:
    """The rows without the row numbers that a pandas frame brought along."""
    return table.drop_columns(list(index_columns(table.schema)))


def conform(view: str, table: pa.Table, schema: pa.Schema, *, merge_schema: bool) -> pa.Table:
    """Cast rows to the table's schema; columns that it lacks come last.

    Raises `SchemaMismatch` for missing and extra columns (unless `merge_schema`) and for types
    that do not fit without loss.
    """
    require_distinct(view, table.column_names)
    table = canonical(table)
    given = dict(zip(table.column_names, table.columns, strict=True))
    wanted = {field.name: field for field in schema}
    absent = [name for name in wanted if name not in given]
    extra = [name for name in given if name not in wanted]
    if (absent or extra) and not merge_schema:
        raise _other_columns(view, absent, extra)
    require_distinct(view, (*wanted, *extra))
    arrays = [
        _fit(view, given[name], field)
        if name in given
        else pa.chunked_array([pa.nulls(table.num_rows, field.type)])
        for name, field in wanted.items()
    ]
    for name in extra:
        if types.is_null(given[name].type):
            raise SchemaMismatch(
                f"view {view}: new column {name} holds nothing but nulls, so it has no type",
                hint=f"cast {name} to a type, or leave it out",
            )
    fields = [*wanted.values(), *(pa.field(name, given[name].type) for name in extra)]
    return pa.table([*arrays, *(given[name] for name in extra)], schema=pa.schema(fields))


def canonical(table: pa.Table) -> pa.Table:
    """Cast rows to the types that are stored."""
    schema = canonical_schema(table.schema)
    columns = [to_stored(column, f) for column, f in zip(table.columns, schema, strict=True)]
    return pa.table(columns, schema=schema)


def _other_columns(view: str, absent: list[str], extra: list[str]) -> SchemaMismatch:
    parts = [f"column {name} is missing" for name in absent[:3]]
    parts += [f"column {name} is not in the view" for name in extra[:3]]
    left = len(absent) + len(extra) - len(parts)
    more = f" (and {left} more)" if left else ""
    return SchemaMismatch(
        f"view {view}: {'; '.join(parts)}{more}",
        hint="correct the rows, or append them with merge_schema=True",
    )


def _fit(view: str, column: pa.ChunkedArray, wanted: pa.Field) -> pa.ChunkedArray:
    """A column in the type of the table's, where no value loses a digit."""
    if column.type == wanted.type:
        return column
    reason = ""
    if _may_fit(column.type, wanted.type):
        try:
            return _exactly(column, wanted.type)
        except pa.ArrowInvalid as error:
            reason = f", and {_misfit(column, wanted.type) or error}"
    raise SchemaMismatch(
        f"view {view}: column {wanted.name} is {column.type}, expected {wanted.type}{reason}",
        hint=_way_out(column.type, wanted),
    )


def _may_fit(kind: Any, wanted: Any) -> bool:
    if types.is_null(kind):
        return True
    if types.is_integer(kind):
        return bool(
            types.is_integer(wanted) or types.is_floating(wanted) or types.is_decimal(wanted)
        )
    if types.is_floating(kind):
        return bool(types.is_integer(wanted) or wanted == pa.float64())
    if types.is_decimal(kind):
        return bool(types.is_decimal(wanted))
    return bool(types.is_date(kind) and types.is_timestamp(wanted))


def _exactly(column: pa.ChunkedArray, wanted: Any) -> pa.ChunkedArray:
    if types.is_floating(column.type) and types.is_integer(wanted):  # pandas: a number or NaN
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    if types.is_integer(column.type) and types.is_decimal(wanted):
        column = column.cast(pa.decimal128(38, min(wanted.scale, 19)))
    return column.cast(wanted)


def _misfit(column: pa.ChunkedArray, wanted: Any) -> str:
    """How many values have a fraction, such as which, where whole numbers are wanted."""
    if not (types.is_floating(column.type) and types.is_integer(wanted)):
        return ""
    broken = column.filter(pc.not_equal(pc.floor(column), column))
    known = broken.filter(pc.is_finite(broken))
    if not len(known):
        return ""
    return f"{len(known)} of {len(column)} values are not whole, such as {known[0].as_py():g}"


def _way_out(kind: Any, wanted: pa.Field) -> str:
    if types.is_floating(kind) and types.is_integer(wanted.type):
        return (
            f"round {wanted.name} before the append, or make another view in which it is double "
            f"(ratchet features create NAME FILE --type {wanted.name}=double)"
        )
    return f"cast {wanted.name} to {wanted.type} before the append"
