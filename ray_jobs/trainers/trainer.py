"""What every trainer does: fit an estimator to rows, and hand over a model that can be stored."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ray_jobs.dotted import nearest
from ray_jobs.trainers.config import Task, TrainerConfig
from ray_jobs.training_errors import TrainingFailed, UnfitData
from registry.fitted import FittedModel

Labels = npt.NDArray[Any]
EXAMPLE_ROWS = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingSet:
    """Rows to learn from."""

    inputs: pa.Table
    """Model inputs, in the order of the model's columns."""

    labels: Labels
    """One label a row: str, int, bool or float."""

    task: Task
    """Classification or regression, never AUTO."""

    extras: Mapping[str, str] = field(default_factory=dict)
    """Text files to keep with the model."""

    @property
    def example(self) -> pa.Table:
        """The first few rows."""
        return self.inputs[:EXAMPLE_ROWS]

    def take(self, rows: npt.NDArray[np.int64]) -> TrainingSet:
        """The same for some rows only."""
        return TrainingSet(
            inputs=self.inputs.take(pa.array(rows)),
            labels=self.labels[rows],
            task=self.task,
            extras=self.extras,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Fit:
    """A fitted model, and how it was fitted."""

    model: FittedModel
    device: str
    """"cpu" or "cuda"."""
    seconds: float
    metrics: dict[str, float] = field(default_factory=dict)
    """What the estimator itself reports, such as its last training loss."""


class Trainer(Protocol):
    """A way to fit estimators.

    - `fit` is a function of the rows, the parameters and the seed: same arguments, same model.
    - It runs in one process, on the CPUs and GPUs that this process was given.
    - A mistake in the parameters is TrainingFailed, naming the parameter where it can.
    """

    @property
    def config(self) -> TrainerConfig:
        """What the trainer was made with."""
        ...

    @property
    def allowed_modules(self) -> tuple[str, ...]:
        """Modules that an estimator may come from."""
        ...

    def fit(self, rows: TrainingSet, params: Mapping[str, Any], *, device: str) -> Fit:
        """Fit the estimator to the rows."""
        ...


def labels_of(column: pa.ChunkedArray) -> Labels:
    """A label column as a plain array. Raises UnfitData for nulls and for other types."""
    if column.null_count:
        raise UnfitData(
            f"{column.null_count:,} of {len(column):,} mature rows have no label",
            hint="drop them in a feature function, or set features.label_delay to the time "
            "after which every label is known",
        )
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = pc.cast(column, kind.value_type), kind.value_type
    if pa.types.is_decimal(kind):
        column = pc.cast(column, pa.float64())
    elif any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string)):
        return np.asarray(column.to_pylist(), dtype=np.str_)
    elif not any(
        test(kind) for test in (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)
    ):
        raise UnfitData(
            f"labels of type {kind} cannot be learnt",
            hint="make the label a number, a text or a boolean in a feature function",
        )
    labels = column.to_numpy()
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise UnfitData("some labels are NaN or infinite", hint="drop these rows")
    return np.asarray(labels)


def task_of(config: TrainerConfig, labels: Labels, estimator: object) -> Task:
    """What is predicted: as configured, else what the estimator is for, else by the labels."""
    if config.task is not Task.AUTO:
        return Task(config.task)
    # By name, so that this module needs neither scikit-learn nor XGBoost.
    bases = {base.__name__ for base in getattr(estimator, "__mro__", ())}
    if "ClassifierMixin" in bases:
        return Task.CLASSIFICATION
    if "RegressorMixin" in bases:
        return Task.REGRESSION
    return Task.REGRESSION if labels.dtype.kind == "f" else Task.CLASSIFICATION


def build(factory: Any, path: str, params: Mapping[str, Any]) -> Any:
    """Call the estimator's class. Raises TrainingFailed, naming the nearest parameter."""
    try:
        return factory(**params)
    except TypeError as error:
        raise _bad_parameters(factory, path, params, error) from error


def _bad_parameters(
    factory: Any, path: str, params: Mapping[str, Any], error: Exception
) -> TrainingFailed:
    """The error that names the parameter which `factory` does not have, if that is the reason."""
    known = _parameter_names(factory)
    for name in params:
        if known and name.partition("__")[0] not in known:
            return TrainingFailed(
                f"{path} has no parameter {name!r}{nearest(name, known)}",
                hint=f"parameters are: {', '.join(sorted(known))}",
            )
    return TrainingFailed(f"{path} refuses its parameters: {error}", hint="check trainer.params")


def _parameter_names(factory: Any) -> Sequence[str]:
    """Names of the arguments of a class or function; empty when it takes any."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return ()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return ()
    return [p.name for p in parameters]
