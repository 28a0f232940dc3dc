"""The check of keys: no row may repeat the entities and event time of another."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


def repeated(rows: Any, older: Any | None, key: Sequence[str], time: str) -> tuple[int, int, int]:
    """Rows, how many repeat another one (all but the first of a kind), how many came before.

    `rows`, `older`: datasets. Of the older rows only those are read that lie in the same span of
    event time. Keys go through duckdb under names of our own: it cannot tell `Id` from `id`.
    """
    import duckdb

    names = [f"k{number}" for number in range(len(key))]
    listed = ", ".join(names)
    with duckdb.connect() as connection:
        connection.register("fresh", _scan(rows, key, names))
        groups = f"SELECT {listed}, count(*) AS n FROM fresh GROUP BY {listed}"
        span = None if older is None else _span(rows, time)
        if older is None or span is None:
            kinds, count = _one(connection, f"SELECT count(*), sum(n) FROM ({groups})")
            return int(count or 0), int(count or 0) - kinds, 0
        least, most = span
        among = (pc.field(time) >= least) & (pc.field(time) <= most)
        connection.register("older", _scan(older, key, names, among))
        connection.execute(f"CREATE TEMP TABLE kinds AS {groups}")
        kinds, count = _one(connection, "SELECT count(*), sum(n) FROM kinds")
        known, before = _one(
            connection,
            f"SELECT count(*), coalesce(sum(n), 0) FROM kinds SEMI JOIN older USING ({listed})",
        )
    return int(count or 0), int(count or 0) - kinds + known, int(before)


def _scan(dataset: Any, key: Sequence[str], names: Sequence[str], among: Any = None) -> Any:
    fields = {name: pc.field(column) for name, column in zip(names, key, strict=True)}
    return dataset.scanner(columns=fields, filter=among)


def _one(connection: Any, query: str) -> Any:
    return connection.execute(query).fetchone()


def _span(rows: Any, time: str) -> tuple[pa.Scalar, pa.Scalar] | None:
    """Oldest and newest event time."""
    found = [pc.min_max(batch.column(0)) for batch in rows.to_batches(columns=[time])]
    extremes = [one for one in found if one["min"].is_valid]
    if not extremes:
        return None
    return (
        min((one["min"] for one in extremes), key=lambda scalar: scalar.value),
        max((one["max"] for one in extremes), key=lambda scalar: scalar.value),
    )
