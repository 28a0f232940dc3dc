"""The slices and guards of a comparison over nights: what rows add, and how each stands. Pure.

A challenger that is proven better is promoted only when each of them is proven, too, each for
itself at the whole `slice_alpha` (see `registry.slices`).
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from statistics import NormalDist

import numpy as np

from registry.gate_config import BOUNDS, GateConfig, bound_of
from registry.guards import impossible, unusable
from registry.methods.blocks import BlockEvidence, Spread
from registry.methods.comparison import ScoredPair, row_gains
from registry.methods.metrics import Metric, find_metric, score_of
from registry.methods.predictions import AnyArray, Codes
from registry.nights.accumulated import figure
from registry.nights.betting import Sample, blocks_of
from registry.nights.docket import Case, Docket
from registry.nights.no_harm import (
    NoHarm,
    after_blocks,
    after_gains,
    after_p,
    begun,
    begun_by_night,
    begun_with_blocks,
)
from registry.one_night import interval_of, p_value
from registry.slice_columns import Part, SlicePlan, parts, planned
from registry.slices import rows_for_evidence, square_of_gains, taken, unjudged
from registry.verdict import Rule, RuleResult

Pairs = Mapping[str, ScoredPair | str]


def with_plan(
    docket: Docket, samples: Mapping[str, Sample | str], pairs: Pairs, config: GateConfig
) -> Docket:
    """The docket with the slices cut, by tonight's rows if they are not yet.

    That stays until the champion changes. Which slices are judged alone depends on tonight's rows,
    and harms no guarantee: a slice that is, passes wrongly with a probability of at most
    `slice_alpha`, and of the others nothing is promised.
    """
    known = docket.plan.specs if docket.plan is not None else ()
    if known == config.slices:
        return docket
    docket = replace(
        docket, plan=None, cases=tuple(replace(case, slices=()) for case in docket.cases)
    )
    usable = [
        (sample, pair)
        for version, sample in samples.items()
        if isinstance(sample, Sample) and isinstance(pair := pairs.get(version, ""), ScoredPair)
    ]
    if not config.slices or not usable:
        return docket
    sample, pair = max(usable, key=lambda one: len(one[0].times))
    least = float(config.slice_min_rows)
    if config.block is None:
        bound = bound_of(config)
        gains = row_gains(pair, find_metric(config.metric), bound)
        square = square_of_gains(gains, sample.comparison.clusters)
        least = max(least, rows_for_evidence(square, config, bound) / config.expire_after)
    return replace(docket, plan=planned(config.slices, sample.comparison.slices, least))


def after_rows_of(
    case: Case, sample: Sample, pair: ScoredPair, docket: Docket, config: GateConfig
) -> Case:
    """The comparison with what tonight's rows say of its slices and guards."""
    return replace(
        case,
        slices=tuple(_slices(case, sample, pair, docket, config)),
        guards=tuple(_guards(case, sample, pair, config)),
    )


def slice_results(
    case: Case, sample: Sample, plan: SlicePlan | None, config: GateConfig
) -> tuple[RuleResult, ...]:
    """How each slice stands; those that are too small are reported."""
    if plan is None:
        return ()
    metric = find_metric(config.metric)
    small = [part for part in parts(plan, sample.comparison.slices) if not part.judged]
    why = f"fewer than {config.slice_min_rows:,} rows a night, or than could decide in its nights"
    return (
        *(_result(kept, Rule.SLICE, metric, config) for kept in case.slices),
        *(unjudged(part, metric, why) for part in small),
    )


def guard_results(
    case: Case, sample: Sample, pair: ScoredPair, config: GateConfig
) -> tuple[RuleResult, ...]:
    """How each guard stands."""
    found = []
    for kept in case.guards:
        metric = find_metric(kept.name)
        obstacle = unusable(metric, pair)
        if obstacle:
            rows = len(sample.times)
            found.append(impossible(metric, kept.allowed, rows, obstacle))
            continue
        result = _result(kept, Rule.GUARD, metric, config)
        if kept.by_night:
            result = replace(result, figure=kept.figure, low=kept.low, high=kept.high)
        found.append(result)
    return tuple(found)


def _slices(
    case: Case, sample: Sample, pair: ScoredPair, docket: Docket, config: GateConfig
) -> Iterator[NoHarm]:
    """Every slice that is judged, also those without rows tonight."""
    if docket.plan is None:
        return
    metric = find_metric(config.metric)
    known = {kept.name: kept for kept in case.slices if kept.allowed == config.slice_max_drop}
    tonight = {part.name: part for part in parts(docket.plan, sample.comparison.slices)}
    for name in (name for column in docket.plan.columns for name in column.names):
        kept = known.get(name) or _begun(name, config.slice_max_drop, metric, docket, config)
        part = tonight.get(name)
        yield kept if part is None else _after(kept, part, sample, pair, metric, config)


