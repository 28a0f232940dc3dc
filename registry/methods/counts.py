"""Metrics of the confusion table: how often each class was said, right and wrong."""

from collections.abc import Callable

import numpy as np

from registry.methods.predictions import Floats, Scored, Scorer, Weights


def f1(scored: Scored) -> Scorer:
    """F1 of the second class when there are two; else the mean over the classes that occur."""
    return _mean_over_classes(scored, lambda hits, said, true: _share(2 * hits, said + true))


def f_beta(beta: float) -> Callable[[Scored], Scorer]:
    """F1 in which recall counts `beta` times as much as precision (van Rijsbergen 1979)."""
    square = beta * beta

    def scorer(scored: Scored) -> Scorer:
        return _mean_over_classes(
            scored, lambda hits, said, true: _share((1 + square) * hits, said + square * true)
        )

    return scorer


def matthews(scored: Scored) -> Scorer:
    """The correlation of said and true classes (Matthews 1975; several classes: Gorodkin 2004)."""
    count = _counter(scored)

    def score(weights: Weights) -> float:
        hits, said, true = count(weights)
        n = weights.sum()
        both = (n * n - (said**2).sum()) * (n * n - (true**2).sum())
        return float((hits.sum() * n - (said * true).sum()) / np.sqrt(both)) if both > 0 else 0.0

    return score


def precision(scored: Scored) -> Scorer:
    """How often the second class is right when it is said; else the mean over the classes."""
    return _mean_over_classes(scored, lambda hits, said, true: _share(hits, said))


def recall(scored: Scored) -> Scorer:
    """How much of the second class is found; else the mean over the classes that occur."""
    return _mean_over_classes(scored, lambda hits, said, true: _share(hits, true))


def balanced_accuracy(scored: Scored) -> Scorer:
    """The mean, over the classes that there are, of how much of each is found."""
    count = _counter(scored)

    def score(weights: Weights) -> float:
        hits, _, true = count(weights)
        there = true > 0
        return float(_share(hits, true)[there].mean()) if there.any() else float("nan")

    return score


def _mean_over_classes(
    scored: Scored, of_class: Callable[[Floats, Floats, Floats], Floats]
) -> Scorer:
    count = _counter(scored)

    def score(weights: Weights) -> float:
        hits, said, true = count(weights)
        each, occurs = of_class(hits, said, true), said + true > 0
        if len(each) == 2:
            return float(each[1])
        return float(each[occurs].mean()) if occurs.any() else float("nan")

    return score


def _counter(scored: Scored) -> Callable[[Weights], tuple[Floats, Floats, Floats]]:
    """For weights of the rows: how often each class was right, was said, was true."""
    k = len(scored.classes)
    cells = scored.y * k + scored.needed_labels()

    def count(weights: Weights) -> tuple[Floats, Floats, Floats]:
        table = np.bincount(cells, weights=weights, minlength=k * k).reshape(k, k)
        return np.diag(table), table.sum(axis=0), table.sum(axis=1)

    return count


def _share(part: Floats, whole: Floats) -> Floats:
    """0 where there is nothing to be a share of, as in scikit-learn."""
    return np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0)
