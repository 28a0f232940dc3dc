"""XGBoost's scikit-learn estimators."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ray_jobs.dotted import resolve
from ray_jobs.trainers.config import Task, TrainerConfig
from ray_jobs.trainers.sklearn import fit_estimator
from ray_jobs.trainers.trainer import (
    Fit,
    Labels,
    TrainingSet,
    build,
    column_notes,
    encoded,
    task_of,
)
from registry.fitted import FittedModel, Flavor
from registry.inputs import Column, Form, as_frame, describe


@dataclass(frozen=True, kw_only=True)
class XgboostTrainer:
    """One booster in one process; several workers are in `ray_jobs.distributed`."""

    config: TrainerConfig
    allowed_modules: tuple[str, ...] = ()

    def task(self, labels: Labels, params: Mapping[str, Any]) -> Task:
        """What the built estimator is for."""
        return task_of(self.config, labels, self.estimator(params, "cpu"))

    def fit(self, rows: TrainingSet, params: Mapping[str, Any], *, device: str) -> Fit:
        """Fit on a data frame; classes are numbered, and their labels kept with the model."""
        estimator = self.estimator(params, device)
        numbered = replace(rows, labels=encoded(rows)[0])
        columns = columns_of(rows)
        frame = as_frame(rows.inputs, columns)
        started = time.perf_counter()
        notes = fit_estimator(estimator, frame, numbered, self.config.estimator, self.config)
        fit = self.fitted(estimator, rows, columns, device, time.perf_counter() - started)
        return replace(fit, notes=(*fit.notes, *notes))

    def estimator(self, params: Mapping[str, Any], device: str) -> Any:
        """The estimator before it is fitted, with seed, threads and device set."""
        path = self.config.estimator
        own = {
            "random_state": self.config.seed,
            "n_jobs": max(int(self.config.num_cpus), 1),
            "device": device,
            "enable_categorical": True,
        }
        return build(resolve(path, self.allowed_modules), path, {**own, **params})

    def fitted(
        self,
        estimator: Any,
        rows: TrainingSet,
        columns: tuple[Column, ...],
        device: str,
        seconds: float,
    ) -> Fit:
        """What to hand over once the estimator is fitted."""
        used = device_of(estimator)
        asked = str(estimator.get_params().get("device") or device).partition(":")[0]
        notes = column_notes(rows, columns)
        if used != {"gpu": "cuda"}.get(asked, asked):
            notes += (
                f"{asked} was asked for, and XGBoost trained on {used}: is it a build for it?",
            )
        return Fit(
            model=FittedModel(
                flavor=Flavor.XGBOOST,
                estimator=estimator,
                features=tuple(rows.inputs.column_names),
                columns=columns,
                example=rows.example,
                classes=encoded(rows)[1],
                extras=rows.extras,
            ),
            device=used,
            seconds=seconds,
            notes=notes,
        )


def columns_of(rows: TrainingSet) -> tuple[Column, ...]:
    """The columns as a booster gets them."""
    return describe(rows.inputs, tuple(rows.inputs.column_names), Form.CATEGORY)


def device_of(estimator: Any) -> str:
    """Where a fitted booster was trained: "cpu" or "cuda", whatever was asked for."""
    config = json.loads(estimator.get_booster().save_config())
    return str(config["learner"]["generic_param"]["device"]).partition(":")[0]
