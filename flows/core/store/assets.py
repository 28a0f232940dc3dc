"""Assets that changed: told, in the same transaction, to the schedules that wait for them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, select, text

from flows.core import values
from flows.core.records import Asset, Event
from flows.core.schedule import ASSET, FireOutcome, ScheduleStatus
from flows.core.state import ASSET_UPDATED
from flows.core.store import events, schema
from flows.core.store.batch import execute, insertion
from flows.core.store.database import Database, one_at_a_time

_event, _schedule = schema.event, schema.schedule

RECENT = timedelta(days=1)
"""Assets older than this are told to no schedule any more."""


class Updated(NamedTuple):
    """An asset that changed, by the event that says so."""

    event: int  # its id
    at: datetime
    asset: str  # its name


class AssetStore:
    """The assets that no run made."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def update(self, asset: Asset, *, cause: str, now: datetime) -> bool:
        """Append the event that schedules on the asset wait for; False: it was told before.

        `cause`, with the asset, says which change it is: of a change that is told twice, by
        somebody who does not know whether it was, there is one event.
        """
        data: dict[str, Any] = {"asset": asset.name, "version": asset.version, "cause": cause}
        if asset.at is not None:
            data["at"] = asset.at.isoformat()
        same = {"data": values.dumps(data)}
        with self._database.write() as connection:
            one_at_a_time(connection, f"asset {asset.name}")
            if connection.execute(_SAME, same).first() is not None:
                return False
            events.append(connection, [Event(at=now, kind=ASSET_UPDATED, data=data)])
            number = connection.execute(_SAME, same).scalar_one()
            insert_fires(connection, [Updated(number, now, asset.name)])
        return True

    def newest(self, count: int = 100) -> frozenset[Updated]:
        """The newest assets that were told of, whoever did."""
        with self._database.read() as connection:
            selected = connection.execute(_NEWEST, {"count": count}).all()
        return frozenset(
            Updated(row.id, row.at, str(json.loads(row.data).get("asset"))) for row in selected
        )

    def tell(self, updates: Iterable[Updated], now: datetime) -> None:
        """Insert the fires of assets after the fact: workers of the release before do not."""
        recent = sorted(update for update in updates if now - update.at < RECENT)
        with self._database.write() as connection:
            insert_fires(connection, recent, after_the_fact=True)


def insert_fires(
    connection: Connection, updates: Sequence[Updated], *, after_the_fact: bool = False
) -> None:
    """Insert the fires of the schedules that wait for some assets, to be decided on.

    In the transaction that appends the events: whatever the order of commits, none is lost.
    After the fact, a schedule that was saved later does not fire.
    """
    if not updates:
        return
    topics = {ASSET + update.asset for update in updates}
    waiting = connection.execute(_WAITING, {"topics": sorted(topics)}).all()
    pending = [
        {
            "schedule": schedule.name,
            "key": f"event:{update.event}",
            "at": update.at,
            "decided_at": schema.PENDING_UNTIL,
            "outcome": FireOutcome.SKIPPED.value,
            "reason": "nobody has decided on it yet",
            "run_id": None,
        }
        for schedule in waiting
        for update in updates
        if fnmatchcase(ASSET + update.asset, schedule.topic)
        and not (after_the_fact and update.at < _saved_at(schedule.cursor))
    ]
    execute(connection, _INSERT_FIRE, sorted(pending, key=itemgetter("schedule", "key")))


def _saved_at(cursor: str) -> datetime:
    """From when on a schedule waits for assets, by its cursor; never, by one of a newer version."""
    try:
        at = datetime.fromisoformat(json.loads(cursor)["at"])
    except (ValueError, TypeError, LookupError):
        return schema.PENDING_UNTIL
    return at if at.tzinfo is not None else schema.PENDING_UNTIL


def updated(connection: Connection, events: Iterable[Event]) -> list[Updated]:
    """The assets of a run's events that were just appended."""
    return [
        Updated(
            connection.execute(_ID, {"run": event.run_id, "seq": event.seq}).scalar_one(),
            event.at,
            event.data["asset"],
        )
        for event in events
        if event.kind == ASSET_UPDATED
    ]


_IS_ASSET = text(f"kind = '{ASSET_UPDATED}'")  # literally, for the partial index
_SAME = select(_event.c.id).where(
    _IS_ASSET, _event.c.run_id.is_(None), _event.c.seq == 0, _event.c.data == bindparam("data")
)
_ID = select(_event.c.id).where(
    _event.c.run_id == bindparam("run"), _event.c.seq == bindparam("seq")
)
_NEWEST = (
    select(_event.c.id, _event.c.at, _event.c.data)
    .where(_IS_ASSET)
    .order_by(_event.c.id.desc())
    .limit(bindparam("count"))
)
_named = select(_schedule.c.name, _schedule.c.topic, _schedule.c.cursor).where(
    _schedule.c.status != ScheduleStatus.REMOVED.value
)
_WAITING = _named.where(
    text("topic IS NOT NULL"), _schedule.c.topic.in_(bindparam("topics", expanding=True))
).union(_named.where(text(f"({schema.WILDCARD})")))
_INSERT_FIRE = f"{insertion(schema.fire)} ON CONFLICT DO NOTHING"
