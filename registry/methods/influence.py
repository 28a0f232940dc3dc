"""How much each row moves a metric: its empirical influence values, which sum to 0.

A metric of the whole set is, to first order, a mean over rows: the metric at hand plus the mean of
the influence values (Hampel, JASA 69 (1974)). Their squares give its variance (the infinitesimal
jackknife, Jaeckel 1972; for ROC AUC that of DeLong, DeLong & Clarke-Pearson, Biometrics 44
(1988)), their cubes its skewness, their sums over clusters both for dependent rows: at the price
of one score instead of thousands of resamples (Efron & Tibshirani, An Introduction to the
Bootstrap (1993), chapters 21 and 22).
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from registry.methods.calibration import BINS, said_and_happened
from registry.methods.losses import squared
from registry.methods.metrics import Metric, losses_of
from registry.methods.predictions import Floats, Scored, Task

# Step of the numeric derivative by a cell's share of the rows.
STEP = 1e-4


def influence_of(metric: Metric, scored: Scored) -> Floats | None:
    """The influence of each row, (rows,); None for a metric that has none known here.

    The caller knows that the metric is defined on these rows.
    """
    if metric.row_wise:
        losses = losses_of(metric, scored)
        own = losses - losses.mean()
        return np.asarray(-own if metric.greater_is_better else own)
    if counts_cells(metric):
        return _of_cells(metric, scored)
    if metric.influence is not None:
        return metric.influence(scored)
    known: dict[str, Callable[[Scored], Floats]] = {
        "roc_auc": lambda scored: _one_vs_rest(scored, _of_roc_auc),
        "average_precision": lambda scored: _one_vs_rest(scored, _of_average_precision),
        "ece": _of_calibration,
        "rmse": _of_rmse,
        "r2": _of_r2,
    }
    return known[metric.name](scored) if metric.name in known else None


def counts_cells(metric: Metric) -> bool:
    """Whether the metric looks at nothing but how often each class was said of each."""
    return (
        metric.task is Task.CLASSIFICATION
        and metric.scorer is not None
        and not metric.needs_probabilities
    )


def placements(positive: NDArray[np.bool_], scores: Floats, order: NDArray[np.intp]) -> Floats:
    """For a positive row the share of negatives below it, for a negative that of positives above.

    Ties count half; `order`: the rows by score, either way round. The mean over the positives, and
    over the negatives, is the ROC AUC (Sun & Xu, IEEE Signal Processing Letters 21 (2014)).
    """
    if len(order) and scores[order[0]] > scores[order[-1]]:
        order = order[::-1]
    hit, group, ends = _tied(positive, scores, order)
    positives = np.cumsum(hit)[ends]
    negatives = ends + 1.0 - positives
    m, n = positives[-1], negatives[-1]
    below = (negatives + np.append(0.0, negatives[:-1])) / 2.0 / n
    above = 1.0 - (positives + np.append(0.0, positives[:-1])) / 2.0 / m
    found = np.empty(len(order))
    found[order] = np.where(hit > 0, below[group], above[group])
    return found


def _tied(
    positive: NDArray[np.bool_], scores: Floats, order: NDArray[np.intp]
) -> tuple[Floats, NDArray[np.intp], NDArray[np.intp]]:
    """In `order`: the positives, the number of each row's group of equal scores, groups' ends."""
    ranked = scores[order]
    new = ranked[1:] != ranked[:-1]
    group = np.concatenate([[0], np.cumsum(new)])
    ends = np.append(np.flatnonzero(new), len(order) - 1)
    return positive[order].astype(np.float64), group, ends


def _one_vs_rest(
    scored: Scored, of_class: Callable[[NDArray[np.bool_], Floats, NDArray[np.intp]], Floats]
) -> Floats:
    """Two classes: of the second one; several: the mean over the classes."""
    k = len(scored.classes)
    p = scored.needed_probabilities()
    numbers = [1] if k == 2 else range(k)
    total = np.zeros(len(scored))
    for number in numbers:
        total += of_class(scored.y == number, p[:, number], scored.ranking(number))
    return total / len(numbers)


def _of_roc_auc(positive: NDArray[np.bool_], scores: Floats, order: NDArray[np.intp]) -> Floats:
    placed = placements(positive, scores, order)
    share = positive.mean()
    area = placed[positive].mean()
    m, n = int(positive.sum()), int((~positive).sum())
    # With these factors the variance is DeLong's, which counts m - 1 and n - 1.
    of_positive, of_negative = _unbiased(m) / share, _unbiased(n) / (1.0 - share)
    return np.asarray((placed - area) * np.where(positive, of_positive, of_negative))


def _unbiased(count: int) -> float:
    return math.sqrt(count / (count - 1)) if count > 1 else 1.0


def _of_average_precision(
    positive: NDArray[np.bool_], scores: Floats, order: NDArray[np.intp]
) -> Floats:
    """The derivative of sum over positives of A(s) / H(s), by the rows' weights.

    A and H are the weights of positives, and of all rows, that score at least s. A row moves them
    at every threshold at or below its own score.
    """
    hit, group, ends = _tied(positive, scores, order)  # the largest score first
    above, everything = np.cumsum(hit)[ends], ends + 1.0
    within = np.diff(above, prepend=0.0)
    precision = above / everything
    m = above[-1]
    area = float((within * precision).sum()) / m
    # Sums over this threshold and all lower ones.
    by_hit = np.cumsum((within / everything)[::-1])[::-1]
    by_row = np.cumsum((within * precision / everything)[::-1])[::-1]
    moved = hit * (precision[group] + by_hit[group]) - by_row[group] - area * hit
    found = np.empty(len(order))
    found[order] = moved * (len(order) / m)
    return found


def _of_calibration(scored: Scored) -> Floats:
    """With the bins' edges taken as fixed, which moves it in second order only."""
    said, happened = said_and_happened(scored)
    n, gap = len(said), said - happened
    order = np.argsort(said, kind="stable")
    bins = np.empty(n, dtype=np.int64)
    bins[order] = np.arange(n) * BINS // n
    sums = np.bincount(bins, weights=gap, minlength=BINS)
    moved: Floats = np.sign(sums)[bins] * gap
    return np.asarray(moved - moved.mean())


