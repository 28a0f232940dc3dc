"""A training set in the artifact store: Parquet parts, and a manifest that names them all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ray_jobs.artifacts import ArtifactStore
from ray_jobs.definition import ROW, FeatureDefinition, from_text
from ray_jobs.errors import ArtifactError
from ray_jobs.parquet_files import open_file, times_us
from ray_jobs.references import Dataset
from ray_jobs.split import as_time

MANIFEST = "manifest.json"
PARTS = "parts"
"""Folder of the parts, beside the datasets of the same view: several may share a part."""

ROW_ID = "ratchet_id"
"""Column that `read` adds: source file and row in one number, the same for every definition."""

_ROWS_BITS = 40


@dataclass(frozen=True, kw_only=True)
class DatasetPart:
    """One Parquet file of a dataset, as its manifest describes it."""

    name: str
    """Path below the folder of parts."""

    rows: int
    bytes: int
    sha256: str

    version: int
    """View version that its rows came with."""

    source: str
    """The file that its rows were read from."""

    time_from: datetime | None
    """Oldest event time; None when the part is empty."""

    time_until: datetime | None
    """Newest event time, included."""

    inputs: tuple[str, ...]
    """Model inputs, in order."""

    schema: dict[str, str]
    """Column -> Arrow type, as text."""

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        data = asdict(self)
        for bound in ("time_from", "time_until"):
            data[bound] = data[bound] and data[bound].isoformat()
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> DatasetPart:
        """Read back what `to_json` made. Raises KeyError or TypeError for anything else."""
        times = {
            bound: data[bound] and datetime.fromisoformat(data[bound])
            for bound in ("time_from", "time_until")
        }
        return cls(**{**data, **times, "inputs": tuple(data["inputs"])})


def content_digest(definition: str, parts: Sequence[DatasetPart]) -> str:
    """Digest of a dataset: its feature definition, and every part's content, in order."""
    lines = [definition, *(f"{part.rows} {part.sha256}" for part in parts)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def write_manifest(
    dataset: Dataset, definition: FeatureDefinition, parts: Sequence[DatasetPart]
) -> None:
    """Make the dataset exist: the last thing that an extraction writes."""
    manifest = {
        "dataset": asdict(dataset),
        "definition": json.loads(definition.to_text()),
        "parts": [part.to_json() for part in parts],
    }
    text = json.dumps(manifest, indent=1, default=datetime.isoformat)
    ArtifactStore(dataset.uri).write_text(MANIFEST, text)


def read_manifest(dataset: Dataset) -> tuple[FeatureDefinition, tuple[DatasetPart, ...]]:
    """Definition and parts of a dataset. Raises ArtifactError when it is gone or damaged."""
    try:
        manifest = json.loads(ArtifactStore(dataset.uri).read_text(MANIFEST))
        parts = tuple(DatasetPart.from_json(part) for part in manifest["parts"])
        definition = from_text(json.dumps(manifest["definition"]))
    except FileNotFoundError as error:
        raise ArtifactError(
            f"the dataset {dataset.digest[:12]} is not in the artifact store any more",
            hint="extract again",
            permanent=True,
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"the manifest of dataset {dataset.digest[:12]} cannot be read: {error}",
            hint="extract again",
            permanent=True,
        ) from error
    return definition, parts


def parts_folder(uri: str) -> str:
    """The folder of the parts of the dataset at `uri`."""
    return f"{uri.rstrip('/').rpartition('/')[0]}/{PARTS}"


def read(
    dataset: Dataset,
    columns: Sequence[str],
    *,
    since: datetime | None = None,
    until: datetime | None = None,
) -> pa.Table:
    """Rows of a dataset with `columns`, the event time and ROW_ID, oldest first.

    `since`, `until`: bounds of the event time, both included. Rows of one time are in the order
    of their source, so that the same dataset always gives the same table.
    """
    _, parts = read_manifest(dataset)
    folder = parts_folder(dataset.uri)
    return read_parts(
        parts, folder, columns, event_time=dataset.event_time, since=since, until=until
    )


def read_parts(
    parts: Sequence[DatasetPart],
    folder: str,
    columns: Sequence[str],
    *,
    event_time: str,
    sources: Sequence[str] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> pa.Table:
    """Like `read`, for given parts; `sources` numbers the source files in ROW_ID."""
    numbers = {
        source: i for i, source in enumerate(sources or dict.fromkeys(p.source for p in parts))
    }
    names = list(dict.fromkeys((*columns, event_time, ROW)))
    tables = []
    for part in parts:
        if _outside(part, since, until):
            continue
        with open_file(f"{folder}/{part.name}") as file:
            table = file.read(columns=names).select(names)
        ids = pc.add(table[ROW], pa.scalar(numbers[part.source] << _ROWS_BITS, pa.int64()))
        table = table.set_column(names.index(ROW), ROW_ID, ids)
        tables.append(_between(table, event_time, since, until))
    if not tables:
        fields = [(ROW_ID if name == ROW else name, pa.null()) for name in names]
        return pa.schema(fields).empty_table()
    table = pa.concat_tables(tables, promote_options="permissive")
    order = np.argsort(times_us(table[event_time]), kind="stable")
    return table if (np.diff(order) == 1).all() else table.take(pa.array(order))


def _outside(part: DatasetPart, since: datetime | None, until: datetime | None) -> bool:
    if part.time_from is None or part.time_until is None:
        return True
    early = since is not None and part.time_until < since
    return early or (until is not None and part.time_from > until)


def _between(
    table: pa.Table, event_time: str, since: datetime | None, until: datetime | None
) -> pa.Table:
    if since is None and until is None:
        return table
    times = times_us(table[event_time])
    keep = np.ones(len(times), dtype=bool)
    if since is not None:
        keep &= times >= as_time(since)
    if until is not None:
        keep &= times <= as_time(until)
    return table if keep.all() else table.filter(pa.array(keep))
