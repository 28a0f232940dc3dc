"""Old runs and what they left, by retention: first a plan that changes nothing, then the deed.

What stays, whatever its age: open runs, the newest runs of each flow, the runs that a champion,
past or present, comes from, those that wait for approval, the datasets that any run that stays
refers to, and what `flows.core.store.retention` says.

Files go before rows, and a run's rows before its event: a prune that is interrupted is repeated
by the next one, and finds what is left.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import registry
from flows.adapters.ray_executor import job_id
from flows.bootstrap import Ratchet
from flows.core.records import Run
from flows.core.store.prune import Belongings
from flows.settings import revealed
from ray_jobs.leftovers import Leftover, of_datasets, of_jobs

HISTORY = timedelta(days=400)
"""What happened longer ago goes: a year of KPIs stays, and a month to compare it with."""

BATCH = 100
"""Runs that are forgotten in one transaction."""

_DATASETS = "/datasets/"
_OF_A_DATASET = frozenset({"uri", "digest", "definition", "sources"})
"""Keys that only a reference to a dataset has among what tasks return."""
_OF_A_CHALLENGER = frozenset({"model", "version", "mlflow_run_id", "model_uri"})


@dataclass(frozen=True, kw_only=True)
class Doomed:
    """A run that goes, and its own files."""

    run: Run
    logs: Path | None  # folder of its attempts' logs
    jobs: tuple[Leftover, ...]  # its Ray jobs
    datasets: frozenset[str]  # URIs of those that it refers to
    files: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a prune would remove."""

    runs: tuple[Doomed, ...]  # the oldest first
    datasets: tuple[Leftover, ...]
    live: tuple[Run, ...]  # old runs that stay: a champion comes from them
    busy: tuple[Run, ...]  # old runs that wait: their flow may be using their datasets now
    made: datetime
    until: datetime  # events, fires and alerts from before then go
    history: dict[str, int]  # how many of them there are now, by table

    @property
    def files(self) -> int:
        """That go in all."""
        return sum(d.files for d in self.runs) + sum(d.files for d in self.datasets)

    @property
    def bytes(self) -> int:
        """That go in all; what the tables give back is not counted."""
        return sum(d.bytes for d in self.runs) + sum(d.bytes for d in self.datasets)


def plan(
    ratchet: Ratchet, *, older_than: timedelta, keep: int, history: timedelta = HISTORY
) -> Plan:
    """What can go: runs that ended longer ago than `older_than`, but the newest `keep` of a flow.

    And what happened longer ago than `history`. Removes nothing. Raises StoreError, ArtifactError
    and RegistryUnreachable: as long as nobody can tell what a champion needs, nothing is pruned.
    """
    store, now = ratchet.service.store, ratchet.clock.now()
    until = now - history
    nothing = Plan(
        runs=(), datasets=(), live=(), busy=(), made=now, until=until,
        history=store.retention.count(until),
    )  # fmt: skip
    old = store.prune.candidates(now - older_than, keep=keep)
    if not old:
        return nothing
    found = [_Old.of(belongings, ratchet) for belongings in store.prune.belongings(old)]
    needed = _needed(ratchet, {model for each in found for model in each.models})
    live = [each for each in found if each.run.id in needed.runs]
    rest = [each for each in found if each.run.id not in needed.runs]

    others = store.prune.mentions(_DATASETS, but={each.run.id for each in rest})
    kept = {uri for value in others for uri in _datasets(json.loads(value))}
    kept |= {uri for each in rest for uri in each.datasets if _digest(uri) in needed.datasets}
    working = {run.flow for run in store.reads.open_runs()}
    busy = [each for each in rest if each.run.flow in working and each.datasets - kept]
    kept |= {uri for each in busy for uri in each.datasets}
    waiting = {each.run.id for each in busy}
    doomed = [each for each in rest if each.run.id not in waiting]
    return replace(
        nothing,
        runs=tuple(each.doomed(ratchet.logs) for each in doomed),
        datasets=of_datasets({uri for each in doomed for uri in each.datasets} - kept),
        live=tuple(each.run for each in live),
        busy=tuple(each.run for each in busy),
    )


def carry_out(ratchet: Ratchet, planned: Plan) -> tuple[str, ...]:
    """Remove what was planned; returns the ids of the runs that were pruned.

    A run that was opened again since the plan was made stays, without its files. Raises
    StoreError, ArtifactError, OSError; repeat it then.
    """
    for dataset in planned.datasets:
        dataset.hide()
    planned = _still_unused(ratchet, planned)
    for dataset in planned.datasets:
        dataset.remove()
    done: list[str] = []
    for start in range(0, len(planned.runs), BATCH):
        batch = planned.runs[start : start + BATCH]
        for doomed in batch:
            _remove_files(doomed)
        removed = {d.run.id: {"files": d.files, "bytes": d.bytes} for d in batch}
        done += ratchet.service.store.prune.forget(removed, ratchet.clock.now())
    ratchet.service.store.retention.remove(planned.until, ratchet.clock.now())
    return tuple(done)


