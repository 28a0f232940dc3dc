"""What one night's rows say: the interval of a difference, and the test that suits it. Pure."""

import math
from enum import StrEnum

import numpy as np

from registry.gate_config import BOUNDS, GateConfig
from registry.methods.bootstrap import Interval, Resampling, paired_difference
from registry.methods.bounded import bet
from registry.methods.comparison import ScoredPair, row_gains
from registry.methods.metrics import Metric
from registry.methods.paired import mcnemar, studentized, tango
from registry.methods.power import fewest_units, rounded, rows_enough
from registry.methods.predictions import AnyArray, Scored, Task
from registry.verdict import Rule, RuleResult

# Below this level only exact tests are right where a loss may be seldom and large; above it they
# cost more rows than they are worth.
FAR_TAIL = 0.005


class Method(StrEnum):
    """How one night's rows are tested."""

    MCNEMAR = "mcnemar"
    """Exact: the rows on which two classifications disagree."""
    TANGO = "tango"
    """The same against a difference other than 0."""
    BETS = "bets"
    """Exact for losses with a bound, far out in the tail."""
    STUDENT = "student"
    """Student's t, corrected for skewness: everything else."""


def interval_of(
    metric: Metric,
    champion: Scored,
    challenger: Scored,
    clusters: AnyArray | None,
    config: GateConfig,
) -> Interval:
    """How much better the challenger is on these rows, with its confidence interval."""
    resampling = Resampling(
        confidence=config.confidence, resamples=config.resamples, seed=config.seed
    )
    return paired_difference(metric, champion, challenger, clusters, resampling)


def p_value(
    metric: Metric,
    pair: ScoredPair,
    clusters: AnyArray | None,
    whole: Interval,
    *,
    null: float,
    level: float,
    bound: float | None = None,
) -> float:
    """One-sided, against "the challenger is better by at most `null`" (negative: worse by more).

    By the test that suits metric and rows (`registry.methods.paired`). `whole`: the interval of the
    same rows; `level`: what p will be held against; `bound`: what a row's loss is at most, where
    the gate says so.
    """
    method = method_of(metric, pair, clusters, null=null, level=level, bound=bound)
    if method in (Method.MCNEMAR, Method.TANGO):
        gains = row_gains(pair, metric)
        wins, losses = int((gains > 0).sum()), int((gains < 0).sum())
        if method is Method.MCNEMAR:
            return mcnemar(wins, losses)
        return tango(wins, losses, len(gains), null)
    if method is Method.BETS:
        most = loss_bound(metric, pair, bound)
        assert most is not None
        return bet(row_gains(pair, metric, most) / most, level=level, null=null / most)
    if whole.low is None:
        return 1.0  # undefined in too many resamples
    return studentized(
        whole.difference, whole.error, whole.units, skewness=whole.skewness, null=null
    )


def method_of(
    metric: Metric,
    pair: ScoredPair,
    clusters: AnyArray | None,
    *,
    null: float,
    level: float,
    bound: float | None,
) -> Method:
    """The test that suits metric and rows."""
    if not metric.row_wise or clusters is not None:
        return Method.STUDENT
    if metric.name == "accuracy" and null == 0:
        return Method.MCNEMAR
    if level < FAR_TAIL and loss_bound(metric, pair, bound) is not None:
        return Method.BETS
    return Method.TANGO if metric.name == "accuracy" else Method.STUDENT


def too_few(whole: Interval, clusters: AnyArray | None, level: float) -> str | None:
    """Why these rows could prove nothing at this level, whatever they said."""
    least, units = fewest_units(level), math.floor(whole.units + 1e-9)
    if whole.low is None or units >= least:
        return None
    what = "rows" if clusters is None else "clusters (those of unequal size counted as equal ones)"
    return (
        f"the holdout has {units:,} {what}, and at the level of {level:.2g} nothing is proven "
        f"by fewer than {least:,}"
    )


