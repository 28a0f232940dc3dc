"""Costs: what a challenger takes to serve, held against the config's bounds. Pure.

Latency is measured in rounds, in time of one core: challenger and champion predict the same number
of rows one right after the other. The median of the rounds decides; its interval, by ranks,
explains.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from registry.gate_config import CostConfig
from registry.verdict import Rule, RuleResult

Measure = Callable[[], tuple[RuleResult, ...]]
"""Measures what a challenger costs, for seconds: asked only when every other rule holds."""

MEGABYTE = 1_000_000
CONFIDENCE = 0.95
TICK_MS = 0.001
"""What a clock can tell apart: no model takes less."""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What one model was measured to cost."""

    rows: int = 0
    """Rows of one round."""
    rounds_ms: tuple[float, ...] = ()
    """Milliseconds of one core for 1,000 rows, round by round; both models have the same rounds."""
    size_mb: float | None = None
    """Megabytes (1,000,000 bytes) of its files."""
    memory_mb: float | None = None
    """Megabytes of resident memory that loading it and predicting add to a process."""
    trouble: str = ""
    """Why something could not be measured."""


def measures(config: CostConfig) -> bool:
    """Whether any bound is set."""
    return any(bound is not None for bound in vars(config).values())


def free() -> tuple[RuleResult, ...]:
    """A measure where nobody asks what a challenger costs."""
    return ()


def not_measured(config: CostConfig) -> tuple[RuleResult, ...]:
    """What stands for each bound when a challenger is held anyway."""
    return tuple(
        RuleResult(
            rule=Rule.COST,
            metric=name,
            passed=True,
            judged=False,
            bound=bound,
            rows=0,
            message="not measured, because it is held anyway",
        )
        for name, bound in vars(config).items()
        if bound is not None
    )


def times(config: CostConfig) -> bool:
    """Whether a bound on latency is set."""
    return config.latency_ms is not None or config.latency_ratio is not None


def cost_rules(
    config: CostConfig, challenger: Costs, champion: Costs | None
) -> tuple[RuleResult, ...]:
    """One result for each bound that is set; what could not be measured is not passed."""
    found = []
    if config.latency_ms is not None:
        found.append(_latency(config.latency_ms, challenger))
    if config.latency_ratio is not None:
        found.append(_ratio(config.latency_ratio, challenger, champion))
    if config.size_mb is not None:
        words = "its files have {:.3g} MB and may have {:g} MB"
        found.append(_amount("size_mb", config.size_mb, challenger, "its files", words))
    if config.memory_mb is not None:
        words = "loading it and predicting take {:.3g} MB of memory and may take {:g} MB"
        found.append(_amount("memory_mb", config.memory_mb, challenger, "its memory", words))
    return tuple(found)


def median_interval(values: tuple[float, ...]) -> tuple[float, float | None, float | None]:
    """The median, and its 95 % interval by ranks (Conover, Practical Nonparametric Statistics 3.2).

    Fewer than six values have no such interval.
    """
    from scipy.special import bdtr

    ordered, n = sorted(values), len(values)
    tail = (1 - CONFIDENCE) / 2
    # The widest rank that fewer than `rank` of n coins, each below the median or not, miss.
    rank = max((r for r in range(1, n // 2 + 1) if bdtr(r - 1, n, 0.5) <= tail), default=0)
    middle = float(np.median(ordered))
    return (middle, ordered[rank - 1], ordered[n - rank]) if rank else (middle, None, None)


def _latency(bound: float, challenger: Costs) -> RuleResult:
    if not challenger.rounds_ms:
        return _unmeasured("latency_ms", bound, "its latency", challenger)
    figure, low, high = median_interval(challenger.rounds_ms)
    message = f"it takes {_ms(figure)} of one core to predict 1,000 rows and may take {_ms(bound)}"
    return _result("latency_ms", bound, (figure, low, high), challenger.rows, message)


def _ratio(bound: float, challenger: Costs, champion: Costs | None) -> RuleResult:
    if champion is None:
        return RuleResult(
            rule=Rule.COST,
            metric="latency_ratio",
            passed=True,
            judged=False,
            bound=bound,
            rows=challenger.rows,
            message="its latency has no champion's to be compared with",
        )
    pairs = list(zip(challenger.rounds_ms, champion.rounds_ms, strict=True))
    if not pairs:
        return _unmeasured("latency_ratio", bound, "its latency", challenger)
    found = median_interval(tuple(new / max(old, TICK_MS) for new, old in pairs))
    new, old = (float(np.median(each)) for each in zip(*pairs, strict=True))
    message = (
        f"it takes {found[0]:.3g} times as long to predict as the champion ({_ms(new)} against "
        f"{_ms(old)} for 1,000 rows) and may take {bound:g} times"
    )
    return _result("latency_ratio", bound, found, challenger.rows, message)


def _amount(name: str, bound: float, costs: Costs, what: str, words: str) -> RuleResult:
    figure = getattr(costs, name)
    if figure is None:
        return _unmeasured(name, bound, what, costs)
    message = words.format(figure, bound)
    return _result(name, bound, (figure, None, None), costs.rows, message)


def _result(
    name: str,
    bound: float,
    found: tuple[float, float | None, float | None],
    rows: int,
    message: str,
) -> RuleResult:
    figure, low, high = found
    return RuleResult(
        rule=Rule.COST,
        metric=name,
        passed=figure <= bound,
        figure=figure,
        low=low,
        high=high,
        bound=bound,
        rows=rows,
        message=message,
    )


def _unmeasured(name: str, bound: float, what: str, costs: Costs) -> RuleResult:
    why = f": {costs.trouble}" if costs.trouble else ""
    return RuleResult(
        rule=Rule.COST,
        metric=name,
        passed=False,
        bound=bound,
        rows=costs.rows,
        message=f"{what} could not be measured{why}",
    )


def _ms(milliseconds: float) -> str:
    return f"{milliseconds:,.3g} ms" if milliseconds < 1000 else f"{milliseconds:,.0f} ms"
