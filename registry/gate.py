"""The gate: may this challenger replace this champion? Pure: arrays in, a verdict out.

A challenger is promoted only when every rule holds:

- evidence: enough rows, usable predictions, at least two classes, none unknown to the champion;
- improvement: it is proven better than the champion by more than `min_effect`, by a test of this
  night alone (here), or by evidence that accumulates over nights (`registry.nights.night`);
- floors: the challenger's own score keeps each absolute bound;
- slices: on no judged slice is the challenger worse by more than `slice_max_drop`.

A first model has no champion to be compared with: it must keep the floors and be proven better
than a model that always says the same. What cannot be judged is a verdict to hold; what makes no
sense is a GateError. The intervals explain; they do not decide.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from registry.draft import Draft
from registry.errors import GateError
from registry.gate_config import GateConfig, check_config
from registry.methods.bootstrap import Interval, Resampling, paired_difference
from registry.methods.comparison import Comparison, ScoredPair, check_rows, obstacles, scored_pair
from registry.methods.metrics import Metric, find_metric, losses_of, score_of
from registry.methods.paired import clustered, delong, mcnemar, paired_t, studentized
from registry.methods.predictions import AnyArray, Floats, Scored, nearest
from registry.verdict import Rule, RuleResult, Verdict

# A column with more values than this is not a slice column but a number or an identifier.
MAX_SLICES = 200


@dataclass(frozen=True, kw_only=True, eq=False)
class Examined:
    """Two models (or a model and a baseline) on the same rows: every figure but the proof."""

    metric: Metric
    pair: ScoredPair
    score: float
    """The challenger's."""
    baseline: float | None
    """The score of what it is compared with; none for nothing."""
    whole: Interval | None
    """The difference over all rows."""
    floors: tuple[RuleResult, ...]
    slices: tuple[RuleResult, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Case:
    """What the rules look at."""

    comparison: Comparison
    config: GateConfig
    metric: Metric
    pair: ScoredPair


def decide(
    comparison: Comparison,
    config: GateConfig,
    *,
    model: str,
    challenger: str,
    champion: str | None = None,
    epoch: int = 0,
    run_id: str = "",
    mlflow_run_id: str = "",
    level: float | None = None,
) -> Verdict:
    """The verdict on version `challenger` of `model`, by this night alone.

    `level`: an equal challenger passes with a probability of at most this; none: what the
    intervals miss on one side. Raises GateError for what makes no sense.
    """
    metric = check_config(config)
    if (champion is None) != (comparison.champion is None):
        raise GateError("A champion needs both its version and its predictions of the same rows.")
    draft = Draft(
        model=model,
        challenger=challenger,
        champion=champion,
        epoch=epoch,
        metric=metric.name,
        confidence=config.confidence,
        rows=len(comparison.y),
        run_id=run_id,
        mlflow_run_id=mlflow_run_id,
    )
    allowed = (1 - config.confidence) / 2 if level is None else level
    if champion is None:
        return first_verdict(comparison, config, draft, allowed)
    return single_night(comparison, config, draft, allowed)


def first_verdict(
    comparison: Comparison, config: GateConfig, draft: Draft, level: float
) -> Verdict:
    """The verdict on a first model: its floors, and the constant baseline where there is one."""
    found = examined(comparison, config)
    if isinstance(found, str):
        return draft.undecidable(found)
    if found.whole is None:
        return draft.first(found.score, found.floors)
    improvement = _improvement(found, comparison, config, level)
    verdict = draft.first(found.score, (improvement, *found.floors))
    return replace(
        verdict,
        baseline=found.baseline,
        difference=found.whole.difference,
        low=found.whole.low,
        high=found.whole.high,
    )


def single_night(comparison: Comparison, config: GateConfig, draft: Draft, level: float) -> Verdict:
    """The verdict on a challenger by a test of this night alone."""
    found = examined(comparison, config)
    if isinstance(found, str):
        return draft.undecidable(found)
    assert found.whole is not None
    assert found.baseline is not None
    rules = (_improvement(found, comparison, config, level), *found.floors, *found.slices)
    return draft.compared(found.score, found.baseline, found.whole, rules)


def comparable(comparison: Comparison, config: GateConfig) -> ScoredPair | str:
    """Both models in the metric's terms, or why these rows cannot be judged."""
    metric = check_config(config)
    _check_comparison(comparison, config)
    obstacle = next(_obstacles(comparison, config, metric), None)
    return scored_pair(comparison, metric) if obstacle is None else obstacle


def examined(comparison: Comparison, config: GateConfig) -> Examined | str:
    """Every figure but the proof, or why these rows cannot be judged."""
    metric, pair = check_config(config), comparable(comparison, config)
    if isinstance(pair, str):
        return pair
    case = _Case(comparison=comparison, config=config, metric=metric, pair=pair)
    score = score_of(metric, case.pair.challenger)
    if not np.isfinite(score):
        return f"{metric.name} is not defined on these rows"
    other = case.pair.champion
    slices = _slices(case, other) if other is not None and comparison.champion is not None else ()
    return Examined(
        metric=metric,
        pair=case.pair,
        score=score,
        baseline=None if other is None else score_of(metric, other),
        whole=None
        if other is None
        else _interval(case, other, case.pair.challenger, comparison.clusters),
        floors=tuple(_floors(case)),
        slices=tuple(slices),
    )


def row_gains(pair: ScoredPair, metric: Metric, bound: float = np.inf) -> Floats:
    """What each row gains by the challenger; a loss counts as at most `bound`."""
    assert pair.champion is not None
    gains: Floats = np.minimum(losses_of(metric, pair.champion), bound) - np.minimum(
        losses_of(metric, pair.challenger), bound
    )
    return gains


def _check_comparison(comparison: Comparison, config: GateConfig) -> None:
    check_rows(comparison)
    for name in config.slices:
        if name not in comparison.slices:
            others = list(comparison.slices)
            known = nearest(name, others) if others else "the holdout came without any"
            raise GateError(f"There is no slice column {name!r}; {known}")
    if config.cluster is not None and comparison.clusters is None:
        raise GateError(f"The gate clusters rows by {config.cluster!r}, which the holdout lacks.")


def _obstacles(comparison: Comparison, config: GateConfig, metric: Metric) -> Iterator[str]:
    rows = len(comparison.y)
    if 0 < rows < config.min_rows:
        yield f"the holdout has {rows:,} rows and the gate asks for {config.min_rows:,}"
    yield from obstacles(comparison, metric.task)


def _interval(
    case: _Case, champion: Scored, challenger: Scored, clusters: AnyArray | None
) -> Interval:
    resampling = Resampling(
        confidence=case.config.confidence,
        resamples=case.config.resamples,
        seed=case.config.seed,
    )
    return paired_difference(case.metric, champion, challenger, clusters, resampling)


def _improvement(
    found: Examined, comparison: Comparison, config: GateConfig, level: float
) -> RuleResult:
    whole, metric = found.whole, found.metric
    assert whole is not None
    p = _p_value(found, whole, comparison, config)
    passed = p <= level
    other = "" if comparison.champion is not None else " over always saying the same"
    return RuleResult(
        rule=Rule.IMPROVEMENT,
        metric=metric.name,
        passed=passed,
        figure=whole.difference,
        low=whole.low,
        high=whole.high,
        bound=config.min_effect,
        rows=len(comparison.y),
        message=f"the difference{other} of {_figures(whole, config.confidence)} "
        f"{'surely exceeds' if passed else 'does not surely exceed'} "
        f"the minimum effect of {config.min_effect:g} (p = {p:.2g}, at most {level:.2g} allowed)",
    )


def _p_value(found: Examined, whole: Interval, comparison: Comparison, config: GateConfig) -> float:
    """One-sided, by the test that suits metric and rows (`registry.methods.paired`)."""
    metric, null = found.metric, config.min_effect
    challenger, champion, clusters = found.pair.challenger, found.pair.champion, comparison.clusters
    assert champion is not None
    if metric.row_wise:
        gains = row_gains(found.pair, metric)
        if clusters is not None:
            return clustered(gains, np.unique(clusters, return_inverse=True)[1], null=null).p
        if null == 0 and metric.name == "accuracy":
            return mcnemar(int((gains > 0).sum()), int((gains < 0).sum()))
        return paired_t(gains, null=null).p if len(gains) > 1 else 1.0
    if metric.name == "roc_auc" and len(champion.classes) == 2 and clusters is None:
        positive = champion.y == 1
        if min(positive.sum(), (~positive).sum()) >= 2:
            assert champion.probabilities is not None
            assert challenger.probabilities is not None
            new, old = challenger.probabilities[:, 1], champion.probabilities[:, 1]
            return delong(positive, new, old, null=null).p
    if whole.low is None:
        return 1.0  # undefined in too many resamples
    units = len(champion) if clusters is None else len(np.unique(clusters))
    return studentized(whole.difference, whole.error, units, null=null).p


def _floors(case: _Case) -> Iterator[RuleResult]:
    for name, bound in sorted(case.config.floors.items()):
        metric = find_metric(name)
        score = score_of(metric, case.pair.challenger)
        passed = score >= bound if metric.greater_is_better else score <= bound
        kind = "at least" if metric.greater_is_better else "at most"
        yield RuleResult(
            rule=Rule.FLOOR,
            metric=name,
            passed=bool(passed),
            figure=score if np.isfinite(score) else None,
            bound=bound,
            rows=len(case.comparison.y),
            message=f"{name} is {score:.4g} and must be {kind} {bound:g}",
        )


def _slices(case: _Case, champion: Scored) -> Iterator[RuleResult]:
    for column in case.config.slices:
        values = np.asarray(case.comparison.slices[column]).astype(str)
        distinct = np.unique(values)
        if len(distinct) > MAX_SLICES:
            raise GateError(
                f"The slice column {column!r} has {len(distinct):,} values; at most {MAX_SLICES}.",
                hint="slice by a category, or put the numbers into a few bins",
            )
        for value in distinct.tolist():
            yield _slice(case, champion, f"{column}={value}", np.flatnonzero(values == value))


def _slice(case: _Case, champion: Scored, name: str, rows: AnyArray) -> RuleResult:
    config, metric, clusters = case.config, case.metric, case.comparison.clusters
    if len(rows) < config.slice_min_rows:
        return _unjudged(metric, name, len(rows), f"fewer than {config.slice_min_rows} rows")
    part = _interval(
        case,
        champion.take(rows),
        case.pair.challenger.take(rows),
        None if clusters is None else clusters[rows],
    )
    if not np.isfinite(part.difference):
        return _unjudged(metric, name, len(rows), f"{metric.name} is not defined on it")
    return RuleResult(
        rule=Rule.SLICE,
        metric=metric.name,
        slice=name,
        passed=part.difference >= -config.slice_max_drop,
        figure=part.difference,
        low=part.low,
        high=part.high,
        bound=-config.slice_max_drop,
        rows=len(rows),
        message=f"on {name} the change is {_figures(part, config.confidence)} "
        f"and may be no worse than {-config.slice_max_drop:g}",
    )


def _unjudged(metric: Metric, name: str, rows: int, why: str) -> RuleResult:
    message = f"{name} is not judged: {why}"
    return RuleResult(
        rule=Rule.SLICE, metric=metric.name, slice=name, passed=True, rows=rows, message=message
    )


def _figures(interval: Interval, confidence: float) -> str:
    if interval.low is None or interval.high is None:
        return f"{interval.difference:+.3g} (no interval: undefined in too many resamples)"
    return (
        f"{interval.difference:+.3g} "
        f"({confidence:.0%} interval {interval.low:+.3g} to {interval.high:+.3g})"
    )
