"""The transitions of schedules: each method is one transaction, and appends its events in it.

Every change first moves the schedule's `seq`. That holds its row, so that of several
schedulers which decided on the same schedule at once, one is the first; the others learn that
it has moved, and write nothing. A fire is one row, and its run is made in the same commit.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, select
from sqlalchemy.sql import Select

from flows.core import alert, values
from flows.core.errors import Refused
from flows.core.schedule import (
    Fire,
    FireOutcome,
    OnRequest,
    Schedule,
    ScheduleStatus,
    StoredSchedule,
)
from flows.core.store import fires, outbox, rows, schema
from flows.core.store.batch import change, execute, insertion
from flows.core.store.runs import NewRun
from flows.core.store.schedule_reads import (
    BY_NAME,
    IS_ACTIVE,
    OPEN_IN_LANE,
    ScheduleReads,
    fires_of,
    overlapping,
    readable,
    unknown,
)
from flows.core.store.schedule_rows import schedule_from, schedule_row

_schedule, _fire, _run, _event = schema.schedule, schema.fire, schema.run, schema.event


class ScheduleStore(ScheduleReads):
    """Every way in which a schedule may change, and what is known of them."""

    # ------------------------------------------------------------------ declarations

    def save(
        self, schedule: Schedule, next_at: datetime | None, cursor: dict[str, Any], now: datetime
    ) -> bool:
        """Store a declaration; False when it is as it was.

        - `next_at` and `cursor` hold for a new schedule, or one whose trigger has changed.
        - A disabled schedule is active again once its declaration has changed; a paused one
          stays paused.
        """
        fresh = StoredSchedule(
            schedule=schedule,
            status=ScheduleStatus.ACTIVE,
            reason=None,
            next_at=next_at,
            cursor=cursor,
            created_at=now,
            updated_at=now,
            seq=1,
        )
        with self._database.write() as connection:
            data = {"flow": schedule.flow}
            if execute(connection, _INSERT_IF_NEW, [schedule_row(fresh)]) == 1:
                fires.append(connection, "schedule.saved", schedule.name, 1, now, data)
                return True
            row = connection.execute(_FOR_UPDATE, {"name": schedule.name}).mappings().one()
            changed = _redeclared(row, fresh)
            if changed is None:
                return False
            _write(connection, changed, base=row["seq"])
            fires.append(connection, "schedule.saved", schedule.name, changed.seq, now, data)
            return True

    def remove(self, name: str, now: datetime) -> None:
        """It is no longer declared. Its fires stay, so that it never repeats one of them."""
        with self._database.write() as connection:
            row = _locked(connection, name)
            _set(connection, row, "removed", ScheduleStatus.REMOVED, None, None, now)

    def pause(self, name: str, reason: str, now: datetime) -> StoredSchedule:
        """Keep it from firing. Raises NotFound, Refused."""
        with self._database.write() as connection:
            row = _locked(connection, name)
            if row["status"] == ScheduleStatus.DISABLED:
                raise Refused(
                    f"schedule {name} is disabled: {row['reason']}",
                    hint=f"correct it, then: ratchet schedules resume {name}",
                )
            if row["status"] == ScheduleStatus.ACTIVE:
                _set(connection, row, "paused", ScheduleStatus.PAUSED, reason, row["next_at"], now)
        return self.get(name)

    def resume(self, name: str, by: str, now: datetime) -> StoredSchedule:
        """Let it fire again; the scheduler looks at it at once. Raises NotFound."""
        with self._database.write() as connection:
            row = _locked(connection, name)
            if row["status"] != ScheduleStatus.ACTIVE:
                only_asked = isinstance(schedule_from(row).schedule.trigger, OnRequest)
                next_at = None if only_asked else now
                _set(connection, row, "resumed", ScheduleStatus.ACTIVE, None, next_at, now, by=by)
        return self.get(name)

    def disable(self, name: str, reason: str, now: datetime, failed: Fire | None = None) -> None:
        """It cannot be carried out: it fires no more, and people are told.

        `failed` is the fire that could not be; it is recorded, and may be fired again later.
        """
        with self._database.write() as connection:
            row = connection.execute(_FOR_UPDATE, {"name": name}).mappings().first()
            if row is None or row["status"] not in _FIRING:
                return
            status = ScheduleStatus.DISABLED
            seq = _set(connection, row, "disabled", status, reason, row["next_at"], now)
            if failed is not None:
                fires.record(connection, failed, None, seq, now)
            told = alert.schedule_disabled(name, row["flow"], reason, seq=seq, now=now)
            outbox.insert(connection, [told])

    def postpone(
        self, stored: StoredSchedule, reason: str, next_at: datetime, now: datetime
    ) -> None:
        """It cannot be looked at just now. Recorded as an event once, until it can be again."""
        moved = replace(stored, reason=reason, next_at=next_at, updated_at=now, seq=stored.seq + 1)
        with self._database.write() as connection:
            if _write(connection, moved, base=stored.seq) and stored.reason is None:
                data = {"reason": reason}
                fires.append(
                    connection, "schedule.failed", stored.schedule.name, moved.seq, now, data
                )

    # ------------------------------------------------------------------ fires

    def fire(
        self,
        stored: StoredSchedule,
        decided: Sequence[tuple[Fire, NewRun | None]],
        *,
        next_at: datetime | None,
        cursor: dict[str, Any],
        now: datetime,
    ) -> tuple[Fire, ...] | None:
        """Record what was decided on a schedule, with the runs of its fires.

        - None, and nothing is written, when the schedule is no longer where `stored` says.
        - Returned are the fires that were recorded: of a key that has a run already, nothing is.
        """
        moved = replace(stored, reason=None, next_at=next_at, cursor=cursor, seq=stored.seq + 1)
        if decided:
            moved = replace(moved, updated_at=now)
        with self._database.write() as connection:
            if not _write(connection, moved, base=stored.seq):
                return None
            recorded = [fires.record(connection, f, new, moved.seq, now) for f, new in decided]
            return tuple(fire for fire in recorded if fire is not None)

    def request(self, fire: Fire, new: NewRun, now: datetime, *, alone: bool = False) -> Fire:
        """Record a fire that somebody asked for, and its run; returns what stands for its key.

        Any number of callers may ask at once: a key has at most one run, and until it has one,
        asking again tries again. With `alone`, it is recorded as skipped while a run in the lane
        of `new` is open.
        """
        with self._database.write() as connection:
            seq = _take_turn(connection, fire.schedule)
            known = fires_of(connection, fire.schedule, [fire.key]).get(fire.key)
            if known is not None and known.run_id is not None:
                return known
            blocking = connection.execute(OPEN_IN_LANE, {"lane": new.lane}).mappings().first()
            if alone and blocking is not None:
                reason = overlapping(rows.run_from(blocking))
                skipped = replace(fire, outcome=FireOutcome.SKIPPED, reason=reason)
                return fires.record(connection, skipped, None, seq, now) or known or skipped
            recorded = fires.record(connection, fire, new, seq, now)
            return recorded or fires_of(connection, fire.schedule, [fire.key])[fire.key]

    # ------------------------------------------------------------------ what is due

    def due(self, now: datetime, limit: int = 100) -> tuple[StoredSchedule, ...]:
        """The schedules to look at by now, the longest due first. Costs by these alone."""
        return self._readable(_DUE, {"now": now, "limit": limit}, now)

    def on(self, topics: Iterable[str], now: datetime) -> tuple[StoredSchedule, ...]:
        """The active schedules that wait for one of some topics: `view:digits`, `asset:model:*`."""
        return self._readable(_ON_TOPICS, {"topics": list(topics)}, now)

    def _readable(
        self, query: Select[Any], where: dict[str, Any], now: datetime
    ) -> tuple[StoredSchedule, ...]:
        with self._database.read() as connection:
            selected = connection.execute(query, where).mappings().all()
        found, problems = readable(selected)
        for name, problem in problems.items():
            self.disable(name, problem, now)
        return found


def _locked(connection: Connection, name: str) -> RowMapping:
    """A schedule's row, which nobody else changes until the transaction ends."""
    row = connection.execute(_FOR_UPDATE, {"name": name}).mappings().first()
    if row is None or row["status"] == ScheduleStatus.REMOVED:
        raise unknown(connection, name)
    return row