def _after(
    kept: NoHarm,
    part: Part,
    sample: Sample,
    pair: ScoredPair,
    metric: Metric,
    config: GateConfig,
) -> NoHarm:
    clusters = sample.comparison.clusters
    own = taken(pair, part.rows)
    if kept.blocks is not None:
        return _after_blocks(kept, own, sample.times[part.rows], metric, config)
    gains = row_gains(own, metric, kept.bound) / kept.bound
    return after_gains(kept, gains, None if clusters is None else _codes(clusters[part.rows]))


def _guards(case: Case, sample: Sample, pair: ScoredPair, config: GateConfig) -> Iterator[NoHarm]:
    known = {kept.name: kept for kept in case.guards}
    clusters = sample.comparison.clusters
    for name, allowed in sorted(config.guards.items()):
        metric, kept = find_metric(name), known.get(name)
        bound = config.bound if name == config.metric else None
        bound = bound or BOUNDS.get(name)
        if kept is None or kept.allowed != allowed:
            kept = _guard_begun(metric, allowed, bound, config)
        if unusable(metric, pair):
            yield kept
        elif kept.blocks is not None:
            yield _after_blocks(kept, pair, sample.times, metric, config)
        elif not kept.by_night:
            gains = row_gains(pair, metric, kept.bound) / kept.bound
            yield after_gains(kept, gains, None if clusters is None else _codes(clusters))
        else:
            yield _after_night(kept, sample, pair, metric, config)


def _after_night(
    kept: NoHarm, sample: Sample, pair: ScoredPair, metric: Metric, config: GateConfig
) -> NoHarm:
    assert pair.champion is not None
    clusters = sample.comparison.clusters
    whole = interval_of(metric, pair.champion, pair.challenger, clusters, config)
    if not math.isfinite(whole.difference):
        return kept
    p = p_value(metric, pair, clusters, whole, null=-kept.allowed, level=config.slice_alpha)
    return after_p(kept, p, whole, len(sample.times))


def _after_blocks(
    kept: NoHarm, pair: ScoredPair, times: AnyArray, metric: Metric, config: GateConfig
) -> NoHarm:
    assert config.block is not None
    assert pair.champion is not None
    gains, numbers = [], blocks_of(times, config.block)
    for number in np.unique(numbers):
        rows = np.flatnonzero(numbers == number)
        champion = score_of(metric, pair.champion.take(rows))
        gain = metric.improvement(champion, score_of(metric, pair.challenger.take(rows)))
        if math.isfinite(gain):
            gains.append(gain)
    return after_blocks(kept, gains, len(times))


def _begun(name: str, allowed: float, metric: Metric, docket: Docket, config: GateConfig) -> NoHarm:
    if config.block is not None:
        blocks = BlockEvidence(spread=Spread())
        return begun_with_blocks(name, allowed=allowed, blocks=blocks)
    square = docket.squares / docket.rows if docket.rows else None
    return begun(name, allowed=allowed, bound=bound_of(config), square=square)


def _guard_begun(metric: Metric, allowed: float, bound: float | None, config: GateConfig) -> NoHarm:
    if config.block is not None:
        blocks = BlockEvidence(spread=Spread())
        return begun_with_blocks(metric.name, allowed=allowed, blocks=blocks)
    if metric.row_wise and bound is not None and allowed < bound:
        return begun(metric.name, allowed=allowed, bound=bound, square=None)
    return begun_by_night(metric.name, allowed=allowed)


def _result(kept: NoHarm, rule: Rule, metric: Metric, config: GateConfig) -> RuleResult:
    needed = math.log(1 / config.slice_alpha)
    passed = kept.log_value >= needed
    what = f"{metric.name} on {kept.name}" if rule is Rule.SLICE else metric.name
    nights = "1 night" if kept.nights == 1 else f"{kept.nights} nights"
    evidence = (
        f"evidence {figure(kept.log_value)} of {figure(needed)} needed"
        f"{'' if passed else ' that it is not'}, from {kept.rows:,} rows of {nights}"
    )
    mean, error = kept.mean, kept.error
    reach = NormalDist().inv_cdf((1 + config.confidence) / 2)
    return RuleResult(
        rule=rule,
        metric=metric.name,
        slice=kept.name if rule is Rule.SLICE else None,
        passed=passed,
        figure=mean,
        low=None if mean is None or error is None else mean - reach * error,
        high=None if mean is None or error is None else mean + reach * error,
        bound=-kept.allowed,
        rows=kept.rows,
        message=f"{what} {'is proven not' if passed else 'may still be'} worse by more than "
        f"{kept.allowed:g}: {evidence}{'' if passed else _pace(kept, needed)}",
    )


def _pace(kept: NoHarm, needed: float) -> str:
    left = kept.nights_left(needed)
    if left is None:
        return ", and so far it looks worse" if kept.nights else ", no row of it has come"
    return f", at this pace about {left:,} more {'night' if left == 1 else 'nights'}"


def _codes(clusters: AnyArray) -> Codes:
    return np.unique(clusters, return_inverse=True)[1].ravel().astype(np.int64)
