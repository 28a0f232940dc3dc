"""Fires: one row for each key of a schedule, in its transaction, and at most one run.

A fire that waits for its decision is written such that older code can read it, and decide on it
too: as skipped, at the end of all times.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, bindparam, delete, func, select, text

from flows.core.errors import NotStorable, Refused
from flows.core.records import Event
from flows.core.schedule import Fire, FireOutcome, StoredSchedule, still_open
from flows.core.store import deadlines, events, rows, schema, writes
from flows.core.store.batch import change, execute, insertion
from flows.core.store.runs import NewRun, insert_new

_fire, _run, _schedule = schema.fire, schema.run, schema.schedule

KINDS = {
    FireOutcome.PENDING: "schedule.skipped",
    FireOutcome.STARTED: "schedule.fired",
    FireOutcome.SKIPPED: "schedule.skipped",
    FireOutcome.MISSED: "schedule.missed",
    FireOutcome.FAILED: "schedule.failed",
}
"""The event that each outcome appends."""


def record(
    connection: Connection, fire: Fire, new: NewRun | None, seq: int, now: datetime
) -> Fire | None:
    """Record a fire and its run; None, and nothing is written, when its key has its row.

    - What failed, or was skipped or missed, has no run: it may still be started.
    - A run that was made under the same key in another way is taken as the fire's own.
    """
    run = writes.by_key(connection, new.flow, new.key) if new is not None else None
    if new is not None:
        fire = replace(fire, run_id=run.id if run is not None else new.id)
    if not _claim(connection, fire):
        return None
    if new is not None and run is None:
        insert_new(connection, new, now)
        if (deadline := new.trigger.get("deadline")) is not None:
            deadlines.insert(connection, new.id, datetime.fromisoformat(deadline), now)
    data: dict[str, Any] = {"key": fire.key, "at": fire.at.isoformat()}
    data |= {"run": fire.run_id} if fire.run_id is not None else {"reason": fire.reason}
    append(connection, KINDS[fire.outcome], fire.schedule, seq, now, data)
    return fire


def request(
    connection: Connection, fire: Fire, new: NewRun, now: datetime, alone: bool, instead: str | None
) -> Fire:
    """As `ScheduleStore.request` says, in an open transaction."""
    name = {"name": fire.schedule}
    execute(connection, _TAKE_TURN, [name])  # and so wait for whoever is at it
    seq = connection.execute(SEQ, name).scalar() or 0  # a backfill's may lend its name only
    before = of_keys(connection, fire.schedule, [fire.key]).get(fire.key)
    if before is not None and before.run_id is not None:
        return before
    blocking = open_in_lane(connection, new.lane) if alone else ()
    if blocking:
        skipped = replace(fire, outcome=FireOutcome.SKIPPED, reason=still_open(blocking[0]))
        return record(connection, skipped, None, seq, now) or before or skipped
    recorded = record(connection, fire, new, seq, now)
    if instead is not None and recorded is not None and recorded.run_id is not None:
        cancel_others(connection, new.lane, {recorded.run_id}, instead, now)
    return recorded or of_keys(connection, fire.schedule, [fire.key])[fire.key]


def move(connection: Connection, stored: StoredSchedule, *, base: int) -> bool:
    """Write a schedule whose `seq` was `base`; False when it has moved."""
    return execute(connection, _MOVE, [rows.schedule_row(stored) | {"base": base}]) == 1


def append(
    connection: Connection, kind: str, schedule: str, seq: int, now: datetime, data: dict[str, Any]
) -> None:
    """Append an event about a schedule."""
    event = Event(seq=seq, at=now, kind=kind, data={"schedule": schedule, **data})
    events.append(connection, [event])


def open_in_lane(connection: Connection, lane: str | None) -> Sequence[str]:
    """The ids of the runs in a lane that have not ended, the oldest first."""
    return connection.execute(_OPEN_IN_LANE, {"lane": lane}).scalars().all()


def cancel_others(
    connection: Connection, lane: str | None, own: Collection[str], reason: str, now: datetime
) -> None:
    """Cancel what is open in a lane beside `own`, in the commit that records these runs."""
    others = [run_id for run_id in open_in_lane(connection, lane) if run_id not in own]
    writes.lock(connection, others)
    for run_id in others:
        with suppress(Refused, NotStorable):  # it has ended; a newer version wrote it
            progress = writes.read(connection, run_id)
            progress.cancel(reason, now)
            writes.write(connection, progress)


def read(connection: Connection, query: Select[Any], **where: Any) -> tuple[Fire, ...]:
    """The fires of a query, but those whose outcome only a newer version knows."""
    selected = connection.execute(query, where).mappings()
    return tuple(rows.fire_from(row) for row in selected if row["outcome"] in _OUTCOMES)


def of_keys(connection: Connection, name: str, keys: Sequence[str]) -> dict[str, Fire]:
    """What became of some keys of a schedule, as far as they are recorded."""
    return {fire.key: fire for fire in read(connection, _OF_KEYS, name=name, keys=list(keys))}


def drop_pending(connection: Connection, name: str) -> None:
    """Forget what waits: the schedule was removed, or waits for another thing now."""
    connection.execute(_DROP, {"name": name})


def _claim(connection: Connection, fire: Fire) -> bool:
    """Take the key; on PostgreSQL, this waits for whoever takes it at the same moment."""
    row = {**rows.fire_row(fire), "pending_until": schema.PENDING_UNTIL}
    if execute(connection, _INSERT, [row]) == 1:
        return True
    anew = fire.outcome in (FireOutcome.STARTED, FireOutcome.FAILED)
    return execute(connection, _CHANGE if anew else _DECIDE, [row]) == 1


IS_PENDING = text(schema.PENDING)
_OUTCOMES = {outcome.value for outcome in FireOutcome}
_OPEN_IN_LANE = (
    select(_run.c.id)
    .where(_run.c.lane == bindparam("lane"), text("ended_at IS NULL"))
    .order_by(_run.c.created_at, _run.c.id)
)
_OF_KEYS = select(_fire).where(
    _fire.c.schedule == bindparam("name"), _fire.c.key.in_(bindparam("keys", expanding=True))
)
NEWEST = (
    select(_fire)
    .where(_fire.c.schedule == bindparam("name"))
    .order_by(_fire.c.decided_at.desc(), _fire.c.at.desc())
    .limit(bindparam("limit"))
)
PENDING = (
    select(_fire)
    .where(_fire.c.schedule == bindparam("name"), IS_PENDING)
    .order_by(_fire.c.at, _fire.c.key)
    .limit(bindparam("limit"))
)
_other = _fire.alias()
LAST = select(_fire).join(
    _schedule,
    (_fire.c.schedule == _schedule.c.name)
    & (
        _fire.c.decided_at
        == select(func.max(_other.c.decided_at))
        .where(_other.c.schedule == _schedule.c.name)
        .scalar_subquery()
    ),
)
_DROP = delete(_fire).where(_fire.c.schedule == bindparam("name"), IS_PENDING)
_MOVABLE = ("flow", "definition", "topic", "status", "reason", "next_at", "cursor", "updated_at")
_MOVE = change(_schedule, (*_MOVABLE, "seq"), where="name = :name AND seq = :base")
SEQ = select(_schedule.c.seq).where(_schedule.c.name == bindparam("name"))
_TAKE_TURN = "UPDATE schedule SET seq = seq + 1 WHERE name = :name"
_INSERT = f"{insertion(_fire)} ON CONFLICT DO NOTHING"
_DECIDED = ("decided_at", "outcome", "reason", "run_id")
_OF_KEY = "schedule = :schedule AND key = :key AND run_id IS NULL"
_CHANGE = change(_fire, _DECIDED, where=f"{_OF_KEY} AND outcome <> :outcome")
_DECIDE = change(
    _fire, _DECIDED, where=f"{_OF_KEY} AND decided_at >= :pending_until AND reason <> :reason"
)