def _write(connection: Connection, stored: StoredSchedule, *, base: int) -> bool:
    """Write a schedule whose `seq` was `base`; False when it has moved."""
    return execute(connection, _MOVE, [schedule_row(stored) | {"base": base}]) == 1


def _set(
    connection: Connection,
    row: RowMapping,
    kind: str,
    status: ScheduleStatus,
    reason: str | None,
    next_at: datetime | None,
    now: datetime,
    **more: str,
) -> int:
    """Change where a locked schedule stands, and append the event; returns its new `seq`."""
    seq: int = row["seq"] + 1
    changed = {
        "name": row["name"],
        "status": status.value,
        "reason": reason,
        "next_at": next_at,
        "updated_at": now,
        "seq": seq,
    }
    execute(connection, _SET, [changed])
    data = more if reason is None else {"reason": reason, **more}
    fires.append(connection, f"schedule.{kind}", row["name"], seq, now, data)
    return seq


def _take_turn(connection: Connection, name: str) -> int:
    """Move a schedule, and so wait for whoever is at it; 0 for one that only lends its name."""
    execute(connection, _TAKE_TURN, [{"name": name}])
    return connection.execute(_SEQ, {"name": name}).scalar() or 0


def _redeclared(row: RowMapping, fresh: StoredSchedule) -> StoredSchedule | None:
    """What a stored schedule becomes by a new declaration; None when nothing changes."""
    back = row["status"] == ScheduleStatus.REMOVED
    if not back and row["definition"] == values.dumps(fresh.schedule):
        return None
    changed = replace(fresh, created_at=row["created_at"], seq=row["seq"] + 1)
    if row["status"] == ScheduleStatus.PAUSED:
        changed = replace(changed, status=ScheduleStatus.PAUSED, reason=row["reason"])
    if not back and _same_trigger(row, fresh.schedule):
        cursor = values.loads(row["cursor"])
        changed = replace(changed, next_at=row["next_at"], cursor=cursor)
    return changed


