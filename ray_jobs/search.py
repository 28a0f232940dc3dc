"""Hyper-parameter search: plain Ray tasks, one a trial, scored on folds by time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ray_jobs.tasks import cluster_cpus, cluster_gpus, run_all, submit
from ray_jobs.trainers.config import Interval, SearchConfig, SearchKind, TrainerConfig
from ray_jobs.trainers.scoring import DEFAULT_METRIC, model_score, usable
from ray_jobs.trainers.trainer import Trainer, TrainingSet
from ray_jobs.training_errors import TrainingFailed, UnfitData, first_line
from registry.card.words import length
from registry.methods.metrics import find_metric

Rows = npt.NDArray[np.int64]
Times = npt.NDArray[np.datetime64]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One candidate, and how it did."""

    params: dict[str, Any]
    score: float
    """Mean over the folds; NaN: it failed."""
    scores: tuple[float, ...]
    """Of each fold, oldest first."""
    failed: str = ""
    """Why it has no score."""


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """Every trial in the order of the candidates, and the winner."""

    metric: str
    trials: tuple[Trial, ...]

    @property
    def best(self) -> Trial:
        """The best mean score; the first of equals."""
        better = max if find_metric(self.metric).greater_is_better else min
        scored = [trial for trial in self.trials if math.isfinite(trial.score)]
        if not scored:
            why = next((trial.failed for trial in self.trials if trial.failed), "")
            raise TrainingFailed(
                f"no trial of the search has a {self.metric}: {why or 'it is undefined'}",
                hint="correct trainer.search.space and trainer.params",
            )
        return better(scored, key=lambda trial: trial.score)


def search(
    trainer: Trainer, rows: TrainingSet, times: Times, *, gap: timedelta, device: str, name: str
) -> SearchResult:
    """Try the candidates of `trainer.config.search`; `times` are the rows' event times, ascending.

    `gap`: between the rows that a fold trains on and those that judge it.

    A candidate that cannot be fitted has no score, and a note. Raises WorkerLost.
    """
    import ray

    config = trainer.config
    assert config.search is not None
    metric = config.search.metric or DEFAULT_METRIC[rows.task]
    find_metric(metric)
    tried = [{**config.params, **found} for found in candidates(config.search, config.seed)]
    windows = folds(times, config.search.folds, gap)
    shared, cuts = ray.put(rows), ray.put(windows)
    gpus = config.num_gpus if device == "cuda" else 0
    calls = [
        partial(
            submit,
            run_trial,
            trainer,
            shared,
            cuts,
            params,
            metric,
            device,
            name=f"{name} · trial {number}/{len(tried)}",
            num_cpus=config.num_cpus,
            num_gpus=gpus,
            memory=config.memory,
        )
        for number, params in enumerate(tried, start=1)
    ]
    parallel = partial(_parallel, config, gpus)
    trials: dict[int, Trial] = dict(run_all(calls, parallel=parallel))
    return SearchResult(metric=metric, trials=tuple(trials[i] for i in range(len(tried))))


def run_trial(
    trainer: Trainer,
    rows: TrainingSet,
    windows: list[tuple[Rows, Rows]],
    params: Mapping[str, Any],
    metric: str,
    device: str,
) -> Trial:
    """One candidate on every fold (runs on the cluster)."""
    scores = []
    for before, after in windows:
        try:
            fit = trainer.fit(rows.take(before), params, device=device)
            judged = rows.take(after)
            model = usable(fit.model, rows.task)
            scores.append(model_score(model, judged.inputs, judged.labels, metric))
        except Exception as error:  # one bad candidate is no reason to lose the others
            if not (getattr(error, "permanent", False) or isinstance(error, ValueError)):
                raise
            return Trial(params=dict(params), score=math.nan, scores=(), failed=first_line(error))
    return Trial(params=dict(params), score=float(np.mean(scores)), scores=tuple(scores))


def candidates(config: SearchConfig, seed: int) -> list[dict[str, Any]]:
    """The parameters to try, from the seed alone; none twice."""
    for name, values in config.space.items():
        if not isinstance(values, Interval) and not values:
            raise TrainingFailed(f"trainer.search.space.{name} lists no value")
    if SearchKind(config.kind) is SearchKind.GRID:
        return list(itertools.islice(_grid(config), config.trials))
    rng = np.random.default_rng(seed)
    found: list[dict[str, Any]] = []
    # A small space is exhausted before the trials are: a bounded number of draws ends it.
    for _ in range(20 * config.trials):
        drawn = {name: _draw(values, rng) for name, values in config.space.items()}
        if drawn not in found:
            found.append(drawn)
        if len(found) == config.trials:
            break
    return found


def folds(times: Times, count: int, gap: timedelta = timedelta(0)) -> list[tuple[Rows, Rows]]:
    """Row numbers (to train on, to judge by) of each fold; rows of one time stay together.

    The rows are cut into `count + 1` blocks by time; each fold is judged by one block and trained
    on all the rows before it and the `gap`. Rows that lie in the gap after the oldest one are in
    no block: nothing could be trained to be judged by them.
    """
    wait = np.timedelta64(gap)
    first = int(np.searchsorted(times, times[0] + wait, side="left"))
    marks = [first + (len(times) - first) * i // (count + 1) for i in range(1, count + 1)]
    starts = sorted(
        {
            int(np.searchsorted(times, times[mark], side="left"))
            for mark in marks
            if mark < len(times)
        }
    )
    trained = [int(np.searchsorted(times, times[start] - wait, side="left")) for start in starts]
    if len(starts) < count or trained[0] == 0:
        beside = f" and a gap of {length(gap)}" if gap else ""
        raise UnfitData(
            f"{len(times):,} training rows have too few event times for {count} folds{beside}",
            hint="lower trainer.search.folds",
        )
    ends = [*starts[1:], len(times)]
    return [(np.arange(t), np.arange(s, e)) for t, s, e in zip(trained, starts, ends, strict=True)]


def _parallel(config: TrainerConfig, gpus: float) -> int:
    """Trials side by side, on the cluster as it is now."""
    assert config.search is not None
    fitting = cluster_cpus() / max(config.num_cpus, 0.01)
    if gpus:
        fitting = min(fitting, cluster_gpus() / gpus)
    return config.search.parallel or max(int(fitting), 1)


def _grid(config: SearchConfig) -> Iterator[dict[str, Any]]:
    for name, values in config.space.items():
        if isinstance(values, Interval):
            raise TrainingFailed(
                f"trainer.search.space.{name} is an interval, which a grid cannot walk",
                hint="list its values, or set trainer.search.kind=random",
            )
    lists = [list(v) for v in config.space.values() if not isinstance(v, Interval)]
    for combination in itertools.product(*lists):
        yield dict(zip(config.space, combination, strict=True))


def _draw(values: tuple[Any, ...] | Interval, rng: np.random.Generator) -> Any:
    if not isinstance(values, Interval):
        return values[int(rng.integers(len(values)))]
    low, high = values.low, values.high
    if values.log:
        drawn = math.exp(rng.uniform(math.log(low), math.log(high)))
    else:
        drawn = float(rng.uniform(low, high + 1 if values.integer else high))
    return min(int(drawn), int(high)) if values.integer else min(max(drawn, low), high)
