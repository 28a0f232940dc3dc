"""One shard of an extraction: a run of rows of one source file, from Parquet to Parquet."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from feature_store import Kept, point_in_time_join
from feature_store.partitions import partition_value
from ray_jobs.artifacts import ArtifactStore
from ray_jobs.dataset import DatasetPart
from ray_jobs.definition import ROW, FeatureDefinition
from ray_jobs.dotted import nearest
from ray_jobs.feature_code import load
from ray_jobs.features import Engine
from ray_jobs.parquet_files import column_names, local_path, open_file, times_us
from ray_jobs.split import as_datetime
from ray_jobs.training_errors import FeatureError, users_line
from registry.inputs import plain


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Which rows to read, and the name under which the result is kept."""

    name: str
    """File name of the result, below the folder of parts."""

    version: int
    """View version that added the file."""

    source: str
    """URI of the source file."""

    partition: dict[str, str | None]
    """Columns that stand in the source's folder name."""

    groups: tuple[int, int] | None
    """Row groups [first, end) of the source; None: all of them."""

    first_row: int
    """Number of the first row within the source."""

    rows: int
    """Rows to read, those included that do not count."""

    kept: Kept | None = None
    """Which rows of the source count; None: all of them."""


def run_shard(
    shard: Shard,
    definition: FeatureDefinition,
    schema: pa.Schema,
    folder: str,
    *right: pa.Table,
) -> DatasetPart:
    """Read, join, apply the functions, and write the shard whole or not at all.

    `schema`: the view's at the snapshot; `right`: one table for each join, in order. Raises
    FeatureError that names the function, the part and its rows.
    """
    table = _read(shard, definition, schema)
    source_columns = set(table.column_names)
    for join, other in zip(definition.joins, right, strict=True):
        table = point_in_time_join(
            table,
            other,
            entities=join.entities,
            spine_time=definition.event_time,
            right_time=join.event_time,
            columns=join.columns,
            ttl=join.ttl,
            prefix=join.prefix,
            threads=pa.cpu_count(),  # as many as the task was granted
        )
    table = _apply(table, definition, shard)
    for column in definition.kept:
        if column not in table.column_names:
            raise _unknown(column, "features.label, group, weight or slices", table, definition)
    inputs = _inputs(table, definition, source_columns, shard)
    names = list(dict.fromkeys((*inputs, *definition.kept, ROW)))
    return _write(table.select(names), inputs, definition, shard, folder)


def _read(shard: Shard, definition: FeatureDefinition, schema: pa.Schema) -> pa.Table:
    wanted = definition.read_columns(schema.names)
    path = local_path(shard.source)
    with open_file(shard.source) as file:
        names = column_names(file, wanted)
        first, end = shard.groups or (0, file.num_row_groups)
        if path is None or definition.engine != Engine.POLARS.value:
            table = file.read_row_groups(range(first, end), columns=names)
        else:
            import polars as pl

            lazy = pl.scan_parquet(path, glob=False, hive_partitioning=False)
            if shard.groups is not None:
                lazy = lazy.slice(shard.first_row, shard.rows)
            table = lazy.select(names).collect().to_arrow()
    read = set(table.column_names)
    for position, name in enumerate(wanted):
        if name not in read:
            table = table.add_column(position, name, _absent(name, shard, schema, table.num_rows))
    rows = pa.array(np.arange(shard.first_row, shard.first_row + table.num_rows))
    table = table.append_column(ROW, rows)
    if shard.kept is None:
        return table
    counts = shard.kept.mask()[shard.first_row : shard.first_row + table.num_rows]
    return table.filter(pa.array(counts))


def _absent(name: str, shard: Shard, schema: pa.Schema, rows: int) -> pa.Array:
    """A column that the file is older than (nulls), or that its folder's name holds."""
    kind = schema.field(name).type
    return pa.repeat(partition_value(shard.partition.get(name), kind), rows)


def _apply(table: pa.Table, definition: FeatureDefinition, shard: Shard) -> pa.Table:
    functions = load(definition.code)
    for path, function in zip(definition.code.functions, functions, strict=True):
        before, names = table.num_rows, table.column_names
        try:
            out = function(table)
        except Exception as error:
            raise FeatureError(
                f"feature function {path} raised {type(error).__name__}: {_first_line(error)}"
                f"{users_line(error)} ({_where(shard)})",
                hint="fix the function, then: ratchet retry RUN",
            ) from error
        table = _as_table(out, path, shard)
        _check_rows(table, before, path, shard)
        for column in definition.kept:
            if column in names and column not in table.column_names:
                raise _lost(column, path, shard)
    return table