def _same_trigger(row: RowMapping, schedule: Schedule) -> bool:
    stored = json.loads(row["definition"]).get("trigger")
    return bool(stored == values.to_json(schedule.trigger))


_MOVABLE = ("flow", "definition", "topic", "status", "reason", "next_at", "cursor", "updated_at")
_FIRING = (ScheduleStatus.ACTIVE, ScheduleStatus.PAUSED)
_FOR_UPDATE = BY_NAME.with_for_update()
_SEQ = select(_schedule.c.seq).where(_schedule.c.name == bindparam("name"))
_DUE = (
    select(_schedule)
    .where(IS_ACTIVE, _schedule.c.next_at <= bindparam("now"))
    .order_by(_schedule.c.next_at)
    .limit(bindparam("limit"))
)
_ON_TOPICS = select(_schedule).where(
    IS_ACTIVE, _schedule.c.topic.in_(bindparam("topics", expanding=True))
)
_INSERT_IF_NEW = f"{insertion(_schedule)} ON CONFLICT DO NOTHING"
_MOVE = change(_schedule, (*_MOVABLE, "seq"), where="name = :name AND seq = :base")
_SET = change(_schedule, ("status", "reason", "next_at", "updated_at", "seq"), where="name = :name")
_TAKE_TURN = "UPDATE schedule SET seq = seq + 1 WHERE name = :name"
