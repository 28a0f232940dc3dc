"""The baseline that says the label of the row before: what persistence alone would get right."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from ray_jobs.trainers.trainer import Labels
from registry.methods.metrics import Metric
from registry.methods.predictions import Task

Predictions = npt.NDArray[Any]
Codes = npt.NDArray[np.int64]


def rows_before(times: npt.NDArray[np.datetime64], groups: Codes, delay: timedelta) -> Codes:
    """For each row, the newest one of its group whose label was known then; -1: there is none.

    `times`: event times, ascending. A label is known `delay` after its event, and never at the
    very same time. Rows of no group (negative) have none before.
    """
    moments, wait = np.unique(times), np.timedelta64(delay)
    count = len(moments) + 1
    # Events that a row can know, counted: with a delay also one that ended waiting just now.
    side = "right" if delay > timedelta(0) else "left"
    seen = np.searchsorted(moments, times - wait, side=side)  # type: ignore[call-overload]
    order = np.argsort(groups, kind="stable")
    keys = groups[order] * count + np.searchsorted(moments, times[order])
    found = np.searchsorted(keys, groups * count + seen) - 1
    before = order[np.maximum(found, 0)]
    known = (found >= 0) & (groups >= 0) & (groups[before] == groups)
    return np.where(known, before, -1)


def last_values(
    metric: Metric,
    *,
    labels: Labels,
    before: npt.NDArray[np.int64],
    trained: npt.NDArray[np.bool_],
    places: npt.NDArray[np.int64],
    otherwise: Predictions,
    classes: tuple[Any, ...] | None,
) -> Predictions:
    """The label of the row before, for the rows at `places`; `otherwise` where there is none.

    `labels`, `before`, `trained`: of every row. Where probabilities are asked for, the class of
    the row before is said with certainty, unless the metric judges probabilities: then as surely
    as it was right on the training rows, and else how frequent each class is.
    """
    has, last = before[places] >= 0, labels[before[places]]
    if otherwise.ndim == 1:
        plain = otherwise.astype(np.float64) if metric.task is Task.REGRESSION else otherwise
        return np.where(has, last, plain)
    names = np.asarray(classes)
    said = (last[:, np.newaxis] == names[np.newaxis, :]).astype(np.float64)
    has &= said.any(axis=1)
    if metric.needs_probabilities:
        seen = trained & (before >= 0)
        wrong = int((labels[seen] != labels[before[seen]]).sum())
        doubt = (wrong + 1) / (int(seen.sum()) + 2)  # never 0 (Laplace's rule of succession)
        said = (1 - doubt) * said + doubt * otherwise
    return np.where(has[:, np.newaxis], said, otherwise)
