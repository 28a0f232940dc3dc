"""Point-in-time join: what was known about each row's entities at that row's moment."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from feature_store.columns import canonical_schema
from feature_store.conversions import take
from feature_store.errors import SchemaMismatch, UnknownColumn, nearest


def point_in_time_join(
    spine: pa.Table,
    right: pa.Table,
    *,
    entities: Sequence[str],
    spine_time: str,
    right_time: str,
    columns: Sequence[str],
    ttl: timedelta | None = None,
    prefix: str = "",
    threads: int | None = None,
) -> pa.Table:
    """Add to each spine row the columns of the newest right row known at its time.

    - A right row counts when its entities are equal and `right_time <= spine_time`; with `ttl`,
      only when `spine_time - right_time <= ttl`.
    - Of several right rows with the same entities and time, the last one in the order of `right`
      wins (that of `FeatureStore.read`: the one appended last).
    - The answer has the spine's rows, in the spine's order, with its columns first and then
      `prefix + column`; null where nothing was known. A null entity or time matches nothing.
    - Neither side needs to be sorted. Times are timestamps or dates (without zone: UTC) or
      integers, compared to the finer of both units.

    `threads` bounds duckdb's own (all cores by default). Raises `UnknownColumn` for a column that
    a side does not have, `SchemaMismatch` for entities or times of types that cannot be compared
    and for a name that the spine has already.
    """
    _check(spine, right, (*entities, spine_time), (*entities, right_time, *columns))
    for column in columns:
        if prefix + column in spine.column_names:
            raise SchemaMismatch(
                f"the spine has a column {prefix + column} already", hint="give the join a prefix"
            )
    unit = _unit(spine, right, spine_time, right_time)
    keys = _entity_types(spine, right, entities)
    hits = _hits(
        _keys(spine, keys, spine_time, unit),
        _keys(right, keys, right_time, unit),
        entities=len(keys),
        ttl=None if ttl is None else _ticks(ttl, unit),
        threads=threads,
    )
    joined = spine
    found = take(right.select(list(columns)), hits)
    for name, values in zip(columns, found.columns, strict=True):
        joined = joined.append_column(prefix + name, values)
    return joined


def _hits(
    spine: pa.Table, known: pa.Table, *, entities: int, ttl: int | None, threads: int | None
) -> pa.Array:
    """Return the row of `known` for each row of the spine, null where there is none.

    Only keys and row numbers go through duckdb: the columns are taken by row number afterwards,
    which saves copying them and sorting the answer.
    """
    import duckdb

    keys = [f"e{i}" for i in range(entities)]
    equal = [f"spine.{key} = known.{key}" for key in keys]
    same = [f"known.{key} = matched.{key}" for key in keys]
    group = ", ".join([*keys, "t"])
    hit = ["known.n AS hit", "known.t AS hit_t", *(f"known.{key}" for key in keys)]
    match = f"""
        CREATE OR REPLACE TEMP TABLE matched AS
        SELECT spine.n AS asked, spine.t AS asked_t, {", ".join(hit)}
        FROM spine ASOF LEFT JOIN %s AS known
        ON {" AND ".join([*equal, "spine.t >= known.t"])}"""
    tie = f"""
        SELECT 1 FROM matched JOIN known
        ON {" AND ".join([*same, "known.t = matched.hit_t", "known.n > matched.hit"])}
        LIMIT 1"""
    with duckdb.connect(config={} if threads is None else {"threads": threads}) as connection:
        connection.register("spine", spine)
        connection.register("known", known)
        connection.execute(match % "known")
        # ASOF takes any of several rows with the same key. Ties are rare and costly to rule out
        # beforehand, so look whether a later one was passed over, and only then join again.
        if connection.execute(tie).fetchone() is not None:
            connection.execute(match % f"(SELECT {group}, max(n) AS n FROM known GROUP BY {group})")
        fresh = "true" if ttl is None else f"asked_t - hit_t <= {ttl}"
        answer = connection.sql(
            f"SELECT asked, CASE WHEN {fresh} THEN hit END AS hit FROM matched"
        ).to_arrow_table()
    order = np.empty(spine.num_rows, dtype=np.int64)
    order[answer.column("asked").to_numpy()] = np.arange(spine.num_rows)
    return answer.column("hit").combine_chunks().take(pa.array(order))


def _keys(table: pa.Table, entities: dict[str, Any], time: str, unit: str | None) -> pa.Table:
    """Return the entities, the time as ticks, and the row number."""
    columns = {
        f"e{i}": table.column(name).cast(kind) for i, (name, kind) in enumerate(entities.items())
    }
    moments = table.column(time)
    if unit is not None:
        moments = moments.cast(pa.timestamp(unit))
    columns["t"] = moments.cast(pa.int64())
    columns["n"] = pa.array(np.arange(table.num_rows, dtype=np.int64))
    return pa.table(columns)


def _check(spine: pa.Table, right: pa.Table, left: Sequence[str], needed: Sequence[str]) -> None:
    for side, table, names in (("spine", spine, left), ("right", right, needed)):
        for name in names:
            if name not in table.column_names:
                raise UnknownColumn(
                    f"the {side} table of a point-in-time join has no column {name!r}"
                    f"{nearest(name, table.column_names)}",
                    hint="correct the column's name",
                )


def _entity_types(spine: pa.Table, right: pa.Table, entities: Sequence[str]) -> dict[str, Any]:
    """Choose the type in which each entity is compared."""
    chosen = {}
    for name in entities:
        types = [
            canonical_schema(pa.schema([table.schema.field(name)])).field(0).type
            for table in (spine, right)
        ]
        if all(pa.types.is_integer(kind) for kind in types):
            types = [pa.int64(), pa.int64()]
        if types[0] != types[1]:
            raise SchemaMismatch(
                f"entity {name} is {types[0]} in the spine and {types[1]} in the right table",
                hint=f"cast {name} to one type",
            )
        chosen[name] = types[0]
    return chosen


def _unit(spine: pa.Table, right: pa.Table, spine_time: str, right_time: str) -> str | None:
    """Choose the unit in which times are compared; None for plain integers."""
    types = [spine.schema.field(spine_time).type, right.schema.field(right_time).type]
    if all(pa.types.is_integer(kind) for kind in types):
        return None
    if not all(pa.types.is_timestamp(kind) or pa.types.is_date(kind) for kind in types):
        raise SchemaMismatch(
            f"the spine's time {spine_time} is {types[0]}, the right table's {right_time} is "
            f"{types[1]}",
            hint="join on two timestamps, dates or integers",
        )
    return "ns" if any(getattr(kind, "unit", "") == "ns" for kind in types) else "us"


def _ticks(ttl: timedelta, unit: str | None) -> int:
    if unit is None:
        raise SchemaMismatch(
            "a ttl needs timestamps or dates, not integers", hint="cast the times to timestamps"
        )
    ticks = ttl // timedelta(microseconds=1)
    return ticks * 1000 if unit == "ns" else ticks
