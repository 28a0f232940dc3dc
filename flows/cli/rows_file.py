"""Rows of a .parquet or .csv file, as `ratchet features` appends them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet

from feature_store.columns import EVENT_TIME, index_columns, require_distinct, without_index
from feature_store.errors import nearest
from flows.core.errors import NotFound, Refused

_NAMED = {
    "string": pa.string(),
    "text": pa.string(),
    "bool": pa.bool_(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", tz="UTC"),
}
_DECIMAL = re.compile(r"decimal\((\d+),\s*(\d+)\)")
_ABSENT = pa.array(
    ["", "NA", "N/A", "n/a", "#N/A", "<NA>", "NULL", "null", "None", "NaN", "nan", "NaT"]
)
_BLOCK = 1 << 24
"""Bytes that are read at once: no line may be longer."""

_WHOLE = r"^[+-]?\d+$"
_CODE = r"^[+-]?0\d+$"
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"


@dataclass(frozen=True, kw_only=True)
class FileRows:
    """What a file holds, and what people should know of how it was read."""

    rows: pa.Table
    read_as: dict[str, str]
    """Column -> type, of a CSV file whose types were guessed."""
    notes: tuple[str, ...]
    """What was left out, or read otherwise than one might think; one sentence each."""


def read_rows(
    path: Path, schema: pa.Schema | None = None, named: Mapping[str, str] | None = None
) -> FileRows:
    """The rows of a file. Raises NotFound, Refused and SchemaMismatch.

    Values of a CSV file become the types of `schema`, the view's; without one, those that `named`
    says, and of other columns those that they look like. A number that does not fit a whole one
    stays a number, so that the view says how many there are.
    """
    if not path.is_file():
        raise NotFound(f"there is no file {path}", hint="check the path")
    types = {name: _type(name, kind) for name, kind in (named or {}).items()}
    if schema is not None:
        types |= {field.name: field.type for field in schema}
    try:
        if path.suffix.lower() == ".parquet":
            rows = parquet.ParquetFile(path, coerce_int96_timestamp_unit="us").read()
            _require_columns(path, named or {}, rows.column_names)
            return _without_index(_cast(path, rows, types if named else {}), {}, [])
        if path.suffix.lower() == ".csv":
            return _csv(path, types, named, guess=schema is None)
    except pa.ArrowInvalid as error:
        raise Refused(
            f"{path} cannot be read: {str(error).splitlines()[0]}",
            hint="repair the file (UTF-8, as many values in each line), or save it as Parquet",
        ) from error
    raise Refused(f"{path} is neither .parquet nor .csv", hint="save it as Parquet")


def _type(column: str, name: str) -> pa.DataType:
    found = _DECIMAL.fullmatch(name)
    if found and 0 < int(found[1]) <= 38:
        return pa.decimal128(int(found[1]), int(found[2]))
    if name in _NAMED:
        return _NAMED[name]
    raise Refused(
        f"--type {column}={name}: there is no type {name!r}",
        hint=f"one of {', '.join(_NAMED)}, decimal(18,2)",
    )


def _require_columns(path: Path, named: Iterable[str], there: Sequence[str]) -> None:
    for name in named:
        if name not in there:
            raise Refused(
                f"--type {name}: {path.name} has no such column{nearest(name, there)}",
                hint="correct the name",
            )


def _cast(path: Path, rows: pa.Table, types: Mapping[str, pa.DataType]) -> pa.Table:
    for name, kind in types.items():
        try:
            column = rows.column(name).cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise Refused(
                f"{path.name}: column {name}: {error}", hint="name another type"
            ) from error
        rows = rows.set_column(rows.column_names.index(name), name, column)
    return rows


def _without_index(rows: pa.Table, read_as: dict[str, str], notes: list[str]) -> FileRows:
    """Without the row numbers of a pandas frame."""
    index = index_columns(rows.schema)
    if index:
        notes = [*notes, f"left out {', '.join(map(repr, index))}: row numbers of a pandas frame"]
    return FileRows(rows=without_index(rows), read_as=read_as, notes=tuple(notes))


def _csv(
    path: Path, types: Mapping[str, pa.DataType], named: Iterable[str] | None, *, guess: bool
) -> FileRows:
    texts, delimiter = _texts(path)
    require_distinct(path.name, texts.column_names)
    _require_columns(path, named or (), texts.column_names)
    columns, notes = {}, []
    for name, column in zip(texts.column_names, texts.columns, strict=True):
        cleaned = _decimal_point(column) if delimiter == ";" else column
        if name in types:
            columns[name] = _as_type(path, name, column, cleaned, types[name])
        else:
            columns[name], note = _guessed(name, column, cleaned)
            notes += [note] if note else []
    rows = pa.table(columns)
    read_as = {field.name: str(field.type) for field in rows.schema} if guess else {}
    return _without_index(rows, read_as, notes)


def _texts(path: Path) -> tuple[pa.Table, str]:
    """Every value as it stands there, an empty one as null, and what divides them."""
    with path.open("rb") as file:
        first = file.readline()
    if first.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Refused(f"{path} is UTF-16", hint="save it as UTF-8")
    try:
        header = first.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(
            f"{path}: the names of its columns are not UTF-8", hint="save it as UTF-8"
        ) from error
    delimiter = max(",;\t|", key=re.sub(r'"[^"]*"', "", header).count)
    read = csv.ReadOptions(block_size=_BLOCK)
    parse = csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    with csv.open_csv(path, read_options=read, parse_options=parse) as opened:
        names = opened.schema.names
    convert = csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    return csv.read_csv(path, read, parse, convert), delimiter


def _decimal_point(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Numbers with a comma, as files have them whose values are divided by semicolons."""
    return pc.replace_substring_regex(column, r"^\s*([+-]?\d+),(\d+)\s*$", r"\1.\2")


