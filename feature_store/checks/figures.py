"""What is counted of each column: one streaming pass of Arrow over the rows, a few columns at once.

The cost is linear in rows and in columns, and what is kept of a pass is a few numbers a column.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from feature_store.checks.config import Range
from feature_store.conversions import EVENT_TIME

_AT_ONCE = 200
"""Columns that are read together: so many row groups of them lie in memory."""

_CLASSES = 1000
"""Different values that are told apart at most."""

_LARGEST = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be counted of a column, beside its missing and infinite values."""

    span: Range | None = None
    """Count the values outside of these bounds."""
    choices: pa.Array | None = None
    """Count the values that are none of these."""
    classes: bool = False
    """Tell different values apart."""


@dataclass(kw_only=True)
class Figures:
    """What was counted of a column."""

    rows: int = 0
    """Rows that were passed over."""
    final: int = 0
    """Those whose values are final; all further figures are of these."""
    missing: int = 0
    """Null, NaN, or a list that holds such a thing."""
    infinite: int = 0
    """Infinite, or a list that holds such a thing."""
    least: Any = None
    """Smallest number."""
    most: Any = None
    """Largest number."""
    outside: int = 0
    """Numbers outside of the bounds."""
    others: int = 0
    """Values that are none of the choices."""
    example: str | None = None
    """The first of them by the alphabet."""
    classes: set[Any] = field(default_factory=set)
    """Different values."""


def measure(
    dataset: Any,
    wanted: Mapping[str, Wanted],
    *,
    among: Any = None,
    final: tuple[str, Mapping[str, pa.Scalar]] | None = None,
) -> dict[str, Figures]:
    """Count what is wanted of each column.

    `among`: a filter of the rows. `final`: the column of event times, and the latest time at which
    a column's value is final, for the columns of which not all are.
    """
    figures = {column: Figures() for column in wanted}
    time, until = final or ("", {})
    for columns in _runs(list(wanted)):
        held_up = [column for column in columns if column in until]
        read = list(dict.fromkeys([*columns, *([time] if held_up else [])]))
        for batch in dataset.to_batches(columns=read, filter=among):
            values = dict(zip(read, batch.columns, strict=True))
            for column in columns:
                array = values[column]
                figures[column].rows += len(array)
                if column in until:
                    mature = pc.less_equal(values[time].cast(EVENT_TIME), until[column])
                    array = array.filter(mature)
                _count(array, wanted[column], figures[column])
    return figures


def _runs(columns: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(columns), _AT_ONCE):
        yield columns[start : start + _AT_ONCE]


def _count(array: pa.Array, wanted: Wanted, figures: Figures) -> None:
    figures.final += len(array)
    missing = _missing(array)
    figures.missing += _true(missing)
    figures.infinite += _infinite(array)
    if wanted == Wanted():
        return
    present = array.filter(pc.invert(missing))
    if wanted.span is not None:
        _count_outside(present, wanted.span, figures)
    if wanted.choices is not None:
        _count_others(present, wanted.choices, figures)
    if wanted.classes and len(figures.classes) < _CLASSES:
        figures.classes.update(map(str, present.unique().to_pylist()[:_CLASSES]))


def _missing(array: pa.Array) -> pa.Array:
    """Whether each value, or anything in it, is null or NaN."""
    kind = array.type
    if types.is_list(kind):
        inside = _missing(array.flatten())
        return pc.or_(pc.is_null(array), _holds(array, inside))
    return pc.is_null(array, nan_is_null=types.is_floating(kind))


def _infinite(array: pa.Array) -> int:
    kind = array.type
    if types.is_floating(kind):
        return _true(pc.is_inf(array))
    if types.is_list(kind) and types.is_floating(kind.value_type):
        return _true(_holds(array, pc.fill_null(pc.is_inf(array.flatten()), False)))
    return 0


def _holds(lists: pa.Array, inside: pa.Array) -> pa.Array:
    """Which lists hold an element for which `inside` is true."""
    rows = pc.list_parent_indices(lists).filter(inside).unique()
    return pc.is_in(pa.array(range(len(lists)), pa.int64()), value_set=rows.cast(pa.int64()))


def _true(mask: pa.Array) -> int:
    return int(pc.sum(mask).as_py() or 0)


def _count_outside(present: pa.Array, span: Range, figures: Figures) -> None:
    if types.is_decimal(present.type):
        present = present.cast(pa.float64())
    extremes = pc.min_max(present)
    for value in (extremes["min"].as_py(), extremes["max"].as_py()):
        if value is not None:
            figures.least = value if figures.least is None else min(figures.least, value)
            figures.most = value if figures.most is None else max(figures.most, value)
    whole = types.is_integer(present.type)
    below = _beyond(present, span.min, pc.less, whole=whole)
    above = _beyond(present, span.max, pc.greater, whole=whole)
    figures.outside += _true(pc.or_(below, above))


def _beyond(present: pa.Array, bound: float | None, compare: Any, *, whole: bool) -> pa.Array:
    """Where values lie beyond a bound; integers are compared as integers, with every digit."""
    if bound is None:
        return pa.array([False] * len(present), pa.bool_())
    if not whole:
        return compare(present, pa.scalar(float(bound)))
    if abs(bound) > _LARGEST:  # beyond every integer
        return pa.array([(bound > 0) == (compare is pc.less)] * len(present), pa.bool_())
    exact = math.ceil(bound) if compare is pc.less else math.floor(bound)
    return compare(present.cast(pa.int64()), pa.scalar(exact, pa.int64()))


def _count_others(present: pa.Array, choices: pa.Array, figures: Figures) -> None:
    others = present.filter(pc.invert(pc.is_in(present, value_set=choices)))
    if len(others):
        texts = others.unique().cast(pa.string())
        first = pc.min(texts).as_py()
        figures.example = first if figures.example is None else min(first, figures.example)
        figures.others += len(others)
