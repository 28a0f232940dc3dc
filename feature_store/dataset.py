"""Parquet files as one lazy dataset, wherever they are."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from feature_store.location import filesystem, filesystem_of
from feature_store.snapshot import Part
from feature_store.tables import DataFile


def open_dataset(parts: Sequence[Part], schema: pa.Schema) -> Any:
    """Open files as a `pyarrow.dataset.Dataset` with the given schema, in the given order.

    Columns that a file lacks are null; those in its folder's name are filled in.
    """
    import pyarrow.dataset as ds

    if not parts:
        return ds.dataset(pa.table({f.name: pa.array([], f.type) for f in schema}, schema=schema))
    reads = ds.ParquetFileFormat(read_options={"coerce_int96_timestamp_unit": "us"})
    files, paths = filesystem_of([part.uri for part in parts])
    fragments = [
        reads.make_fragment(path, files, partition_expression=_partition(part, schema))
        for part, path in zip(parts, paths, strict=True)
    ]
    return ds.FileSystemDataset(fragments, schema, reads, files)


def rows_in(file: DataFile) -> int:
    """Rows of a file: as the log says, or else as its footer does."""
    if file.rows is not None:
        return file.rows
    import pyarrow.parquet as pq

    files, path = filesystem(file.uri)
    with files.open_input_file(path) as source:
        return int(pq.ParquetFile(source).metadata.num_rows)


def _partition(part: Part, schema: pa.Schema) -> Any:
    import pyarrow.compute as pc

    expression = pc.scalar(True)
    for column, text in part.partition.items():
        kind = schema.field(column).type
        value = pa.scalar(text).cast(kind) if text is not None else pa.scalar(None, kind)
        field = pc.field(column)
        expression = expression & (field.is_null() if text is None else field == value)
    return expression
