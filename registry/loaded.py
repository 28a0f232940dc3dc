"""A registered model, back in memory and ready to predict."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from registry.errors import ModelUnloadable
from registry.fitted import Card, Flavor
from registry.inputs import Column, as_array, as_frame, inferred
from registry.methods.predictions import AnyArray, Floats

CODE_FILE = "estimator.json"
"""Among the extras: the user's own modules that the estimator's classes come from, as source."""

# Rows that a torch model sees at once: bounds the memory of its layers.
BATCH_ROWS = 65_536


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedModel:
    """One version of a model; `predict` takes a `pyarrow.Table`, a data frame or an array.

    Columns are chosen by name in the order of training; MissingFeature names the one that lacks.
    """

    model: str
    version: str
    estimator: Any
    card: Card
    tags: Mapping[str, str] = field(default_factory=dict)
    """The tags of the registered version."""
    extras: Mapping[str, str] = field(default_factory=dict)
    """The text files kept with the model."""
    bytes: int = 0
    """Size of its files; 0: it was never stored."""

    @property
    def features(self) -> tuple[str, ...]:
        """The columns that it was trained on, in order."""
        return self.card.features

    @property
    def classes(self) -> tuple[Any, ...] | None:
        """The labels of its outputs; None for a regression."""
        return self.card.classes

    @property
    def has_probabilities(self) -> bool:
        """Whether `predict_proba` works: a classifier that estimates probabilities."""
        if self.classes is None:
            return False
        return self._is_native or hasattr(self.estimator, "predict_proba")

    def extra(self, name: str) -> str:
        """The text file kept under this name; ModelUnloadable when there is none."""
        if name not in self.extras:
            kept = ", ".join(sorted(self.extras)) or "none"
            raise ModelUnloadable(
                f"Version {self.version} of {self.model} keeps no file {name!r} (kept: {kept})."
            )
        return self.extras[name]

    @property
    def code(self) -> dict[str, str]:
        """The user's own modules that its estimator comes from: name and source."""
        return dict(json.loads(self.extras.get(CODE_FILE, "{}")))

    def predict(self, data: Any) -> AnyArray:
        """Labels or numbers, (rows,)."""
        if len(data) == 0:
            return np.empty(0) if self.classes is None else np.asarray(self.classes)[:0]
        if self.classes is None:
            values = self._native(data) if self._is_native else self._own(data)
            return np.asarray(values, dtype=np.float64).reshape(len(data))
        labels = np.asarray(self.classes)
        if self._is_native:
            return np.asarray(labels[np.argmax(self.predict_proba(data), axis=1)])
        own = self._own(data)
        if tuple(self.estimator.classes_) == self.classes:
            return own
        # XGBoost knows its classes by number only.
        return np.asarray(labels[own.astype(np.int64)])

    def predict_proba(self, data: Any) -> Floats:
        """Probabilities, (rows, classes), columns in the order of `classes`."""
        if not self.has_probabilities or self.classes is None:
            raise ModelUnloadable(
                f"Version {self.version} of {self.model} does not estimate probabilities.",
                hint="compare labels instead: a metric such as accuracy or f1",
            )
        if len(data) == 0:
            return np.empty((0, len(self.classes)))
        if not self._is_native:
            return np.asarray(self.estimator.predict_proba(self._rows(data)), dtype=np.float64)
        outputs = np.asarray(self._native(data), dtype=np.float64).reshape(len(data), -1)
        if self.card.flavor is Flavor.TORCH:
            return _softmax(outputs) if outputs.shape[1] > 1 else _pair(_sigmoid(outputs[:, 0]))
        return outputs if outputs.shape[1] > 1 else _pair(outputs[:, 0])

    @property
    def _is_native(self) -> bool:
        """Whether the estimator lacks scikit-learn's interface: a torch graph, a Booster."""
        return self.card.flavor is Flavor.TORCH or self._is_booster

    @property
    def _is_booster(self) -> bool:
        return self.card.flavor is Flavor.XGBOOST and not hasattr(self.estimator, "get_booster")

    def _columns(self, data: Any) -> tuple[Column, ...]:
        return self.card.columns or inferred(data, self.features)

    def _own(self, data: Any) -> AnyArray:
        # (rows, 1) of CatBoost's
        return np.asarray(self.estimator.predict(self._rows(data))).reshape(len(data))

    def _rows(self, data: Any) -> Any:
        # An estimator fitted on a data frame wants its names again; one fitted on an array doesn't.
        if self.card.columns is not None or hasattr(self.estimator, "feature_names_in_"):
            return as_frame(data, self._columns(data))
        return as_array(data, self._columns(data))

    def _native(self, data: Any) -> AnyArray:
        rows = as_array(data, self._columns(data))
        if self._is_booster:
            import xgboost

            matrix = xgboost.DMatrix(rows, feature_names=self.estimator.feature_names)
            return np.asarray(self.estimator.predict(matrix))
        return self._torch(rows.astype(np.float32))

    def _torch(self, rows: AnyArray) -> AnyArray:
        import torch

        with torch.no_grad():
            parts = [
                self.estimator(torch.from_numpy(rows[start : start + BATCH_ROWS])).numpy()
                for start in range(0, len(rows), BATCH_ROWS)
            ]
        return np.concatenate(parts)


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: Floats = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def _sigmoid(logits: Floats) -> Floats:
    # The two forms are equal; each is used where its exponential cannot overflow.
    small = np.exp(-np.abs(logits))
    probabilities: Floats = np.where(logits >= 0, 1 / (1 + small), small / (1 + small))
    return probabilities


def _pair(second: Floats) -> Floats:
    return np.column_stack([1 - second, second])
