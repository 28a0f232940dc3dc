"""The model that a first challenger must beat: it says the same of every row, or little more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ray_jobs.dataset import ROW_ID, read
from ray_jobs.features import FeaturesConfig
from ray_jobs.last_value import last_values, rows_before
from ray_jobs.parquet_files import times_us
from ray_jobs.references import Challenger, Dataset
from ray_jobs.split import as_time, group_codes
from ray_jobs.tasks import result, submit
from ray_jobs.trainers.config import Task as TrainerTask
from ray_jobs.trainers.config import TrainerConfig, TrainerKind
from ray_jobs.trainers.make import make
from ray_jobs.trainers.scoring import predictions, usable
from ray_jobs.trainers.trainer import Fit, Labels, TrainingSet, labels_of
from ray_jobs.training import run_fit
from ray_jobs.training_errors import TrainingFailed, UnknownName
from registry import Baseline, GateConfig, GateError, LoadedModel
from registry.methods.metrics import Metric, find_metric, quantile_of
from registry.methods.predictions import Task

Predictions = npt.NDArray[Any]
Classes = tuple[Any, ...] | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Rival:
    """What the baseline says of the rows, and what it is called."""

    predictions: Predictions
    words: str
    """As a verdict says it: "not proven better than ..."."""


@dataclass(kw_only=True)
class Baselines:
    """The baselines of one first model: they know what it was trained on, and no more."""

    gate: GateConfig
    dataset: Dataset
    features: FeaturesConfig
    challenger: Challenger
    modules: tuple[str, ...] = ()
    simple: LoadedModel | None = None
    """The model of `baseline: simple`, once it is trained."""

    def rival(self, rows: pa.Table, like: Predictions, classes: Classes) -> Rival | None:
        """What the configured baseline says of `rows`, in the form of `like`; None: no baseline.

        Raises TrainingFailed, UnknownName and GateError for a `simple` that cannot be trained.
        """
        match Baseline(self.gate.baseline):
            case Baseline.NONE:
                return None
            case Baseline.CONSTANT:
                said = constant(self._metric, self._trained_labels(), like, classes)
                return Rival(predictions=said, words="saying always the same")
            case Baseline.LAST_VALUE:
                return self._last_value(rows, like, classes)
            case Baseline.SIMPLE:
                return self._simple(rows, like, classes)

    @property
    def _metric(self) -> Metric:
        return find_metric(self.gate.metric)

    def _trained_labels(self) -> Labels:
        dataset = self.dataset
        trained = read(dataset, [dataset.label], until=self.challenger.train_until)
        return labels_of(trained[dataset.label])

    def _last_value(self, rows: pa.Table, like: Predictions, classes: Classes) -> Rival:
        dataset, group = self.dataset, self.features.group
        columns = [dataset.label, *([group] if group else [])]
        known = read(dataset, columns, until=self.challenger.holdout_until)
        times, labels = times_us(known[dataset.event_time]), labels_of(known[dataset.label])
        groups = group_codes(known[group]) if group else np.zeros(len(times), dtype=np.int64)
        before = rows_before(times, groups, self.features.label_delay)
        trained = times <= as_time(self.challenger.train_until)
        # A row's place in the whole dataset, by its id.
        order = np.argsort(known[ROW_ID].to_numpy())
        ids = rows[ROW_ID].to_numpy()
        places = order[np.searchsorted(known[ROW_ID].to_numpy(), ids, sorter=order)]
        alike = f" of the same {group}" if group else ""
        said = last_values(
            self._metric,
            labels=labels,
            before=before,
            trained=trained,
            places=places,
            otherwise=constant(self._metric, labels[trained], like, classes),
            classes=classes,
        )
        return Rival(predictions=said, words=f"saying the label of the row before{alike}")

    def _simple(self, rows: pa.Table, like: Predictions, classes: Classes) -> Rival:
        trainer = simple_trainer(self.gate, TrainerTask(self.challenger.task))
        try:
            self.simple = self.simple or self._trained(trainer)
            said = in_form_of(self.simple, rows, like, classes)
        except (TrainingFailed, UnknownName, ValueError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise TrainingFailed(
                f"the baseline gate.simple, {trainer.estimator}, does not work: {reason}",
                hint=f"{getattr(error, 'hint', None) or 'check gate.simple'}; "
                "or set gate.baseline=constant",
            ) from error
        name = trainer.estimator.replace(":", ".").rpartition(".")[2]
        return Rival(predictions=said, words=f"{name} trained on the same rows")

    def _trained(self, trainer: TrainerConfig) -> LoadedModel:
        """The configured estimator, fitted to the challenger's training rows on the cluster."""
        dataset, challenger = self.dataset, self.challenger
        table = read(
            dataset,
            [*dataset.columns, dataset.label],
            since=challenger.train_from,
            until=challenger.train_until,
        )
        training = TrainingSet(
            inputs=table.select(list(dataset.columns)),
            labels=labels_of(table[dataset.label]),
            task=trainer.task,
        )
        return usable(_fitted(trainer, training, self.modules).model, training.task)


