"""A rehearsal before a fit: on a few rows of every class, the model is fitted, stored and loaded.

It takes seconds, and finds what hours of fitting would end in: parameters and columns that an
estimator refuses, types that may not be stored, a network that cannot be exported. Where a few rows
are too few for an estimator, ten times as many are tried before it is refused.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ray_jobs.errors import RayJobError
from ray_jobs.trainers.config import Task, TrainerConfig, TrainerKind
from ray_jobs.trainers.scoring import predictions, usable
from ray_jobs.trainers.trainer import Fit, TrainingSet
from ray_jobs.training_errors import TrainingFailed
from registry.models import Models

_logger = logging.getLogger(__name__)

FitRows = Callable[[TrainingSet, Mapping[str, Any]], Fit]

OF_EACH_CLASS = 10
CANDIDATES = 5
"""Of a search, so many are tried: one that works is enough."""


def rehearse(
    config: TrainerConfig,
    rows: TrainingSet,
    tried: Sequence[Mapping[str, Any]],
    fit: FitRows,
    models: Models,
) -> None:
    """Fit, store, load and predict with one of the `tried` parameters, as the real fit would.

    Raises TrainingFailed for what cannot be fitted, UnsupportedModel for what cannot be stored.
    """
    few = config.rehearsal_rows
    if few <= 0 or len(rows.labels) <= few:
        return  # the fit itself is as quick
    began, failed = time.monotonic(), None
    for params in tried[:CANDIDATES]:
        try:
            _rehearsed(config, rows, params, fit, models)
        except TrainingFailed as error:
            failed = failed or error
            continue
        _logger.info("rehearsed on %s rows in %.1f s", few, time.monotonic() - began)
        return
    if failed is not None:
        raise failed


def _rehearsed(
    config: TrainerConfig,
    rows: TrainingSet,
    params: Mapping[str, Any],
    fit: FitRows,
    models: Models,
) -> None:
    if config.kind is TrainerKind.TORCH:
        params = {**params, "epochs": 1}
    for count in (config.rehearsal_rows, 10 * config.rehearsal_rows):
        sample = rows.take(sample_of(rows, count))
        try:
            fitted = fit(sample, params).model
            said = predictions(usable(fitted, rows.task), sample.inputs)
        except (TrainingFailed, ValueError) as error:
            failed = error
            continue
        stored = predictions(models.try_out(fitted), sample.inputs)
        if stored.shape != said.shape:
            raise TrainingFailed(
                f"{config.estimator} predicts {said.shape} of {len(sample.labels)} rows, and "
                f"{stored.shape} once it was stored and loaded"
            )
        return
    hint = getattr(failed, "hint", None) if isinstance(failed, RayJobError) else None
    raise TrainingFailed(
        f"{failed} (in a rehearsal on {len(sample.labels):,} of {len(rows.labels):,} rows)",
        hint=f"{hint or 'check trainer.params'}; where it needs more rows to work: "
        f"trainer.rehearsal_rows={100 * config.rehearsal_rows}",
    ) from failed


def sample_of(rows: TrainingSet, count: int) -> npt.NDArray[np.int64]:
    """Rows from the oldest to the newest, some of each class among them; ascending."""
    total = len(rows.labels)
    if total <= count:
        return np.arange(total)
    chosen = [np.linspace(0, total - 1, count).astype(np.int64)]
    if rows.task is Task.CLASSIFICATION:
        _, codes = np.unique(rows.labels, return_inverse=True)
        order = np.argsort(codes, kind="stable")
        starts = np.searchsorted(codes[order], np.arange(codes.max() + 1))
        chosen += [part[:OF_EACH_CLASS] for part in np.split(order, starts[1:])]
    return np.unique(np.concatenate(chosen))
