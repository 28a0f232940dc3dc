"""Train a challenger on a dataset, and register it."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from ray_jobs import definition as definitions
from ray_jobs.dataset import read, read_manifest
from ray_jobs.distributed import Checkpoints, fit_together
from ray_jobs.dotted import resolve
from ray_jobs.errors import NotEnoughResources
from ray_jobs.features import FeaturesConfig
from ray_jobs.gap import labels_until
from ray_jobs.parquet_files import times_us
from ray_jobs.references import Challenger, Dataset, RunInfo
from ray_jobs.rehearsal import FitRows, rehearse
from ray_jobs.resources import elastic, ensure_feasible
from ray_jobs.search import SearchResult, candidates, search
from ray_jobs.split import Split, group_codes, split
from ray_jobs.tasks import cluster_cpus, cluster_gpus, result, submit
from ray_jobs.trainers.config import Task, TrainerConfig, TrainerKind
from ray_jobs.trainers.make import make
from ray_jobs.trainers.scoring import DEFAULT_METRIC, model_score, usable
from ray_jobs.trainers.trainer import Fit, Trainer, TrainingSet, labels_of, weights_of
from ray_jobs.training_errors import UnfitData, final
from registry import Registry, RegistryConfig, connect
from registry.card.words import length

_logger = logging.getLogger(__name__)


DEFINITION_TAG = "ratchet.definition"


@final
def train(
    dataset: Dataset,
    trainer: TrainerConfig,
    features: FeaturesConfig,
    *,
    model: str,
    registry: RegistryConfig,
    run: RunInfo,
    now: datetime,
    allowed_modules: Sequence[str] = (),
) -> Challenger:
    """Fit `trainer` on the dataset's training rows, and register the model as a challenger.

    Needs Ray to be initialised. `allowed_modules`: prefixes that the estimator may come from,
    besides the known libraries. Idempotent: a run that trained this before gets the version
    that it registered. Raises UnfitData, TrainingFailed, UnknownName, NotEnoughResources,
    WorkerLost and the registry's errors.
    """
    own = make(trainer, allowed_modules)
    resolve(trainer.estimator, own.allowed_modules)  # before anything is read
    device, notes = _device(trainer)
    with connect(registry) as registered:
        seen_until = _seen_until(registered, model, features.gap)
        divided = _split(dataset, features, now, seen_until)
        rows, times = _training_rows(dataset, own, divided, features.weight)
        tracked = registered.tracking.open_run(
            run.run_id,
            run.flow,
            config_yaml=run.config_yaml,
            config_digest=run.config_digest,
            link=run.link,
        )
        name = f"train · {model} · run {run.run_id}"
        tried = _tried(trainer)
        rehearse(trainer, rows, tried, _fit_alone(own, device, name), registered.models)
        found = None
        if trainer.search is not None:
            found = search(own, rows, times, gap=features.gap, device=device, name=name)
        params = dict(trainer.params) if found is None else found.best.params
        fit = _fit(own, rows, params, device, _checkpoints(dataset, trainer, run), name)
        metrics = _metrics(fit, found, rows)
        challenger = Challenger(
            model=model,
            version="",
            mlflow_run_id=tracked.mlflow_run_id,
            model_uri="",
            train_rows=len(rows.labels),
            train_from=divided.train_from,
            train_until=divided.train_until,
            labels_until=divided.train_until + features.gap,
            holdout_from=divided.holdout_from,
            holdout_until=divided.holdout_until,
            holdout_rows=int(divided.holdout.sum()),
            definition=dataset.definition,
            metrics=metrics,
            device=fit.device,
            notes=(*notes, *fit.notes, *_failed_trials(found)),
            params={name: str(value) for name, value in params.items()},
            task=rows.task.value,
            seconds=fit.seconds,
            seed=trainer.seed,
        )
        _log_lines(challenger, trainer.estimator, divided.between, features.gap)
        _log(registered, challenger, dataset, trainer, found, now)
        version = registered.register(
            model,
            fit.model,
            mlflow_run_id=tracked.mlflow_run_id,
            key=_key(dataset, trainer, run, model),
            tags=_tags(challenger, dataset, trainer, run),
        )
    _checkpoints(dataset, trainer, run).delete()
    uri = f"models:/{model}/{version.version}"
    return replace(challenger, version=version.version, model_uri=uri)


def _log_lines(challenger: Challenger, estimator: str, between: int, gap: timedelta) -> None:
    """The training in the log of its attempt."""
    _logger.info(
        "%s trained on %s rows until %s in %.1f s on %s; %s rows are held out",
        estimator,
        f"{challenger.train_rows:,}",
        f"{challenger.train_until:%Y-%m-%d %H:%M}",
        challenger.seconds,
        challenger.device,
        f"{challenger.holdout_rows:,}",
    )
    if between:
        _logger.info(
            "%s more rows lie in the gap of %s before the holdout, and are not used",
            f"{between:,}",
            length(gap),
        )
    for metric, value in sorted(challenger.metrics.items()):
        _logger.info("%s %.6g", metric, value)


def run_fit(trainer: Trainer, rows: TrainingSet, params: Mapping[str, Any], device: str) -> Fit:
    """Fit in this process (runs on the cluster)."""
    return trainer.fit(rows, params, device=device)


def _device(trainer: TrainerConfig) -> tuple[str, tuple[str, ...]]:
    """Where to train. Raises NotEnoughResources for what the cluster can never give."""
    gpus, there = trainer.num_gpus * trainer.workers, cluster_gpus()
    if trainer.num_gpus <= 0:
        _ensure_room(trainer, gpus=0)
        return "cpu", ()
    if trainer.allow_cpu and there < gpus and not elastic():  # which adds a node that has them
        _ensure_room(trainer, gpus=0)
        asked = f"{gpus:g} GPU{'' if gpus == 1 else 's'}"
        return "cpu", (f"{asked} asked for, {there:g} in the cluster: trained on CPU",)
    _ensure_room(trainer, gpus=gpus)
    if TrainerKind(trainer.kind) is TrainerKind.SKLEARN:
        return "cpu", ("estimators of trainer.kind=sklearn do not get the GPUs asked for",)
    return "cuda", ()


def _ensure_room(trainer: TrainerConfig, *, gpus: float) -> None:
    """Raise NotEnoughResources for workers that can never run, alone or side by side."""
    ensure_feasible(
        num_cpus=trainer.num_cpus,
        num_gpus=gpus / trainer.workers,
        memory=0 if trainer.memory is None else trainer.memory * 2**30,
        what="The training" if trainer.workers == 1 else "Each training worker",
    )
    cpus = trainer.workers * trainer.num_cpus
    if elastic() or (cpus <= cluster_cpus() and gpus <= cluster_gpus()):
        return
    raise NotEnoughResources(
        f"The {trainer.workers} training workers ask for {cpus:g} CPUs and {gpus:g} GPUs together; "
        f"the cluster has {cluster_cpus()} and {cluster_gpus():g}.",
        hint="lower trainer.workers, num_cpus or num_gpus, or add a node",
    )


def _seen_until(registered: Registry, model: str, gap: timedelta) -> datetime | None:
    champion = registered.champion(model)
    if champion.version is None:
        return None
    return labels_until(registered.models.version(model, champion.version).tags, gap)


def _split(
    dataset: Dataset, features: FeaturesConfig, now: datetime, seen_until: datetime | None
) -> Split:
    table = read(dataset, [] if features.group is None else [features.group])
    return split(
        times_us(table[dataset.event_time]),
        features.holdout,
        now=now,
        label_delay=features.label_delay,
        gap=features.gap,
        seen_until=seen_until,
        groups=None if features.group is None else group_codes(table[features.group]),
    )


def _training_rows(
    dataset: Dataset, trainer: Trainer, divided: Split, weight: str | None
) -> tuple[TrainingSet, Any]:
    definition, _ = read_manifest(dataset)
    columns = [*dataset.columns, dataset.label, *([] if weight is None else [weight])]
    table = read(dataset, columns, since=divided.train_from, until=divided.train_until)
    labels = labels_of(table[dataset.label])
    held_out = read(
        dataset, [dataset.label], since=divided.holdout_from, until=divided.holdout_until
    )
    labels_of(held_out[dataset.label])  # the models are judged by them
    task = trainer.task(labels, _tried(trainer.config)[0])
    if task is Task.CLASSIFICATION and len(np.unique(labels)) < 2:
        raise UnfitData(
            f"label {dataset.label} has one class only, {labels[0]}, in the {len(labels):,} "
            f"training rows until {divided.train_until:%Y-%m-%d %H:%M}",
            hint="wait for rows of another class, or check the label column",
        )
    if task is Task.REGRESSION and labels.dtype.kind in "Ub":
        raise UnfitData(
            f"label {dataset.label} holds {labels.dtype.name} values, not numbers to predict",
            hint="set trainer.task=classification and a classifier",
        )
    rows = TrainingSet(
        inputs=table.select(list(dataset.columns)),
        labels=labels,
        task=task,
        weights=None if weight is None else weights_of(table[weight], weight),
        extras={definitions.FILE: definition.to_text()},
    )
    return rows, times_us(table[dataset.event_time])


def _tried(config: TrainerConfig) -> list[dict[str, Any]]:
    """The parameters that will be fitted: those of the config, or of each candidate."""
    if config.search is None:
        return [dict(config.params)]
    return [{**config.params, **found} for found in candidates(config.search, config.seed)]


def _fit(
    trainer: Trainer,
    rows: TrainingSet,
    params: Mapping[str, Any],
    device: str,
    checkpoints: Checkpoints,
    name: str,
) -> Fit:
    if trainer.config.workers > 1:
        return fit_together(trainer, rows, params, device=device, checkpoints=checkpoints)
    return _fit_alone(trainer, device, name)(rows, params)


def _fit_alone(trainer: Trainer, device: str, name: str) -> FitRows:
    """A fit as one task of the cluster."""

    def fit(rows: TrainingSet, params: Mapping[str, Any]) -> Fit:
        import ray

        config = trainer.config
        fitted: Fit = result(
            submit(
                run_fit,
                trainer,
                ray.put(rows),
                params,
                device,
                name=name,
                num_cpus=config.num_cpus,
                num_gpus=config.num_gpus if device == "cuda" else 0,
                memory=config.memory,
            )
        )
        return fitted

    return fit


def _checkpoints(dataset: Dataset, trainer: TrainerConfig, run: RunInfo) -> Checkpoints:
    about = f"{run.run_id} {dataset.digest} {trainer!r}"
    name = f"{run.run_id}-{hashlib.sha256(about.encode()).hexdigest()[:12]}"
    return Checkpoints(folder=f"{dataset.uri}/checkpoints", name=name)


def _key(dataset: Dataset, trainer: TrainerConfig, run: RunInfo, model: str) -> str:
    """One for each model that a run trains."""
    about = f"{model} {dataset.digest} {trainer!r}"
    return f"{run.run_id}/{hashlib.sha256(about.encode()).hexdigest()[:16]}"


def _metrics(fit: Fit, found: SearchResult | None, rows: TrainingSet) -> dict[str, float]:
    metric = DEFAULT_METRIC[rows.task]
    score = model_score(usable(fit.model, rows.task), rows.inputs, rows.labels, metric)
    metrics = {**fit.metrics, f"train_{metric}": score}
    if found is not None:
        metrics[f"search_{found.metric}"] = found.best.score
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def _log(
    registered: Registry,
    challenger: Challenger,
    dataset: Dataset,
    trainer: TrainerConfig,
    found: SearchResult | None,
    now: datetime,
) -> None:
    """Everything that a reviewer wants to compare between runs, in the run's MLflow page."""
    tracking, run = registered.tracking, challenger.mlflow_run_id
    params = {
        "trainer": TrainerKind(trainer.kind).value,
        "estimator": trainer.estimator,
        "task": challenger.task,
        "seed": trainer.seed,
        "workers": trainer.workers,
        "device": challenger.device,
        "view": dataset.view,
        "dataset": dataset.digest,
        "features": dataset.definition,
        **{f"version.{source.view}": source.version for source in dataset.sources},
        **{f"params.{name}": value for name, value in challenger.params.items()},
    }
    figures = {
        **challenger.metrics,
        "train_rows": challenger.train_rows,
        "holdout_rows": challenger.holdout_rows,
        "train_seconds": challenger.seconds,
    }
    tracking.log_params(run, params)
    tracking.log_metrics(run, figures, now=now)
    tracking.log_dict(run, {"notes": list(challenger.notes), **_bounds(challenger)}, "train.json")
    if found is None:
        return
    tracking.log_dict(run, {"search": [asdict(trial) for trial in found.trials]}, "search.json")
    for number, trial in enumerate(found.trials):
        if math.isfinite(trial.score):
            score = {f"trial_{found.metric}": trial.score}
            tracking.log_metrics(run, score, now=now, step=number)


