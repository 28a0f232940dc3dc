"""The metrics that a gate may ask for, each with its direction and its formula.

A row-wise metric is the mean of one loss a row (accuracy: one minus the mean 0/1 loss); a set
metric is computed from all rows together. Definitions agree with scikit-learn's; the tests
compare them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry.errors import GateError, UnknownMetric
from registry.methods.predictions import (
    AnyArray,
    Codes,
    Floats,
    Scored,
    Task,
    all_classes,
    classification,
    nearest,
    regression,
)

Weights = NDArray[np.float64]
Scorer = Callable[[Weights], float]
"""The metric as a function of how often each row counts; NaN where it is undefined."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric: exactly one of `losses` and `scorer` is given."""

    name: str
    task: Task
    greater_is_better: bool
    needs_probabilities: bool = False
    losses: Callable[[Scored], Floats] | None = None
    """Row-wise: the loss of each row, smaller is better."""
    scorer: Callable[[Scored], Scorer] | None = None
    """Of the whole set: prepares once, then scores any weighting of the rows."""

    @property
    def row_wise(self) -> bool:
        """Whether the metric is a mean over rows."""
        return self.losses is not None

    def from_loss(self, mean_loss: float) -> float:
        """The score that a mean loss stands for."""
        return 1.0 - mean_loss if self.greater_is_better else mean_loss

    def improvement(self, champion: float, challenger: float) -> float:
        """How much better the challenger is; negative when it is worse."""
        return challenger - champion if self.greater_is_better else champion - challenger


def _labels(scored: Scored) -> Codes:
    assert scored.labels is not None
    return scored.labels


def _probabilities(scored: Scored) -> Floats:
    assert scored.probabilities is not None
    return scored.probabilities


def _values(scored: Scored) -> Floats:
    assert scored.values is not None
    return scored.values


def _zero_one(scored: Scored) -> Floats:
    return np.asarray(_labels(scored) != scored.y, dtype=np.float64)


def _log_loss(scored: Scored) -> Floats:
    p = _probabilities(scored)[np.arange(len(scored)), scored.y]
    # Clipped like scikit-learn's log_loss: a model that is surely wrong has a finite loss.
    losses: Floats = -np.log(np.clip(p, np.finfo(np.float64).eps, 1.0))
    return losses


def _brier(scored: Scored) -> Floats:
    """Brier (1950), summed over the classes; halved for two classes, as is customary."""
    p = _probabilities(scored)
    truth = np.zeros_like(p)
    truth[np.arange(len(scored)), scored.y] = 1.0
    total: Floats = ((p - truth) ** 2).sum(axis=1)
    halved: Floats = total / 2
    return halved if p.shape[1] == 2 else total


def _absolute(scored: Scored) -> Floats:
    return np.abs(_values(scored) - scored.y)


def _squared(scored: Scored) -> Floats:
    return np.asarray((_values(scored) - scored.y) ** 2)


def _dot(left: AnyArray, right: AnyArray) -> float:
    # Not `@`: its threads wait for each other, for seconds where other processes use the cores.
    return float(np.einsum("i,i->", left, right))


def _rmse(scored: Scored) -> Scorer:
    losses = _squared(scored)
    return lambda weights: float(np.sqrt(_dot(weights, losses) / weights.sum()))


def _r2(scored: Scored) -> Scorer:
    losses, y = _squared(scored), scored.y

    def score(weights: Weights) -> float:
        spread = _dot(weights, (y - _dot(weights, y) / weights.sum()) ** 2)
        return 1.0 - _dot(weights, losses) / spread if spread > 0 else float("nan")

    return score


def _f1(scored: Scored) -> Scorer:
    """F1 of the second class when there are two; else the mean over the classes that occur."""
    k = len(scored.classes)
    cells = scored.y * k + _labels(scored)

    def score(weights: Weights) -> float:
        table = np.bincount(cells, weights=weights, minlength=k * k).reshape(k, k)
        hits = np.diag(table)
        involved = table.sum(axis=0) + table.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            each = 2 * hits / involved
        if k == 2:
            return float(each[1]) if involved[1] > 0 else 0.0
        return float(each[involved > 0].mean())

    return score


def _roc_auc(scored: Scored) -> Scorer:
    """Area under the ROC curve by the trapezoid rule; several classes: mean of one-vs-rest."""
    p, k = _probabilities(scored), len(scored.classes)
    numbers = [1] if k == 2 else range(k)
    curves = [_one_vs_rest(p[:, c], scored.y == c) for c in numbers]
    return lambda weights: float(np.mean([curve(weights) for curve in curves]))


