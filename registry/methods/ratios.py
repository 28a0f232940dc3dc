"""Metrics of predicted numbers that are a ratio, or a share, of the whole set."""

from collections.abc import Callable

import numpy as np

from registry.methods.losses import absolute
from registry.methods.predictions import Floats, Scored, Scorer


def wape(scored: Scored) -> Scorer:
    """Sum of the absolute errors over the sum of the absolute truths (Kolassa & Schütz 2007).

    Unlike the mean relative error it bears single truths of 0.
    """
    off, size = absolute(scored), np.abs(scored.y)

    def score(weights: Floats) -> float:
        whole = float((weights * size).sum())
        return float((weights * off).sum()) / whole if whole > 0 else float("nan")

    return score


def wape_influence(scored: Scored) -> Floats:
    """The derivative by a row's weight: that of a ratio of means."""
    off, size = absolute(scored), np.abs(scored.y)
    return np.asarray((off - off.sum() / size.sum() * size) / size.mean())


def coverage(quantile: float) -> Callable[[Scored], Scorer]:
    """How far the share of truths at or below the prediction is from `quantile` (Gneiting 2007).

    0 is best. A ceiling beside `pinball_`: it says whether, not where, a prediction is right. On
    few rows it says too much, most of all of a model that is right, so it is no guard.
    """

    def scorer(scored: Scored) -> Scorer:
        below = (scored.y <= scored.needed_values()).astype(np.float64)
        return lambda weights: abs(float((weights * below).sum() / weights.sum()) - quantile)

    return scorer


def coverage_influence(quantile: float) -> Callable[[Scored], Floats]:
    """The derivative by a row's weight, where the share is not exactly the quantile."""

    def influence(scored: Scored) -> Floats:
        below = (scored.y <= scored.needed_values()).astype(np.float64)
        off = below.mean() - quantile
        return np.asarray(np.sign(off) * (below - below.mean()))

    return influence