def _as_type(
    path: Path, name: str, column: pa.ChunkedArray, cleaned: pa.ChunkedArray, kind: pa.DataType
) -> pa.ChunkedArray:
    """The texts as the view's type; Refused with the first that is none, and how many there are."""
    reader = _reader(kind)
    if reader is None:
        return column
    try:
        return reader(cleaned)
    except pa.ArrowInvalid as error:
        wrong = [text for text in cleaned.unique().to_pylist() if _fails(reader, text)]
        if not wrong:
            said = "some times have a zone and others have none" if kind == EVENT_TIME else error
            raise Refused(f"{path.name}: column {name}: {said}", hint="correct the file") from error
        found = pc.is_in(cleaned, value_set=pa.array(wrong, pa.string()))
        raise Refused(
            f"{path.name}: column {name}: {wrong[0]!r} in row {pc.index(found, True).as_py() + 1} "
            f"is no {kind} ({pc.sum(found).as_py()} of {len(column)} rows)",
            hint="correct the file, or make another view in which the column is of another type",
        ) from error


def _fails(reader: Callable[[pa.ChunkedArray], pa.ChunkedArray], text: str | None) -> bool:
    try:
        reader(pa.chunked_array([pa.array([text], pa.string())]))
    except pa.ArrowInvalid:
        return True
    return False


def _reader(kind: pa.DataType) -> Callable[[pa.ChunkedArray], pa.ChunkedArray] | None:
    """What makes such values of texts; None where texts are left to the view."""
    if pa.types.is_integer(kind):
        return partial(_whole, kind=kind)
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return lambda column: _present(column).cast(kind)
    if pa.types.is_timestamp(kind):
        return _moments
    if pa.types.is_date(kind) or pa.types.is_boolean(kind):
        return lambda column: _present(column).cast(kind)
    return None


def _present(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts of numbers, times and the like, with null for the words that stand for none."""
    text = pc.utf8_trim_whitespace(column)
    absent = pc.is_in(text, value_set=_ABSENT)
    return pc.if_else(absent, pa.scalar(None, pa.string()), text)


def _whole(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    whole = pc.replace_substring_regex(_present(column), r"^\+?(-?\d+)\.0*$", r"\1")
    texts = pc.replace_substring_regex(whole, r"^\+", "")
    try:
        return texts.cast(kind)
    except pa.ArrowInvalid:
        return texts.cast(pa.float64())


def _moments(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Times with a zone, or all without: those are UTC."""
    texts = _present(column)
    for kind in _clocks():
        try:
            return texts.cast(kind)
        except pa.ArrowInvalid:
            continue
    return texts.cast(pa.timestamp("us"))


def _clocks() -> Iterator[pa.DataType]:
    for unit in ("us", "ns"):
        yield pa.timestamp(unit)
        yield pa.timestamp(unit, tz="UTC")


def _guessed(
    name: str, column: pa.ChunkedArray, cleaned: pa.ChunkedArray
) -> tuple[pa.ChunkedArray, str]:
    """The texts as what they look like, and what is to be said of it."""
    numbers = _present(cleaned)
    if numbers.null_count == len(column):
        return pa.chunked_array([pa.nulls(len(column))]), ""
    code = _first(numbers, _CODE)
    if code is not None and _first(numbers, _WHOLE, all_of_them=True) is not None:
        return column, (
            f"column {name} is text, since {code} begins with 0 (a number: --type {name}=int64)"
        )
    tries: tuple[tuple[pa.ChunkedArray, pa.DataType], ...] = (
        (pc.replace_substring_regex(numbers, r"^\+", ""), pa.int64()),
        (numbers, pa.float64()),
        (numbers, pa.date32()),
    )
    long = _first(numbers, r"^[+-]?\d{19,}$")
    for texts, kind in tries:
        try:
            found = texts.cast(kind)
        except pa.ArrowInvalid:
            continue
        if kind == pa.float64() and long is not None:
            return column, (
                f"column {name} is text, since {long} has more digits than a number keeps "
                f"(rounded: --type {name}=double)"
            )
        return found, ""
    try:
        return _moments(column), ""
    except pa.ArrowInvalid:
        return _words(name, column, numbers)


def _words(
    name: str, column: pa.ChunkedArray, numbers: pa.ChunkedArray
) -> tuple[pa.ChunkedArray, str]:
    lowered = pc.utf8_lower(_present(column))
    if pc.all(pc.is_in(lowered.drop_null(), value_set=pa.array(["true", "false"]))).as_py():
        return lowered.cast(pa.bool_()), ""
    there = numbers.drop_null()
    others = there.filter(pc.invert(pc.match_substring_regex(there, _NUMBER)))
    if not 0 < len(others) < len(there) / 2:
        return column, ""
    return column, (
        f"column {name} is text, since {str(others[0])!r} is no number ({len(others):,} of "
        f"{len(column):,} rows)"
    )


def _first(texts: pa.ChunkedArray, pattern: str, *, all_of_them: bool = False) -> str | None:
    """The first text of the pattern; with `all_of_them`, None unless each is of it."""
    there = texts.drop_null()
    fits = pc.match_substring_regex(there, pattern)
    if all_of_them and not pc.all(fits).as_py():
        return None
    found = there.filter(fits)
    return str(found[0]) if len(found) else None
