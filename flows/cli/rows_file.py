"""Rows from a file, in the types that a view has."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from flows.core.errors import NotFound, Refused


def read_rows(path: Path, schema: pa.Schema | None = None) -> pa.Table:
    """The rows of a .parquet or .csv file; CSV values become the types of `schema`.

    A value that does not fit stays as it was read, so that the view names column and types.
    Raises NotFound, Refused.
    """
    if not path.is_file():
        raise NotFound(f"there is no file {path}", hint="check the path")
    try:
        if path.suffix.lower() == ".parquet":
            return _parquet(path)
        if path.suffix.lower() == ".csv":
            return _csv(path, schema)
    except pa.ArrowInvalid as error:
        raise Refused(
            f"{path} cannot be read: {str(error).splitlines()[0]}",
            hint="repair the file, or save it as Parquet",
        ) from error
    raise Refused(f"{path} is neither .parquet nor .csv", hint="save it as Parquet")


def _parquet(path: Path) -> pa.Table:
    import pyarrow.parquet as pq

    return pq.ParquetFile(path).read()


def _csv(path: Path, schema: pa.Schema | None) -> pa.Table:
    from pyarrow import csv

    rows = csv.read_csv(path)
    for position, name in enumerate(rows.column_names):
        if schema is None or name not in schema.names:
            continue
        wanted = schema.field(name).type
        try:
            rows = rows.set_column(position, name, rows.column(name).cast(wanted))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            continue
    return rows
