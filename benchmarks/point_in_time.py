"""A million labels, each with what was known of its entity then, beside duckdb alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from benchmarks.measure import Setting, seconds, side_by_side
from benchmarks.report import Aim, Figure, Kind
from feature_store import point_in_time_join

LABELS, FEATURES, KEYS = 1_000_000, 5_000_000, 50_000
AIM = Aim(kind=Kind.RATIO_AT_MOST, bound=1.5)
QUERY = """
    SELECT labels.*, known.x0, known.x1
    FROM labels ASOF LEFT JOIN known
    ON labels.account = known.account AND labels.at >= known.at"""


def figures(setting: Setting) -> Iterator[Figure]:
    """Seconds from two Arrow tables in memory to one."""
    size = setting.of(1, 10)
    labels, known = _tables(LABELS // size, FEATURES // size, KEYS // size)

    def own() -> None:
        joined = point_in_time_join(
            labels,
            known,
            entities=("account",),
            spine_time="at",
            right_time="at",
            columns=("x0", "x1"),
        )
        assert joined.num_rows == labels.num_rows

    def alone() -> None:
        with duckdb.connect() as connection:
            connection.register("labels", labels)
            connection.register("known", known)
            joined = connection.sql(QUERY).to_arrow_table()
        assert joined.num_rows == labels.num_rows

    samples = side_by_side(
        {"own": lambda: seconds(own), "duckdb": lambda: seconds(alone)},
        repeats=setting.of(9, 5),
        warm_up=1,
    )
    yield Figure(
        name=f"point-in-time join of {labels.num_rows:,} with {known.num_rows:,} rows",
        unit="s",
        own=samples["own"],
        beside={"duckdb alone": samples["duckdb"]},
        aim=AIM,
    )


def _tables(labels: int, known: int, keys: int) -> tuple[pa.Table, pa.Table]:
    """Unsorted rows over a year, in microseconds."""
    rng = np.random.default_rng(0)
    year = 365 * 86_400 * 1_000_000

    def table(rows: int, **columns: Any) -> pa.Table:
        times = pa.array(rng.integers(0, year, rows), pa.timestamp("us", "UTC"))
        return pa.table({"account": rng.integers(0, keys, rows), "at": times, **columns})

    values = {name: rng.standard_normal(known) for name in ("x0", "x1")}
    return table(labels, label=rng.integers(0, 2, labels)), table(known, **values)