def _still_unused(ratchet: Ratchet, planned: Plan) -> Plan:
    """The plan without what a run may have come to use since it was made.

    A run of the same flows that was made meanwhile may have found a part before it was hidden;
    one that is made from now on finds none, and what it writes is not what was planned.
    """
    if not planned.datasets:
        return planned
    while True:
        used = _used_since(ratchet, planned.made)
        spared = {uri for d in planned.runs if d.run.flow in used for uri in d.datasets}
        kept = tuple(d for d in planned.runs if not d.datasets & spared)
        gone = {uri for d in kept for uri in d.datasets} & {each.uri for each in planned.datasets}
        listed = of_datasets(gone)
        if _used_since(ratchet, planned.made) == used:  # nobody came while they were listed
            return replace(planned, runs=kept, datasets=listed)


def _used_since(ratchet: Ratchet, since: datetime) -> set[str]:
    """The flows that are at work, or were since then."""
    reads = ratchet.service.store.reads
    newer = {flow for flow, at in reads.newest_by_flow().items() if at >= since}
    return newer | {run.flow for run in reads.open_runs()}


def _remove_files(doomed: Doomed) -> None:
    for job in doomed.jobs:
        job.remove()
    if doomed.logs is not None and doomed.logs.exists():
        shutil.rmtree(doomed.logs)


@dataclass(frozen=True, kw_only=True)
class _Old:
    """An old run, and what its tasks' values point at."""

    run: Run
    artifacts: str  # URI of the artifact store that it was started with
    job_ids: tuple[str, ...]
    datasets: frozenset[str]  # URIs
    models: frozenset[str]  # names of the models that it trained

    @classmethod
    def of(cls, belongings: Belongings, ratchet: Ratchet) -> _Old:
        artifacts = str(belongings.config.get("artifacts") or ratchet.settings.artifacts)
        returned = [json.loads(value) for value in belongings.values]
        inside = f"{artifacts.rstrip('/')}{_DATASETS}"
        return cls(
            run=belongings.run,
            artifacts=artifacts,
            job_ids=tuple(job_id(name) for name, where in belongings.attempts if where == "ray"),
            datasets=frozenset(uri for uri in _datasets(returned) if uri.startswith(inside)),
            models=frozenset(str(o["model"]) for o in _objects(returned, _OF_A_CHALLENGER)),
        )

    def doomed(self, logs: Path) -> Doomed:
        folder = logs / self.run.id
        sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
        jobs = of_jobs(self.artifacts, self.job_ids)
        return Doomed(
            run=self.run,
            logs=folder if folder.is_dir() else None,
            jobs=jobs,
            datasets=self.datasets,
            files=len(sizes) + sum(job.files for job in jobs),
            bytes=sum(sizes) + sum(job.bytes for job in jobs),
        )


@dataclass(frozen=True, kw_only=True)
class _Needed:
    """What the ledger and the champions refer to."""

    runs: set[str]
    datasets: set[str]  # digests, as far as they are in a dataset's URI


def _needed(ratchet: Ratchet, models: Iterable[str]) -> _Needed:
    """Of all models in the ledger, and of `models`, whose champion somebody else may have set."""
    needed = _Needed(runs=set(), datasets=set())
    with registry.connect(revealed(ratchet.settings.registry)) as connected:
        for model in {*connected.ledger_models(), *models}:
            entries = connected.entries(model)
            needed.runs.update(entry.run_id for entry in entries if entry.run_id)
            waiting = connected.waiting(model, now=ratchet.clock.now())
            needed.runs.update(request.run_id for request in waiting)
            versions = {v for entry in entries for v in (entry.version, entry.previous_version)}
            versions.add(connected.champion(model).outsider)
            for version in connected.models.versions(model):
                if version.version in versions:
                    needed.runs.add(version.tags.get("ratchet.run", ""))
                    needed.datasets.add(version.tags.get("ratchet.dataset", "")[:32])
    return needed


def _digest(uri: str) -> str:
    return uri.rpartition("/")[2]


def _datasets(data: Any) -> Iterator[str]:
    """The URIs of the datasets that JSON data refers to."""
    return (str(found["uri"]).rstrip("/") for found in _objects(data, _OF_A_DATASET))


def _objects(data: Any, keys: frozenset[str]) -> Iterator[dict[str, Any]]:
    """The objects in JSON data, however deep, that have at least these keys."""
    if isinstance(data, dict):
        if data.keys() >= keys:
            yield data
        for value in data.values():
            yield from _objects(value, keys)
    elif isinstance(data, list):
        for value in data:
            yield from _objects(value, keys)
