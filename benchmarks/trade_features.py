"""The feature function of the extraction benchmark: fewer rows, one column more.

It is written in polars, as `alone` in `extraction` is, so that both do the same work.
"""

from __future__ import annotations

import polars as pl
import pyarrow as pa


def transform(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Drop a tenth of the rows, and add a ratio."""
    kept = rows.filter(pl.col("x0") > -1.2816)
    return kept.with_columns((pl.col("x1") / (pl.col("x2").abs() + 1.0)).alias("ratio"))


def trades(table: pa.Table) -> pa.Table:
    """The same as a feature function."""
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return transform(frame.lazy()).collect().to_arrow()
