"""The slices and guards of a comparison over nights: what rows add, and how each stands. Pure.

A challenger that is proven better is promoted only when each of them is proven, too, each for
itself at the whole `slice_alpha` (see `registry.slices`).
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from statistics import NormalDist

import numpy as np

from registry.card.words import counted
from registry.card.words import evidence as figure
from registry.gate_config import GateConfig, bound_of
from registry.guards import impossible, unusable
from registry.methods.blocks import BlockEvidence, Spread
from registry.methods.comparison import ScoredPair, row_gains
from registry.methods.metrics import Metric, find_metric, score_of
from registry.methods.predictions import AnyArray, Codes
from registry.nights.betting import Sample, blocks_of
from registry.nights.docket import Case, Docket
from registry.nights.no_harm import (
    MOST_NIGHTS,
    NoHarm,
    after_blocks,
    after_gains,
    after_p,
    begun,
    begun_by_night,
    begun_with_blocks,
    with_peak,
)
from registry.nights.pairs import Pairs
from registry.one_night import interval_of, p_value
from registry.slice_columns import Part, parts, planned
from registry.slice_plan import SlicePlan
from registry.slices import (
    clusters_for_evidence,
    clusters_of,
    rows_for_evidence,
    taken,
    unjudged,
)
from registry.verdict import Rule, RuleResult

# A slice of which too few rows have come for so large a part of `expire_after` holds nobody any
# more: what is compared now still has the other part to be promoted in.
GONE_AFTER = 0.5


def with_plan(
    docket: Docket,
    samples: Mapping[str, Sample | str],
    pairs: Pairs,
    config: GateConfig,
    *,
    nights: int,
) -> Docket:
    """The docket with tonight's slices; `nights`: 0 when no row is newer than all before.

    Which slices are judged alone follows from how many rows of each came, tonight and before, never
    from how the models did on them.
    """
    if not config.slices:
        return replace(docket, plan=None)
    # Comparisons over the same rows count once.
    usable = {
        (len(sample.times), sample.last, sample.first): sample.comparison
        for version, sample in samples.items()
        if isinstance(sample, Sample) and isinstance(pairs.get(version), ScoredPair)
    }
    if not usable:
        return docket
    found = [usable[key] for key in sorted(usable, reverse=True)]
    # Blocks are not bet on.
    clustered = config.block is None and found[0].clusters is not None
    enough = clusters_for_evidence(config, bound_of(config)) if clustered else 0
    columns = [one.slices for one in found]
    at_most = len(planned(config.slices, columns, config.slice_min_rows, known=docket.plan).names)
    plan = planned(
        config.slices,
        columns,
        _least(docket, config, max(at_most, 1)),
        clusters=[one.clusters if clustered else None for one in found],
        fewest=enough / config.expire_after,
        known=docket.plan,
        patience=max(math.ceil(GONE_AFTER * config.expire_after), 1),
        nights=nights,
    )
    return replace(docket, plan=plan)


def after_rows_of(
    case: Case, sample: Sample, pair: ScoredPair, docket: Docket, config: GateConfig
) -> Case:
    """The comparison, after tonight's rows, with what they say of its slices and guards."""
    return replace(
        case,
        slices=tuple(_by_days(case, _slices(case, sample, pair, docket, config))),
        guards=tuple(_by_days(case, _guards(case, sample, pair, config))),
    )


def _by_days(case: Case, every: Iterator[NoHarm]) -> Iterator[NoHarm]:
    """With what days differ by, of all rows, for as many rows as a day of each has."""
    days = max(case.days.count, 1)
    for kept in every:
        # A night's p-value counts the days already.
        phi = 1.0 if kept.by_night or kept.blocks is not None else case.phi(kept.rows / days)
        yield with_peak(kept, phi=phi)


