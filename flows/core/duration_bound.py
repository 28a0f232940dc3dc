"""How long a flow may take, as its history tells: an upper prediction bound for one more run.

With enough history the bound assumes nothing: of n durations and one more, the one more is at
most the k-th smallest with probability k / (n + 1) (Wilks, 1941). At 95 % that takes 19 runs.
With less, durations are taken as log-normal, and the bound is the usual one for one more value
of a normal distribution whose mean and deviation are estimated (Hahn and Meeker, Statistical
Intervals, 1991, section 4.2). With fewer than three runs nothing is said.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import timedelta
from statistics import fmean, stdev

FEWEST = 3
"""Runs without which nothing is predicted."""

LONGEST = timedelta(days=365)
"""What a bound is cut to: a few wild durations predict centuries."""

_SHORTEST = 0.001  # seconds; a duration of zero has no logarithm
_ROUNDING = 1e-9
_HALVINGS = 60  # of an angle, until a float tells no more


def duration_bound(history: Sequence[timedelta], confidence: float) -> timedelta | None:
    """What one more run's duration exceeds with a probability of at most 1 - `confidence`.

    None with fewer than three runs in `history`. `confidence` is between 0 and 1.
    """
    seconds = sorted(max(d.total_seconds(), _SHORTEST) for d in history)
    count = len(seconds)
    if count < FEWEST:
        return None
    rank = max(1, math.ceil(confidence * (count + 1) - _ROUNDING))
    if rank <= count:
        return _cut(seconds[rank - 1])
    logarithms = [math.log(s) for s in seconds]
    width = t_quantile(confidence, count - 1) * math.sqrt(1 + 1 / count)
    bound = fmean(logarithms) + width * stdev(logarithms)
    return _cut(math.exp(min(bound, math.log(LONGEST.total_seconds()))))


def _cut(seconds: float) -> timedelta:
    return min(timedelta(seconds=seconds), LONGEST)


def t_quantile(p: float, degrees: int) -> float:
    """What Student's t with `degrees` of freedom exceeds with probability 1 - p."""
    low, high = -math.pi / 2, math.pi / 2  # the angle whose tangent is t / sqrt(degrees)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _below(middle, degrees) < p else (low, middle)
    return math.sqrt(degrees) * math.tan((low + high) / 2)


def _below(angle: float, degrees: int) -> float:
    """The probability that t is below sqrt(degrees) tan(angle): a finite sum.

    Abramowitz and Stegun, Handbook of Mathematical Functions, 1964, 26.7.3 and 26.7.4.
    """
    odd = degrees % 2
    term, total = math.cos(angle) if odd else 1.0, 0.0
    for number in range(1 + odd, degrees, 2):
        total += term
        term *= math.cos(angle) ** 2 * number / (number + 1)
    within = math.sin(angle) * total
    return 0.5 + ((angle + within) / math.pi if odd else within / 2)
