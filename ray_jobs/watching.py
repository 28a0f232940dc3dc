"""Score a new champion and its predecessor on the rows that came after the promotion.

Each is scored with the features that it was trained with, on the same rows; what they prove is
decided by `registry.watching`, and appended beside the ledger before it leaves this job, so that a
repeated job finds the same.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import pyarrow as pa

from feature_store import FeatureStoreConfig, FeatureStoreError
from ray_jobs.dataset import read, read_manifest
from ray_jobs.dependent import clusters_of, grouped, independent
from ray_jobs.features import FeaturesConfig
from ray_jobs.gap import labels_until
from ray_jobs.model_answers import answers
from ray_jobs.own_metrics import declare_metrics
from ray_jobs.own_rows import own_rows
from ray_jobs.parquet_files import times_us
from ray_jobs.references import Dataset, RunInfo
from ray_jobs.split import as_datetime, as_time
from ray_jobs.trainers.trainer import labels_of
from ray_jobs.training_errors import FeatureError, UnfitData, final
from registry import (
    Comparison,
    GateConfig,
    LoadedModel,
    ModelUnloadable,
    Registry,
    RegistryConfig,
    RegistryUnreachable,
    UnknownModel,
    UnsupportedModel,
    connect,
)
from registry.methods.comparison import Unusable
from registry.nights.betting import Sample, complete_until
from registry.nights.wear import newest
from registry.watch import Subject, Watch, Watched, WatchState
from registry.watching import broken_off, fresh_after, watched

_logger = logging.getLogger(__name__)

# So often another run may look while this one does.
TRIES = 20
# A model that is gone for good; the gate, which cannot do without the champion, fails the run for
# it, a missing predecessor ends its watch.
UNLOADABLE = (ModelUnloadable, UnknownModel, UnsupportedModel)
# Whatever keeps a model from being scored on tonight's rows.
UNSCORABLE = (*UNLOADABLE, FeatureError, UnfitData)


@dataclass(frozen=True, kw_only=True)
class _Scene:
    """What a watch is fed from."""

    registered: Registry
    dataset: Dataset
    features: FeaturesConfig
    gate: GateConfig
    feature_store: FeatureStoreConfig
    modules: tuple[str, ...]
    now: datetime


@final
def watch(
    dataset: Dataset,
    features: FeaturesConfig,
    gate: GateConfig,
    model: str,
    *,
    registry: RegistryConfig,
    feature_store: FeatureStoreConfig,
    run: RunInfo,
    now: datetime,
    allowed_modules: Sequence[str] = (),
) -> Watched | None:
    """How the new champion does beside its predecessor; None when nothing is to be watched.

    A repeated run gets what it found again, and no row counts twice. A model that cannot be scored
    is named in the reason, and nothing is judged; without its predecessor the watch ends. Raises
    GateError, and the errors of registry and feature store.
    """
    declare_metrics(gate, allowed_modules)
    with connect(registry) as registered:
        registered.check(model)
        scene = _Scene(
            registered=registered,
            dataset=dataset,
            features=features,
            gate=grouped(gate, features),
            feature_store=feature_store,
            modules=tuple(allowed_modules),
            now=now,
        )
        for _ in range(TRIES):
            made = registered.watches.of_run(model, run.run_id)
            if made is not None:
                return made
            subject = registered.watches.subject(model)
            if subject is None or gate.watch.nights == 0:
                return None
            ended = registered.watches.latest(model)
            if ended is not None and ended.state is not WatchState.WATCHING:
                return ended
            before, after, found = _tonight(scene, subject)
            if after.entries == before.entries or registered.watches.keep(
                after, found, run_id=run.run_id, dataset=dataset.digest, now=now
            ):
                return found
    raise RegistryUnreachable(
        f"{TRIES} other runs watched the champion of {model} meanwhile.",
        hint="run fewer of them at once",
    )


def _tonight(scene: _Scene, subject: Subject) -> tuple[Watch, Watch, Watched]:
    """The watch before and after tonight's rows."""
    watches, gate = scene.registered.watches, scene.gate
    try:
        champion = _loaded(scene, subject, subject.version)
    except UNLOADABLE as error:
        before = watches.before_night(subject, None, gate, scene.now)
        return before, *watched(before, _said(error), gate)
    gap = scene.features.gap
    seen = labels_until(champion.tags, gap)
    try:
        predecessor = _loaded(scene, subject, subject.previous)
    except UNLOADABLE as error:
        before = watches.before_night(subject, seen, gate, scene.now)
        return before, *broken_off(before, _said(error), gate)
    seen = newest(seen, labels_until(predecessor.tags, gap))
    before = watches.before_night(subject, seen, gate, scene.now)
    try:
        sample = _sample(scene, before, champion, predecessor)
    except (*UNSCORABLE, FeatureStoreError) as error:
        if not error.permanent:
            raise
        sample = Unusable(_said(error))
    return before, *watched(before, sample, gate, dataset=scene.dataset.digest)