def constant(metric: Metric, labels: Labels, like: Predictions, classes: Classes) -> Predictions:
    """The best constant for the metric by the training `labels`, in the form of `like`.

    Numbers: the median for the absolute error, the quantile for a pinball loss, for MAPE the
    median weighted by 1 / |label|; else the mean. Classes: the most frequent one, or, where `like`
    are probabilities, how frequent each of `classes` is.
    """
    if metric.task is Task.REGRESSION:
        return np.full(len(like), _best_number(metric.name, labels.astype(np.float64)))
    found, counts = np.unique(labels, return_counts=True)
    if like.ndim == 1:
        return np.full(len(like), found[counts.argmax()])
    return np.tile(_frequencies(labels, classes), (len(like), 1))


def simple_trainer(gate: GateConfig, task: TrainerTask) -> TrainerConfig:
    """The trainer that `gate.simple` describes; GateError when it names none."""
    params = dict(gate.simple)
    target = params.pop("_target_", None)
    if not isinstance(target, str):
        raise GateError(
            "gate.simple has no _target_, the dotted path of an estimator.",
            hint="gate.simple={_target_: sklearn.linear_model.LogisticRegression, max_iter: 2000}",
        )
    kind = TrainerKind.XGBOOST if target.startswith("xgboost.") else TrainerKind.SKLEARN
    return TrainerConfig(kind=kind, estimator=target, params=params, task=task)


def in_form_of(
    model: LoadedModel, rows: pa.Table, like: Predictions, classes: Classes
) -> Predictions:
    """What the model says of the rows: labels or numbers, or probabilities of `classes`."""
    if like.ndim == 1:
        return model.predict(rows)
    said, names = predictions(model, rows), np.asarray(classes)
    if said.ndim == 1:
        return np.asarray(said[:, np.newaxis] == names[np.newaxis, :], dtype=np.float64)
    places = {label: number for number, label in enumerate(classes or ())}
    columns = np.zeros((len(said), len(places)))
    for column, label in enumerate(model.classes or ()):
        columns[:, places[label]] = said[:, column]
    return columns


def _fitted(trainer: TrainerConfig, rows: TrainingSet, modules: Sequence[str]) -> Fit:
    import ray

    fit: Fit = result(
        submit(
            run_fit,
            make(trainer, modules),
            ray.put(rows),
            trainer.params,
            "cpu",
            name=f"baseline · {trainer.estimator}",
            num_cpus=trainer.num_cpus,
        )
    )
    return fit


def _best_number(metric: str, numbers: npt.NDArray[np.float64]) -> float:
    quantile = quantile_of(metric)
    if quantile is not None:
        return float(np.quantile(numbers, quantile))
    if metric == "mae":
        return float(np.median(numbers))
    if metric == "mape":
        order = np.argsort(numbers)
        weights = 1 / np.maximum(np.abs(numbers[order]), np.finfo(np.float64).eps)
        half = np.searchsorted(np.cumsum(weights), weights.sum() / 2)
        return float(numbers[order][min(int(half), len(numbers) - 1)])
    return float(numbers.mean())


def _frequencies(labels: Labels, classes: Classes) -> npt.NDArray[np.float64]:
    found, counts = np.unique(labels, return_counts=True)
    known = dict(zip(found.tolist(), counts.tolist(), strict=True))
    shares = np.array([known.get(label, 0) for label in classes or ()], dtype=np.float64)
    frequencies: npt.NDArray[np.float64] = shares / shares.sum()
    return frequencies
