"""Single Parquet files at a local path or an object-store URI."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from ray_jobs.errors import ArtifactError


def local_path(uri: str) -> Path | None:
    """The path of a local file, or None when the URI is remote."""
    parts = urlsplit(uri)
    if len(parts.scheme) <= 1:
        return Path(uri)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def open_file(uri: str) -> pq.ParquetFile:
    """Open a file; its footer is read, its rows are not yet."""
    path = local_path(uri)
    try:
        if path is not None:
            return pq.ParquetFile(path, memory_map=True, coerce_int96_timestamp_unit="us")
        filesystem, name = pafs.FileSystem.from_uri(uri)
        source = filesystem.open_input_file(name)
        return pq.ParquetFile(source, pre_buffer=True, coerce_int96_timestamp_unit="us")
    except (OSError, pa.ArrowException) as error:
        missing = getattr(error, "errno", None) == errno.ENOENT
        what = "does not exist any more" if missing else f"cannot be read: {error}"
        raise ArtifactError(
            f"the Parquet file {uri} {what}",
            hint="extract again; older versions may have been vacuumed" if missing else None,
            permanent=missing,
        ) from error


def time_range(file: pq.ParquetFile, column: str) -> tuple[datetime, datetime] | None:
    """Oldest and newest value of a time column from the footer; None when it does not say."""
    metadata = file.metadata
    schema = file.schema_arrow
    index = schema.get_field_index(column)
    if index < 0 or any(pa.types.is_nested(field.type) for field in schema):
        return None
    bounds: list[datetime] = []
    for group in range(metadata.num_row_groups):
        if metadata.row_group(group).num_rows == 0:
            continue
        statistics = metadata.row_group(group).column(index).statistics
        if statistics is None or not statistics.has_min_max:
            return None
        try:
            bounds += [_aware(statistics.min), _aware(statistics.max)]
        except (OverflowError, ValueError):
            return None  # beyond what Python's dates hold
    return (min(bounds), max(bounds)) if bounds else None


def times_us(column: pa.ChunkedArray) -> np.ndarray:
    """A time column as datetime64[us] in UTC; a time without zone is taken as UTC.

    Raises ArrowInvalid for a column that is not a time; nulls become NaT.
    """
    utc = pc.cast(column, pa.timestamp("us", tz="UTC"), safe=False)
    numbers = pc.fill_null(pc.cast(utc, pa.int64()), np.iinfo(np.int64).min)
    return np.asarray(numbers.to_numpy()).view("datetime64[us]")


def row_groups(file: pq.ParquetFile, pieces: int) -> list[tuple[int, int, int, int]]:
    """Cut a file into at most `pieces` runs of row groups of about the same number of rows.

    Each is (first group, end group, first row, rows).
    """
    sizes = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
    goal = max(sum(sizes) / max(pieces, 1), 1)
    runs: list[tuple[int, int, int, int]] = []
    first, start, rows = 0, 0, 0
    for group, size in enumerate(sizes):
        rows += size
        if rows >= goal or group == len(sizes) - 1:
            runs.append((first, group + 1, start, rows))
            first, start, rows = group + 1, start + rows, 0
    return runs


def column_names(file: pq.ParquetFile, wanted: Sequence[str]) -> list[str]:
    """Those of the wanted columns that the file has, in the order asked for."""
    there = set(file.schema_arrow.names)
    return [name for name in wanted if name in there]


def _aware(value: object) -> datetime:
    if not isinstance(value, datetime):  # a date
        return datetime.fromisoformat(str(value)).replace(tzinfo=UTC)
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