def slice_results(
    case: Case, sample: Sample, plan: SlicePlan | None, config: GateConfig
) -> tuple[RuleResult, ...]:
    """How each slice stands; those that are too small are reported."""
    if plan is None:
        return ()
    metric = find_metric(config.metric)
    small = [part for part in parts(plan, sample.comparison.slices) if not part.judged]
    known = {kept.name: kept for kept in case.slices}
    return (
        *(_result(known[name], Rule.SLICE, metric, config) for name in plan.names),
        *(unjudged(part, metric, _too_few(part, sample, plan, config)) for part in small),
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
    """Every slice that is judged, also those without rows tonight, and those that once were.

    What was told of a slice stays, so that one which comes back has no second chance to err.
    """
    if docket.plan is None:
        return
    metric = find_metric(config.metric)
    known = {kept.name: kept for kept in case.slices if kept.allowed == config.slice_max_drop}
    tonight = {part.name: part for part in parts(docket.plan, sample.comparison.slices)}
    for name in docket.plan.names:
        kept = known.pop(name, None)
        kept = kept or _begun(name, config.slice_max_drop, metric, docket, config)
        part = tonight.get(name)
        yield kept if part is None else _after(kept, part, sample, pair, metric, config)
    yield from known.values()


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
        bound = bound or metric.bound
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
            yield _after_night(kept, sample, pair, metric, config, phi=case.phi())


def _after_night(
    kept: NoHarm,
    sample: Sample,
    pair: ScoredPair,
    metric: Metric,
    config: GateConfig,
    *,
    phi: float,
) -> NoHarm:
    assert pair.champion is not None
    clusters = sample.comparison.clusters
    whole = interval_of(metric, pair.champion, pair.challenger, clusters, config)
    # What is undefined, or in too many resamples, proves nothing: neither harm nor its absence.
    if not math.isfinite(whole.difference) or whole.low is None:
        return kept
    p = p_value(metric, pair, clusters, whole, config, null=-kept.allowed, level=config.slice_alpha)
    return after_p(kept, p, whole, len(sample.times), phi=phi)


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
    value = max(kept.peak, kept.log_value)
    passed = value >= needed
    what = f"{metric.name} on {kept.name}" if rule is Rule.SLICE else metric.name
    nights = "1 night" if kept.nights == 1 else f"{kept.nights} nights"
    evidence = (
        f"evidence {figure(value)} of {figure(needed)} needed"
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
    if left is not None:
        return f", at this pace about {left:,} more {'night' if left == 1 else 'nights'}"
    if not kept.told:
        waits = kept.by_night or kept.rows
        return ", no night's rows could tell yet" if waits else ", no row of it has come"
    if kept.above <= 0:
        return ", and so far it looks worse"
    return f", at this pace more than {MOST_NIGHTS:,} more nights"


def _least(docket: Docket, config: GateConfig, slices: int) -> float:
    """Rows a night that make a slice: with fewer, not all are decided in a comparison's nights.

    By how much earlier comparisons differed, and how many `slices` there would be with as few rows
    as `slice_min_rows`, so that tonight's outcome has no say in it.
    """
    if config.block is not None or not docket.rows or not docket.squares:
        return config.slice_min_rows
    bound = bound_of(config)
    square = docket.squares / docket.rows * bound**2
    rows = rows_for_evidence(square, config, bound, slices)
    return max(config.slice_min_rows, rows / config.expire_after)


def _too_few(part: Part, sample: Sample, plan: SlicePlan, config: GateConfig) -> str:
    """Why a slice is not judged."""
    nights = f" for {counted(part.thin, 'night')} in a row" if part.thin else ""
    fewer = f"; fewer cannot be decided in {counted(config.expire_after, 'night')}"
    clusters = sample.comparison.clusters
    if plan.clusters and clusters is not None and len(part.rows) >= plan.least:
        found = clusters_of(part, clusters)
        asked = f"{found:,} tonight, and {plan.clusters:,} are needed{fewer}"
        return f"too few clusters{nights} ({asked})"
    return (
        f"too few rows{nights} ({len(part.rows):,} tonight, and {plan.least:,} are needed"
        f"{fewer if plan.least > config.slice_min_rows else ''})"
    )


def _codes(clusters: AnyArray) -> Codes:
    return np.unique(clusters, return_inverse=True)[1].ravel().astype(np.int64)
