"""What one night's rows say: the interval of a difference, and the test that suits it. Pure."""

import math
from dataclasses import replace
from enum import StrEnum

import numpy as np

from registry.gate_config import GateConfig
from registry.methods.bootstrap import Interval, Resampling, paired_difference
from registry.methods.bounded import bet, clusters_enough
from registry.methods.codes import numbered
from registry.methods.comparison import ScoredPair, row_gains
from registry.methods.metrics import Metric
from registry.methods.paired import mcnemar, studentized, tango, unseen
from registry.methods.power import fewest_units, rounded, rows_enough
from registry.methods.predictions import AnyArray, Floats, Scored, Task
from registry.methods.skewed import spread_of
from registry.verdict import Rule, RuleResult

# Below this level the score test of 0/1 losses is not relied on; above it an exact test costs more
# rows than it is worth.
FAR_TAIL = 0.005


class Method(StrEnum):
    """How one night's rows are tested."""

    MCNEMAR = "mcnemar"
    """Exact: the rows on which two classifications disagree."""
    TANGO = "tango"
    """The same against a difference other than 0."""
    BETS = "bets"
    """Exact for losses with a bound: bets on rows, or on clusters."""
    STUDENT = "student"
    """Student's t, corrected for skewness: blocks of time, metrics of the whole set, guards whose
    loss has no bound."""


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
    config: GateConfig,
    *,
    null: float,
    level: float,
) -> float:
    """One-sided, against "the challenger is better by at most `null`" (negative: worse by more).

    By the test that suits metric and rows (`registry.methods.paired`). `whole`: the interval of the
    same rows; `level`: what p will be held against.
    """
    method = method_of(metric, pair, clusters, config, null=null, level=level)
    if method in (Method.MCNEMAR, Method.TANGO):
        gains = row_gains(pair, metric)
        wins, losses = int((gains > 0).sum()), int((gains < 0).sum())
        if method is Method.MCNEMAR:
            return mcnemar(wins, losses)
        return tango(wins, losses, len(gains), null)
    if method is Method.BETS:
        most = loss_bound(metric, pair, config)
        assert most is not None
        gains, null = row_gains(pair, metric, most) / most, null / most
        p = bet(gains, level=level, null=null, clusters=clusters)
        return p if clusters is None else max(p, _of_clusters(gains, clusters, null))
    if whole.low is None:
        return 1.0  # undefined in too many resamples
    most = _most(metric, pair, config)
    p = studentized(
        whole.difference, whole.error, whole.units, skewness=whole.skewness, null=null, most=most
    )
    # Some rows that differ show little more of those that lose than none.
    rare = null < 0 and clusters is None and most is not None
    return max(p, unseen(-null, whole.units, most)) if rare else p


def _most(metric: Metric, pair: ScoredPair, config: GateConfig) -> float | None:
    """What a row alone can take away from the metric, in multiples of 1 / rows; none: no limit.

    Of a metric of classes a row of the rarest one moves it most.
    """
    if metric.row_wise:
        return loss_bound(metric, pair, config)
    if metric.task is not Task.CLASSIFICATION:
        return None
    sizes = np.bincount(pair.challenger.y)
    return len(pair.challenger) / float(sizes[sizes > 0].min())


def method_of(
    metric: Metric,
    pair: ScoredPair,
    clusters: AnyArray | None,
    config: GateConfig,
    *,
    null: float,
    level: float,
) -> Method:
    """The test that suits metric and rows."""
    # Blocks are few and large, so no bets on them prove anything: their means count as normal.
    if not metric.row_wise or (clusters is not None and config.block is not None):
        return Method.STUDENT
    if clusters is None and metric.name == "accuracy":
        if null == 0:
            return Method.MCNEMAR
        if level >= FAR_TAIL:
            return Method.TANGO
    return Method.STUDENT if loss_bound(metric, pair, config) is None else Method.BETS


def _of_clusters(gains: Floats, clusters: AnyArray, null: float) -> float:
    """Student's p-value of the mean over rows.

    Bets weigh small clusters more; where sizes tell something about the gains, both must agree.
    """
    spread = spread_of(gains, numbered(clusters)[1])
    return studentized(
        float(gains.mean()), spread.error, spread.units, skewness=spread.skewness, null=null
    )


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
    method = method_of(metric, pair, clusters, config, null=null, level=level)
    said = ""
    if method is Method.MCNEMAR:
        disagree = int((row_gains(pair, metric) != 0).sum())
        if disagree < fewest_units(level):
            said = (
                f"; the models disagree on {disagree:,} rows, and at this level at least "
                f"{fewest_units(level):,} are needed, all won"
            )
    goals = [(whole.difference, "a difference of this size")]
    if metric.task is Task.CLASSIFICATION:
        goals.append((config.effect, f"one of {config.effect:g}"))
    for goal, words in goals:
        if method is Method.BETS and clusters is not None:
            what, here = "clusters", len(np.unique(clusters))
            needed = _clusters_needed(metric, pair, clusters, config, goal, null=null, level=level)
        else:
            what, here = "rows", len(pair.challenger)
            bets = method is Method.BETS
            needed = rows_enough(goal - null, whole.error, here, level, exact_by_bets=bets)
        if needed is not None:
            # What was seen is more at least than there was, since there was not enough.
            least = here + 1 if goal == whole.difference else 0
            return (
                f"{said}; about {rounded(max(needed, least)):,} {what} like these would have been "
                f"enough to prove {words}"
            )
    return said


def _clusters_needed(
    metric: Metric,
    pair: ScoredPair,
    clusters: AnyArray,
    config: GateConfig,
    wanted: float,
    *,
    null: float,
    level: float,
) -> int | None:
    most = loss_bound(metric, pair, config)
    assert most is not None
    gains = row_gains(pair, metric, most) / most
    return clusters_enough(gains, clusters, wanted=wanted / most, level=level, null=null / most)


def loss_bound(metric: Metric, pair: ScoredPair, config: GateConfig) -> float | None:
    """What a row's loss counts as at most: as the gate says of its metric, or by the formula."""
    if metric.name == config.metric and config.bound is not None:
        return config.bound
    if metric.name == "brier" and len(pair.challenger.classes) == 2:
        return 1.0
    return metric.bound


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
    if whole.units <= 1:
        whole = replace(whole, low=None, high=None)  # one unit shows no spread
    p = p_value(metric, pair, clusters, whole, config, null=-allowed, level=level)
    passed = p <= level
    more = ""
    if clusters is not None and not passed:
        more = enough(metric, pair, clusters, whole, config, null=-allowed, level=level)
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
        f"(p = {p:.2g}, at most {level:.2g} allowed){more}",
    )


def figures(interval: Interval, confidence: float) -> str:
    """ "+0.012 (95% interval +0.003 to +0.021)"."""
    if interval.low is None or interval.high is None:
        one = interval.units == 1
        why = "one unit shows no spread" if one else "undefined in too many resamples"
        return f"{interval.difference:+.3g} (no interval: {why})"
    return (
        f"{interval.difference:+.3g} "
        f"({confidence:.0%} interval {interval.low:+.3g} to {interval.high:+.3g})"
    )