def _loaded(scene: _Scene, subject: Subject, version: str) -> LoadedModel:
    return scene.registered.load(subject.model, version, modules=scene.modules)


def _said(error: Exception) -> str:
    return str(error).rstrip(".")


def _sample(
    scene: _Scene, before: Watch, champion: LoadedModel, predecessor: LoadedModel
) -> Sample | str:
    """Both models on the rows that may judge them; the predecessor in the challenger's place."""
    dataset, gate, bound = scene.dataset, scene.gate, fresh_after(before, scene.gate)
    rows = _fresh_rows(scene, bound)
    if not rows.num_rows:
        return f"no row with a mature label is newer than {bound:%Y-%m-%d %H:%M}"
    if gate.block is not None:
        rows = _of_complete_blocks(rows, dataset, gate.block)
    if not rows.num_rows:
        return (
            f"no block of time is complete since {bound:%Y-%m-%d %H:%M}: newer rows wait "
            "for the rest of theirs (gate.block)"
        )
    group, cluster = scene.features.group, gate.cluster
    keep = independent(rows, before.bets, bound, dataset, group=group, cluster=cluster)
    rows = rows.filter(pa.array(keep))
    if not rows.num_rows:
        return Unusable("every new row depends on rows that were used before (group or cluster)")
    theirs, matched = own_rows(champion, rows, dataset, scene.feature_store)
    rows = rows.filter(pa.array(matched))
    said = answers(champion, theirs, "champion")
    known = said.predictions
    theirs, matched = own_rows(predecessor, rows, dataset, scene.feature_store, "predecessor")
    rows, known = rows.filter(pa.array(matched)), known[matched]
    before_it = answers(predecessor, theirs, "predecessor")
    for note in (*said.notes, *before_it.notes):
        _logger.warning("%s", note)
    clustered = cluster is not None and cluster in rows.column_names
    comparison = Comparison(
        y=labels_of(rows[dataset.label]),
        challenger=before_it.predictions,
        champion=known,
        classes=predecessor.classes,
        champion_classes=champion.classes,
        clusters=clusters_of(rows, cluster) if clustered and cluster else None,
    )
    return Sample(comparison=comparison, times=times_us(rows[dataset.event_time]))


def _fresh_rows(scene: _Scene, bound: datetime) -> pa.Table:
    """The dataset's rows that are newer than `bound` and whose labels are mature."""
    dataset = scene.dataset
    _, parts = read_manifest(dataset)
    beside = (scene.features.group, scene.gate.cluster)
    columns = [*dataset.columns, dataset.label, *(c for c in beside if c in parts[0].schema and c)]
    until = scene.now - scene.features.label_delay
    rows = read(dataset, columns, since=bound, until=until)
    return rows.filter(pa.array(times_us(rows[dataset.event_time]) > as_time(bound)))


def _of_complete_blocks(rows: pa.Table, dataset: Dataset, block: timedelta) -> pa.Table:
    times = times_us(rows[dataset.event_time])
    until = complete_until(as_datetime(times.max()), block)
    return rows.filter(pa.array(times <= as_time(until)))
