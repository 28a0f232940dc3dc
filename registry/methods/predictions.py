"""Truth and predictions in the one form that every metric computes on.

Classification: `y` and `labels` are class numbers, `probabilities` is (rows, classes) or None
when the model gives labels only. Regression: `y` and `values` are floats.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry.errors import GateError
from registry.methods.codes import numbered

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
AnyArray = NDArray[Any]
Weights = NDArray[np.float64]
Scorer = Callable[[Weights], float]
"""A metric as a function of how often each row counts; NaN where it is undefined."""

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
    rankings: dict[int, NDArray[np.intp]] = field(default_factory=dict, repr=False)
    """What `ranking` has sorted already."""
    losses: dict[str, Floats] = field(default_factory=dict, repr=False)
    """Each metric's losses of the rows, once they were asked for."""
    scores: dict[str, float] = field(default_factory=dict, repr=False)
    """Each metric's score, once it was asked for."""

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

    def ranking(self, number: int) -> NDArray[np.intp]:
        """The rows by their probability of class `number`, the largest first; sorted once."""
        if number not in self.rankings:
            self.rankings[number] = np.argsort(-self.needed_probabilities()[:, number])
        return self.rankings[number]

    def needed_labels(self) -> Codes:
        """The predicted classes, of a classification."""
        assert self.labels is not None
        return self.labels

    def needed_probabilities(self) -> Floats:
        """A probability for each class; the caller knows that the model gave them."""
        assert self.probabilities is not None
        return self.probabilities

    def needed_values(self) -> Floats:
        """The predicted numbers, of a regression."""
        assert self.values is not None
        return self.values


def finite(values: AnyArray) -> NDArray[np.bool_]:
    """Which rows hold a usable value: neither missing nor infinite in any column."""
    if values.dtype.kind == "f":
        usable = np.isfinite(values)
    elif values.dtype.kind == "O":
        items = values.ravel().tolist()
        known = {item: _usable(item) for item in set(items)}
        usable = np.fromiter(map(known.__getitem__, items), np.bool_, len(items))
        usable = usable.reshape(values.shape)
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
            values = np.asarray(group)
            found.update(numbered(values)[0] if values.dtype.kind in "iub" else values.tolist())
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
    distinct, numbers = numbered(labels)
    unknown = [item for item in distinct if item not in codes]
    if unknown:
        raise GateError(f"{what} hold {_some(unknown)}, which is not among {_some(classes)}.")
    places = np.array([codes[item] for item in distinct], dtype=np.int64)
    if len(places) and (np.diff(places, prepend=-1) == 1).all():
        return numbers
    return np.asarray(places[numbers])


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
