"""The gate: may this challenger replace this champion? Pure: arrays in, a verdict out.

A challenger is promoted only when every rule holds:

- evidence: enough rows, usable predictions, at least two classes, none unknown to the champion;
- improvement: the lower end of the paired bootstrap interval of the difference in `metric`
  lies above `min_effect` (two-sided at `confidence`, so one-sided at half the error);
- floors: the challenger's own score keeps each absolute bound;
- slices: on no judged slice is the challenger worse by more than `slice_max_drop`.

A first model has no champion to be compared with: it passes on the floors alone, and the verdict
says so. What cannot be judged is a verdict to hold; what makes no sense is a GateError.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from registry.bootstrap import Interval, Resampling, paired_difference
from registry.comparison import Comparison, ScoredPair, check_rows, obstacles, scored_pair
from registry.draft import Draft
from registry.errors import GateError
from registry.metrics import Metric, find_metric, score_of
from registry.predictions import AnyArray, Scored, nearest
from registry.verdict import Rule, RuleResult, Verdict

# A column with more values than this is not a slice column but a number or an identifier.
MAX_SLICES = 200


@dataclass(frozen=True, kw_only=True)
class GateConfig:
    """What a challenger must show."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    metric: str = "accuracy"
    """The metric of the comparison."""
    min_effect: float = 0.0
    """Minimum useful effect: the improvement must surely exceed it, in the metric's unit."""
    confidence: float = 0.95
    """Confidence of the intervals, two-sided."""
    resamples: int = 2000
    """Bootstrap resamples of an interval."""
    seed: int = 0
    """Seed of the bootstrap: the same rows give the same verdict."""
    floors: dict[str, float] = field(default_factory=dict)
    """Metric to bound of the challenger's own score: a floor, for a loss a ceiling."""
    slices: tuple[str, ...] = ()
    """Columns whose every value is a slice that must not get worse."""
    slice_max_drop: float = 0.05
    """How much worse the challenger may be on a slice, in the metric's unit."""
    slice_min_rows: int = 50
    """A slice with fewer rows is not judged, and the verdict says so."""
    min_rows: int = 100
    """With fewer rows nothing is decided."""
    cluster: str | None = None
    """Column of the unit whose rows depend on each other (customer, day); none: rows do not."""


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
) -> Verdict:
    """The verdict on version `challenger` of `model`; GateError for what makes no sense."""
    metric = check_config(config)
    _check_comparison(comparison, config)
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
    obstacle = next(_obstacles(comparison, config, metric), None)
    if obstacle is not None:
        return draft.undecidable(obstacle)
    case = _Case(
        comparison=comparison,
        config=config,
        metric=metric,
        pair=scored_pair(comparison, metric),
    )
    score = score_of(metric, case.pair.challenger)
    if not np.isfinite(score):
        return draft.undecidable(f"{metric.name} is not defined on these rows")
    floors = tuple(_floors(case))
    if case.pair.champion is None:
        return draft.first(score, floors)
    whole = _interval(case, case.pair.champion, case.pair.challenger, comparison.clusters)
    rules = (_improvement(case, whole), *floors, *_slices(case, case.pair.champion))
    return draft.compared(score, score_of(metric, case.pair.champion), whole, rules)


def check_config(config: GateConfig) -> Metric:
    """The metric of the comparison; GateError when the configuration makes no sense."""
    metric = find_metric(config.metric)
    for name in config.floors:
        if find_metric(name).task is not metric.task:
            raise GateError(
                f"The floor {name!r} is a metric of {find_metric(name).task}, "
                f"but the gate compares {metric.name}, a metric of {metric.task}."
            )
    if not 0.5 <= config.confidence < 1:
        raise GateError(f"The gate's confidence is {config.confidence}; it must be in [0.5, 1).")
    lowest: dict[str, float] = {
        "resamples": 100,
        "min_rows": 1,
        "slice_min_rows": 1,
        "min_effect": 0,
        "slice_max_drop": 0,
    }
    for name, bound in lowest.items():
        if not getattr(config, name) >= bound:
            raise GateError(f"The gate's {name} is {getattr(config, name)}; at least {bound}.")
    return metric


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


def _improvement(case: _Case, whole: Interval) -> RuleResult:
    config, metric = case.config, case.metric
    passed = whole.low is not None and whole.low > config.min_effect
    return RuleResult(
        rule=Rule.IMPROVEMENT,
        metric=metric.name,
        passed=passed,
        figure=whole.difference,
        low=whole.low,
        high=whole.high,
        bound=config.min_effect,
        rows=len(case.comparison.y),
        message=f"the difference of {_figures(whole, config.confidence)} "
        f"{'surely exceeds' if passed else 'does not surely exceed'} "
        f"the minimum effect of {config.min_effect:g}",
    )


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
