"""Flips: the share of rows whose predicted class changes with the new model. Pure.

A better model may still upset whoever acts on single predictions. The rule holds a challenger
unless the share is surely at most `max_flips`: the upper end of its interval counts.
"""

import math

import numpy as np

from registry.gate_config import GateConfig
from registry.methods.comparison import ScoredPair
from registry.methods.predictions import AnyArray, Floats
from registry.verdict import Rule, RuleResult


def flips_rule(
    pair: ScoredPair, config: GateConfig, clusters: AnyArray | None = None
) -> RuleResult | None:
    """How many rows get another class, against `config.max_flips`; None where nothing is asked.

    `clusters`: the unit that each row belongs to, where rows depend on each other. With blocks of
    time and no clusters a night has too few units for an interval, and its figure decides.
    """
    bound = config.max_flips
    if bound is None or pair.champion is None:
        return None
    old, new = pair.champion.needed_labels(), pair.challenger.needed_labels()
    changed = np.asarray(old != new, dtype=np.float64)
    share, low, high = float(changed.mean()), None, None
    message = f"{share:.2%} of the rows get another class and at most {bound:.2%} may"
    if config.block is None or clusters is not None:
        units = _independent_rows(changed, clusters, config.confidence)
        low, high = clopper_pearson(share * units, units, config.confidence)
        message = (
            f"{share:.2%} of the rows get another class ({config.confidence:.0%} interval "
            f"{low:.2%} to {high:.2%}) and surely no more than {bound:.2%} may"
        )
        needed = rows_needed(bound, config.confidence)
        if units < needed:
            message += f", which takes {needed:,} independent rows to show"
    return RuleResult(
        rule=Rule.FLIPS,
        metric="flips",
        passed=(share if high is None else high) <= bound,
        figure=share,
        low=low,
        high=high,
        bound=bound,
        rows=len(changed),
        message=message,
    )


def clopper_pearson(hits: float, rows: float, confidence: float) -> tuple[float, float]:
    """The exact interval of a share (Clopper & Pearson, Biometrika 26, 1934), two-sided.

    Neither number has to be whole: Korn & Graubard use it with as many rows as are independent.
    """
    # scipy takes a while to import, which only a decision has to wait for.
    from scipy.special import betaincinv

    tail = (1 - confidence) / 2
    low = betaincinv(hits, rows - hits + 1, tail) if hits > 0 else 0.0
    high = betaincinv(hits + 1, rows - hits, 1 - tail) if hits < rows else 1.0
    return float(low), float(high)


def rows_needed(bound: float, confidence: float) -> int:
    """Rows without a single flip that would just show that the share is at most `bound`."""
    return math.ceil(math.log((1 - confidence) / 2) / math.log1p(-bound))


def _independent_rows(changed: Floats, clusters: AnyArray | None, confidence: float) -> float:
    """As many independent rows would tell as much (Korn & Graubard, Survey Methodology 24, 1998).

    A share of 0 or 1 does not tell how alike the rows of a cluster are: then each counts once.
    """
    from scipy.special import stdtrit

    rows = len(changed)
    if clusters is None:
        return float(rows)
    _, numbers = np.unique(clusters, return_inverse=True)
    units = int(numbers.max()) + 1
    share, tail = float(changed.mean()), (1 + confidence) / 2
    excess = np.bincount(numbers, weights=changed - share)
    variance = units / (units - 1) * float((excess**2).sum()) / rows**2 if units > 1 else 0.0
    if variance == 0:
        return float(units)
    few = (stdtrit(rows - 1, tail) / stdtrit(units - 1, tail)) ** 2
    return float(min(share * (1 - share) / variance * few, rows))
