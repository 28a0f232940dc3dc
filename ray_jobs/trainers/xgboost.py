"""XGBoost's scikit-learn estimators."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ray_jobs.dotted import resolve
from ray_jobs.trainers.config import Task, TrainerConfig
from ray_jobs.trainers.sklearn import fit_estimator
from ray_jobs.trainers.trainer import Fit, Labels, TrainingSet, build
from registry.fitted import FittedModel, Flavor
from registry.inputs import as_frame


@dataclass(frozen=True, kw_only=True)
class XgboostTrainer:
    """One booster in one process; several workers are in `ray_jobs.distributed`."""

    config: TrainerConfig
    allowed_modules: tuple[str, ...] = ()

    def fit(self, rows: TrainingSet, params: Mapping[str, Any], *, device: str) -> Fit:
        """Fit on a data frame; classes are numbered, and their labels kept with the model."""
        estimator = self.estimator(params, device)
        codes, _ = encoded(rows)
        names = tuple(rows.inputs.column_names)
        started = time.perf_counter()
        fit_estimator(estimator, as_frame(rows.inputs, names), codes, self.config.estimator)
        return self.fitted(estimator, rows, device, time.perf_counter() - started)

    def estimator(self, params: Mapping[str, Any], device: str) -> Any:
        """The estimator before it is fitted, with seed, threads and device set."""
        path = self.config.estimator
        own = {
            "random_state": self.config.seed,
            "n_jobs": max(int(self.config.num_cpus), 1),
            "device": device,
        }
        return build(resolve(path, self.allowed_modules), path, {**own, **params})

    def fitted(self, estimator: Any, rows: TrainingSet, device: str, seconds: float) -> Fit:
        """What to hand over once the estimator is fitted."""
        return Fit(
            model=FittedModel(
                flavor=Flavor.XGBOOST,
                estimator=estimator,
                features=tuple(rows.inputs.column_names),
                example=rows.example,
                classes=encoded(rows)[1],
                extras=rows.extras,
            ),
            device=device,
            seconds=seconds,
        )


def encoded(rows: TrainingSet) -> tuple[Labels, tuple[Any, ...] | None]:
    """Labels as class numbers with their classes; numbers as they are, without, in a regression."""
    if rows.task is Task.REGRESSION:
        return rows.labels.astype(np.float64), None
    classes, codes = np.unique(rows.labels, return_inverse=True)
    return codes.astype(np.int64), tuple(classes.tolist())
