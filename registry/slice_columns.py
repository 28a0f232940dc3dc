"""Which rows are a slice: columns, quantile bins and crosses, cut once and kept. Pure.

`region` makes a slice of each value, `price/4` of each quarter of a number, `region*device` of each
pair of values. Values that are too rare to be judged alone are one slice together, "other values".
Which are, and where a number is cut, follows from the first rows that are seen (`planned`) and
stays as it is (`parts`), so that the same slice is judged every night.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from registry.errors import GateError
from registry.methods.predictions import AnyArray, Codes, Floats, nearest

# A column with more values than this is not a slice column but a number or an identifier.
MAX_SLICES = 200
MAX_BINS = 20
OTHERS = "other values"
MISSING = "missing"

_BINS = re.compile(r"(?P<column>.+)/(?P<bins>\d+)")


@dataclass(frozen=True, kw_only=True)
class Factor:
    """One column of a slice: its values, or quantile bins of its numbers."""

    column: str
    bins: int = 0
    """0: each value."""


@dataclass(frozen=True, kw_only=True)
class SliceColumn:
    """One entry of the config's `slices`, cut."""

    spec: str
    """As the config names it."""
    cuts: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """Column to where its numbers are cut, ascending; a bin includes its lower end."""
    own: tuple[str, ...] = ()
    """Values that are judged alone."""
    pooled: bool = False
    """Whether the other values are many enough to be judged together."""

    @property
    def names(self) -> list[str]:
        """The slices that are judged."""
        every = (*self.own, OTHERS) if self.pooled else self.own
        return [f"{self.spec}={value}" for value in every]


@dataclass(frozen=True, kw_only=True)
class SlicePlan:
    """The slices of a gate, cut."""

    columns: tuple[SliceColumn, ...] = ()

    @property
    def specs(self) -> tuple[str, ...]:
        """What the config asked for."""
        return tuple(column.spec for column in self.columns)


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """One slice of tonight's rows."""

    name: str
    rows: Codes
    """Row numbers."""
    judged: bool
    """False: too rare, also together with the other rare values of its column."""


def factors_of(spec: str, known: Mapping[str, AnyArray] | None = None) -> tuple[Factor, ...]:
    """The columns of one entry; a column of `known` that has this very name is meant itself."""
    if known is not None and spec in known:
        return (Factor(column=spec),)
    return tuple(_factor(part.strip(), known) for part in spec.split("*"))


def check_slices(specs: Sequence[str]) -> None:
    """Raise GateError for what cannot be the name of a slice."""
    for spec in specs:
        for factor in factors_of(spec):
            if not factor.column:
                raise GateError(
                    f"The gate's slice {spec!r} names no column.",
                    hint="a column (region), bins of a number (price/4) or a cross (region*device)",
                )
            if factor.bins == 1 or factor.bins > MAX_BINS:
                raise GateError(
                    f"The gate's slice {spec!r} has {factor.bins} bins; 2 to {MAX_BINS} make sense."
                )


def columns_of(specs: Sequence[str]) -> list[str]:
    """Every column that these slices may need: entries as they are, and the columns in them."""
    found = [*specs, *(factor.column for spec in specs for factor in factors_of(spec))]
    return list(dict.fromkeys(found))


def check_columns(specs: Sequence[str], columns: Mapping[str, AnyArray]) -> None:
    """Raise GateError unless every slice can be made of these columns."""
    for spec in specs:
        for factor in factors_of(spec, columns):
            if factor.column not in columns:
                others = list(columns)
                near = nearest(factor.column, others) if others else "the holdout came without any"
                raise GateError(f"There is no slice column {factor.column!r}; {near}")


def planned(specs: Sequence[str], columns: Mapping[str, AnyArray], least: float) -> SlicePlan:
    """How these rows are cut; a slice of fewer than `least` rows is not judged alone."""
    return SlicePlan(columns=tuple(_planned(spec, columns, least) for spec in specs))


def parts(plan: SlicePlan, columns: Mapping[str, AnyArray]) -> list[Part]:
    """Every slice that has rows tonight, judged or not."""
    found: list[Part] = []
    for column in plan.columns:
        values, codes = _values(column.spec, columns, column.cuts)
        place = {value: number for number, value in enumerate(column.own)}
        own = np.array([place.get(value, len(place)) for value in values], dtype=np.int64)
        names = [f"{column.spec}={value}" for value in (*column.own, OTHERS)]
        for number, rows in _rows_of(own[codes], len(names)):
            judged = number < len(place) or column.pooled
            name = names[number]
            if not judged and len(alone := np.unique(codes[rows])) == 1:
                name = f"{column.spec}={values[alone[0]]}"
            found.append(Part(name=name, rows=rows, judged=judged))
    return found


