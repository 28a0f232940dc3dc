"""The difference between two models on the same rows, and the interval where it may truly lie.

Few rows: the paired bootstrap. Rows are resampled with replacement, both models together, dependent
ones as whole clusters (Field & Welsh, JRSS B 69 (2007)); the quantiles are corrected for bias and
acceleration (BCa: Efron, JASA 82 (1987); Efron & Tibshirani, An Introduction to the Bootstrap
(1993), chapter 14). Many rows: what the bootstrap comes to without drawing anything, from the rows'
influence values with a correction for their skewness (Hall, JRSS B 54 (1992)). Both are right to
second order.
"""

import math
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from registry.methods.codes import numbered
from registry.methods.influence import counts_cells, influence_of, occupied
from registry.methods.metrics import Metric, losses_of, score_of
from registry.methods.predictions import AnyArray, Codes, Floats, Scored
from registry.methods.skewed import Spread, spread_of, transformed_back

# Up to so many distinct values, how often each is drawn is drawn at once (see `_means`).
FEW_VALUES = 64
# More units than this are not drawn: their influence values say the same.
MANY_UNITS = 2_000
# With fewer rows of a class than this, a metric of cell counts is drawn, however many rows.
RARE_CLASS = 200
# So large a share of resamples may leave the metric undefined before the interval is worthless.
UNDEFINED_SHARE = 0.05
# Units that the acceleration of a metric without known influence values is estimated from.
GROUPS = 50


@dataclass(frozen=True, kw_only=True)
class Resampling:
    """How an interval is drawn: `resamples` draws, two-sided at `confidence`."""

    confidence: float
    resamples: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A difference (positive: the challenger is better) and where it may truly lie.

    `low` and `high` are None when the metric is undefined in too many resamples.
    """

    difference: float
    low: float | None
    high: float | None
    error: float = 0.0
    """Its standard error."""
    skewness: float = 0.0
    """Skewness of the units' influence on it."""
    units: float = 0.0
    """Independent units that it stands on: rows, or clusters as if all were of one size."""


def paired_difference(
    metric: Metric,
    champion: Scored,
    challenger: Scored,
    clusters: AnyArray | None,
    resampling: Resampling,
) -> Interval:
    """How much better the challenger is on these rows, with its confidence interval."""
    groups = None if clusters is None else numbered(clusters)[1]
    difference = _difference(metric, champion, challenger)
    if not math.isfinite(difference):
        return Interval(difference=difference, low=None, high=None)
    values = influence_of_difference(metric, champion, challenger)
    if values is not None and not _to_be_drawn(metric, champion, groups):
        return _by_influence(difference, spread_of(values, groups), resampling.confidence)
    drawn = _drawn(metric, champion, challenger, groups, resampling)
    if values is None:
        values = _jackknife(metric, champion, challenger, groups)
    interval = _bca(difference, drawn, spread_of(values, groups), resampling.confidence)
    # The variance of a mean is known without drawing.
    return replace(interval, error=spread_of(values, groups).error) if metric.row_wise else interval


def influence_of_difference(metric: Metric, champion: Scored, challenger: Scored) -> Floats | None:
    """How each row moves the difference, (rows,); None where the metric's influence is not known.

    The caller knows that the metric is defined on these rows.
    """
    if metric.row_wise:
        gains = losses_of(metric, champion) - losses_of(metric, challenger)
        return np.asarray(gains - gains.mean())
    old, new = influence_of(metric, champion), influence_of(metric, challenger)
    if old is None or new is None:
        return None
    return new - old if metric.greater_is_better else old - new


def _difference(metric: Metric, champion: Scored, challenger: Scored) -> float:
    return metric.improvement(score_of(metric, champion), score_of(metric, challenger))


def _to_be_drawn(metric: Metric, scored: Scored, groups: Codes | None) -> bool:
    """Few independent units; or a metric of cell counts, whose draws are cheap, of a rare class."""
    units = len(scored) if groups is None else int(groups.max()) + 1
    if counts_cells(metric):
        present = np.bincount(scored.y)
        return units <= MANY_UNITS or int(present[present > 0].min()) < RARE_CLASS
    # The draws of a few large clusters of a metric of the whole set cost as much as all rows.
    return units <= MANY_UNITS and (metric.row_wise or len(scored) <= 10 * MANY_UNITS)


def _by_influence(difference: float, spread: Spread, confidence: float) -> Interval:
    """Student's t with the correction for skewness, turned into an interval."""
    from scipy.special import stdtrit

    reach = float(stdtrit(spread.freedom, (1 + confidence) / 2))
    high, low = (-transformed_back(at, spread) * spread.error for at in (-reach, reach))
    return Interval(
        difference=difference,
        low=difference + low,
        high=difference + high,
        error=spread.error,
        skewness=spread.skewness,
        units=spread.units,
    )


def _drawn(
    metric: Metric,
    champion: Scored,
    challenger: Scored,
    groups: Codes | None,
    resampling: Resampling,
) -> Floats:
    """The difference in each resample; NaN where it is undefined."""
    rng, resamples = np.random.default_rng(resampling.seed), resampling.resamples
    if metric.row_wise:
        gains = losses_of(metric, champion) - losses_of(metric, challenger)
        return _row_wise(gains, groups, resamples, rng)
    if counts_cells(metric):
        return _of_cells(metric, champion, challenger, groups, resamples, rng)
    return _whole_set(metric, champion, challenger, groups, resamples, rng)


