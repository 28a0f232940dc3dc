"""What goes with age: events, fires, alerts, and leases of workers that have died.

The database itself keeps events from being changed or removed, but for those from before a time
that stands in `retention` and only moves on. It is moved, and an event says so, before anything is
removed: what KPIs say of the time since then stays right, and of before they say that it is gone.

What stays, whatever its age: the events of runs that are not pruned, the newest event of each
asset, the last fire of each schedule that was decided on, and alerts that wait for a channel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlalchemy import (
    Connection,
    Delete,
    and_,
    bindparam,
    delete,
    exists,
    func,
    or_,
    select,
    text,
    tuple_,
)

from flows.core.alert import AlertStatus
from flows.core.records import AttemptStatus, Event
from flows.core.store import events, schema
from flows.core.store.batch import change, execute, insertion
from flows.core.store.database import Database, has_table, one_at_a_time

_event, _fire, _lease, _outbox = schema.event, schema.fire, schema.lease, schema.outbox
_run, _retention, _attempt = schema.run, schema.retention, schema.attempt

AT_ONCE = 5000
"""Rows that are looked at in one transaction, so that others get their turn."""
DEAD = timedelta(days=1)
"""How long a worker's lease must have run out."""


class RetentionStore:
    """Removes what is older than a time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def kept_since(self) -> datetime | None:
        """From when on events are kept; None: all are."""
        with self._database.read() as connection:
            return _kept_since(connection)

    def count(self, before: datetime) -> dict[str, int]:
        """How many rows would go, by table; nothing on a store that is not upgraded yet."""
        with self._database.read() as connection:
            if not has_table(connection, _retention.name):
                return {}
            counts = {"event": _count_events(connection, before)}
            for table, what in ((_fire, _OLD_FIRE), (_outbox, _OLD_ALERT), (_lease, _OLD_LEASE)):
                query = select(func.count()).select_from(table).where(what)
                times = self._times(connection, before)
                counts[table.name] = connection.execute(query, times).scalar() or 0
        return {name: count for name, count in counts.items() if count}

    def remove(self, before: datetime, now: datetime) -> dict[str, int]:
        """Remove what is older; returns how many rows went, by table. Repeat it when it fails."""
        if not self._move_on(before, now):
            return {}
        gone: Counter[str] = Counter()
        for count in self._remove_events(before):
            gone["event"] += count
        for table, what in ((_fire, _OLD_FIRE), (_outbox, _OLD_ALERT), (_lease, _OLD_LEASE)):
            keys = table.primary_key.columns
            some = select(*keys).where(what).limit(AT_ONCE)
            statement = delete(table).where(tuple_(*keys).in_(some))
            while count := self._remove(statement, before):
                gone[table.name] += count
        with self._database.write() as connection:
            if has_table(connection, schema.delivery.name):
                connection.execute(_REMOVE_DELIVERIES)
        return {name: count for name, count in gone.items() if count}

    def _move_on(self, before: datetime, now: datetime) -> bool:
        with self._database.write() as connection:
            if not has_table(connection, _retention.name):
                return False
            one_at_a_time(connection, _retention.name)
            since = _kept_since(connection)
            row = {"what": _event.name, "before": before}
            if since is None:
                execute(connection, _INSERT, [row])
            elif before > since:
                execute(connection, _MOVE, [row])
            if since is None or before > since:
                moved = Event(at=now, kind="events.pruned", data={"before": before.isoformat()})
                events.append(connection, [moved])
        return True

    def _remove_events(self, before: datetime) -> Iterator[int]:
        """Remove them in the order of their numbers, some thousand in a transaction."""
        with self._database.read() as connection:
            low = connection.execute(_BEFORE_FIRST).scalar() or 0
            high, kept = _end(connection, before), events.newest_of_assets(connection)
        while low < high:
            through = min(low + AT_ONCE, high)
            numbers = {"low": low, "through": through, "kept": kept, "before": before}
            with self._database.write() as connection:
                count = connection.execute(_REMOVE_EVENTS, numbers).rowcount
            yield count
            low = through

    def _remove(self, statement: Delete, before: datetime) -> int:
        with self._database.write() as connection:
            return connection.execute(statement, self._times(connection, before)).rowcount

    def _times(self, connection: Connection, before: datetime) -> dict[str, datetime]:
        """Leases are compared with the store's time."""
        return {"before": before, "expired": self._database.now(connection) - DEAD}


def _kept_since(connection: Connection) -> datetime | None:
    if not has_table(connection, _retention.name):
        return None
    since: datetime | None = connection.execute(_SINCE).scalar()
    return since


def _end(connection: Connection, before: datetime) -> int:
    """The number up to which there may be events from before a time."""
    return events.first_since(connection, before + 2 * events.ASTRAY)


def _count_events(connection: Connection, before: datetime) -> int:
    kept = events.newest_of_assets(connection)
    numbers = {"low": 0, "through": _end(connection, before), "kept": kept, "before": before}
    query = select(func.count()).select_from(_event).where(_OLD_EVENT)
    return connection.execute(query, numbers).scalar() or 0


_BEFORE = bindparam("before", type_=_event.c.at.type)
_BEFORE_FIRST = select(func.min(_event.c.id) - 1)
_SINCE = select(_retention.c.before).where(_retention.c.what == _event.name)
_INSERT = insertion(_retention)
_MOVE = change(_retention, ("before",), where="what = :what")
_OLD_EVENT = and_(
    _event.c.id > bindparam("low"),
    _event.c.id <= bindparam("through"),
    _event.c.at < _BEFORE,
    _event.c.id.not_in(bindparam("kept", expanding=True)),
    or_(
        _event.c.run_id.is_(None),
        and_(
            exists().where(_run.c.id == _event.c.run_id, _run.c.ended_at < _BEFORE),
            ~exists().where(schema.definition.c.run_id == _event.c.run_id),
        ),
    ),
)
_REMOVE_EVENTS = delete(_event).where(_OLD_EVENT)
_newer = _fire.alias()
_OLD_FIRE = or_(
    and_(
        _fire.c.decided_at < _BEFORE,
        exists().where(
            _newer.c.schedule == _fire.c.schedule,
            _newer.c.decided_at > _fire.c.decided_at,
            _newer.c.decided_at < bindparam("pending", schema.PENDING_UNTIL),
        ),
    ),
    and_(text(schema.PENDING), _fire.c.at < _BEFORE),  # its schedule was paused all that time
)
_OLD_ALERT = and_(_outbox.c.at < _BEFORE, _outbox.c.status != AlertStatus.PENDING.value)
_OLD_LEASE = and_(
    _lease.c.name.startswith("worker:"),
    _lease.c.expires_at < bindparam("expired", type_=_lease.c.expires_at.type),
    ~exists().where(
        _attempt.c.worker == _lease.c.holder, _attempt.c.status == AttemptStatus.RUNNING.value
    ),
)
_REMOVE_DELIVERIES = delete(schema.delivery).where(
    ~exists().where(_outbox.c.key == schema.delivery.c.alert)
)
