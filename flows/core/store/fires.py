"""Fires, recorded within the transaction of their schedule: a key has one row, and one run."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from flows.core.records import Event
from flows.core.schedule import Fire, FireOutcome
from flows.core.store import deadlines, rows, schema, writes
from flows.core.store.batch import change, execute, insertion
from flows.core.store.runs import NewRun, insert_new
from flows.core.store.schedule_rows import fire_row

KINDS = {
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
    known = writes.by_key(connection, new.flow, new.key) if new is not None else None
    if new is not None:
        fire = replace(fire, run_id=known.id if known is not None else new.id)
    if not _claim(connection, fire):
        return None
    if new is not None and known is None:
        insert_new(connection, new, now)
        if (deadline := new.trigger.get("deadline")) is not None:
            deadlines.insert(connection, new.id, datetime.fromisoformat(deadline), now)
    data: dict[str, Any] = {"key": fire.key, "at": fire.at.isoformat()}
    data |= {"run": fire.run_id} if fire.run_id is not None else {"reason": fire.reason}
    append(connection, KINDS[fire.outcome], fire.schedule, seq, now, data)
    return fire


def append(
    connection: Connection, kind: str, schedule: str, seq: int, now: datetime, data: dict[str, Any]
) -> None:
    """Append an event about a schedule."""
    event = Event(
        id=0,
        seq=seq,
        at=now,
        kind=kind,
        run_id=None,
        task=None,
        attempt=None,
        data={"schedule": schedule, **data},
    )
    execute(connection, _INSERT_EVENT, [rows.event_row(event)])


def _claim(connection: Connection, fire: Fire) -> bool:
    """Take the key; on PostgreSQL, this waits for whoever takes it at the same moment."""
    row = fire_row(fire)
    if execute(connection, _INSERT, [row]) == 1:
        return True
    if fire.outcome not in (FireOutcome.STARTED, FireOutcome.FAILED):
        return False
    return execute(connection, _CHANGE, [row]) == 1


_INSERT = f"{insertion(schema.fire)} ON CONFLICT DO NOTHING"
_CHANGE = change(
    schema.fire,
    ("decided_at", "outcome", "reason", "run_id"),
    where="schedule = :schedule AND key = :key AND run_id IS NULL AND outcome <> :outcome",
)
_INSERT_EVENT = insertion(schema.event, without=("id",))
