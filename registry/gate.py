"""The gate: may this challenger replace this champion? Pure: arrays in, a verdict out.

A challenger is promoted only when every rule holds:

- evidence: enough rows, usable predictions, at least two classes, none unknown to the champion
  (where the gate does not say that such rows count as its errors);
- improvement: it is proven better than the champion by more than `min_effect`, by a test of this
  night alone (here), or by evidence that accumulates over nights (`registry.nights.night`);
- floors: the challenger's own score keeps each absolute bound;
- guards, slices: it is proven no worse in other metrics, and on parts of the rows, by more than
  a margin; flips and costs stay within bounds. Costs are measured last, when all else holds.

A first model has no champion to be compared with: it must keep the floors and be proven better
than a model that always says the same. What cannot be judged is a verdict to hold; what makes no
sense is a GateError. The intervals explain; they do not decide.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from registry.costs import Measure, free, not_measured
from registry.draft import Draft
from registry.errors import GateError
from registry.flips import flips_rule
from registry.gate_config import GateConfig, NewClasses, check_config, null_of
from registry.guards import guard_rules
from registry.methods.bootstrap import Interval
from registry.methods.comparison import (
    Comparison,
    ScoredPair,
    check_rows,
    infinite,
    obstacles,
    scored_pair,
    unseen_words,
)
from registry.methods.metrics import Metric, find_metric, score_of
from registry.methods.predictions import Task
from registry.one_night import figures, interval_of, p_value, proof, too_few
from registry.slice_columns import check_columns
from registry.slices import slice_rules
from registry.verdict import Rule, RuleResult, Verdict


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
    others: tuple[RuleResult, ...] = ()
    """Rules on other things than its score: classes that a model never saw, flips."""
    guards: tuple[RuleResult, ...] = ()
    slices: tuple[RuleResult, ...] = ()
    costs: tuple[RuleResult, ...] = ()

    @property
    def rules(self) -> tuple[RuleResult, ...]:
        """Every rule but the improvement."""
        return (*self.floors, *self.others, *self.guards, *self.slices, *self.costs)

    def priced(self, config: GateConfig, measure: Measure, *, proven: bool) -> "Examined":
        """With its costs, which are measured only when it is proven and every other rule holds."""
        asked = proven and all(rule.passed for rule in self.rules)
        return replace(self, costs=measure() if asked else not_measured(config.cost))


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
    costs: Measure = free,
) -> Verdict:
    """The verdict on version `challenger` of `model`, by this night alone.

    `level`: an equal challenger passes with a probability of at most this; none: what the
    intervals miss on one side. `costs`: measures them, if all else holds.
    Raises GateError for what makes no sense.
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
        null=null_of(config),
    )
    allowed = (1 - config.confidence) / 2 if level is None else level
    if champion is None:
        return first_verdict(comparison, config, draft, allowed, costs)
    return single_night(comparison, config, draft, allowed, costs)


def first_verdict(
    comparison: Comparison,
    config: GateConfig,
    draft: Draft,
    level: float,
    costs: Measure = free,
) -> Verdict:
    """The verdict on a first model: its floors, and the constant baseline where there is one."""
    found = examined(comparison, config)
    if isinstance(found, str):
        return draft.undecidable(found)
    whole = found.whole
    if whole is None:
        return draft.first(found.score, found.priced(config, costs, proven=True).rules)
    obstacle = too_few(whole, comparison.clusters, level)
    if obstacle is not None:
        return draft.undecidable(obstacle)
    improvement = _improvement(found, comparison, config, level)
    found = found.priced(config, costs, proven=improvement.passed)
    verdict = draft.first(found.score, (improvement, *found.rules), comparison.constant_is)
    return replace(
        verdict,
        baseline=found.baseline,
        difference=whole.difference,
        low=whole.low,
        high=whole.high,
    )


def single_night(
    comparison: Comparison,
    config: GateConfig,
    draft: Draft,
    level: float,
    costs: Measure = free,
    looks: int = 0,
) -> Verdict:
    """The verdict on a challenger by a test of this night alone.

    `looks`: earlier decisions that looked at some of these rows, for which `level` is paid already.
    """
    found = examined(comparison, config)
    if isinstance(found, str):
        return draft.undecidable(found)
    whole, baseline = found.whole, found.baseline
    assert whole is not None
    assert baseline is not None
    obstacle = too_few(whole, comparison.clusters, level)
    if obstacle is not None:
        return draft.undecidable(obstacle)
    found = replace(
        found,
        guards=guard_rules(comparison, found.pair, config, looks=looks),
        slices=slice_rules(comparison, found.pair, found.metric, config, looks=looks),
    )
    improvement = _improvement(found, comparison, config, level)
    found = found.priced(config, costs, proven=improvement.passed)
    return draft.compared(found.score, baseline, whole, (improvement, *found.rules))