def _row_wise(
    gains: Floats, groups: Codes | None, resamples: int, rng: np.random.Generator
) -> Floats:
    if groups is None:
        return _means(gains, resamples, rng)
    sums, sizes = np.bincount(groups, weights=gains), np.bincount(groups)
    drawn = np.empty(resamples)
    for number in range(resamples):
        chosen = rng.integers(0, len(sums), len(sums))
        drawn[number] = sums.take(chosen).sum() / sizes.take(chosen).sum()
    return drawn


def _means(values: Floats, resamples: int, rng: np.random.Generator) -> Floats:
    """Means of resamples of `values`.

    Where only a few values occur (0/1 losses), how often each is drawn follows a multinomial
    distribution, so it is drawn at once: the same bootstrap, a thousand times faster.
    """
    n = len(values)
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) <= FEW_VALUES:
        few: Floats = rng.multinomial(n, counts / n, size=resamples) @ distinct / n
        return few
    drawn = np.empty(resamples)
    for number in range(resamples):
        drawn[number] = values.take(rng.integers(0, n, n)).sum()
    return drawn / n


def _of_cells(
    metric: Metric,
    champion: Scored,
    challenger: Scored,
    groups: Codes | None,
    resamples: int,
    rng: np.random.Generator,
) -> Floats:
    """A metric that sees the counts of (truth, champion's class, challenger's class) only.

    One row stands for each cell, and how often it is drawn is multinomial: the same bootstrap.
    """
    assert metric.scorer is not None
    k = len(champion.classes)
    both = (champion.y * k + champion.needed_labels()) * k + challenger.needed_labels()
    _, first, cells, counts = occupied(both)
    if groups is None:
        weights: Floats = rng.multinomial(
            len(champion), counts / len(champion), size=resamples
        ).astype(np.float64)
    else:
        units = int(groups.max()) + 1
        table = np.bincount(groups * len(counts) + cells, minlength=units * len(counts))
        chosen = rng.multinomial(units, np.full(units, 1.0 / units), size=resamples)
        weights = chosen.astype(np.float64) @ table.reshape(units, -1).astype(np.float64)
    old, new = metric.scorer(champion.take(first)), metric.scorer(challenger.take(first))
    return np.array([metric.improvement(old(each), new(each)) for each in weights])


def _whole_set(
    metric: Metric,
    champion: Scored,
    challenger: Scored,
    groups: Codes | None,
    resamples: int,
    rng: np.random.Generator,
) -> Floats:
    assert metric.scorer is not None
    old, new = metric.scorer(champion), metric.scorer(challenger)
    units = len(champion) if groups is None else int(groups.max()) + 1
    drawn = np.empty(resamples)
    for number in range(resamples):
        times = np.bincount(rng.integers(0, units, units), minlength=units).astype(np.float64)
        weights = times if groups is None else times[groups]
        drawn[number] = metric.improvement(old(weights), new(weights))
    return drawn


def _jackknife(
    metric: Metric, champion: Scored, challenger: Scored, groups: Codes | None
) -> Floats:
    """Influence values by leaving out a group of units at a time; undefined ones move nothing."""
    assert metric.scorer is not None
    n = len(champion)
    units = np.arange(n) if groups is None else groups
    parts, old, new = units % GROUPS, metric.scorer(champion), metric.scorer(challenger)
    without = np.empty(GROUPS)
    for number in range(GROUPS):
        weights = (parts != number).astype(np.float64)
        without[number] = metric.improvement(old(weights), new(weights))
    without = np.where(np.isfinite(without), without, np.nanmean(without))
    return np.asarray(((without.mean() - without) * (GROUPS - 1))[parts])


def _bca(difference: float, drawn: Floats, spread: Spread, confidence: float) -> Interval:
    """Efron's BCa interval: quantiles of the draws, moved by bias and acceleration."""
    defined = drawn[~np.isnan(drawn)]
    if len(defined) < len(drawn) * (1 - UNDEFINED_SHARE):
        return Interval(difference=difference, low=None, high=None)
    tail = (1 - confidence) / 2
    moved = [_level(at, difference, defined, spread) for at in (tail, 1 - tail)]
    low, high = np.quantile(defined, moved)
    return Interval(
        difference=difference,
        low=float(low),
        high=float(high),
        error=float(defined.std()),
        skewness=spread.skewness,
        units=spread.units,
    )


def _level(at: float, difference: float, drawn: Floats, spread: Spread) -> float:
    """The quantile of the draws that stands for `at` (Efron 1987, equation 3.9)."""
    normal, count = NormalDist(), len(drawn)
    # Half of the draws that equal the figure lie below it.
    below = float((drawn < difference).sum() + (drawn <= difference).sum()) / 2.0
    bias = normal.inv_cdf(min(max(below, 0.5), count - 0.5) / count)
    acceleration = spread.skewness / (6.0 * math.sqrt(spread.count))
    shifted = bias + normal.inv_cdf(at)
    room = 1.0 - acceleration * shifted
    return normal.cdf(bias + shifted / room) if room > 0 else float(shifted > 0)
