"""Which rows are a slice: columns, quantile bins and crosses, planned anew every night. Pure.

`region` makes a slice of each value, `price/4` of each quarter of a number, `region*device` of each
pair of values. A value of which enough rows come on one night is a slice of its own from then on,
until too few have come on so many nights in a row; the values that are too rare are one slice
together, "other values" (`planned`). A number is cut by the first rows that are enough to fill its
bins, and stays cut there, so that the same slice is judged every night (`parts`).
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from registry.errors import GateError
from registry.methods.codes import numbered
from registry.methods.predictions import AnyArray, Codes, Floats, nearest
from registry.slice_plan import OTHERS, SliceColumn, SlicePlan

# A column with more values than this is not a slice column but a number or an identifier.
MAX_SLICES = 200
MAX_BINS = 20
MISSING = "missing"

_BINS = re.compile(r"(?P<column>.+)/(?P<bins>\d+)")


@dataclass(frozen=True, kw_only=True)
class Factor:
    """One column of a slice: its values, or quantile bins of its numbers."""

    column: str
    bins: int = 0
    """0: each value."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """One slice of tonight's rows."""

    name: str
    rows: Codes
    """Row numbers."""
    judged: bool
    """False: too rare, also together with the other rare values of its column."""
    thin: int = 0
    """Nights in a row with too few rows, of a value that was judged alone before."""


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
                near = nearest(factor.column, others) if others else "the holdout has none of them"
                raise GateError(
                    f"There is no slice column {factor.column!r}; {near}",
                    hint="name a column of the view in gate.slices, and keep it by features.slices",
                )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Sample:
    """The rows of one comparison."""

    columns: Mapping[str, AnyArray]
    clusters: Codes | None
    """Number of each row's cluster; none: rows are independent."""
    fewest: int
    """Clusters below which rows are too few, however many they are."""

    def sizes(self, codes: Codes, count: int, *, times: int = 1) -> Codes:
        """The rows of each of `count` codes, (count,); 0 where the clusters are too few.

        `codes`: (rows,), below 0 for rows that do not count; `times` as many as the fewest clusters
        are asked for.
        """
        rows = np.bincount(codes[codes >= 0], minlength=count)
        if self.clusters is None:
            return rows
        width = int(self.clusters.max(initial=0)) + 1
        pairs = np.unique((codes * width + self.clusters)[codes >= 0])
        units = np.bincount(pairs // width, minlength=count)
        return np.where(units >= times * self.fewest, rows, 0)


def planned(
    specs: Sequence[str],
    samples: Sequence[Mapping[str, AnyArray]],
    least: float,
    *,
    clusters: Sequence[AnyArray | None] = (),
    fewest: float = 0,
    known: SlicePlan | None = None,
    patience: int = 1,
    nights: int = 1,
) -> SlicePlan:
    """The plan by these rows and the one before.

    `samples`: the columns of each comparison, that of the most rows first; `least`: a value with so
    many rows in one of them is judged alone, and is not any more after `patience` nights in a row
    without; `clusters`: of each comparison, where rows depend on each other: then these rows must
    be of `fewest` clusters; `nights`: 0 when no row is newer than those of the plan before. Raises
    GateError when a column that is new has more than MAX_SLICES values.
    """
    before = {} if known is None else {column.spec: column for column in known.columns}
    rows, units = math.ceil(least), math.ceil(fewest)
    found = [
        _Sample(columns=one, clusters=None if ids is None else numbered(ids)[1], fewest=units)
        for one, ids in zip(samples, clusters or [None] * len(samples), strict=True)
    ]
    columns = [_planned(spec, before.get(spec), found, rows, patience, nights) for spec in specs]
    return SlicePlan(columns=tuple(columns), least=rows, clusters=units)


def parts(plan: SlicePlan, columns: Mapping[str, AnyArray]) -> list[Part]:
    """Every slice that has rows tonight, judged or not, and those that are not any more."""
    return [part for column in plan.columns for part in _parts(column, columns)]


def _parts(column: SliceColumn, columns: Mapping[str, AnyArray]) -> Iterator[Part]:
    values, codes = _values(column.spec, columns, column.cuts)
    own = {value: number for number, value in enumerate(sorted(column.own))}
    place = np.array([own.get(value, len(own)) for value in values], dtype=np.int64)
    pieces = dict(_rows_of(place[codes], len(own) + 1))
    for value, number in own.items():
        if number in pieces:
            yield Part(name=f"{column.spec}={value}", rows=pieces[number], judged=True)
    others = pieces.get(len(own), np.zeros(0, dtype=np.int64))
    here = {value: number for number, value in enumerate(values)}
    for value, thin in sorted(column.gone.items()):
        rows = others[codes[others] == here.get(value, -1)]
        yield Part(name=f"{column.spec}={value}", rows=rows, judged=False, thin=thin)
    judged = column.others is not None
    if not judged:
        said = [here[value] for value in column.gone if value in here]
        others = others[~np.isin(codes[others], said)]
    if len(others):
        alone = np.unique(codes[others])
        name = OTHERS if judged or len(alone) > 1 else values[alone[0]]
        yield Part(name=f"{column.spec}={name}", rows=others, judged=judged)


def _factor(text: str, known: Mapping[str, AnyArray] | None) -> Factor:
    binned = None if known is not None and text in known else _BINS.fullmatch(text)
    if binned is None:
        return Factor(column=text)
    return Factor(column=binned["column"].strip(), bins=int(binned["bins"]))


def _planned(
    spec: str,
    before: SliceColumn | None,
    samples: Sequence[_Sample],
    least: int,
    patience: int,
    nights: int,
) -> SliceColumn:
    column = SliceColumn(spec=spec) if before is None else before
    most = samples[0]
    binned = {f.column: f.bins for f in factors_of(spec, most.columns) if f.bins}
    fresh = {
        name: _cuts(most, name, bins, least)
        for name, bins in binned.items()
        if column.aged or not column.cuts.get(name)
    }
    cuts = {name: fresh.get(name) or column.cuts.get(name, ()) for name in binned}
    aged = column.aged and not any(fresh.values())
    if cuts != column.cuts:
        column = SliceColumn(spec=spec, cuts=cuts)
    valued = [_values(spec, sample.columns, cuts) for sample in samples]
    if before is None and len(valued[0][0]) > MAX_SLICES:
        raise GateError(
            f"The slice column {spec!r} has {len(valued[0][0]):,} values; at most {MAX_SLICES}.",
            hint=f"slice by a category, or put numbers into bins: {spec}/4",
        )
    enough = _enough(valued, samples, least)
    thin = {
        value: before + nights
        for value, before in (column.gone | column.own).items()
        if value not in enough
    }
    kept = {value: so_far for value, so_far in thin.items() if value in column.own}
    kept = {value: so_far for value, so_far in kept.items() if so_far < patience}
    # What there is no room for is judged with the others until one of these goes.
    full = [value for value in enough if value not in column.own]
    stay = (kept.keys() | enough.keys()) & column.own.keys()
    come = sorted(full, key=lambda value: (-enough[value], value))[: max(MAX_SLICES - len(stay), 0)]
    own = dict.fromkeys(sorted({*come, *(stay - kept.keys())}), 0) | kept
    others = 0 if _is_rest_enough(valued, samples, own, least) else None
    # What is left when values leave the others to be judged alone may be nothing at all.
    if others is None and column.others is not None and column.own.keys() >= enough.keys():
        others = column.others + nights
    return SliceColumn(
        spec=spec,
        cuts=cuts,
        aged=aged,
        own=own,
        gone={v: so_far for v, so_far in thin.items() if v not in own and so_far < 2 * patience},
        others=None if others is not None and others >= patience else others,
    )


def _enough(
    valued: Sequence[tuple[list[str], Codes]], samples: Sequence[_Sample], least: int
) -> dict[str, int]:
    """The most rows of each value that has enough of them, and of clusters, in one sample."""
    found: dict[str, int] = {}
    for (values, codes), sample in zip(valued, samples, strict=True):
        for value, rows in zip(values, sample.sizes(codes, len(values)).tolist(), strict=True):
            if rows >= least:
                found[value] = max(rows, found.get(value, 0))
    return found


def _is_rest_enough(
    valued: Sequence[tuple[list[str], Codes]],
    samples: Sequence[_Sample],
    own: Mapping[str, int],
    least: int,
) -> bool:
    """Whether the values that are not judged alone are enough together, in one sample."""
    for (values, codes), sample in zip(valued, samples, strict=True):
        place = np.array([-1 if value in own else 0 for value in values], dtype=np.int64)
        if sample.sizes(place[codes], 1)[0] >= least:
            return True
    return False


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


def _cuts(sample: _Sample, name: str, bins: int, least: int) -> tuple[float, ...]:
    """Where the bins begin; nothing yet when so few numbers could not fill them."""
    numbers = _numbers(sample.columns[name], name)
    finite = np.isfinite(numbers)
    if sample.sizes(np.where(finite, 0, -1), 1, times=bins)[0] < bins * least:
        return ()
    usable = numbers[finite]
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
