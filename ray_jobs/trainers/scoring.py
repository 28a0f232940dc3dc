"""A fitted model's predictions and score, before it is registered or after."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ray_jobs.trainers.config import Task
from ray_jobs.trainers.trainer import Labels
from registry import LoadedModel, score
from registry.fitted import Card, FittedModel, class_labels

DEFAULT_METRIC = {Task.CLASSIFICATION: "accuracy", Task.REGRESSION: "mae"}
"""What a model is good at when the config names no metric."""


def usable(fitted: FittedModel, task: Task) -> LoadedModel:
    """The fitted model in the form in which a registered one predicts."""
    card = Card(
        flavor=fitted.flavor,
        features=fitted.features,
        classes=class_labels(fitted) if task is Task.CLASSIFICATION else None,
        modules=fitted.modules,
        versions={},
        columns=fitted.columns,
    )
    return LoadedModel(model="", version="", estimator=fitted.estimator, card=card)


def predictions(model: LoadedModel, inputs: pa.Table) -> npt.NDArray[Any]:
    """Probabilities (rows, classes) where the model gives them; labels or numbers otherwise."""
    if model.has_probabilities:
        return np.asarray(model.predict_proba(inputs))
    return np.asarray(model.predict(inputs))


def model_score(model: LoadedModel, inputs: pa.Table, labels: Labels, metric: str) -> float:
    """The model's score in a metric on some rows."""
    return score(metric, labels, predictions(model, inputs), model.classes)
