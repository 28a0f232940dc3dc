"""Slices: parts of the rows on which a challenger must be proven no worse than allowed. Pure.

It passes only when every judged slice passes, each at the whole `slice_alpha`: for a challenger
that harms one slice to pass, that very slice has to err, so the probability is at most
`slice_alpha` however many slices there are (the intersection-union test: Berger, Technometrics 24
(1982)). Nothing is corrected for their number; each more costs chances of a harmless one to pass.

This is one night's test; over nights evidence adds up (`registry.nights.no_harm`), and a slice that
bets cannot decide in the nights that a comparison has is too small. Small slices of a column are
judged together, or, when they are too few even so, are reported and decide nothing.
"""

import math

from registry.gate_config import GateConfig
from registry.methods.comparison import Comparison, ScoredPair
from registry.methods.metrics import Metric
from registry.methods.predictions import AnyArray
from registry.one_night import no_worse
from registry.slice_columns import Part, parts, planned
from registry.verdict import Rule, RuleResult

# What the mixture of bets costs, in units of log evidence (measured: 0.5 to 1.5).
MIXTURE_COST = 1.0


def rows_for_evidence(square: float, config: GateConfig, bound: float) -> float:
    """Rows after which bets prove a slice of equal models harmless, on average.

    `square`: mean square of a row's gain. The best bettor's capital grows by m^2 / 2s a row, where
    m is the mean and s the mean square of the gain above the null (`registry.methods.evidence`).
    """
    allowed = config.slice_max_drop / bound
    growth = allowed**2 / (2 * (square / bound**2 + allowed**2))
    return (math.log(1 / config.slice_alpha) + MIXTURE_COST) / growth


def slice_rules(
    comparison: Comparison, pair: ScoredPair, metric: Metric, config: GateConfig, *, looks: int
) -> tuple[RuleResult, ...]:
    """Each slice by this night's rows alone; `looks`: earlier decisions that saw some of them."""
    if not config.slices or pair.champion is None or comparison.champion is None:
        return ()
    level = config.slice_alpha / (1 + looks)
    plan = planned(config.slices, [comparison.slices], config.slice_min_rows)
    few = f"fewer than {config.slice_min_rows:,} rows"
    return tuple(
        _tonight(part, comparison, pair, metric, config, level)
        if part.judged
        else unjudged(part, metric, few)
        for part in parts(plan, comparison.slices)
    )


def unjudged(part: Part, metric: Metric, why: str) -> RuleResult:
    """A slice that is reported and decides nothing."""
    return RuleResult(
        rule=Rule.SLICE,
        metric=metric.name,
        slice=part.name,
        passed=True,
        judged=False,
        rows=len(part.rows),
        message=f"{part.name} is not judged{' alone' if part.thin else ''}: {why}",
    )


def _tonight(
    part: Part,
    comparison: Comparison,
    pair: ScoredPair,
    metric: Metric,
    config: GateConfig,
    level: float,
) -> RuleResult:
    clusters = comparison.clusters
    return no_worse(
        metric,
        taken(pair, part.rows),
        None if clusters is None else clusters[part.rows],
        config,
        rule=Rule.SLICE,
        slice_name=part.name,
        allowed=config.slice_max_drop,
        level=level,
    )


def taken(pair: ScoredPair, rows: AnyArray) -> ScoredPair:
    """Both models on some rows."""
    assert pair.champion is not None
    return ScoredPair(challenger=pair.challenger.take(rows), champion=pair.champion.take(rows))
