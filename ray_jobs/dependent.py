"""Rows that depend on each other: of the same customer, of the same device."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ray_jobs.dataset import read
from ray_jobs.features import FeaturesConfig
from ray_jobs.references import Dataset
from ray_jobs.split import group_codes
from registry.gate_config import GateConfig
from registry.nights.docket import Case

Mask = npt.NDArray[np.bool_]


def grouped(gate: GateConfig, features: FeaturesConfig) -> GateConfig:
    """The gate as it judges these features: rows of a group count together.

    Unless it says by itself how rows depend on each other, by a cluster or by blocks of time.
    """
    if features.group is None or gate.cluster is not None or gate.block is not None:
        return gate
    return replace(gate, cluster=features.group)


def independent(
    rows: pa.Table,
    case: Case,
    bound: datetime,
    dataset: Dataset,
    *,
    group: str | None,
    cluster: str | None,
) -> Mask:
    """Those of `rows` that depend on none that this comparison rests on already.

    A group that occurs until `bound` (included) does not judge; nor does a cluster that judged.
    """
    keep = np.ones(rows.num_rows, dtype=np.bool_)
    if group is not None:
        keep &= _unused(rows, group, dataset, None, bound)
    if cluster == group:
        return keep
    if cluster in rows.column_names and case.judged_until is not None:
        assert cluster is not None
        since = case.after or case.trained_until
        keep &= _unused(rows, cluster, dataset, since, case.judged_until)
    return keep


def clusters_of(rows: pa.Table, column: str) -> npt.NDArray[np.int64]:
    """A number for each cluster; a row of no cluster stands for itself."""
    codes = group_codes(rows[column])
    return np.where(codes < 0, -1 - np.arange(len(codes)), codes)


def _unused(
    rows: pa.Table, column: str, dataset: Dataset, since: datetime | None, until: datetime
) -> Mask:
    """Those whose value does not occur after `since`, until `until` included."""
    before = read(dataset, [column], since=since, until=until)
    both = group_codes(pa.chunked_array([*before[column].chunks, *rows[column].chunks]))
    seen, mine = both[: before.num_rows], both[before.num_rows :]
    return np.asarray((mine < 0) | ~np.isin(mine, np.unique(seen)), dtype=np.bool_)
