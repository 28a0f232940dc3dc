"""Guards: other metrics in which a challenger must be proven no worse than allowed. Pure.

All rows, one metric each, each at the whole `slice_alpha`: like slices, a challenger passes only
when every guard does. This is one night's test; over nights evidence adds up
(`registry.nights.no_harm`).
"""

from collections.abc import Iterator

from registry.gate_config import GateConfig
from registry.methods.comparison import Comparison, ScoredPair
from registry.methods.metrics import Metric, find_metric
from registry.one_night import no_worse
from registry.verdict import Rule, RuleResult


def guard_rules(
    comparison: Comparison, pair: ScoredPair, config: GateConfig, *, looks: int
) -> tuple[RuleResult, ...]:
    """Each guard by this night's rows alone; `looks`: earlier decisions that saw some of them."""
    if pair.champion is None or comparison.champion is None:
        return ()
    return tuple(_guards(comparison, pair, config, config.slice_alpha / (1 + looks)))


def _guards(
    comparison: Comparison, pair: ScoredPair, config: GateConfig, level: float
) -> Iterator[RuleResult]:
    for name, allowed in sorted(config.guards.items()):
        metric = find_metric(name)
        obstacle = unusable(metric, pair)
        yield (
            impossible(metric, allowed, len(comparison.y), obstacle)
            if obstacle
            else no_worse(
                metric,
                pair,
                comparison.clusters,
                config,
                rule=Rule.GUARD,
                slice_name=None,
                allowed=allowed,
                level=level,
            )
        )


def unusable(metric: Metric, pair: ScoredPair) -> str:
    """Why a guard cannot be computed from these predictions; empty: it can."""
    if metric.needs_probabilities:
        for who, scored in (("challenger", pair.challenger), ("champion", pair.champion)):
            if scored is not None and scored.probabilities is None:
                return f"the guard {metric.name} needs probabilities, and the {who} gives labels"
    return ""


def impossible(metric: Metric, allowed: float, rows: int, obstacle: str) -> RuleResult:
    """A guard that cannot be looked at holds the challenger."""
    return RuleResult(
        rule=Rule.GUARD,
        metric=metric.name,
        passed=False,
        bound=-allowed,
        rows=rows,
        message=obstacle,
    )