def _one_vs_rest(score: Floats, positive: NDArray[np.bool_]) -> Scorer:
    order = np.argsort(-score, kind="stable")
    hit = positive[order].astype(np.float64)
    # Rows of equal score are one corner of the curve.
    corners = np.append(np.flatnonzero(np.diff(score[order])), len(order) - 1)

    def area(weights: Weights) -> float:
        w = weights[order]
        positives, everything = np.cumsum(w * hit)[corners], np.cumsum(w)[corners]
        negatives = everything - positives
        whole = positives[-1] * negatives[-1]
        if whole <= 0:
            return float("nan")
        before = np.append(0.0, positives[:-1])
        width = np.diff(negatives, prepend=0.0)
        return float((width * (positives + before)).sum() / 2 / whole)

    return area


def _table(*metrics: Metric) -> MappingProxyType[str, Metric]:
    return MappingProxyType({metric.name: metric for metric in metrics})


_CLASSES, _NUMBERS = Task.CLASSIFICATION, Task.REGRESSION
METRICS = _table(
    Metric(name="accuracy", task=_CLASSES, greater_is_better=True, losses=_zero_one),
    Metric(
        name="log_loss",
        task=_CLASSES,
        greater_is_better=False,
        needs_probabilities=True,
        losses=_log_loss,
    ),
    Metric(
        name="brier",
        task=_CLASSES,
        greater_is_better=False,
        needs_probabilities=True,
        losses=_brier,
    ),
    Metric(name="f1", task=_CLASSES, greater_is_better=True, scorer=_f1),
    Metric(
        name="roc_auc",
        task=_CLASSES,
        greater_is_better=True,
        needs_probabilities=True,
        scorer=_roc_auc,
    ),
    Metric(name="mae", task=_NUMBERS, greater_is_better=False, losses=_absolute),
    Metric(name="mse", task=_NUMBERS, greater_is_better=False, losses=_squared),
    Metric(name="rmse", task=_NUMBERS, greater_is_better=False, scorer=_rmse),
    Metric(name="r2", task=_NUMBERS, greater_is_better=True, scorer=_r2),
)


def find_metric(name: str) -> Metric:
    """The metric of this name; UnknownMetric names the nearest one."""
    if name not in METRICS:
        raise UnknownMetric(
            f"There is no metric {name!r}; {nearest(name, list(METRICS))}",
            hint=f"choose one of {', '.join(METRICS)}",
        )
    return METRICS[name]


def score_of(metric: Metric, scored: Scored) -> float:
    """The metric over all rows; NaN where it is undefined (an AUC of one class)."""
    _check_fits(metric, scored)
    if metric.losses is not None:
        return metric.from_loss(float(metric.losses(scored).mean()))
    assert metric.scorer is not None
    return metric.scorer(scored)(np.ones(len(scored)))


def losses_of(metric: Metric, scored: Scored) -> Floats:
    """The loss of each row; GateError for a metric of the whole set."""
    _check_fits(metric, scored)
    if metric.losses is None:
        row_wise = ", ".join(name for name, each in METRICS.items() if each.row_wise)
        raise GateError(
            f"{metric.name} is a metric of the whole set: a row alone has no loss.",
            hint=f"metrics with a loss for each row: {row_wise}",
        )
    return metric.losses(scored)


def _check_fits(metric: Metric, scored: Scored) -> None:
    if metric.task is not scored.task:
        raise GateError(f"{metric.name} is a metric of {metric.task}, not of {scored.task}.")
    if metric.needs_probabilities and scored.probabilities is None:
        raise GateError(
            f"{metric.name} needs a probability for each class, and the model gave labels.",
            hint="use a model with predict_proba, or a metric such as accuracy or f1",
        )


def scored(
    name: str, y: AnyArray, predictions: AnyArray, classes: tuple[Any, ...] | None = None
) -> Scored:
    """Truth and predictions in the form that the named metric needs (`classes`: the columns)."""
    y, predictions = np.asarray(y), np.asarray(predictions)
    if len(y) != len(predictions):
        raise GateError(f"There are {len(y)} labels and {len(predictions)} predictions.")
    if find_metric(name).task is Task.REGRESSION:
        return regression(y, predictions, "model")
    known = classes if classes is not None else ()
    everything = all_classes(known, y, predictions if predictions.ndim == 1 else None)
    return classification(y, predictions, classes, everything, "model")


def score(
    name: str, y: AnyArray, predictions: AnyArray, classes: tuple[Any, ...] | None = None
) -> float:
    """One model's score: `y` (rows,), `predictions` labels or values (rows,) or (rows, classes)."""
    return score_of(find_metric(name), scored(name, y, predictions, classes))


def row_losses(
    name: str, y: AnyArray, predictions: AnyArray, classes: tuple[Any, ...] | None = None
) -> Floats:
    """The loss of each row, (rows,), smaller is better; GateError for a metric of the whole set."""
    return losses_of(find_metric(name), scored(name, y, predictions, classes))
