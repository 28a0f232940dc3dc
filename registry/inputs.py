"""From rows to what an estimator gets: one table of types, for training, scoring and examples.

| Arrow type                       | what an estimator gets                                       |
|----------------------------------|--------------------------------------------------------------|
| bool, integers, floats, decimals | float64; null and infinite values are missing (NaN)          |
| timestamps, dates, times, spans  | days as float64 (since 1970, UTC); a pipeline: datetime64    |
| texts, also as dictionary        | as the estimator's form says, see `Form`                     |
| lists, structs, maps, binaries   | as they are, in a pipeline of the user's; refused elsewhere  |

Which column is what is decided once, by the training rows, and kept in the model's card. What an
estimator is given never depends on how rows were cut.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from registry.errors import MissingFeature, UnfitColumn
from registry.methods.predictions import AnyArray, nearest

MAX_CATEGORIES = 250
"""Of a text column, so many most frequent values are categories; the others are missing."""
EXACT = 2**53
"""Beyond it, float64 does not hold every whole number."""
# What XGBoost or LightGBM do not take in a column's name.
_REFUSED_IN_NAMES = str.maketrans('[]<{}",:', "________")
_DAY_US = 86_400 * 1_000_000


class Form(StrEnum):
    """How an estimator wants columns of text."""

    OWN = "own"
    """A pipeline or a class of the user's: text as it is, missing as NaN."""
    TEXT = "text"
    """The same, for the encoder that Ratchet puts before an estimator."""
    CATEGORY = "category"
    """Boosted trees: pandas categories, those of the training rows; others are missing."""
    FILLED = "filled"
    """CatBoost: text, missing as an empty one."""


