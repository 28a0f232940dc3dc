"""What every trainer does: fit an estimator to rows, and hand over a model that can be stored."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ray_jobs.dotted import nearest
from ray_jobs.trainers.config import Task, TrainerConfig
from ray_jobs.training_errors import TrainingFailed, UnfitData, first_line, users_line
from registry.fitted import FittedModel
from registry.inputs import MAX_CATEGORIES, Column, Kind, as_array, is_number, is_text, plain

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

    weights: npt.NDArray[np.float64] | None = None
    """How much each row counts; None: all the same."""

    extras: Mapping[str, str] = field(default_factory=dict)
    """Text files to keep with the model."""

    @property
    def example(self) -> pa.Table:
        """The first few rows."""
        return self.inputs[:EXAMPLE_ROWS]

    def take(self, rows: npt.NDArray[np.int64]) -> TrainingSet:
        """The same for some rows only."""
        return replace(
            self,
            inputs=self.inputs.take(pa.array(rows)),
            labels=self.labels[rows],
            weights=None if self.weights is None else self.weights[rows],
        )

    def single_class(self) -> Any | None:
        """A class that one row alone has; None: each has two."""
        classes, counts = np.unique(self.labels, return_counts=True)
        return classes[counts == 1][0] if (counts == 1).any() else None


@dataclass(frozen=True, kw_only=True, eq=False)
class Fit:
    """A fitted model, and how it was fitted."""

    model: FittedModel
    device: str
    """"cpu" or "cuda"."""
    seconds: float
    metrics: dict[str, float] = field(default_factory=dict)
    """What the estimator itself reports, such as its last training loss."""
    notes: tuple[str, ...] = ()
    """What a reviewer should know: values that were taken as missing, warnings."""


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

    def task(self, labels: Labels, params: Mapping[str, Any]) -> Task:
        """What is predicted: as configured, else what the estimator is for."""
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
    column = plain(column)
    kind = column.type
    if pa.types.is_decimal(kind):
        column = pc.cast(column, pa.float64())
    elif is_text(kind):
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


def weights_of(column: pa.ChunkedArray, name: str) -> npt.NDArray[np.float64]:
    """How much each row counts. Raises UnfitData for what is missing, negative or no number."""
    values = plain(column)
    if not is_number(values.type):
        raise UnfitData(
            f"column {name} is {values.type}, and features.weight needs numbers",
            hint="name a column of numbers, or leave features.weight out",
        )
    weights = as_array(pa.table({name: column}), (Column(name=name),))[:, 0]
    bad = ~(weights >= 0)
    if bad.any():
        such = values[int(np.argmax(bad))].as_py()
        raise UnfitData(
            f"column {name}: {int(bad.sum()):,} of {len(weights):,} weights are missing, infinite "
            f"or negative (such as {such})",
            hint="correct them, or set them to 0 in a feature function: such a row does not count",
        )
    if not weights.sum() > 0:
        raise UnfitData(
            f"column {name}: the weights of all {len(weights):,} rows are 0",
            hint="correct the column, or leave features.weight out",
        )
    return weights


def task_of(config: TrainerConfig, labels: Labels, estimator: object | None) -> Task:
    """What is predicted: as configured, else what the estimator is for, else by the labels."""
    if config.task is not Task.AUTO:
        return Task(config.task)
    if estimator is not None:
        from sklearn.base import is_classifier, is_regressor

        with suppress(Exception):  # an own class need not have scikit-learn's tags
            if is_classifier(estimator):
                return Task.CLASSIFICATION
            if is_regressor(estimator):
                return Task.REGRESSION
    return Task.REGRESSION if labels.dtype.kind == "f" else Task.CLASSIFICATION


def build(factory: Any, path: str, params: Mapping[str, Any]) -> Any:
    """Call the estimator's class. Raises TrainingFailed, naming the nearest parameter."""
    try:
        return factory(**params)
    except TypeError as error:
        raise _bad_parameters(factory, path, params, error) from error
    except Exception as error:
        raise TrainingFailed(
            f"{path} could not be built: {first_line(error)}{users_line(error)}",
            hint="check trainer.params",
        ) from error


def failed_fit(path: str, error: Exception, rows: TrainingSet) -> TrainingFailed:
    """What `fit` raised, with the user's own line and what the columns hold that may be why."""
    if isinstance(error, TrainingFailed):
        return error
    reason = first_line(error)
    hint = f"check trainer.params; {_peculiar(rows.inputs)}"
    single = rows.single_class() if rows.task is Task.CLASSIFICATION else None
    if single is not None and "member" in reason:
        hint = (
            f"class {single} has one training row: wait for more of it, merge it with another in "
            "a feature function, or set trainer.params.early_stopping=false where that is on"
        )
    return TrainingFailed(f"{path} could not be fitted: {reason}{users_line(error)}", hint=hint)


def column_notes(rows: TrainingSet, columns: Sequence[Column]) -> tuple[str, ...]:
    """Values of the training rows that a model takes for something else."""
    notes = []
    for column in columns:
        values = plain(rows.inputs[column.name])
        if len(values) and pc.all(pc.is_null(values, nan_is_null=True)).as_py():
            notes.append(f"column {column.name}: no training row has a value")
        elif column.kind is Kind.NUMBER and pa.types.is_floating(values.type):
            infinite = pc.sum(pc.is_inf(values)).as_py() or 0
            if infinite:
                notes.append(
                    f"column {column.name}: {infinite:,} of {len(values):,} training rows are "
                    "infinite, taken as missing"
                )
        elif column.kind is Kind.CATEGORY and len(column.categories) == MAX_CATEGORIES:
            different = pc.count_distinct(values).as_py()
            if different > MAX_CATEGORIES:
                notes.append(
                    f"column {column.name}: {different:,} different texts, the {MAX_CATEGORIES} "
                    "most frequent are categories, the others are taken as missing"
                )
    return tuple(notes)


def encoded(rows: TrainingSet) -> tuple[Labels, tuple[Any, ...] | None]:
    """Labels as class numbers with their classes; numbers as they are, without, in a regression."""
    if rows.task is Task.REGRESSION:
        return rows.labels.astype(np.float64), None
    classes, codes = np.unique(rows.labels, return_inverse=True)
    return codes.astype(np.int64), tuple(classes.tolist())


def _peculiar(inputs: pa.Table) -> str:
    """The columns that an estimator may not take, in a few words."""
    texts = [f.name for f in inputs.schema if is_text(plain(inputs[f.name]).type)]
    missing = [
        f"{name} ({inputs[name].null_count:,})"
        for name in inputs.column_names
        if inputs[name].null_count
    ]
    said = []
    if texts:
        said.append(f"columns of text: {', '.join(texts[:3])}")
    if missing:
        said.append(f"columns with missing values: {', '.join(missing[:3])}")
    return "; ".join(said) or "all columns are numbers without a missing one"


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
