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
from statistics import NormalDist

from registry.card.words import counted
from registry.gate_config import GateConfig
from registry.methods.codes import numbered
from registry.methods.comparison import Comparison, ScoredPair
from registry.methods.evidence import MAX_STAKE
from registry.methods.metrics import Metric
from registry.methods.power import POWER, fewest_units
from registry.methods.predictions import AnyArray
from registry.one_night import no_worse
from registry.slice_columns import Part, parts, planned
from registry.slice_plan import SlicePlan
from registry.verdict import Rule, RuleResult

# What the mixture of bets costs, in units of log evidence (measured: 0.5 to 1.5).
MIXTURE_COST = 1.0


def rows_for_evidence(square: float, config: GateConfig, bound: float, slices: int = 1) -> float:
    """Rows of each slice after which bets prove all of them harmless, for equal models.

    `square`: mean square of a row's gain; `slices`: how many are proven together, with a
    probability of POWER (one: on average). The best bettor's capital grows by g = m^2 / 2s a row,
    with a standard deviation of sqrt(2 g), where m is the mean and s the mean square of the gain
    above the null (`registry.methods.evidence`): n rows do with n g - z sqrt(2 g n) = what is
    needed, z the normal quantile that each of the slices must keep.
    """
    allowed = config.slice_max_drop / bound
    growth = allowed**2 / (2 * (square / bound**2 + allowed**2))
    needed = math.log(1 / config.slice_alpha) + MIXTURE_COST
    z = NormalDist().inv_cdf(POWER ** (1 / slices)) if slices > 1 else 0.0
    root = (z * math.sqrt(2) + math.sqrt(2 * z**2 + 4 * needed)) / 2
    return root**2 / growth


def clusters_for_evidence(config: GateConfig, bound: float) -> float:
    """Clusters below which bets cannot prove a slice of equal models harmless.

    The stake for a row is at most MAX_STAKE / (rows of its cluster), so models that are equal on
    each row gain at most this much from a cluster, however large it is.
    """
    allowed = config.slice_max_drop / bound
    return math.log(1 / config.slice_alpha) / math.log1p(MAX_STAKE * allowed)


def clusters_of(part: Part, clusters: AnyArray) -> int:
    """How many clusters its rows are of."""
    return len(numbered(clusters[part.rows])[0])


def slice_rules(
    comparison: Comparison, pair: ScoredPair, metric: Metric, config: GateConfig, *, looks: int
) -> tuple[RuleResult, ...]:
    """Each slice by this night's rows alone; `looks`: earlier decisions that saw some of them."""
    if not config.slices or pair.champion is None or comparison.champion is None:
        return ()
    level = config.slice_alpha / (1 + looks)
    # Blocks, and metrics of the whole set, are not bet on.
    bet_on = comparison.clusters if metric.row_wise and config.block is None else None
    plan = planned(
        config.slices,
        [comparison.slices],
        config.slice_min_rows,
        clusters=[bet_on],
        # Without the looks: more of them must not make a slice too small to be judged.
        fewest=0 if bet_on is None else fewest_units(config.slice_alpha),
    )
    return tuple(
        _tonight(part, comparison, pair, metric, config, level)
        if part.judged
        else unjudged(part, metric, _too_few(part, bet_on, plan))
        for part in parts(plan, comparison.slices)
    )


def _too_few(part: Part, clusters: AnyArray | None, plan: SlicePlan) -> str:
    found = 0 if clusters is None else clusters_of(part, clusters)
    if clusters is None or len(part.rows) < plan.least or found >= plan.clusters:
        return f"fewer than {plan.least:,} rows"
    return f"{counted(found, 'cluster')}, and nothing is proven by fewer than {plan.clusters:,}"


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
