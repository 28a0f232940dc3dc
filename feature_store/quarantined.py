"""Which rows quarantined versions brought, kept beside the tables as fingerprints.

    <root>/_quarantine/<view>/<table id>/<version>.parquet

They are noted when a version goes into quarantine. So its rows are known in whichever file a later
merge, delete or compaction moves them, also when the file that they came in has been deleted.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

import numpy as np
import pyarrow as pa

from feature_store.location import Documents

_FOLDER = "_quarantine"


@dataclass(frozen=True, kw_only=True)
class Brought:
    """What one version did to the rows of its table, as fingerprints."""

    version: int
    """Number of the version."""
    rows: np.ndarray
    """Rows that were not there before."""
    keys: np.ndarray
    """Entities and event time of each of them."""
    took: np.ndarray
    """Rows that were there before, and are no longer."""


class Quarantined:
    """The notes under one root; each is written once, whole or not at all."""

    def __init__(self, root: str) -> None:
        self._documents = Documents(root)

    def read(self, view: str, table: str | None, version: int) -> Brought | None:
        """What a version brought; None when it was not noted."""
        import pyarrow.parquet as pq

        data = self._documents.read_bytes(_path(view, table, version))
        if data is None:
            return None
        noted = pq.read_table(pa.BufferReader(data))
        rows, keys, took = (noted.column(name)[0].values for name in ("rows", "keys", "took"))
        return Brought(
            version=version, rows=np.asarray(rows), keys=np.asarray(keys), took=np.asarray(took)
        )

    def write(self, view: str, table: str | None, version: int, brought: Brought) -> None:
        """Note what a version brought."""
        import pyarrow.parquet as pq

        columns = {"rows": brought.rows, "keys": brought.keys, "took": brought.took}
        kind = pa.large_list(pa.uint64())
        noted = pa.table({name: pa.array([values], kind) for name, values in columns.items()})
        sink = io.BytesIO()
        pq.write_table(noted, sink, compression="zstd")
        self._documents.write_bytes(_path(view, table, version), sink.getvalue())


def standing(
    found: Sequence[Brought], rows: np.ndarray, keys: np.ndarray
) -> tuple[set[int], np.ndarray]:
    """Versions of which rows are still there, and the keys of these rows.

    `rows`, `keys`: those of quarantined rows that are there. A row that a later version in
    quarantine took is there, too, unless what came in its place was mended: without that version,
    it would be.
    """
    versions: set[int] = set()
    taken = replaced = np.array([], dtype=np.uint64)
    for one in sorted(found, key=lambda one: -one.version):
        open_ = np.isin(one.keys, keys) | ~np.isin(one.keys, replaced)
        left = np.isin(one.rows, rows) | (np.isin(one.rows, taken) & open_)
        if left.any():
            versions.add(one.version)
            taken = np.concatenate([taken, one.took])
            replaced = np.concatenate([replaced, one.keys])
            keys = np.concatenate([keys, one.keys[left]])
    return versions, keys


def _path(view: str, table: str | None, version: int) -> str:
    return f"{_FOLDER}/{quote(view, safe='')}/{quote(table or '-', safe='')}/{version}.parquet"
