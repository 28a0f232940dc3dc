"""Extract a training set from a snapshot, distributed over Ray, reading only what is new.

Each source file becomes one or more shards; their results are kept under a name derived from the
file, its feature definition, and the state of the joined views as far as it matters to the file.
A later extraction finds and reuses them, and so does one that goes on after a crash. The manifest
is written last: a dataset exists as a whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

import pyarrow as pa

from feature_store import FeatureStore, FeatureStoreConfig, Part, Snapshot, connect
from ray_jobs.artifacts import ArtifactStore
from ray_jobs.dataset import PARTS, DatasetPart, content_digest, write_manifest
from ray_jobs.definition import FeatureDefinition, JoinDefinition, define
from ray_jobs.features import FeaturesConfig
from ray_jobs.parquet_files import open_file, row_groups, time_range
from ray_jobs.references import Dataset, Source
from ray_jobs.shard import Shard, run_shard
from ray_jobs.tasks import Submitted, cluster_cpus, run_all, submit
from ray_jobs.training_errors import FeatureError, UnfitData, final

_Timed = tuple[str, tuple[datetime, datetime] | None]
"""A file, with its oldest and newest event time where its footer says."""

SHARD_ROWS = 1_000_000
"""A larger source file is cut by row groups, so that a shard fits into a worker's memory."""