def _factor(text: str, known: Mapping[str, AnyArray] | None) -> Factor:
    binned = None if known is not None and text in known else _BINS.fullmatch(text)
    if binned is None:
        return Factor(column=text)
    return Factor(column=binned["column"].strip(), bins=int(binned["bins"]))


def _planned(spec: str, columns: Mapping[str, AnyArray], least: float) -> SliceColumn:
    cuts = {
        factor.column: _cuts(_numbers(columns[factor.column], factor.column), factor.bins)
        for factor in factors_of(spec, columns)
        if factor.bins
    }
    values, codes = _values(spec, columns, cuts)
    if len(values) > MAX_SLICES:
        raise GateError(
            f"The slice column {spec!r} has {len(values):,} values; at most {MAX_SLICES}.",
            hint=f"slice by a category, or put numbers into bins: {spec}/4",
        )
    counts = np.bincount(codes, minlength=len(values))
    own = tuple(sorted(value for value, n in zip(values, counts, strict=True) if n >= least))
    rest = int(sum(n for value, n in zip(values, counts, strict=True) if value not in own))
    return SliceColumn(spec=spec, cuts=cuts, own=own, pooled=rest > 0 and rest >= least)


def _values(
    spec: str, columns: Mapping[str, AnyArray], cuts: Mapping[str, tuple[float, ...]]
) -> tuple[list[str], Codes]:
    """The slices' values as text, and the number of each row's."""
    values, codes = [""], np.zeros(0, dtype=np.int64)
    for order, factor in enumerate(factors_of(spec, columns)):
        column = columns[factor.column]
        if factor.bins:
            own, mine = _binned(_numbers(column, factor.column), cuts[factor.column])
        else:
            own, mine = distinct(column)
        if order == 0:
            values, codes = own, mine
            continue
        pairs, codes = np.unique(codes * len(own) + mine, return_inverse=True)
        values = [f"{values[pair // len(own)]}*{own[pair % len(own)]}" for pair in pairs.tolist()]
    return values, codes


def distinct(column: AnyArray) -> tuple[list[str], Codes]:
    """The values that occur, as text, and the number of each row's."""
    if column.dtype.kind != "O":
        found, codes = np.unique(column, return_inverse=True)
        return [str(value) for value in found.tolist()], codes.ravel().astype(np.int64)
    # Sorting a million strings takes seconds, looking them up a tenth of one.
    items = column.tolist()
    places = {value: number for number, value in enumerate(dict.fromkeys(items))}
    raw = np.fromiter(map(places.__getitem__, items), dtype=np.int64, count=len(items))
    # A value that does not equal itself is NaN.
    texts = [MISSING if value is None or value != value else str(value) for value in places]
    merged = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    return list(merged), np.array([merged[text] for text in texts], dtype=np.int64)[raw]


def _numbers(column: AnyArray, name: str) -> Floats:
    try:
        return np.asarray(column, dtype=np.float64)
    except (TypeError, ValueError):
        raise GateError(
            f"The slice column {name!r} holds no numbers, so it cannot be cut into bins.",
            hint=f"slice by its values: {name}",
        ) from None


def _cuts(numbers: Floats, bins: int) -> tuple[float, ...]:
    usable = numbers[np.isfinite(numbers)]
    if not len(usable):
        return ()
    inner = np.linspace(0.0, 1.0, bins + 1)[1:-1]
    cuts = np.unique(np.quantile(usable, inner, method="higher"))
    return tuple(cuts[cuts > usable.min()].tolist())


def _binned(numbers: Floats, cuts: tuple[float, ...]) -> tuple[list[str], Codes]:
    names = [
        *([] if cuts else ["any number"]),
        *(f"below {cut:.4g}" for cut in cuts[:1]),
        *(f"{low:.4g} to {high:.4g}" for low, high in pairwise(cuts)),
        *(f"from {cut:.4g}" for cut in cuts[-1:]),
        MISSING,
    ]
    codes = np.searchsorted(np.asarray(cuts), numbers, side="right").astype(np.int64)
    codes[~np.isfinite(numbers)] = len(names) - 1
    return names, codes


def _rows_of(codes: Codes, count: int) -> list[tuple[int, Codes]]:
    """The rows of each code that occurs, in ascending order."""
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=count))
    pieces = np.split(order, ends[:-1])
    return [(number, rows) for number, rows in enumerate(pieces) if len(rows)]