def _failed_trials(found: SearchResult | None) -> tuple[str, ...]:
    if found is None:
        return ()
    return tuple(f"no score for {t.params}: {t.failed}" for t in found.trials if t.failed)


def _bounds(challenger: Challenger) -> dict[str, str]:
    names = ("train_from", "train_until", "labels_until", "holdout_from", "holdout_until")
    return {name: getattr(challenger, name).isoformat() for name in names}


def _tags(
    challenger: Challenger, dataset: Dataset, trainer: TrainerConfig, run: RunInfo
) -> dict[str, str]:
    """What a registered version says of itself; later nights read back what it has seen."""
    sources = ", ".join(f"{source.view} version {source.version}" for source in dataset.sources)
    return {
        "ratchet.run": run.run_id,
        "ratchet.trained_by": run.run_id,  # `run` becomes the one that judged it last
        "ratchet.estimator": trainer.estimator,
        "ratchet.train_rows": str(challenger.train_rows),
        "ratchet.sources": sources,
        "ratchet.dataset": dataset.digest,
        "ratchet.view": dataset.view,
        "ratchet.view_version": str(dataset.version),
        DEFINITION_TAG: dataset.definition,
        "ratchet.device": challenger.device,
        **{f"ratchet.{name}": value for name, value in _bounds(challenger).items()},
    }