def comparable(comparison: Comparison, config: GateConfig) -> ScoredPair | str:
    """Both models in the metric's terms, or why these rows cannot be judged."""
    metric = check_config(config)
    _check_comparison(comparison, config)
    obstacle = next(_obstacles(comparison, config, metric), None)
    if obstacle is not None:
        return obstacle
    pair = scored_pair(comparison, metric)
    # Where there is a bound, a larger loss counts as that.
    bounded = config.bound is not None and config.block is None
    names = (*(() if bounded else (config.metric,)), *sorted(config.guards))
    found = (infinite(pair, find_metric(name)) for name in names)
    return next((why for why in found if why is not None), pair)


def examined(
    comparison: Comparison, config: GateConfig, pair: ScoredPair | str | None = None
) -> Examined | str:
    """Every figure but the proof and the costs, or why these rows cannot be judged.

    `pair`: what `comparable` has made of them, where it was asked before.
    """
    metric = check_config(config)
    if pair is None:
        pair = comparable(comparison, config)
    if isinstance(pair, str):
        return pair
    case = _Case(comparison=comparison, config=config, metric=metric, pair=pair)
    score = score_of(metric, case.pair.challenger)
    if not np.isfinite(score):
        return f"{metric.name} is not defined on these rows"
    other = case.pair.champion
    flips = _flips(case)
    return Examined(
        metric=metric,
        pair=case.pair,
        score=score,
        baseline=None if other is None else score_of(metric, other),
        whole=None
        if other is None
        else interval_of(metric, other, case.pair.challenger, comparison.clusters, config),
        floors=tuple(_floors(case)),
        others=(*_grouping(case), *_unseen(case), *(() if flips is None else (flips,))),
    )


def _grouping(case: _Case) -> Iterator[RuleResult]:
    """How many observations the rows are, where those of a cluster count together: reported."""
    clusters, name = case.comparison.clusters, case.config.cluster
    if clusters is None or name is None:
        return
    rows, groups = len(clusters), len(np.unique(clusters))
    words = f"The {rows:,} rows are of {groups:,} groups ({name}), each one observation"
    yield _reported(case, rows, words)


def _unseen(case: _Case) -> Iterator[RuleResult]:
    """The rows that a model could only get wrong: reported, and decides nothing by itself."""
    if case.metric.task is Task.CLASSIFICATION:
        yield from (_reported(case, *found) for found in unseen_words(case.comparison))


def _reported(case: _Case, rows: int, words: str) -> RuleResult:
    """What is worth knowing of these rows."""
    return RuleResult(
        rule=Rule.EVIDENCE,
        metric=case.metric.name,
        passed=True,
        judged=False,
        rows=rows,
        message=words,
    )


def _flips(case: _Case) -> RuleResult | None:
    first = case.comparison.champion is None
    return None if first else flips_rule(case.pair, case.config, case.comparison.clusters)


def _check_comparison(comparison: Comparison, config: GateConfig) -> None:
    check_rows(comparison)
    check_columns(config.slices, comparison.slices)
    if config.cluster is not None and comparison.clusters is None:
        raise GateError(
            f"The gate clusters rows by {config.cluster!r}, which the holdout lacks.",
            hint="name a column of the view in gate.cluster, and keep it by features.slices",
        )


def _obstacles(comparison: Comparison, config: GateConfig, metric: Metric) -> Iterator[str]:
    rows = len(comparison.y)
    if 0 < rows < config.min_rows:
        yield f"the holdout has {rows:,} rows and the gate asks for {config.min_rows:,}"
    judge = NewClasses(config.new_classes) is NewClasses.JUDGE
    yield from obstacles(comparison, metric.task, judge_new_classes=judge)


def _improvement(
    found: Examined, comparison: Comparison, config: GateConfig, level: float
) -> RuleResult:
    whole, metric = found.whole, found.metric
    assert whole is not None
    assert found.pair.champion is not None
    null = null_of(config)
    rows = (metric, found.pair, comparison.clusters, whole)
    p = p_value(*rows, config, null=null, level=level)
    passed = p <= level
    other = "" if comparison.champion is not None else f" over {comparison.constant_is}"
    said = proof(*rows, config, null=null, level=level, p=p)
    return RuleResult(
        rule=Rule.IMPROVEMENT,
        metric=metric.name,
        passed=passed,
        figure=whole.difference,
        low=whole.low,
        high=whole.high,
        bound=null,
        rows=len(comparison.y),
        message=f"the difference{other} of {figures(whole, config.confidence)} {said}",
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
