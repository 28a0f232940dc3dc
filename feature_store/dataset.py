"""Parquet files as one lazy dataset, wherever they are."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

import pyarrow as pa

from feature_store.location import filesystem, filesystem_of
from feature_store.partitions import partition_value
from feature_store.snapshot import Part
from feature_store.tables import DataFile


def open_dataset(
    parts: Sequence[Part], schema: pa.Schema, columns: Sequence[str] | None = None
) -> Any:
    """Open files as a `pyarrow.dataset.Dataset` with the given schema, in the given order.

    Columns that a file lacks are null; those in its folder's name are filled in. Files of which
    not all rows count are read into memory, as far as `columns` (by default all) go.
    """
    import pyarrow.dataset as ds

    if columns is not None:
        schema = pa.schema([schema.field(name) for name in dict.fromkeys(columns)])
    if not parts:
        return ds.dataset(pa.table({f.name: pa.array([], f.type) for f in schema}, schema=schema))
    if all(part.kept is None for part in parts):
        return _files(parts, schema)
    runs = groupby(parts, key=lambda part: part.kept is None)
    return ds.dataset(
        [
            dataset
            for whole, run in runs
            for dataset in ([_files(list(run), schema)] if whole else _counted(run, schema))
        ]
    )


def read_part(part: Part, schema: pa.Schema, columns: Sequence[str]) -> pa.Table:
    """The rows of one file that count, in their order."""
    table = _files([part], pa.schema([schema.field(name) for name in columns])).to_table()
    return table if part.kept is None else table.filter(pa.array(part.kept.mask()))


def _counted(parts: Iterable[Part], schema: pa.Schema) -> Iterator[Any]:
    import pyarrow.dataset as ds

    for part in parts:
        yield ds.dataset(read_part(part, schema, schema.names))


def _files(parts: Sequence[Part], schema: pa.Schema) -> Any:
    import pyarrow.dataset as ds

    reads = ds.ParquetFileFormat(read_options={"coerce_int96_timestamp_unit": "us"})
    files, paths = filesystem_of([part.uri for part in parts])
    fragments = [
        reads.make_fragment(path, files, partition_expression=_partition(part, schema))
        for part, path in zip(parts, paths, strict=True)
    ]
    return ds.FileSystemDataset(fragments, schema, reads, files)


def part_of(file: DataFile) -> Part:
    """A file of a table as a part of a snapshot."""
    return Part(
        version=file.version,
        uri=file.uri,
        rows=rows_in(file),
        partition=dict(file.partition),
        kept=file.kept,
    )


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
        if column not in schema.names:
            continue
        value, field = partition_value(text, schema.field(column).type), pc.field(column)
        expression = expression & (field == value if value.is_valid else field.is_null())
    return expression
