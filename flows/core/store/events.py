"""The event table: appended to within the transaction of what happened, and read by time.

Numbers grow with time, but for moments: two transactions may commit in another order, and clocks
of workers differ. So what happened since a time is found by its first number, a day before.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, func, select, text

from flows.core.records import Event
from flows.core.state import ASSET_UPDATED
from flows.core.store import rows, schema
from flows.core.store.batch import execute, insertion

_event, _retention = schema.event, schema.retention

LEFT_ALONE = "run.left_alone"
"""The event that says that a worker cannot carry a run on, and why."""
ASTRAY = timedelta(days=1)
"""How far the clock of a worker may be behind, for its events to be found by time."""


def append(connection: Connection, events: Iterable[Event]) -> None:
    """Append events, in their order."""
    execute(connection, _INSERT, [rows.event_row(event) for event in events])


def note(connection: Connection, event: Event) -> None:
    """Append what is no transition of its run, and is said of it once: `seq` is 0."""
    execute(connection, f"{_INSERT} ON CONFLICT DO NOTHING", [rows.event_row(event)])


def first_since(connection: Connection, since: datetime) -> int:
    """A number that no event since then is below, and few events before it are above.

    Found by halving, so that no index on time is needed, which each commit would write to.
    """
    low, high = 0, connection.execute(_LAST).scalar() or 0
    while low < high:
        middle = (low + high) // 2
        at = connection.execute(_NEXT, {"from": middle + 1}).scalar()
        if at is not None and at < since - ASTRAY:
            low = middle + 1
        else:
            high = middle
    return low


def newest_of_assets(connection: Connection) -> list[int]:
    """The number of the newest event of each asset: one step of an index an asset."""
    newest = connection.execute(_NEWEST_OF_ASSETS[connection.dialect.name]).scalars()
    return [number for number in newest if number is not None]


_INSERT = insertion(_event, without=("id",))
_LAST = select(func.max(_event.c.id))
_NEXT = select(_event.c.at).where(_event.c.id >= bindparam("from")).order_by(_event.c.id).limit(1)
_IS_ASSET = f"kind = '{ASSET_UPDATED}'"  # literally, for the partial index
_NEWEST_OF_ASSETS = {
    dialect: text(
        "WITH RECURSIVE names(name) AS ("
        f"SELECT (SELECT {asset} FROM event WHERE {_IS_ASSET} ORDER BY {asset} LIMIT 1) UNION ALL "
        f"SELECT (SELECT {asset} FROM event WHERE {_IS_ASSET} AND {asset} > names.name "
        f"ORDER BY {asset} LIMIT 1) FROM names WHERE name IS NOT NULL) "
        f"SELECT (SELECT max(id) FROM event WHERE {_IS_ASSET} AND {asset} = names.name) "
        "FROM names WHERE name IS NOT NULL"
    )
    for dialect, asset in (
        ("sqlite", "json_extract(data, '$.asset')"),
        ("postgresql", "(data::json ->> 'asset')"),
    )
}
