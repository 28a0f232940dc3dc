"""Rows as sets: which rows of some files are not among the rows of others.

Rows are compared by value, through a 64-bit fingerprint of all their columns: equal rows cancel
one for one. Two rows that differ share a fingerprint with a chance of about 1 in 10^19.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_store.dataset import part_of, read_part
from feature_store.snapshot import Kept, Part
from feature_store.tables import DataFile

_EMPTY = np.uint64(0x9E3779B97F4A7C15)
"""What stands for a list without values, which is not the same as no list."""
_WHOLE = 2**63
"""Whole numbers below it are integers."""


def fingerprints(part: Part, schema: pa.Schema, columns: Sequence[str] | None = None) -> np.ndarray:
    """One number for each row that counts, in order; by some columns, or by all.

    It depends on the names and values alone: not on the order of columns, nor on columns that are
    null, nor on how wide a number's type is, so that a row stays the same when its table gets a new
    column, or a column a wider type.
    """
    table = read_part(part, schema, schema.names if columns is None else columns)
    total = np.zeros(table.num_rows, dtype=np.uint64)
    for name in table.column_names:
        total += _of_column(table.column(name).combine_chunks(), name)
    return _mixed(total)


def unmatched(own: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which values are left, as booleans, when each of `others` takes away one equal value."""
    if not len(others):
        return np.ones(len(own), dtype=bool)
    values, counts = np.unique(others, return_counts=True)
    order = np.argsort(own, kind="stable")
    ordered = own[order]
    rank = np.arange(len(own)) - np.searchsorted(ordered, ordered)
    at = np.minimum(np.searchsorted(values, ordered), len(values) - 1)
    left = np.empty(len(own), dtype=bool)
    left[order] = (values[at] != ordered) | (rank >= counts[at])
    return left


def narrowed(part: Part, chosen: np.ndarray) -> Part | None:
    """The part with only those of its rows that are chosen, one boolean for each; None: no row."""
    if not chosen.any():
        return None
    if chosen.all():
        return part
    mask = np.ones(part.stored_rows, dtype=bool) if part.kept is None else part.kept.mask()
    mask[mask] = chosen
    kept = Kept.of(mask)
    return replace(part, rows=kept.rows, kept=kept)


def without(part: Part, other: Part | None) -> Part | None:
    """The part without the rows that another part of the same file has; None: no row is left."""
    if other is None or part.rows == 0:
        return part
    if other.kept is None:
        return None
    left = ~other.kept.mask()
    return narrowed(part, left if part.kept is None else left[part.kept.mask()])


def fingerprints_of(
    files: Iterable[DataFile], schema: pa.Schema, columns: Sequence[str] | None = None
) -> np.ndarray:
    """Those of the rows of several files, one after the other."""
    numbers = (fingerprints(part_of(file), schema, columns) for file in files)
    return np.concatenate([np.array([], dtype=np.uint64), *numbers])


def difference(
    files: Iterable[DataFile], others: Iterable[DataFile]
) -> tuple[list[DataFile], list[DataFile]]:
    """What is in the one and not in the other, by file and, in the same file, by row number."""
    left, right = by_path(files), by_path(others)
    for path in left.keys() & right.keys():
        one, other = left.pop(path), right.pop(path)
        if one.vector == other.vector and one.kept == other.kept:
            continue
        stored = next(f.kept.stored for f in (one, other) if f.kept)
        own, theirs = _mask(one, stored), _mask(other, stored)
        left |= by_path(narrowed_files([one], [~theirs[own]]))
        right |= by_path(narrowed_files([other], [~own[theirs]]))
    return list(left.values()), list(right.values())


def narrowed_files(files: Sequence[DataFile], chosen: Sequence[np.ndarray]) -> list[DataFile]:
    """The files with only those of their rows that are chosen; those without any are left out."""
    narrow = []
    for file, mask in zip(files, chosen, strict=True):
        part = narrowed(part_of(file), mask)
        if part is None:
            continue
        same = part.kept == file.kept
        narrow.append(
            file if same else replace(file, rows=part.rows, kept=part.kept, newest={}, oldest={})
        )
    return narrow


def by_path(files: Iterable[DataFile]) -> dict[str, DataFile]:
    """The files by their paths."""
    return {file.path: file for file in files}