def _as_table(out: Any, path: str, shard: Shard) -> pa.Table:
    if isinstance(out, pa.RecordBatch):
        out = pa.Table.from_batches([out])
    if hasattr(out, "__arrow_c_stream__"):  # pyarrow, polars, pandas, duckdb, ...
        table = pa.table(out)
        return pa.table([_stored(column) for column in table.columns], names=table.column_names)
    raise FeatureError(
        f"feature function {path} returned {type(out).__name__}, not a pyarrow.Table "
        f"({_where(shard)})",
        hint="return the table that the function made",
    )


def _stored(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column in a type that Parquet keeps: no view, no dictionary, no runs."""
    return column if column.type in (pa.string(), pa.large_string()) else plain(column)


def _check_rows(table: pa.Table, before: int, path: str, shard: Shard) -> None:
    """Rows may be dropped and reordered, never added: each must still say which one it was."""
    if ROW not in table.column_names:
        raise _lost(ROW, path, shard)
    column = table[ROW]
    numbers = column.to_numpy() if column.null_count == 0 else np.array([-1])
    inside = (numbers >= shard.first_row) & (numbers < shard.first_row + shard.rows)
    ascending = bool((np.diff(numbers) > 0).all())
    if inside.all() and (ascending or len(np.unique(numbers)) == len(numbers)):
        return
    raise FeatureError(
        f"feature function {path} made {table.num_rows:,} rows out of {before:,}, some of them "
        f"new or twice ({_where(shard)})",
        hint=f"a function may drop rows, not add any; leave the column {ROW} as it is",
    )


def _unknown(
    column: str, setting: str, table: pa.Table, definition: FeatureDefinition
) -> FeatureError:
    there = [name for name in table.column_names if name != ROW]
    return FeatureError(
        f"{setting} names {column!r}, which neither view {definition.view}, "
        f"a join nor a function provides{nearest(column, there)}",
        hint=f"columns there are: {', '.join(there)}",
    )


def _lost(column: str, path: str, shard: Shard) -> FeatureError:
    return FeatureError(
        f"feature function {path} lost the column {column!r}, which is needed ({_where(shard)})",
        hint="add columns to the table that the function is given, "
        "for example table.append_column(name, values)",
    )


def _inputs(
    table: pa.Table, definition: FeatureDefinition, source: set[str], shard: Shard
) -> tuple[str, ...]:
    """The model's input columns, in order."""
    there = table.column_names
    if definition.columns:
        for column in definition.columns:
            if column not in there:
                raise _unknown(column, "features.columns", table, definition)
        return definition.columns
    kept = {*definition.kept, *definition.entities, ROW} - {*definition.features}
    kept |= {definition.weight} if definition.weight is not None else set()
    known = source - {*definition.features}
    inputs = tuple(c for c in there if c not in kept and c not in known and c != definition.label)
    if not inputs:
        raise FeatureError(
            f"no column is left to learn from ({_where(shard)})",
            hint="name the inputs in features.columns, or features in the view",
        )
    return inputs


def _write(
    table: pa.Table,
    inputs: tuple[str, ...],
    definition: FeatureDefinition,
    shard: Shard,
    folder: str,
) -> DatasetPart:
    buffer = io.BytesIO()
    if definition.engine == Engine.POLARS.value:
        import polars as pl

        frame = pl.from_arrow(table)
        assert isinstance(frame, pl.DataFrame)
        frame.write_parquet(buffer, compression="zstd", statistics=True)
    else:
        pq.write_table(table, buffer, compression="zstd")
    data = buffer.getbuffer()
    times = _event_times(table, definition, shard)
    ArtifactStore(folder).write_bytes(shard.name, data)  # type: ignore[arg-type]
    return DatasetPart(
        name=shard.name,
        rows=table.num_rows,
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        version=shard.version,
        source=shard.source,
        time_from=as_datetime(times.min()) if len(times) else None,
        time_until=as_datetime(times.max()) if len(times) else None,
        inputs=inputs,
        schema={field.name: str(field.type) for field in table.schema},
    )


def _event_times(table: pa.Table, definition: FeatureDefinition, shard: Shard) -> np.ndarray:
    column = table[definition.event_time]
    if column.null_count:
        raise FeatureError(
            f"{column.null_count:,} rows have no {definition.event_time} ({_where(shard)})",
            hint="quarantine the version, or drop these rows in a feature function",
        )
    try:
        return times_us(column)
    except pa.ArrowException as error:
        raise FeatureError(
            f"the event time {definition.event_time} is of type {column.type}, not a time "
            f"({_where(shard)})"
        ) from error


def _where(shard: Shard) -> str:
    name = shard.source.rpartition("/")[2]
    last = shard.first_row + max(shard.rows - 1, 0)
    return f"part {name} of version {shard.version}, rows {shard.first_row:,} to {last:,}"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:300]