def proof(
    metric: Metric,
    pair: ScoredPair,
    clusters: AnyArray | None,
    whole: Interval,
    config: GateConfig,
    *,
    null: float,
    level: float,
    p: float,
) -> str:
    """Whether the difference is proven, for a sentence that begins with it."""
    if p > level and whole.high is not None and whole.high < min(null, 0):
        return "lies below 0 altogether"
    bar = "0" if null == 0 else f"the {'minimum effect' if null > 0 else 'margin'} of {null:g}"
    against = f"{bar} (p = {p:.2g}, at most {level:.2g} allowed)"
    if p <= level:
        return f"surely exceeds {against}"
    more = enough(metric, pair, clusters, whole, config, null=null, level=level)
    return f"does not surely exceed {against}{more}"


def enough(
    metric: Metric,
    pair: ScoredPair,
    clusters: AnyArray | None,
    whole: Interval,
    config: GateConfig,
    *,
    null: float,
    level: float,
) -> str:
    """How many rows would have proven it: "about 9,400 rows like these would have been enough"."""
    method = method_of(metric, pair, clusters, null=null, level=level, bound=config.bound)
    rows, said = len(pair.challenger), ""
    if method is Method.MCNEMAR:
        disagree = int((row_gains(pair, metric) != 0).sum())
        if disagree < fewest_units(level):
            said = (
                f"; the models disagree on {disagree:,} rows, and at this level at least "
                f"{fewest_units(level):,} are needed, all won"
            )
    bets = method is Method.BETS
    needed = rows_enough(whole.difference - null, whole.error, rows, level, exact_by_bets=bets)
    if needed is not None:
        needed = rounded(max(needed, rows + 1))
        return (
            f"{said}; about {needed:,} rows like these would have been enough to prove a "
            "difference of this size"
        )
    if metric.task is not Task.CLASSIFICATION:
        return said
    needed = rows_enough(config.effect - null, whole.error, rows, level, exact_by_bets=bets)
    if needed is None:
        return said
    return (
        f"{said}; about {rounded(needed):,} rows like these would have been enough to prove one "
        f"of {config.effect:g}"
    )


def loss_bound(metric: Metric, pair: ScoredPair, said: float | None) -> float | None:
    """What a row's loss counts as at most: as the gate says, or by the metric's formula."""
    if said is None and metric.name == "brier" and len(pair.challenger.classes) == 2:
        return 1.0
    return said or BOUNDS.get(metric.name)


def no_worse(
    metric: Metric,
    pair: ScoredPair,
    clusters: AnyArray | None,
    config: GateConfig,
    *,
    rule: Rule,
    slice_name: str | None,
    allowed: float,
    level: float,
) -> RuleResult:
    """Whether these rows alone prove the challenger not worse by more than `allowed`.

    One that is passes with a probability of at most `level`.
    """
    assert pair.champion is not None
    what = f"{metric.name} on {slice_name}" if slice_name else metric.name
    whole = interval_of(metric, pair.champion, pair.challenger, clusters, config)
    if not np.isfinite(whole.difference):
        return RuleResult(
            rule=rule,
            metric=metric.name,
            slice=slice_name,
            passed=False,
            bound=-allowed,
            rows=len(pair.champion),
            message=f"{what} is not defined on these rows",
        )
    p = p_value(metric, pair, clusters, whole, null=-allowed, level=level)
    passed = p <= level
    return RuleResult(
        rule=rule,
        metric=metric.name,
        slice=slice_name,
        passed=passed,
        figure=whole.difference,
        low=whole.low,
        high=whole.high,
        bound=-allowed,
        rows=len(pair.champion),
        message=f"{what} changed by {figures(whole, config.confidence)}, which is "
        f"{'proven' if passed else 'not proven'} to be no worse than {-allowed:g} "
        f"(p = {p:.2g}, at most {level:.2g} allowed)",
    )


def figures(interval: Interval, confidence: float) -> str:
    """ "+0.012 (95% interval +0.003 to +0.021)"."""
    if interval.low is None or interval.high is None:
        return f"{interval.difference:+.3g} (no interval: undefined in too many resamples)"
    return (
        f"{interval.difference:+.3g} "
        f"({confidence:.0%} interval {interval.low:+.3g} to {interval.high:+.3g})"
    )
