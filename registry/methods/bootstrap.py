"""Paired bootstrap of the difference between two models on the same rows.

The percentile interval of Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapter
13: resample the rows with replacement, both models together, and take the quantiles of the
recomputed difference. Dependent rows are resampled as whole clusters (the cluster bootstrap of
Field & Welsh, JRSS B 69 (2007)).
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from registry.methods.metrics import Metric, losses_of, score_of
from registry.methods.predictions import AnyArray, Codes, Floats, Scored

# Up to so many distinct values, how often each is drawn is drawn at once (see `_means`).
FEW_VALUES = 64
# The mean of more units than this is as good as normal: nothing is drawn.
MANY_UNITS = 20_000
# So large a share of resamples may leave the metric undefined before the interval is worthless.
UNDEFINED_SHARE = 0.05


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
    """Standard error: the spread of the resamples."""


def paired_difference(
    metric: Metric,
    champion: Scored,
    challenger: Scored,
    clusters: AnyArray | None,
    resampling: Resampling,
) -> Interval:
    """How much better the challenger is on these rows, with its confidence interval."""
    groups = None if clusters is None else np.unique(clusters, return_inverse=True)[1].ravel()
    rng = np.random.default_rng(resampling.seed)
    if metric.row_wise:
        gains = losses_of(metric, champion) - losses_of(metric, challenger)
        difference = float(gains.mean())
        if len(gains) > MANY_UNITS and (groups is None or int(groups.max()) >= MANY_UNITS):
            return _normal(gains, groups, resampling.confidence)
        drawn = _row_wise(gains, groups, resampling.resamples, rng)
    else:
        difference = metric.improvement(score_of(metric, champion), score_of(metric, challenger))
        drawn = _whole_set(metric, champion, challenger, groups, resampling.resamples, rng)
    low, high = _percentiles(drawn, resampling.confidence)
    error = float(np.nanstd(drawn)) if low is not None else 0.0
    return Interval(difference=difference, low=low, high=high, error=error)


def _normal(gains: Floats, groups: Codes | None, confidence: float) -> Interval:
    """What the bootstrap of a mean comes to for many units (Efron & Tibshirani, chapter 13)."""
    mean, n = float(gains.mean()), len(gains)
    off = gains - mean if groups is None else np.bincount(groups, weights=gains - mean)
    error = float(np.sqrt(np.dot(off, off))) / n
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * error
    return Interval(difference=mean, low=mean - reach, high=mean + reach, error=error)


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


def _percentiles(drawn: Floats, confidence: float) -> tuple[float | None, float | None]:
    defined = drawn[~np.isnan(drawn)]
    if len(defined) < len(drawn) * (1 - UNDEFINED_SHARE):
        return None, None
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high)