def cut_like(values: np.ndarray, like: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Values cut into as many as each of the others has."""
    ends = np.cumsum([len(one) for one in like])
    return np.split(values, ends[:-1]) if like else []


def _mask(file: DataFile, stored: int) -> np.ndarray:
    return np.ones(stored, dtype=bool) if file.kept is None else file.kept.mask()


def _of_column(values: Any, name: str) -> np.ndarray:
    if isinstance(values, pa.ChunkedArray):  # more than one array can hold
        return np.concatenate([_of_column(chunk, name) for chunk in values.chunks])
    numbers = _mixed(_numbers(values) ^ _of_bytes(name.encode()))
    if values.null_count:
        numbers[np.asarray(pc.is_null(values))] = 0
    return numbers


def _numbers(values: pa.Array) -> np.ndarray:
    """One number for each value; equal values have equal numbers. Nulls have any."""
    kind = values.type
    if pa.types.is_struct(kind):
        fields = [_of_column(values.field(i), kind.field(i).name) for i in range(kind.num_fields)]
        return sum(fields, np.zeros(len(values), dtype=np.uint64))
    if pa.types.is_nested(kind):
        return _of_lists(values)
    if pa.types.is_floating(kind):
        return _of_floats(np.array(pc.fill_null(values.cast(pa.float64()), 0.0)))
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        wide = pa.uint64() if kind == pa.uint64() else pa.int64()
        return np.asarray(pc.fill_null(values.cast(wide), 0)).view(np.uint64)
    if pa.types.is_date32(kind):
        return _numbers(values.cast(pa.timestamp("us")))
    if pa.types.is_temporal(kind):
        narrow = pa.int32() if kind.bit_width == 32 else pa.int64()
        return np.asarray(pc.fill_null(values.view(narrow), 0)).astype(np.int64).view(np.uint64)
    return _of_texts(values)


def _of_floats(floats: np.ndarray) -> np.ndarray:
    """A whole number as an integer of the same value."""
    floats[np.isnan(floats)] = np.nan
    whole = (np.floor(floats) == floats) & (np.abs(floats) < _WHOLE)
    numbers = floats.view(np.uint64).copy()
    numbers[whole] = floats[whole].astype(np.int64).view(np.uint64)
    return numbers


def _of_texts(values: pa.Array) -> np.ndarray:
    coded = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
    numbers = [_of_value(value) for value in coded.dictionary.to_pylist()]
    table = np.array([*numbers, np.uint64(0)], dtype=np.uint64)
    positions = np.asarray(pc.fill_null(coded.indices.cast(pa.int64()), len(numbers)))
    return np.asarray(table[positions])


def _of_lists(values: pa.Array) -> np.ndarray:
    """Lists and maps: their values in order."""
    lengths = np.asarray(pc.fill_null(_lengths(values), 0)).astype(np.int64)
    inner = _flat(values)
    starts = np.cumsum(lengths) - lengths
    position = np.arange(len(inner)) - np.repeat(starts, lengths)
    numbers = _mixed(_of_column(inner, "") + _mixed(position.astype(np.uint64)))
    total = np.full(len(values), _EMPTY, dtype=np.uint64)
    filled = lengths > 0
    if filled.any():
        total[filled] = np.add.reduceat(numbers, starts[filled])
    return total


def _lengths(values: pa.Array) -> pa.Array:
    return pc.list_value_length(_as_list(values))


def _flat(values: pa.Array) -> pa.Array:
    return _as_list(values).flatten()


def _as_list(values: pa.Array) -> pa.Array:
    """A map as a list of its entries; any other list as it is."""
    if not pa.types.is_map(values.type):
        return values
    kind = pa.list_(pa.struct([("key", values.type.key_type), ("value", values.type.item_type)]))
    return values.cast(kind)


def _of_value(value: Any) -> np.uint64:
    if isinstance(value, Decimal):
        if value == int(value) and abs(value) < _WHOLE:
            return np.int64(int(value)).astype(np.uint64)
        value = format(value, "f").rstrip("0")  # a wider scale is no other value
    plain = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
    return _of_bytes(plain)


def _of_bytes(value: bytes) -> np.uint64:
    return np.uint64(int.from_bytes(blake2b(value, digest_size=8).digest(), "little"))


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """Spread numbers over 64 bits, one to one (the finaliser of splitmix64)."""
    mixed = numbers + _EMPTY
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))
