"""Metrics of the order that a model brings the rows into; several classes: mean of one-vs-rest."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from registry.methods.predictions import Floats, Scored, Scorer, Weights

Area = Callable[[Floats, Floats], float]
"""From the weight of positive rows, and of all rows, above each threshold."""


def roc_auc(scored: Scored) -> Scorer:
    """Area under the ROC curve by the trapezoid rule."""
    return _mean_one_vs_rest(scored, _under_roc)


def average_precision(scored: Scored) -> Scorer:
    """Precision at every threshold, weighted by the recall that it adds; not interpolated."""
    return _mean_one_vs_rest(scored, _under_precision)


def _mean_one_vs_rest(scored: Scored, area: Area) -> Scorer:
    p, k = scored.needed_probabilities(), len(scored.classes)
    numbers = [1] if k == 2 else range(k)
    curves = [_one_vs_rest(p[:, c], scored.y == c, scored.ranking(c), area) for c in numbers]
    return lambda weights: float(np.mean([curve(weights) for curve in curves]))


def _one_vs_rest(
    score: Floats, positive: NDArray[np.bool_], order: NDArray[np.intp], area: Area
) -> Scorer:
    hit = positive[order].astype(np.float64)
    # Rows of equal score are one corner of the curve.
    corners = np.append(np.flatnonzero(np.diff(score[order])), len(order) - 1)

    def scorer(weights: Weights) -> float:
        w = weights[order]
        return area(np.cumsum(w * hit)[corners], np.cumsum(w)[corners])

    return scorer


def _under_roc(positives: Floats, everything: Floats) -> float:
    negatives = everything - positives
    whole = positives[-1] * negatives[-1]
    if whole <= 0:
        return float("nan")
    before = np.append(0.0, positives[:-1])
    width = np.diff(negatives, prepend=0.0)
    return float((width * (positives + before)).sum() / 2 / whole)


def _under_precision(positives: Floats, everything: Floats) -> float:
    if positives[-1] <= 0:
        return float("nan")
    seen = everything > 0
    precision = np.divide(positives, everything, out=np.zeros_like(positives), where=seen)
    return float((np.diff(positives, prepend=0.0) * precision).sum() / positives[-1])


def recall_at_precision(least: float) -> Callable[[Scored], Scorer]:
    """The most of a class that is found by a threshold whose finds are right that often; else 0."""

    def area(positives: Floats, everything: Floats) -> float:
        if positives[-1] <= 0:
            return float("nan")
        precise = positives >= least * everything * (1 - 1e-12)
        return float((positives * (precise & (everything > 0))).max() / positives[-1])

    return lambda scored: _mean_one_vs_rest(scored, area)


def lift_at(share: float) -> Callable[[Scored], Scorer]:
    """How many times the usual rate of a class there is in the `share` of rows that score highest.

    Rows of equal score are taken in parts.
    """

    def area(positives: Floats, everything: Floats) -> float:
        if positives[-1] <= 0:
            return float("nan")
        taken = share * everything[-1]
        found = np.interp(taken, np.append(0.0, everything), np.append(0.0, positives))
        return float(found / taken / (positives[-1] / everything[-1]))

    return lambda scored: _mean_one_vs_rest(scored, area)
