"""The metrics that a gate may ask for, each with its direction and its formula.

A row-wise metric is the mean of one loss a row (accuracy: one minus the mean 0/1 loss); a set
metric is computed from all rows together. Definitions agree with scikit-learn's; the tests
compare them.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from registry.errors import GateError, UnknownMetric
from registry.methods import calibration, counts, curves, losses, ratios
from registry.methods.declared import Of, declared_by
from registry.methods.predictions import (
    AnyArray,
    Floats,
    Scored,
    Scorer,
    Task,
    Weights,
    all_classes,
    classification,
    nearest,
    regression,
)


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
    influence: Callable[[Scored], Floats] | None = None
    """Of the whole set: how much each row moves it, where that is known and not computed there."""
    bound: float | None = None
    """Row-wise: what a row's loss is at most by its formula, or by its author; none: anything."""
    best: float = 0.0
    """Row-wise: the score without any loss."""
    digest: str | None = None
    """Of a user's own: of its source."""

    @property
    def row_wise(self) -> bool:
        """Whether the metric is a mean over rows."""
        return self.losses is not None

    def from_loss(self, mean_loss: float) -> float:
        """The score that a mean loss stands for."""
        return self.best - mean_loss if self.greater_is_better else self.best + mean_loss

    def improvement(self, champion: float, challenger: float) -> float:
        """How much better the challenger is; negative when it is worse."""
        return challenger - champion if self.greater_is_better else champion - challenger


def _dot(left: AnyArray, right: AnyArray) -> float:
    # Not `@`: its threads wait for each other, for seconds where other processes use the cores.
    return float(np.einsum("i,i->", left, right))


def _rmse(scored: Scored) -> Scorer:
    each = losses.squared(scored)
    return lambda weights: float(np.sqrt(_dot(weights, each) / weights.sum()))


def _r2(scored: Scored) -> Scorer:
    each, y = losses.squared(scored), scored.y

    def score(weights: Weights) -> float:
        spread = _dot(weights, (y - _dot(weights, y) / weights.sum()) ** 2)
        return 1.0 - _dot(weights, each) / spread if spread > 0 else float("nan")

    return score


def _table(*metrics: Metric) -> MappingProxyType[str, Metric]:
    return MappingProxyType({metric.name: metric for metric in metrics})


def _classes(name: str, **known: Any) -> Metric:
    return Metric(name=name, task=Task.CLASSIFICATION, **known)


def _numbers(name: str, **known: Any) -> Metric:
    return Metric(name=name, task=Task.REGRESSION, **known)


_LESS: dict[str, Any] = {"greater_is_better": False}
_MORE: dict[str, Any] = {"greater_is_better": True}
_SURE: dict[str, Any] = {"needs_probabilities": True}
METRICS = _table(
    _classes("accuracy", **_MORE, losses=losses.zero_one, bound=1.0, best=1.0),
    _classes("log_loss", **_LESS, **_SURE, losses=losses.log_loss),
    _classes("brier", **_LESS, **_SURE, losses=losses.brier, bound=2.0),
    _classes("f1", **_MORE, scorer=counts.f1),
    _classes("precision", **_MORE, scorer=counts.precision),
    _classes("recall", **_MORE, scorer=counts.recall),
    _classes("mcc", **_MORE, scorer=counts.matthews),
    _classes("balanced_accuracy", **_MORE, scorer=counts.balanced_accuracy),
    _classes("roc_auc", **_MORE, **_SURE, scorer=curves.roc_auc),
    _classes("average_precision", **_MORE, **_SURE, scorer=curves.average_precision),
    _classes("ece", **_LESS, **_SURE, scorer=calibration.expected_calibration_error),
    _numbers("mae", **_LESS, losses=losses.absolute),
    _numbers("mse", **_LESS, losses=losses.squared),
    _numbers("mape", **_LESS, losses=losses.relative),
    _numbers("poisson_deviance", **_LESS, losses=losses.tweedie_deviance(1)),
    _numbers("wape", **_LESS, scorer=ratios.wape, influence=ratios.wape_influence),
    _numbers("rmse", **_LESS, scorer=_rmse),
    _numbers("r2", **_MORE, scorer=_r2),
)

PINBALL = "pinball_"
COVERAGE = "coverage_"


@dataclass(frozen=True, kw_only=True)
class _Family:
    """Metrics that end with a number: `pinball_0.9`."""

    prefix: str
    example: str
    allowed: Callable[[float], bool]
    make: Callable[[str, float], Metric]


def _share(number: float) -> bool:
    return 0 < number < 1


