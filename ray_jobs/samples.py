"""Which rows judge which challenger tonight, and what the models say of them.

The rows are the dataset's, newer than everything that the comparison rests on already
(`registry.nights.night.fresh_after`), without those that depend on rows before: a group that has
judged, or was trained on, does not judge again, nor does a cluster that has judged this comparison.
The champion is scored once on all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_store import FeatureStoreConfig, FeatureStoreError
from ray_jobs.baseline import Baselines, Rival
from ray_jobs.costs import ROWS, Bills, Served
from ray_jobs.dataset import read, read_manifest
from ray_jobs.dependent import clusters_of, independent
from ray_jobs.features import FeaturesConfig
from ray_jobs.gap import TRAIN_UNTIL_TAG
from ray_jobs.model_answers import Answers, answers
from ray_jobs.own_rows import code_notes, own_rows
from ray_jobs.parquet_files import times_us
from ray_jobs.references import Challenger, Dataset
from ray_jobs.split import as_time
from ray_jobs.trainers.trainer import labels_of
from ray_jobs.training_errors import FeatureError, UnfitData
from registry import (
    Comparison,
    GateConfig,
    GateMode,
    LoadedModel,
    ModelUnloadable,
    Registry,
    RegistryUnreachable,
    RuleResult,
    UnknownModel,
    UnsupportedModel,
)
from registry.costs import measures
from registry.methods.comparison import Unusable
from registry.nights.betting import Sample, blocks_of, complete_until
from registry.nights.docket import Case, Docket
from registry.nights.night import Tonight, fresh_after
from registry.slice_columns import columns_of

Mask = npt.NDArray[np.bool_]

# What no later night mends: files that are gone or altered, a model that no row can be put to.
UNLOADABLE = (ModelUnloadable, UnknownModel, UnsupportedModel)
# What a later night may mend; until it expires.
NOT_TONIGHT = (RegistryUnreachable, FeatureStoreError, FeatureError, UnfitData)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool:
    """All rows that may judge somebody tonight, and what the champion says of them."""

    since: datetime
    rows: pa.Table
    times: npt.NDArray[np.datetime64]
    champion: npt.NDArray[Any] | None
    champion_rows: pa.Table | None
    """Some of them as the champion knows them."""
    unmatched: int
    """Rows left out because the champion's features drop them."""


