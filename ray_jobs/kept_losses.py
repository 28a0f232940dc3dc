"""Each row's losses, kept as Parquet beside the dataset: what a verdict rests on, row by row."""

from __future__ import annotations

import io
from typing import Any

import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ray_jobs.artifacts import ArtifactStore
from ray_jobs.dataset import ROW_ID
from ray_jobs.references import Challenger, Dataset
from ray_jobs.trainers.config import Task
from ray_jobs.trainers.scoring import DEFAULT_METRIC
from ray_jobs.trainers.trainer import Labels
from registry import Comparison, GateConfig, RegistryError, row_losses
from registry.methods.metrics import find_metric
from registry.slice_columns import columns_of

Predictions = npt.NDArray[Any]


def keep_losses(
    rows: pa.Table,
    comparison: Comparison,
    challenger: Challenger,
    dataset: Dataset,
    gate: GateConfig,
) -> str:
    """Write each row's losses as Parquet; returns the file's address."""
    metric = gate.metric
    if not find_metric(metric).row_wise:
        metric = DEFAULT_METRIC[Task(challenger.task)]
    ids = rows[ROW_ID]
    columns: dict[str, Any] = {
        ROW_ID: ids,
        dataset.event_time: rows[dataset.event_time],
        dataset.label: rows[dataset.label],
        **{name: rows[name] for name in columns_of(gate.slices) if name in rows.column_names},
    }
    both = {
        "challenger": (comparison.challenger, comparison.classes),
        "champion": (comparison.champion, comparison.champion_classes),
    }
    for who, (predicted, classes) in both.items():
        if predicted is not None:
            columns[f"{who}_loss"] = _losses(metric, comparison.y, predicted, classes)
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