class Kind(StrEnum):
    """What a column becomes."""

    NUMBER = "number"
    TEXT = "text"
    CATEGORY = "category"
    FILLED = "filled"
    TIME = "time"
    AS_IS = "as_is"


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column that a model was trained on."""

    name: str
    kind: Kind = Kind.NUMBER
    categories: tuple[str, ...] = ()
    """The values of a text column in training, by name; none where they were too many."""
    given: str = ""
    """Its name where the estimator's library does not take the column's own."""

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Column":
        """The column from its data."""
        return cls(**{**data, "kind": Kind(data["kind"]), "categories": tuple(data["categories"])})


def describe(table: pa.Table, features: Sequence[str], form: Form) -> tuple[Column, ...]:
    """The columns of training rows. Raises UnfitColumn, naming column, value and count."""
    names = _given_names(features) if form is Form.CATEGORY else [""] * len(features)
    return tuple(
        _describe(plain(_column(table, name)), name, form, given)
        for name, given in zip(features, names, strict=True)
    )


def as_array(data: Any, columns: Sequence[Column]) -> AnyArray:
    """(rows, columns) in float64; each category is a column of its own, of zeros and ones."""
    if isinstance(data, np.ndarray):
        _check_width(data, columns)
        return data
    arrays: list[AnyArray] = []
    for column in columns:
        values = _column(data, column.name)
        if column.kind is Kind.CATEGORY:
            codes = _codes(values, column)
            arrays.append(np.equal.outer(codes, np.arange(len(column.categories))).astype(float))
        else:
            arrays.append(_numbers(values, column.name))
    return np.column_stack(arrays) if arrays else np.empty((len(data), 0))


def as_frame(data: Any, columns: Sequence[Column]) -> Any:
    """A pandas data frame of the columns, in their order."""
    import pandas

    names = [column.given or column.name for column in columns]
    if isinstance(data, np.ndarray):
        _check_width(data, columns)
        return pandas.DataFrame(data, columns=names)
    series = [_SERIES[c.kind](_column(data, c.name), c) for c in columns]
    frame = pandas.concat(series, axis=1) if series else pandas.DataFrame(index=range(len(data)))
    frame.columns = names
    return frame


def inferred(data: Any, features: Sequence[str]) -> tuple[Column, ...]:
    """The columns of a model that does not say what it was trained on: as the rows have them."""
    if isinstance(data, np.ndarray):
        return tuple(Column(name=name) for name in features)
    return tuple(
        _describe(plain(_column(data, name)), name, Form.OWN, "", huge=True) for name in features
    )


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column without encodings: dictionaries and runs as their values, one type of text."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        # Not by a cast, which knows no dictionary of views.
        values = [
            plain(pa.chunked_array([chunk.dictionary])).combine_chunks().take(chunk.indices)
            for chunk in column.chunks
        ]
        empty = plain(pa.chunked_array([], kind.value_type))
        return pa.chunked_array(values, empty.type)
    if pa.types.is_run_end_encoded(kind):
        return plain(
            pa.chunked_array([pc.run_end_decode(c) for c in column.chunks], kind.value_type)
        )
    if is_text(kind):
        return pc.cast(column, pa.large_string())
    return column


def is_text(kind: Any) -> bool:
    """Whether an Arrow type is text."""
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(test(kind) for test in tests)


def is_number(kind: Any) -> bool:
    """Whether an Arrow type is a number or a boolean."""
    tests = (
        pa.types.is_boolean,
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_decimal,
        pa.types.is_null,
    )
    return any(test(kind) for test in tests)


def is_time(kind: Any) -> bool:
    """Whether an Arrow type is a time, a date, a time of day or a span of time."""
    return bool(pa.types.is_temporal(kind)) and not pa.types.is_interval(kind)


def _describe(
    column: pa.ChunkedArray, name: str, form: Form, given: str, *, huge: bool = False
) -> Column:
    kind = column.type
    if is_number(kind):
        if not huge:
            _refuse_huge(column, name)
        return Column(name=name, given=given)
    if is_time(kind):
        whole = pa.types.is_timestamp(kind) or pa.types.is_date(kind)
        own = form is Form.OWN and whole
        return Column(name=name, kind=Kind.TIME if own else Kind.NUMBER, given=given)
    if is_text(kind):
        # What is unseen is known by the categories, also where the estimator gets the text itself.
        kinds = {Form.CATEGORY: Kind.CATEGORY, Form.FILLED: Kind.FILLED}
        text = kinds.get(form, Kind.TEXT)
        known = _categories(column, text)
        if text is Kind.CATEGORY and not known:
            known = ("",)  # XGBoost refuses a column without any
        return Column(name=name, kind=text, categories=known, given=given)
    if form is Form.OWN:
        return Column(name=name, kind=Kind.AS_IS, given=given)
    raise UnfitColumn(
        f"column {name} is of type {kind}, which no estimator takes ({len(column):,} rows)",
        hint=f"make numbers or texts of {name} in a feature function, leave it out of "
        "features.columns, or name a pipeline of your own as trainer.estimator",
    )


def _refuse_huge(column: pa.ChunkedArray, name: str) -> None:
    if not pa.types.is_integer(column.type):
        return
    small = pa.scalar(EXACT, column.type) if column.type.bit_width == 64 else None
    if small is None:
        return
    too_large = pc.greater(column, small)
    if pa.types.is_signed_integer(column.type):
        too_large = pc.or_(too_large, pc.less(column, -EXACT))
    beyond = column.filter(too_large)
    if not len(beyond):
        return
    raise UnfitColumn(
        f"column {name}: {len(beyond):,} of {len(column):,} whole numbers are beyond 2^53 (such "
        f"as {beyond[0]}), and would be rounded",
        hint=f"make {name} a text in a feature function, or leave it out of features.columns",
    )


def _categories(column: pa.ChunkedArray, kind: Kind) -> tuple[str, ...]:
    """The most frequent values, by name; none of a text that is no category: it has too many."""
    counts = pc.value_counts(column.drop_null().combine_chunks())
    if kind is not Kind.CATEGORY and len(counts) > MAX_CATEGORIES:
        return ()
    pairs = zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True)
    frequent = sorted(pairs, key=lambda pair: (-pair[1], pair[0]))[:MAX_CATEGORIES]
    return tuple(sorted(value for value, _ in frequent))


def _given_names(features: Sequence[str]) -> list[str]:
    names: list[str] = []
    for feature in features:
        name = feature.translate(_REFUSED_IN_NAMES)
        while name in names or (name != feature and name in features):
            name += "_"
        names.append("" if name == feature else name)
    return names


def _column(data: Any, name: str) -> pa.ChunkedArray:
    names = data.column_names if isinstance(data, pa.Table) else list(data.columns)
    if name not in names:
        raise MissingFeature(
            f"The rows have no column {name!r}, which the model was trained on; "
            f"{nearest(name, names)}"
        )
    if isinstance(data, pa.Table):
        return data.column(name)
    try:
        array = pa.array(data[name], from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise UnfitColumn(f"column {name} holds values of several types: {error}") from error
    return array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])


def _numbers(values: pa.ChunkedArray, name: str) -> AnyArray:
    """float64, with NaN for what is missing or infinite."""
    column = plain(values)
    kind = column.type
    try:
        if is_time(kind):
            numbers = _days(column)
        else:
            small = pc.cast(column, pa.int8()) if pa.types.is_boolean(kind) else column
            numbers = np.array(pc.cast(small, pa.float64(), safe=False).to_numpy())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise UnfitColumn(
            f"column {name} is {kind}, and the model was trained on numbers: "
            f"{str(error).splitlines()[0]}",
            hint=f"give {name} the type that it had, or train again",
        ) from error
    numbers[~np.isfinite(numbers)] = np.nan
    return numbers


def _days(column: pa.ChunkedArray) -> AnyArray:
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        column = pc.cast(column, pa.timestamp("us"), safe=False)
    elif pa.types.is_duration(kind):
        column = pc.cast(column, pa.duration("us"), safe=False)
    else:
        column = pc.cast(column, pa.time64("us"), safe=False)
    return np.array(pc.cast(pc.cast(column, pa.int64()), pa.float64()).to_numpy()) / _DAY_US


def _texts(values: pa.ChunkedArray) -> pa.ChunkedArray:
    column = plain(values)
    return column if is_text(column.type) else pc.cast(column, pa.large_string())


def _codes(values: pa.ChunkedArray, column: Column) -> AnyArray:
    """The number of each row's category; -1: missing, or none of the training rows had it."""
    known = pa.array(column.categories, pa.large_string())
    places = pc.index_in(_texts(values), value_set=known)
    return np.asarray(pc.fill_null(places, -1).to_numpy())


