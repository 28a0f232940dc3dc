"""Compare the challenger with the champion on the same held-out rows.

Each model is scored with the features that it was trained with: when the champion's definition is
not the dataset's, the rows' source files are extracted once more with the definition that the
champion carries, and the rows are matched by source file and row number.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from feature_store import FeatureStore, FeatureStoreConfig
from feature_store import connect as connect_store
from ray_jobs import definition as definitions
from ray_jobs.artifacts import ArtifactStore
from ray_jobs.dataset import (
    PARTS,
    ROW_ID,
    DatasetPart,
    read,
    read_manifest,
    read_parts,
)
from ray_jobs.definition import FeatureDefinition
from ray_jobs.extraction import Extraction
from ray_jobs.features import FeaturesConfig
from ray_jobs.parquet_files import times_us
from ray_jobs.references import Challenger, Dataset, RunInfo
from ray_jobs.split import as_time, group_codes, without_groups_of
from ray_jobs.trainers.config import Task
from ray_jobs.trainers.scoring import DEFAULT_METRIC, predictions
from ray_jobs.trainers.trainer import Labels, labels_of
from ray_jobs.training import TRAIN_UNTIL_TAG
from ray_jobs.training_errors import FeatureError, UnfitData
from registry import (
    ChampionUnloadable,
    Comparison,
    GateConfig,
    LoadedModel,
    RegistryConfig,
    RegistryError,
    Verdict,
    connect,
    decide,
    row_losses,
)
from registry.metrics import find_metric

Predictions = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """Held-out rows, and what each model says about them."""

    rows: pa.Table
    labels: Labels
    challenger: Predictions
    champion: Predictions | None
    unmatched: int = 0
    """Rows left out because the champion's features drop them."""


def evaluate(
    challenger: Challenger,
    dataset: Dataset,
    gate: GateConfig,
    features: FeaturesConfig,
    *,
    registry: RegistryConfig,
    feature_store: FeatureStoreConfig,
    run: RunInfo,
    now: datetime,
    allowed_modules: Sequence[str] = (),
) -> Verdict:
    """Score both models on the challenger's holdout, ask the gate, and record its verdict.

    Rows of the same group as a training row are left out, and so are rows that the champion was
    trained on. Without a champion the gate decides by its floors. Each row's losses are kept as
    Parquet beside the dataset. Raises ChampionUnloadable rather than judge without the champion,
    UnfitData, FeatureError, GateError and the errors of registry and feature store.
    """
    modules = tuple(allowed_modules)
    find_metric(gate.metric)
    with connect(registry) as registered:
        status = registered.champion(challenger.model)
        champion = registered.load_champion(challenger.model, modules=modules)
        model = registered.load(challenger.model, challenger.version, modules=modules)
        rows = _held_out(challenger, dataset, gate, features, champion)
        scored = _scored(model, champion, rows, dataset, feature_store)
        comparison = Comparison(
            y=scored.labels,
            challenger=scored.challenger,
            champion=scored.champion,
            classes=model.classes,
            champion_classes=None if champion is None else champion.classes,
            slices={name: _plain(scored.rows[name]) for name in _slices(gate, rows)},
            clusters=_clusters(gate, scored.rows),
        )
        verdict = decide(
            comparison,
            gate,
            model=challenger.model,
            challenger=challenger.version,
            champion=None if champion is None else champion.version,
            epoch=status.epoch,
            run_id=run.run_id,
            mlflow_run_id=challenger.mlflow_run_id,
        )
        losses = _keep_losses(scored, comparison, challenger, dataset, gate)
        registered.record_verdict(verdict, comparison)
        tracking, tracked = registered.tracking, challenger.mlflow_run_id
        tracking.log_tags(tracked, {"ratchet.losses": losses})
        tracking.log_metrics(tracked, _figures(verdict, scored), now=now)
    return verdict