@dataclass(kw_only=True)
class Samples:
    """Scores tonight's challenger, and every kept one, on the rows that may judge it."""

    challenger: Challenger
    model: LoadedModel
    champion: LoadedModel | None
    dataset: Dataset
    features: FeaturesConfig
    gate: GateConfig
    feature_store: FeatureStoreConfig
    modules: tuple[str, ...]
    pool: Pool | None = None
    """Read when it is first needed."""
    places: dict[str, npt.NDArray[np.int64]] = field(default_factory=dict)
    """Each version's rows in the pool."""
    bills: Bills | None = None
    """What each version costs to serve, as far as it was measured."""
    baselines: Baselines | None = None
    """What a first model must beat, made when it is first needed."""
    notes: list[str] = field(default_factory=list)
    """Rows that a model cannot take, and which."""

    def __post_init__(self) -> None:
        if self.champion is not None:
            self.notes += code_notes(self.model, self.champion)

    def of(self, docket: Docket, tonight: Tonight, registered: Registry) -> dict[str, Sample | str]:
        """Each open comparison's rows, or why it has none: tonight, or (Unusable) for good.

        Only tonight's challenger raises: an older one that cannot be scored stops nobody.
        """
        bounds = {
            case.challenger: fresh_after(case, docket, tonight, self.gate) for case in docket.cases
        }
        self._read(min(bounds.values()))
        self.bills = self.bills or Bills(
            config=self.gate.cost, registered=registered, modules=self.modules
        )
        found: dict[str, Sample | str] = {}
        for case in docket.cases:
            version = case.challenger
            if version == self.challenger.version:
                found[version] = self._sample(self.model, case, bounds[version])
                continue
            try:
                model = registered.load(self.challenger.model, version, modules=self.modules)
                other = _is_another(model, case)
                found[version] = other or self._sample(model, case, bounds[version])
            except UNLOADABLE as error:
                found[version] = Unusable(f"it cannot be scored: {error}".rstrip("."))
            except NOT_TONIGHT as error:
                found[version] = f"it cannot be scored tonight: {error}".rstrip(".")
        return found

    def rows_of(self, version: str) -> pa.Table:
        """The rows of a version's sample."""
        assert self.pool is not None
        return self.pool.rows.take(pa.array(self.places[version]))

    def _until(self) -> datetime:
        """The newest row that may judge: where there are blocks, of a complete one."""
        newest, block = self.challenger.holdout_until, self.gate.block
        return newest if block is None else min(newest, complete_until(newest, block))

    def _read(self, since: datetime) -> None:
        if self.pool is not None and self.pool.since <= since:
            return
        dataset, gate, features = self.dataset, self.gate, self.features
        _, parts = read_manifest(dataset)
        sliced = columns_of(gate.slices)
        beside = [*features.slices, *sliced, *(c for c in (features.group, gate.cluster) if c)]
        columns = [*dataset.columns, dataset.label, *(c for c in beside if c in parts[0].schema)]
        rows = read(dataset, columns, since=since, until=self._until())
        rows = rows.filter(pa.array(times_us(rows[dataset.event_time]) > as_time(since)))
        known, few, unmatched = None, None, 0
        if self.champion is not None and rows.num_rows:
            theirs, matched = own_rows(self.champion, rows, dataset, self.feature_store)
            unmatched = int((~matched).sum())
            rows = rows.filter(pa.array(matched))
            said = self._answers(self.champion, theirs, "champion")
            known, few = said.predictions, _few(theirs, said)
        times = times_us(rows[dataset.event_time])
        self.pool = Pool(
            since=since,
            rows=rows,
            times=times,
            champion=known,
            champion_rows=few,
            unmatched=unmatched,
        )

    def _sample(self, model: LoadedModel, case: Case, bound: datetime) -> Sample | str:
        pool = self.pool
        assert pool is not None
        keep = pool.times > as_time(bound)
        if case.challenger == self.challenger.version:
            keep &= pool.times >= as_time(self.challenger.holdout_from)
        if not keep.any():
            if self.gate.block is not None:
                return (
                    f"no block of time is complete since {bound:%Y-%m-%d %H:%M}: newer rows wait "
                    "for the rest of theirs (gate.block)"
                )
            return f"no row is newer than {bound:%Y-%m-%d %H:%M}, up to which rows are spent"
        keep &= independent(
            pool.rows,
            case,
            bound,
            self.dataset,
            group=self.features.group,
            cluster=self.gate.cluster,
        )
        if not keep.any():
            return "every new row depends on rows that were used before (same group or cluster)"
        rows = pool.rows.filter(pa.array(keep))
        theirs, matched = own_rows(model, rows, self.dataset, self.feature_store, "challenger")
        said = self._answers(model, theirs, "challenger")
        predicted = said.predictions
        places = np.flatnonzero(keep)[matched]
        self.places[case.challenger] = places
        rows, times = pool.rows.take(pa.array(places)), pool.times[places]
        known = None if pool.champion is None else pool.champion[places]
        rival = self._rival(rows, model, predicted)
        comparison = Comparison(
            y=labels_of(rows[self.dataset.label]),
            challenger=predicted,
            champion=known,
            constant=None if rival is None else rival.predictions,
            constant_is="" if rival is None else rival.words,
            classes=model.classes,
            champion_classes=None if self.champion is None else self.champion.classes,
            slices={name: _plain(rows[name]) for name in _slices(self.gate, rows)},
            clusters=self._clusters(rows, times),
        )
        costs = partial(self._costs, case.challenger, _few(theirs, said))
        return Sample(comparison=comparison, times=times, costs=costs)

    def _answers(self, model: LoadedModel, rows: pa.Table, who: str) -> Answers:
        found = answers(model, rows, who)
        self.notes += [note for note in found.notes if note not in self.notes]
        return found

    def _costs(self, version: str, rows: pa.Table) -> tuple[RuleResult, ...]:
        """What the version costs; an older one is loaded again, for few are ever asked."""
        assert self.pool is not None
        assert self.bills is not None
        if not measures(self.gate.cost):
            return ()
        model = self.model
        if version != self.challenger.version:
            name = self.challenger.model
            model = self.bills.registered.load(name, version, modules=self.modules)
        few, beside = self.pool.champion_rows, None
        if self.champion is not None and few is not None:
            beside = Served(model=self.champion, rows=few)
        return self.bills.of(Served(model=model, rows=rows), beside)

    def _clusters(self, rows: pa.Table, times: npt.NDArray[np.datetime64]) -> Any:
        gate = self.gate
        if gate.cluster is not None and gate.cluster in rows.column_names:
            return clusters_of(rows, gate.cluster)
        alone = gate.mode is GateMode.SINGLE_NIGHT or self.champion is None
        return blocks_of(times, gate.block) if gate.block is not None and alone else None

    def _rival(self, rows: pa.Table, model: LoadedModel, like: npt.NDArray[Any]) -> Rival | None:
        """What a first model must be proven better than."""
        if self.champion is not None:
            return None
        self.baselines = self.baselines or Baselines(
            gate=self.gate,
            dataset=self.dataset,
            features=self.features,
            challenger=self.challenger,
            modules=self.modules,
        )
        return self.baselines.rival(rows, like, model.classes)


def _few(rows: pa.Table, said: Answers) -> pa.Table:
    """Rows to measure a model's costs by; taken, for a slice would keep every row."""
    return rows.take(pa.array(np.flatnonzero(said.taken)[:ROWS]))


def _slices(gate: GateConfig, rows: pa.Table) -> Sequence[str]:
    return [name for name in columns_of(gate.slices) if name in rows.column_names]


def _plain(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """A column as Python values; each distinct one is made once, not once a row."""
    encoded = column.combine_chunks().dictionary_encode()
    values = np.empty(len(encoded.dictionary) + 1, dtype=object)
    values[:-1] = encoded.dictionary.to_pylist()
    rows = pc.fill_null(pc.cast(encoded.indices, pa.int64()), len(values) - 1)
    return np.asarray(values[rows.to_numpy()])


def _is_another(model: LoadedModel, case: Case) -> Unusable | None:
    """Why a model is not the one that was compared: its number was given away anew.

    Then rows that it was trained on would judge it.
    """
    said = model.tags.get(TRAIN_UNTIL_TAG)
    if said is None or datetime.fromisoformat(said) == case.trained_until:
        return None
    return Unusable(
        f"it is another model than the one that was compared: it was trained until {said}, and "
        f"that one until {case.trained_until.isoformat()}"
    )