def _series(values: Any) -> Any:
    import pandas

    return values.reset_index(drop=True) if hasattr(values, "index") else pandas.Series(values)


def _category_series(values: pa.ChunkedArray, column: Column) -> Any:
    import pandas

    codes = _codes(values, column)
    return _series(pandas.Categorical.from_codes(codes, categories=list(column.categories)))


def _filled_series(values: pa.ChunkedArray, _: Column) -> Any:
    return _series(pc.fill_null(_texts(values), "").to_pandas().astype(object))


def _time_series(values: pa.ChunkedArray, _: Column) -> Any:
    column = plain(values)
    zone = column.type.tz if pa.types.is_timestamp(column.type) else None
    return _series(pc.cast(column, pa.timestamp("us", zone), safe=False).to_pandas())


_SERIES: dict[Kind, Callable[[pa.ChunkedArray, Column], Any]] = {
    Kind.NUMBER: lambda values, column: _series(_numbers(values, column.name)),
    Kind.TEXT: lambda values, _: _series(_texts(values).to_pandas()),
    Kind.CATEGORY: _category_series,
    Kind.FILLED: _filled_series,
    Kind.TIME: _time_series,
    Kind.AS_IS: lambda values, _: _series(values.to_pandas()),
}


def _check_width(data: AnyArray, columns: Sequence[Column]) -> None:
    if data.ndim != 2 or data.shape[1] != len(columns):
        raise MissingFeature(
            f"The rows have the shape {data.shape}; the model was trained on "
            f"{len(columns)} features."
        )
    texts = [column.name for column in columns if column.kind is not Kind.NUMBER]
    if texts:
        raise UnfitColumn(
            f"an array has no names and no texts, and column {texts[0]} is no number",
            hint="give the rows as a pyarrow.Table or a data frame",
        )