@final
def extract(
    snapshot: Snapshot,
    config: FeaturesConfig,
    *,
    feature_store: FeatureStoreConfig,
    artifacts_uri: str,
    allowed_modules: Sequence[str] = (),
    joined: Sequence[Snapshot] | None = None,
) -> Dataset:
    """Make the training set that `config` describes from a snapshot. Needs Ray to be initialised.

    `joined`: a snapshot for each of `config.joins`, in their order; None: the views as they are
    now. Functions are called on one shard at a time, in no order: a row's features must follow from
    that row. Same snapshot, config and source give the same digest. Raises UnfitData for an empty
    snapshot, FeatureError (function, part and rows named), UnknownName, and the errors of the
    feature store.
    """
    store = connect(feature_store)
    if snapshot.rows == 0:
        raise UnfitData(
            f"view {snapshot.view} has no rows at version {snapshot.version}",
            hint="append data to the view",
        )
    definition = define(config, store, allowed_modules)
    if joined is None:
        joined = [store.snapshot(join.view, version=join.version) for join in config.joins]
    extraction = Extraction(
        store=store,
        snapshot=snapshot,
        definition=definition,
        joined=tuple(joined),
        folder=f"{artifacts_uri.rstrip('/')}/datasets/{snapshot.view}",
        pieces=config.shards,
    )
    sources = store.parts(snapshot)
    parts, reused = extraction.run(sources)
    dataset = _describe(extraction, sources, parts, reused)
    write_manifest(dataset, definition, parts)
    return dataset


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """One definition applied to source files of one snapshot."""

    store: FeatureStore
    snapshot: Snapshot
    definition: FeatureDefinition
    joined: tuple[Snapshot, ...]
    """Snapshots of the joined views, in the order of the joins."""
    folder: str
    """Folder of the view's datasets in the artifact store."""
    pieces: int | None = None
    """Shards of each source file, where its row groups allow; None: by size."""

    def run(self, sources: Sequence[Part]) -> tuple[tuple[DatasetPart, ...], int]:
        """Extract the files, or find what an earlier extraction made of them.

        Returns the parts in the order of the files, and how many were found.
        """
        cache = ArtifactStore(f"{self.folder}/{PARTS}/{self.definition.digest[:16]}")
        right = [
            [(part.identity, _bounds(part, join.event_time)) for part in self.store.parts(snapshot)]
            for snapshot, join in zip(self.joined, self.definition.joins, strict=True)
        ]
        keys = [self._key(source, self._right_state(source, right)) for source in sources]
        known = set(cache.list())
        done: dict[str, tuple[DatasetPart, ...]] = {}
        for key in keys:
            if f"{key}.json" in known and (found := _index(cache, key, known)) is not None:
                done[key] = found
        reused = sum(len(parts) for parts in done.values())
        missing = [(key, s) for key, s in zip(keys, sources, strict=True) if key not in done]
        if missing:
            done |= self._extract(missing, cache)
        parts = tuple(part for key in keys for part in done[key])
        _require_one_shape(parts)
        return parts, reused

    def _extract(
        self, missing: Sequence[tuple[str, Part]], cache: ArtifactStore
    ) -> dict[str, tuple[DatasetPart, ...]]:
        import ray

        shards = [(key, shard) for key, source in missing for shard in self._shards(key, source)]
        shared = [ray.put(self.definition), ray.put(self.store.schema(self.snapshot)), cache.uri]
        shared += [
            ray.put(_joined_rows(self.store, snapshot, join))
            for snapshot, join in zip(self.joined, self.definition.joins, strict=True)
        ]
        about = f"extract · {self.snapshot.view}"
        calls: list[Callable[[], Submitted]] = [
            partial(
                submit,
                run_shard,
                shard,
                *shared,
                name=f"{about} v{shard.version} · {number}/{len(shards)}",
                retries=2,  # a shard may run twice: it writes the same file
            )
            for number, (_, shard) in enumerate(shards, start=1)
        ]
        left = Counter(key for key, _ in shards)
        made: dict[str, dict[int, DatasetPart]] = {key: {} for key, _ in missing}
        for number, part in run_all(calls, parallel=lambda: 2 * cluster_cpus()):
            key = shards[number][0]
            name = f"{self.definition.digest[:16]}/{part.name}"
            made[key][number] = replace(part, name=name)
            if len(made[key]) == left[key]:
                # Noted at once, so that an extraction that is killed goes on from here.
                cache.write_text(f"{key}.json", _index_text(made[key]))
        return {key: _in_order(parts) for key, parts in made.items()}

    def _shards(self, key: str, source: Part) -> list[Shard]:
        pieces = self.pieces or -(-source.rows // SHARD_ROWS)
        whole = Shard(
            name=f"{key}.parquet",
            version=source.version,
            source=source.uri,
            partition=source.partition,
            groups=None,
            first_row=0,
            rows=source.stored_rows,
            kept=source.kept,
        )
        if pieces <= 1:
            return [whole]
        with open_file(source.uri) as file:
            runs = row_groups(file, pieces)
        return [
            replace(
                whole,
                name=f"{key}-{first}-{end}.parquet",
                groups=(first, end),
                first_row=start,
                rows=rows,
            )
            for first, end, start, rows in runs
        ]

    def _key(self, source: Part, right_state: Sequence[Sequence[str]]) -> str:
        about = [
            self.definition.digest,
            source.identity,
            source.rows,
            source.partition,
            self.pieces,
            right_state,
        ]
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]

    def _right_state(self, source: Part, right: Sequence[Sequence[_Timed]]) -> list[list[str]]:
        """The files of the joined views that can matter: none that begin after `source` ends."""
        if not right:
            return []
        own = _bounds(source, self.definition.event_time)
        return [
            sorted(uri for uri, other in files if not own or not other or other[0] <= own[1])
            for files in right
        ]


def _bounds(part: Part, column: str) -> tuple[datetime, datetime] | None:
    with open_file(part.uri) as file:
        return time_range(file, column)


def _joined_rows(store: FeatureStore, snapshot: Snapshot, join: JoinDefinition) -> pa.Table:
    names = dict.fromkeys((*join.entities, join.event_time, *join.columns))
    return store.read(snapshot, list(names))


def _in_order(parts: Mapping[int, DatasetPart]) -> tuple[DatasetPart, ...]:
    return tuple(parts[number] for number in sorted(parts))


def _index_text(parts: Mapping[int, DatasetPart]) -> str:
    return json.dumps([part.to_json() for part in _in_order(parts)])


