"""Truth and predictions in the one form that every metric computes on.

Classification: `y` and `labels` are class numbers, `probabilities` is (rows, classes) or None
when the model gives labels only. Regression: `y` and `values` are floats.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry.errors import GateError

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
AnyArray = NDArray[Any]

# How far the probabilities of one row may be from 1 together: float32 models are this rough.
SUM_TOLERANCE = 1e-3


class Task(StrEnum):
    """What is predicted."""

    CLASSIFICATION = "classification"
    """One class out of several, as a label or as a probability for each class."""
    REGRESSION = "regression"
    """A number."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """The truth and one model's predictions of the same rows, ready for a metric."""

    task: Task
    y: AnyArray
    classes: tuple[Any, ...] = ()
    labels: Codes | None = None
    probabilities: Floats | None = None
    values: Floats | None = None

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: AnyArray) -> "Scored":
        """The same for some rows only (a mask or row numbers)."""
        return Scored(
            task=self.task,
            y=self.y[rows],
            classes=self.classes,
            labels=None if self.labels is None else self.labels[rows],
            probabilities=None if self.probabilities is None else self.probabilities[rows],
            values=None if self.values is None else self.values[rows],
        )


def finite(values: AnyArray) -> NDArray[np.bool_]:
    """Which rows hold a usable value: neither missing nor infinite in any column."""
    if values.dtype.kind == "f":
        usable = np.isfinite(values)
    elif values.dtype.kind == "O":
        usable = np.array([_usable(item) for item in values.ravel()]).reshape(values.shape)
    else:
        usable = np.ones(values.shape, dtype=np.bool_)
    return np.asarray(usable.reshape(len(values), -1).all(axis=1), dtype=np.bool_)


def _usable(item: object) -> bool:
    if item is None:
        return False
    return not isinstance(item, float | np.floating) or bool(np.isfinite(item))


def all_classes(*groups: Sequence[Any] | AnyArray | None) -> tuple[Any, ...]:
    """Every class that occurs in any of the groups, in ascending order."""
    found: set[Any] = set()
    for group in groups:
        if group is not None:
            found.update(np.asarray(group).tolist())
    try:
        return tuple(sorted(found))
    except TypeError:
        kinds = ", ".join(sorted({type(item).__name__ for item in found}))
        raise GateError(
            f"The classes are of different types ({kinds}).",
            hint="give the labels and the models' classes the same type",
        ) from None


def encode_classes(labels: AnyArray, classes: tuple[Any, ...], what: str) -> Codes:
    """The number of each label's class; a label outside `classes` is a GateError."""
    codes = {item: number for number, item in enumerate(classes)}
    distinct, inverse = np.unique(labels, return_inverse=True)
    unknown = [item for item in distinct.tolist() if item not in codes]
    if unknown:
        raise GateError(f"{what} hold {_some(unknown)}, which is not among {_some(classes)}.")
    numbers = np.array([codes[item] for item in distinct.tolist()], dtype=np.int64)
    encoded: Codes = numbers[inverse.reshape(labels.shape)]
    return encoded


def classification(
    y: AnyArray,
    predictions: AnyArray,
    own_classes: tuple[Any, ...] | None,
    classes: tuple[Any, ...],
    who: str,
) -> Scored:
    """Labels (rows,) or probabilities (rows, len(own_classes)) brought to the common `classes`.

    A class that the model does not know gets probability 0. Raises GateError when the shapes do
    not fit or the probabilities of a row do not add up to 1.
    """
    codes = encode_classes(y, classes, "The true labels")
    if predictions.ndim == 1:
        labels = encode_classes(predictions, classes, f"The {who}'s predictions")
        return Scored(task=Task.CLASSIFICATION, y=codes, classes=classes, labels=labels)
    columns = own_classes if own_classes is not None else classes
    _check_probabilities(predictions, columns, who)
    probabilities = np.zeros((len(codes), len(classes)))
    where = encode_classes(np.asarray(columns), classes, f"The {who}'s classes")
    probabilities[:, where] = predictions
    return Scored(
        task=Task.CLASSIFICATION,
        y=codes,
        classes=classes,
        labels=np.argmax(probabilities, axis=1).astype(np.int64),
        probabilities=probabilities,
    )


def _check_probabilities(predictions: AnyArray, columns: tuple[Any, ...], who: str) -> None:
    if predictions.ndim != 2 or predictions.shape[1] != len(columns):
        raise GateError(
            f"The {who}'s probabilities have the shape {predictions.shape}; "
            f"{len(columns)} classes need (rows, {len(columns)})."
        )
    if predictions.size and (predictions.min() < 0 or predictions.max() > 1 + SUM_TOLERANCE):
        raise GateError(
            f"The {who}'s probabilities range from {predictions.min():.4g} to "
            f"{predictions.max():.4g}; they must lie between 0 and 1.",
            hint="return probabilities, not scores or logits",
        )
    off = np.abs(predictions.sum(axis=1) - 1)
    if off.size and off.max() > SUM_TOLERANCE:
        raise GateError(
            f"The {who}'s probabilities of a row add up to "
            f"{predictions.sum(axis=1)[int(off.argmax())]:.4g}; they must add up to 1."
        )


def regression(y: AnyArray, predictions: AnyArray, who: str) -> Scored:
    """Numbers as they are: (rows,) or (rows, 1)."""
    if predictions.ndim == 2 and predictions.shape[1] == 1:
        predictions = predictions[:, 0]
    if predictions.ndim != 1:
        raise GateError(f"The {who}'s predictions have the shape {predictions.shape}, not (rows,).")
    try:
        return Scored(
            task=Task.REGRESSION, y=y.astype(np.float64), values=predictions.astype(np.float64)
        )
    except (TypeError, ValueError):
        raise GateError(
            f"The {who}'s predictions or the labels are not numbers.",
            hint="choose a metric of classification, such as accuracy",
        ) from None


def nearest(name: str, names: Sequence[str]) -> str:
    """Up to three of the names that look most like `name`, for an error's sentence."""
    close = get_close_matches(name, list(names), n=1, cutoff=0.4)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(names))}"


def _some(items: Sequence[Any]) -> str:
    shown = ", ".join(repr(item) for item in items[:5])
    return f"{shown}, ... ({len(items)})" if len(items) > 5 else shown
