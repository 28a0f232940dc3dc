"""The model that a first challenger must beat: it says the same of every row."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from registry.methods.metrics import Metric
from registry.methods.predictions import Task

Predictions = npt.NDArray[Any]


def constant(
    metric: Metric, labels: npt.NDArray[Any], like: Predictions, classes: tuple[Any, ...] | None
) -> Predictions:
    """The best constant for the metric by the training `labels`, in the form of `like`.

    Numbers: the median for the absolute error, else the mean. Classes: the most frequent one, or,
    where `like` are probabilities, how frequent each of `classes` is.
    """
    if metric.task is Task.REGRESSION:
        numbers = labels.astype(np.float64)
        value = np.median(numbers) if metric.name == "mae" else numbers.mean()
        return np.full(len(like), float(value))
    found, counts = np.unique(labels, return_counts=True)
    if like.ndim == 1:
        return np.full(len(like), found[counts.argmax()])
    known = dict(zip(found.tolist(), counts.tolist(), strict=True))
    shares = np.array([known.get(label, 0) for label in classes or ()], dtype=np.float64)
    return np.tile(shares / shares.sum(), (len(like), 1))