def _index(cache: ArtifactStore, key: str, known: set[str]) -> tuple[DatasetPart, ...] | None:
    """The parts made of a source file before; None when any of them is missing."""
    try:
        parts = tuple(DatasetPart.from_json(p) for p in json.loads(cache.read_text(f"{key}.json")))
    except (FileNotFoundError, KeyError, TypeError, ValueError):
        return None
    return parts if all(p.name.rpartition("/")[2] in known for p in parts) else None


def _require_one_shape(parts: Sequence[DatasetPart]) -> None:
    """Every part must have the same model inputs of the same types."""
    full = [part for part in parts if part.rows]
    first = next(iter(full), parts[0])
    families: dict[str, tuple[str, DatasetPart]] = {}
    for part in parts:
        differing = set(part.inputs) ^ set(first.inputs)
        if differing:
            raise FeatureError(
                f"the feature functions give the column {min(differing)!r} for some rows and not "
                f"for others (part {part.source.rpartition('/')[2]} of version {part.version})",
                hint="name the inputs in features.columns, or make the functions always add them",
            )
    for part in full:
        for name, kind in part.schema.items():
            if kind == "null":
                continue
            known, other = families.setdefault(name, (kind, part))
            if _family(kind) != _family(known):
                raise FeatureError(
                    f"column {name} is {known} for some rows and {kind} for others (parts "
                    f"{_named(other)} and {_named(part)})",
                    hint=f"make the feature functions give {name} one type, whatever rows they get",
                )


def _family(kind: str) -> str:
    """Types that are read together: numbers or decimals of any width, texts of any kind."""
    if kind.startswith(("int", "uint", "float", "double", "halffloat")):
        return "number"
    if kind.startswith("decimal"):
        return "decimal"
    return "text" if "string" in kind and "<" not in kind else kind.partition("[")[0]


def _named(part: DatasetPart) -> str:
    return f"{part.source.rpartition('/')[2]} of version {part.version}"


def _new_rows(extraction: Extraction, sources: Sequence[Part], parts: Sequence[DatasetPart]) -> int:
    """How many of the dataset's rows are new; in part-new files, as many of each were dropped."""
    snapshot = extraction.snapshot
    new = {part.uri: part.rows for part in extraction.store.changes(snapshot)}
    stored = {source.uri: source.rows for source in sources}
    if not new.keys() <= stored.keys():  # new rows were moved into other files since
        return round(snapshot.new_rows * sum(part.rows for part in parts) / snapshot.rows)
    kept: Counter[str] = Counter()
    for part in parts:
        kept[part.source] += part.rows
    return sum(round(kept[uri] * rows / stored[uri]) for uri, rows in new.items())


def _describe(
    extraction: Extraction, sources: Sequence[Part], parts: Sequence[DatasetPart], reused: int
) -> Dataset:
    snapshot, definition = extraction.snapshot, extraction.definition
    rows = sum(part.rows for part in parts)
    if rows == 0:
        raise UnfitData(
            f"the feature functions dropped all {snapshot.rows:,} rows of view {snapshot.view}",
            hint="check the functions' filters",
        )
    digest = content_digest(definition.digest, parts)
    return Dataset(
        uri=f"{extraction.folder}/{digest[:32]}",
        digest=digest,
        rows=rows,
        new_rows=_new_rows(extraction, sources, parts),
        view=snapshot.view,
        version=snapshot.version,
        excluded=snapshot.excluded,
        watermark=snapshot.watermark,
        columns=next(part.inputs for part in parts if part.rows),
        label=definition.label,
        event_time=definition.event_time,
        definition=definition.digest,
        parts=len(parts),
        reused=reused,
        sources=tuple(
            Source(
                view=s.view,
                version=s.version,
                table=s.table,
                excluded=s.excluded,
                watermark=s.watermark,
            )
            for s in (snapshot, *extraction.joined)
        ),
    )