def _of_rmse(scored: Scored) -> Floats:
    losses = squared(scored)
    mean = losses.mean()
    return np.asarray((losses - mean) / (2.0 * np.sqrt(mean) if mean > 0 else 1.0))


def _of_r2(scored: Scored) -> Floats:
    losses, spread = squared(scored), (scored.y - scored.y.mean()) ** 2
    left, whole = losses.mean(), spread.mean()
    return np.asarray(-(losses - left) / whole + left * (spread - whole) / whole**2)


def _of_cells(metric: Metric, scored: Scored) -> Floats:
    """By a numeric derivative: a row moves the metric as any other of its cell does."""
    assert metric.scorer is not None
    k = len(scored.classes)
    found, first, cells, counts = occupied(scored.y * k + scored.needed_labels())
    score, n = metric.scorer(scored.take(first)), float(len(scored))
    slopes = np.empty(len(found))
    for number, count in enumerate(counts):
        step = min(STEP * n, count / 2.0)
        more, less = counts.copy(), counts.copy()
        more[number] += step
        less[number] -= step
        slopes[number] = (score(more) - score(less)) / (2.0 * step)
    moved = (slopes * n)[cells]
    return np.asarray(moved - moved.mean())


def occupied(
    codes: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], Floats]:
    """The codes that occur, a row of each, the number of each row's code, and their counts.

    Codes are small numbers from 0: counted, not sorted.
    """
    if len(codes) and int(codes.max()) > 4 * len(codes) + 1_000:
        found, first, cells, counts = np.unique(
            codes, return_index=True, return_inverse=True, return_counts=True
        )
        return found, first, cells.ravel(), counts.astype(np.float64)
    counts = np.bincount(codes)
    found = np.flatnonzero(counts)
    numbers = np.zeros(len(counts), dtype=np.int64)
    numbers[found] = np.arange(len(found))
    first = np.zeros(len(counts), dtype=np.int64)
    first[codes[::-1]] = np.arange(len(codes))[::-1]
    return found, first[found], numbers[codes], counts[found].astype(np.float64)