def _held_out(
    challenger: Challenger,
    dataset: Dataset,
    gate: GateConfig,
    features: FeaturesConfig,
    champion: LoadedModel | None,
) -> pa.Table:
    """The rows that neither model has seen, with everything that is needed to judge by them."""
    _, parts = read_manifest(dataset)
    beside = [*features.slices, *gate.slices, *(c for c in (features.group, gate.cluster) if c)]
    columns = [*dataset.columns, dataset.label, *(c for c in beside if c in parts[0].schema)]
    rows = read(dataset, columns, since=challenger.holdout_from, until=challenger.holdout_until)
    keep = np.ones(rows.num_rows, dtype=bool)
    if features.group is not None:
        keep &= _new_groups(dataset, features.group, rows, challenger.holdout_from)
    seen = None if champion is None else champion.tags.get(TRAIN_UNTIL_TAG)
    if seen is not None:
        # Another run may have promoted a champion since the challenger's split was made.
        keep &= times_us(rows[dataset.event_time]) > as_time(datetime.fromisoformat(seen))
    if not keep.any():
        raise UnfitData(
            f"no row of the holdout is new to the champion (trained on rows until {seen})",
            hint="run the flow again: the split then begins after the new champion's rows",
        )
    return rows if keep.all() else rows.filter(pa.array(keep))


def _new_groups(
    dataset: Dataset, group: str, rows: pa.Table, since: datetime
) -> npt.NDArray[np.bool_]:
    """Rows whose group does not appear before the holdout."""
    everything = read(dataset, [group], until=None)
    times = times_us(everything[dataset.event_time])
    codes = group_codes(everything[group])
    fresh = without_groups_of(codes, times < as_time(since), np.ones(len(times), dtype=bool))
    ids = everything[ROW_ID].to_numpy()[fresh]
    return np.isin(rows[ROW_ID].to_numpy(), ids)


def _scored(
    model: LoadedModel,
    champion: LoadedModel | None,
    rows: pa.Table,
    dataset: Dataset,
    feature_store: FeatureStoreConfig,
) -> Scored:
    unmatched = 0
    known: Predictions | None = None
    if champion is not None:
        theirs, matched = _champion_rows(champion, rows, dataset, feature_store)
        unmatched = int((~matched).sum())
        rows = rows if unmatched == 0 else rows.filter(pa.array(matched))
        known = _champion_predictions(champion, theirs)
    return Scored(
        rows=rows,
        labels=labels_of(rows[dataset.label]),
        challenger=predictions(model, rows),
        champion=known,
        unmatched=unmatched,
    )


def _champion_rows(
    champion: LoadedModel, rows: pa.Table, dataset: Dataset, feature_store: FeatureStoreConfig
) -> tuple[pa.Table, npt.NDArray[np.bool_]]:
    """The held-out rows with the champion's own features, and which rows have them."""
    definition = _carried(champion)
    if definition.digest == dataset.definition:
        return rows, np.ones(rows.num_rows, dtype=bool)
    if definition.view != dataset.view:
        raise FeatureError(
            f"the champion, version {champion.version}, was trained on view {definition.view}, "
            f"this challenger on {dataset.view}: no row can judge both",
            hint="give the model of another view another name (model=...)",
        )
    _, parts = read_manifest(dataset)
    sources = list(dict.fromkeys(part.source for part in parts))
    extracted, folder = _extract_again(definition, dataset, parts, rows, feature_store)
    table = read_parts(
        extracted,
        folder,
        champion.features,
        event_time=definition.event_time,
        sources=sources,
    )
    ids, theirs = rows[ROW_ID].to_numpy(), table[ROW_ID].to_numpy()
    order = np.argsort(theirs, kind="stable")
    places = np.minimum(np.searchsorted(theirs, ids, sorter=order), max(len(theirs) - 1, 0))
    found = order[places] if len(theirs) else np.zeros(len(ids), dtype=np.int64)
    matched = theirs[found] == ids if len(theirs) else np.zeros(len(ids), dtype=bool)
    if not matched.any():
        raise UnfitData(
            f"the features of champion version {champion.version} drop every held-out row",
            hint=f"ratchet rollback {champion.model}, or give the new model another name",
        )
    return table.take(pa.array(found[matched])), matched


def _carried(champion: LoadedModel) -> FeatureDefinition:
    try:
        return definitions.from_text(champion.extra(definitions.FILE))
    except (RegistryError, FeatureError) as error:
        raise ChampionUnloadable(
            f"The champion, version {champion.version} of {champion.model}, does not carry the "
            f"definition of its features: {error}",
            hint=f"ratchet rollback {champion.model}, to a version that Ratchet trained",
        ) from error


