"""Rows as a model knows them: with the features that it was trained with, not tonight's.

When a model's definition is not the dataset's, the rows' source files are extracted once more with
the definition that the model carries, and the rows are matched by source file and row number.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_store import FeatureStore, FeatureStoreConfig, Snapshot, Watermarks
from feature_store import connect as connect_store
from ray_jobs import definition as definitions
from ray_jobs.dataset import PARTS, ROW_ID, DatasetPart, read_manifest, read_parts
from ray_jobs.definition import FeatureDefinition
from ray_jobs.extraction import Extraction
from ray_jobs.parquet_files import times_us
from ray_jobs.references import Dataset
from ray_jobs.split import as_time
from ray_jobs.training_errors import FeatureError, UnfitData
from registry import ChampionUnloadable, LoadedModel, RegistryError


def own_rows(
    model: LoadedModel,
    rows: pa.Table,
    dataset: Dataset,
    feature_store: FeatureStoreConfig,
    who: str = "champion",
) -> tuple[pa.Table, npt.NDArray[np.bool_]]:
    """The rows with the features that the model was trained with, and which rows have them."""
    definition = _carried(model, who)
    if definition.digest == dataset.definition:
        return rows, np.ones(rows.num_rows, dtype=bool)
    if definition.view != dataset.view:
        raise FeatureError(
            f"the {who}, version {model.version}, was trained on view {definition.view}, "
            f"this challenger on {dataset.view}: no row can judge both",
            hint="give the model of another view another name (model=...)",
        )
    _, parts = read_manifest(dataset)
    sources = list(dict.fromkeys(part.source for part in parts))
    extracted, folder = _extract_again(model.model, definition, dataset, parts, rows, feature_store)
    table = read_parts(
        extracted,
        folder,
        model.features,
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
            f"the features of {who} version {model.version} drop every held-out row",
            hint=f"ratchet rollback {model.model}, or give the new model another name",
        )
    return table.take(pa.array(found[matched])), matched


def code_notes(challenger: LoadedModel, champion: LoadedModel) -> list[str]:
    """What a reviewer should know of the code that the two models' own estimators come from."""
    theirs, own = champion.code, challenger.code
    if champion.card.modules and own and not theirs:
        return [
            f"The champion, version {champion.version}, does not carry its estimator's code "
            f"({', '.join(champion.card.modules)}): it is scored with what is there today"
        ]
    changed = sorted(name for name in theirs if theirs[name] != own.get(name, theirs[name]))
    gone = sorted(set(theirs) - set(own)) if own else []
    if not (changed or gone):
        return []
    return [
        f"The code of {', '.join((*changed, *gone))} has changed since champion version "
        f"{champion.version} was trained: each model is scored with the code it was trained with"
    ]


def _carried(model: LoadedModel, who: str) -> FeatureDefinition:
    try:
        return definitions.from_text(model.extra(definitions.FILE))
    except (RegistryError, FeatureError) as error:
        raise ChampionUnloadable(
            f"The {who}, version {model.version} of {model.model}, does not carry the "
            f"definition of its features: {error}",
            hint=f"ratchet rollback {model.model}, to a version that Ratchet trained",
        ) from error


def _extract_again(
    model: str,
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
        joined=_joined(definition, dataset, store, Watermarks(feature_store), model),
        folder=folder,
    )
    extracted, _ = extraction.run([p for p in store.parts(snapshot) if p.uri in wanted])
    return extracted, f"{folder}/{PARTS}"


def _joined(
    definition: FeatureDefinition,
    dataset: Dataset,
    store: FeatureStore,
    marks: Watermarks,
    model: str,
) -> tuple[Snapshot, ...]:
    """Snapshots of the views that the definition joins: those of the dataset where it has them."""
    pinned = {source.view: source for source in dataset.sources[1:]}
    return tuple(
        store.snapshot(join.view, version=source.version, exclude=source.excluded)
        if (source := pinned.get(join.view))
        else store.snapshot(join.view, exclude=_quarantine(marks, join.view, model))
        for join in definition.joins
    )


def _quarantine(marks: Watermarks, view: str, model: str) -> tuple[int, ...]:
    seen = marks.get(view, model)
    return seen.quarantine if seen else ()
