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
from statistics import NormalDist, fmean, stdev

FEWEST = 3
"""Runs without which nothing is predicted."""

LONGEST = timedelta(days=365)
"""What a bound is cut to: a few wild durations predict centuries."""

_SHORTEST = 0.001  # seconds; a duration of zero has no logarithm
_ROUNDING = 1e-9


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
    """What Student's t with `degrees` of freedom exceeds with probability 1 - p.

    Hill, Algorithm 396, Communications of the ACM 13 (1970): for more than two degrees of freedom
    an expansion whose relative error is below 1e-5.
    """
    if p < 0.5:
        return -t_quantile(1 - p, degrees)
    tails = 2 * (1 - p)
    if degrees == 1:
        return 1 / math.tan(tails * math.pi / 2) if tails < 1 else 0.0
    if degrees == 2:
        return math.sqrt(max(0.0, 2 / (tails * (2 - tails)) - 2))
    return math.sqrt(degrees * _expanded(tails, degrees))


def _expanded(tails: float, n: int) -> float:
    """t squared over n, from the probability of both tails."""
    a = 1 / (n - 0.5)
    b = 48 / a**2
    c = ((20700 * a / b - 98) * a - 16) * a + 96.36
    d = ((94.5 / (b + c) - 3) / b + 1) * math.sqrt(a * math.pi / 2) * n
    y: float = (d * tails) ** (2 / n)
    if y <= 0.05 + a:  # far out: an expansion in the tail
        inner = 1 / (((n + 6) / (n * y) - 0.089 * d - 0.822) * (n + 2) * 3) + 0.5 / (n + 4)
        return (inner * y - 1) * (n + 1) / (n + 2) + 1 / y
    x = NormalDist().inv_cdf(tails / 2)  # near the centre: an expansion about the normal
    y = x * x
    if n < 5:
        c += 0.3 * (n - 4.5) * (x + 0.6)
    c += (((0.05 * d * x - 5) * x - 7) * x - 2) * x + b
    y = (((((0.4 * y + 6.3) * y + 36) * y + 94.5) / c - y - 3) / b + 1) * x
    return math.expm1(a * y * y)