def _extract_again(
    definition: FeatureDefinition,
    dataset: Dataset,
    parts: Sequence[DatasetPart],
    rows: pa.Table,
    feature_store: FeatureStoreConfig,
) -> tuple[tuple[DatasetPart, ...], str]:
    """The source files of the held-out rows, extracted with another definition."""
    times = times_us(rows[dataset.event_time])
    first, last = times.min(), times.max()
    wanted = {
        part.source
        for part in parts
        if part.time_from is not None
        and part.time_until is not None
        and as_time(part.time_until) >= first
        and as_time(part.time_from) <= last
    }
    store = connect_store(feature_store)
    snapshot = store.snapshot(dataset.view, version=dataset.version, exclude=dataset.excluded)
    folder = dataset.uri.rpartition("/")[0]
    extraction = Extraction(
        store=store,
        snapshot=snapshot,
        definition=definition,
        joined=_joined(definition, dataset, store),
        folder=folder,
    )
    extracted, _ = extraction.run([p for p in store.parts(snapshot) if p.uri in wanted])
    return extracted, f"{folder}/{PARTS}"


def _joined(
    definition: FeatureDefinition, dataset: Dataset, store: FeatureStore
) -> tuple[Any, ...]:
    """Snapshots of the views that the definition joins: those of the dataset where it has them."""
    versions = {source.view: source.version for source in dataset.sources[1:]}
    return tuple(
        store.snapshot(join.view, version=versions.get(join.view)) for join in definition.joins
    )


def _champion_predictions(champion: LoadedModel, rows: pa.Table) -> Predictions:
    try:
        return predictions(champion, rows)
    except Exception as error:  # whatever a library raises on rows that it does not understand
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ChampionUnloadable(
            f"The champion, version {champion.version} of {champion.model}, cannot be scored on "
            f"the held-out rows: {reason}",
            hint=f"ratchet rollback {champion.model}, or train on the columns that it knows",
        ) from error


def _slices(gate: GateConfig, rows: pa.Table) -> list[str]:
    return [name for name in gate.slices if name in rows.column_names]


def _clusters(gate: GateConfig, rows: pa.Table) -> npt.NDArray[Any] | None:
    if gate.cluster is None or gate.cluster not in rows.column_names:
        return None
    codes = group_codes(rows[gate.cluster])
    # A row of no cluster stands for itself.
    return np.where(codes < 0, -1 - np.arange(len(codes)), codes)


def _plain(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    return np.asarray(column.to_pylist(), dtype=object)


def _keep_losses(
    scored: Scored,
    comparison: Comparison,
    challenger: Challenger,
    dataset: Dataset,
    gate: GateConfig,
) -> str:
    """Write each row's losses as Parquet; returns the file's address."""
    metric = gate.metric
    if not find_metric(metric).row_wise:
        metric = DEFAULT_METRIC[Task(challenger.task)]
    ids = scored.rows[ROW_ID]
    columns: dict[str, Any] = {
        ROW_ID: ids,
        dataset.event_time: scored.rows[dataset.event_time],
        dataset.label: scored.rows[dataset.label],
        **{name: scored.rows[name] for name in _slices(gate, scored.rows)},
    }
    both = {
        "challenger": (comparison.challenger, comparison.classes),
        "champion": (comparison.champion, comparison.champion_classes),
    }
    for who, (predicted, classes) in both.items():
        if predicted is not None:
            columns[f"{who}_loss"] = _losses(metric, scored.labels, predicted, classes)
    buffer = io.BytesIO()
    table = pa.table(columns).replace_schema_metadata({"metric": metric})
    pq.write_table(table, buffer, compression="zstd")
    name = f"losses/{challenger.model}-v{challenger.version}.parquet"
    ArtifactStore(dataset.uri).write_bytes(name, buffer.getvalue())
    return f"{dataset.uri}/{name}"


def _losses(
    metric: str, labels: Labels, predicted: Predictions, classes: tuple[Any, ...] | None
) -> pa.Array:
    """Losses of the rows; nulls where the predictions are unusable, which the gate has said."""
    try:
        return pa.array(row_losses(metric, labels, predicted, classes))
    except RegistryError:
        return pa.nulls(len(labels), pa.float64())


def _figures(verdict: Verdict, scored: Scored) -> dict[str, float]:
    figures = {
        f"holdout_{verdict.metric}": verdict.challenger_score,
        f"baseline_{verdict.metric}": verdict.baseline,
        "difference": verdict.difference,
        "holdout_unmatched": float(scored.unmatched),
    }
    return {name: value for name, value in figures.items() if value is not None}