_FAMILIES = (
    _Family(
        prefix=PINBALL,
        example="0.9",
        allowed=_share,
        make=lambda name, q: _numbers(name, **_LESS, losses=losses.pinball(q)),
    ),
    _Family(
        prefix=COVERAGE,
        example="0.9",
        allowed=_share,
        make=lambda name, q: _numbers(
            name,
            **_LESS,
            scorer=ratios.coverage(q),
            influence=ratios.coverage_influence(q),
        ),
    ),
    _Family(
        prefix="tweedie_",
        example="1.5",
        allowed=lambda power: 1 <= power <= 3,
        make=lambda name, p: _numbers(name, **_LESS, losses=losses.tweedie_deviance(p)),
    ),
    _Family(
        prefix="f_",
        example="2",
        allowed=lambda beta: 0 < beta < math.inf,
        make=lambda name, beta: _classes(name, **_MORE, scorer=counts.f_beta(beta)),
    ),
    _Family(
        prefix="recall_at_precision_",
        example="0.9",
        allowed=_share,
        make=lambda name, least: _classes(
            name, **_MORE, **_SURE, scorer=curves.recall_at_precision(least)
        ),
    ),
    _Family(
        prefix="lift_at_",
        example="0.1",
        allowed=_share,
        make=lambda name, share: _classes(name, **_MORE, **_SURE, scorer=curves.lift_at(share)),
    ),
)


def _of_family(name: str) -> Metric | None:
    for family in _FAMILIES:
        number = _number_after(family.prefix, name)
        if number is not None and family.allowed(number):
            return family.make(name, number)
    return None


def _number_after(prefix: str, name: str) -> float | None:
    try:
        return float(name.removeprefix(prefix)) if name.startswith(prefix) else None
    except ValueError:
        return None


_OWN: dict[str, Metric] = {}
"""The metrics that this process's project declares, by their dotted paths."""


def is_dotted(name: str) -> bool:
    """Whether it names a user's own metric: `module:function`."""
    return ":" in name


def is_known(name: str) -> bool:
    """Whether the metric is ours, or was declared in this process."""
    return not is_dotted(name) or name in _OWN


def declare(name: str, function: object) -> None:
    """Make a user's own metric known in this process; GateError when it is none."""
    said = declared_by(name, function)
    task = Task.REGRESSION if said.of is Of.NUMBERS else Task.CLASSIFICATION
    _OWN[name] = Metric(
        name=name,
        task=task,
        greater_is_better=said.greater_is_better,
        needs_probabilities=said.of is Of.PROBABILITIES,
        losses=lambda scored: said.losses(scored, name),
        bound=said.bound,
        best=said.best,
        digest=said.digest,
    )


def digests_of(names: Iterable[str]) -> str:
    """What users' own metrics are, in short: evidence by another source does not add up."""
    found = (_OWN[name].digest for name in sorted(names) if name in _OWN)
    return " ".join(digest[:16] for digest in found if digest is not None)


def find_metric(name: str) -> Metric:
    """The metric of this name; UnknownMetric names the nearest one."""
    if name in METRICS:
        return METRICS[name]
    if name in _OWN:
        return _OWN[name]
    if is_dotted(name):
        raise UnknownMetric(
            f"The metric {name} was not declared in this process.",
            hint="ray_jobs.own_metrics.declare_metrics makes a gate's own metrics known",
        )
    made = _of_family(name)
    if made is not None:
        return made
    every = [*METRICS, *(family.prefix + family.example for family in _FAMILIES)]
    raise UnknownMetric(
        f"There is no metric {name!r}; {nearest(name, every)}",
        hint=f"choose one of {', '.join(every)} (or with another number), or a "
        "function of your own: my_team.metrics:profit",
    )


def quantile_of(name: str) -> float | None:
    """The quantile that a pinball loss's name ends with; None: it is no pinball loss."""
    quantile = _number_after(PINBALL, name)
    return quantile if quantile is not None and _share(quantile) else None


def score_of(metric: Metric, scored: Scored) -> float:
    """The metric over all rows; NaN where it is undefined (an AUC of one class)."""
    check_fits(metric, scored)
    if metric.name not in scored.scores:
        scored.scores[metric.name] = _score(metric, scored)
    return scored.scores[metric.name]


def _score(metric: Metric, scored: Scored) -> float:
    if metric.row_wise:
        return metric.from_loss(float(losses_of(metric, scored).mean()))
    assert metric.scorer is not None
    return metric.scorer(scored)(np.ones(len(scored)))


def losses_of(metric: Metric, scored: Scored) -> Floats:
    """The loss of each row; GateError for a metric of the whole set."""
    check_fits(metric, scored)
    if metric.losses is None:
        row_wise = ", ".join(name for name, each in METRICS.items() if each.row_wise)
        raise GateError(
            f"{metric.name} is a metric of the whole set: a row alone has no loss.",
            hint=f"metrics with a loss for each row: {row_wise}",
        )
    if metric.name not in scored.losses:
        scored.losses[metric.name] = metric.losses(scored)
    return scored.losses[metric.name]


def check_fits(metric: Metric, scored: Scored) -> None:
    """Raise GateError unless the metric can be computed of such predictions."""
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
