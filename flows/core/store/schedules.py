"""Schedules in the store: what is known of them, and each way in which they change.

Every change is one transaction, and first moves the schedule's `seq`. That holds its row, so
that of several schedulers which decided on the same schedule at once, one is the first; the
others learn that it has moved, and write nothing. A fire is one row, and its run is made in the
same commit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from difflib import get_close_matches
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    bindparam,
    func,
    or_,
    select,
    text,
    true,
    tuple_,
)
from sqlalchemy.sql import Select

from flows.core import alert, values
from flows.core.alert import Alert
from flows.core.errors import NotFound, NotStorable, Refused
from flows.core.schedule import Fire, OnRequest, Schedule, ScheduleStatus, StoredSchedule, lane_of
from flows.core.store import fires, outbox, rows, schema, writes
from flows.core.store.batch import change, execute, insertion
from flows.core.store.database import Database
from flows.core.store.runs import NewRun

_schedule, _fire, _run = schema.schedule, schema.fire, schema.run

T = TypeVar("T")


class ScheduleStore:
    """The schedules of an installation, and their fires."""

    def __init__(self, database: Database, owners: Collection[str] | None = None) -> None:
        """`owners` are the modules of the project whose schedules it lists; None: all of them."""
        self._database = database
        self._whose = true() if owners is None else _whose(owners)
        self._unreadable: dict[str, int] = {}  # name and `seq` of what a newer version wrote

    # ------------------------------------------------------------------ what is known

    def get(self, name: str) -> StoredSchedule:
        """One schedule. Raises NotFound, naming the nearest; NotStorable."""
        with self._database.read() as connection:
            row = connection.execute(_BY_NAME, {"name": name}).mappings().first()
            if row is None:
                raise _unknown(connection, name)
            return rows.schedule_from(row)

    def list(self, *, removed: bool = False) -> tuple[StoredSchedule, ...]:
        """All schedules by name; with `removed`, also those that are no longer declared.

        Not those that another version of Ratchet wrote, and this one cannot read.
        """
        query = select(_schedule).where(self._whose).order_by(_schedule.c.name)
        if not removed:
            query = query.where(_schedule.c.status != ScheduleStatus.REMOVED.value)
        return self._read(query, {})

    def topics(self) -> frozenset[str]:
        """What active schedules wait for, other than time: `view:digits`, `asset:model:*`."""
        with self._database.read() as connection:
            return frozenset(connection.execute(_TOPICS.where(self._whose)).scalars())

    def fires(self, name: str, limit: int = 20) -> tuple[Fire, ...]:
        """The newest fires of a schedule, those first that wait for a decision."""
        with self._database.read() as connection:
            return fires.read(connection, fires.NEWEST, name=name, limit=limit)

    def last_fires(self) -> dict[str, Fire]:
        """The newest fire of each schedule."""
        with self._database.read() as connection:
            newest = fires.read(connection, fires.LAST)  # several that were decided on at once
        return {fire.schedule: fire for fire in sorted(newest, key=lambda fire: fire.at)}

    def fires_of(self, name: str, keys: Sequence[str]) -> dict[str, Fire]:
        """What became of some keys of a schedule, as far as they are recorded."""
        with self._database.read() as connection:
            return fires.of_keys(connection, name, keys)

    def pending(self, name: str, limit: int = 1000) -> tuple[Fire, ...]:
        """The fires of a schedule that wait for a decision, the oldest first."""
        with self._database.read() as connection:
            return fires.read(connection, fires.PENDING, name=name, limit=limit)

    def stands(self, stored: StoredSchedule) -> bool:
        """Whether a schedule is still where it was read."""
        with self._database.read() as connection:
            seq = connection.execute(fires.SEQ, {"name": stored.schedule.name}).scalar()
        return bool(seq == stored.seq)

    def open_runs(self, stored: StoredSchedule) -> Sequence[str]:
        """The ids of a schedule's open runs, oldest first, if it is still where it was read.

        So none of them was made by somebody who has fired the schedule meanwhile.
        """
        with self._database.read() as connection:
            run_ids = fires.open_in_lane(connection, lane_of(stored.schedule.name))
        return run_ids if self.stands(stored) else ()

    # ------------------------------------------------------------------ what is due

    def due(self, now: datetime, limit: int = 100) -> tuple[StoredSchedule, ...]:
        """The schedules to look at by now, the longest due first. Costs by these alone."""
        while True:
            unreadable = [*self._unreadable.items()]
            where = {"now": now, "limit": limit, "unreadable": unreadable}
            schedules = self._read(_DUE.where(self._whose), where)
            if schedules or unreadable == [*self._unreadable.items()]:
                return schedules  # else the next ones may be readable

    def on(self, topics: Iterable[str]) -> tuple[StoredSchedule, ...]:
        """The active schedules that wait for one of some topics."""
        return self._read(_ON_TOPICS.where(self._whose), {"topics": [*topics]})

    def to_decide(self, now: datetime) -> tuple[StoredSchedule, ...]:
        """The active schedules with fires that wait for a decision, and may be looked at."""
        return self._read(_TO_DECIDE.where(self._whose), {"now": now})

    def next_at(self, after: datetime | None = None) -> datetime | None:
        """When the next schedule is due, of those that are after a time; None: none ever is."""
        query = _EARLIEST.where(self._whose)
        query = query if after is None else query.where(_schedule.c.next_at > after)
        with self._database.read() as connection:
            earliest: datetime | None = connection.execute(query).scalar()
        return earliest

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
            if execute(connection, _INSERT_IF_NEW, [rows.schedule_row(fresh)]) == 1:
                fires.append(connection, "schedule.saved", schedule.name, 1, now, data)
                return True
            row = connection.execute(_FOR_UPDATE, {"name": schedule.name}).mappings().one()
            changed = _redeclared(row, fresh)
            if changed is None:
                return False
            if changed.cursor is fresh.cursor:
                fires.drop_pending(connection, schedule.name)
            fires.move(connection, changed, base=row["seq"])
            fires.append(connection, "schedule.saved", schedule.name, changed.seq, now, data)
            return True

    def remove(self, name: str, now: datetime) -> None:
        """It is no longer declared. Its fires stay, so that it never repeats one of them."""
        with self._database.write() as connection:
            row = _locked(connection, name)
            _set(connection, row, "removed", ScheduleStatus.REMOVED, None, None, now)
            fires.drop_pending(connection, name)

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
                only_asked = isinstance(rows.schedule_from(row).schedule.trigger, OnRequest)
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
            disabled = ScheduleStatus.DISABLED
            seq = _set(connection, row, "disabled", disabled, reason, row["next_at"], now)
            if failed is not None:
                fires.record(connection, failed, None, seq, now)
            news = alert.schedule_disabled(name, row["flow"], reason, seq=seq, now=now)
            outbox.insert(connection, [news])

    def postpone(
        self, stored: StoredSchedule, reason: str, next_at: datetime, now: datetime
    ) -> None:
        """It cannot be looked at just now. Recorded as an event once, until it can be again."""
        moved = replace(stored, reason=reason, next_at=next_at, updated_at=now, seq=stored.seq + 1)
        with self._database.write() as connection:
            if fires.move(connection, moved, base=stored.seq) and stored.reason is None:
                data, name = {"reason": reason}, stored.schedule.name
                fires.append(connection, "schedule.failed", name, moved.seq, now, data)

    # ------------------------------------------------------------------ fires

    def fire(
        self,
        stored: StoredSchedule,
        decided: Sequence[tuple[Fire, NewRun | None]],
        *,
        next_at: datetime | None,
        cursor: dict[str, Any],
        now: datetime,
        instead: str | None = None,
        news: Sequence[Alert] = (),
    ) -> tuple[Fire, ...] | None:
        """Record what was decided on a schedule, with the runs of its fires.

        - None, and nothing is written, when the schedule is no longer where `stored` says.
        - Returned are the fires that were recorded: of a key that has a run already, nothing is.
        - With `instead`, a reason, the runs take the place of those that are open in their lane.
        - `news` is posted with it.
        """
        moved = replace(stored, reason=None, next_at=next_at, cursor=cursor, seq=stored.seq + 1)
        if decided:
            moved = replace(moved, updated_at=now)

        def decide(connection: Connection) -> tuple[Fire, ...] | None:
            if not fires.move(connection, moved, base=stored.seq):
                return None
            tried = [fires.record(connection, f, new, moved.seq, now) for f, new in decided]
            recorded = tuple(fire for fire in tried if fire is not None)
            started = {fire.run_id for fire in recorded if fire.run_id is not None}
            if instead is not None and started:
                lane = lane_of(stored.schedule.name)
                fires.cancel_others(connection, lane, started, instead, now)
            outbox.insert(connection, news)
            return recorded

        return self._transact(decide)

    def request(
        self,
        fire: Fire,
        new: NewRun,
        now: datetime,
        *,
        alone: bool = False,
        instead: str | None = None,
    ) -> Fire:
        """Record a fire that somebody asked for, and its run; returns what stands for its key.

        Any number of callers may ask at once: a key has at most one run, and until it has one,
        asking again tries again. With `alone`, it is recorded as skipped while a run in the lane
        of `new` is open; with `instead`, a reason, it takes the place of these.
        """
        return self._transact(
            lambda connection: fires.request(connection, fire, new, now, alone, instead)
        )

    def _transact(self, decide: Callable[[Connection], T]) -> T:
        """Run `decide` in one transaction; again when a worker has moved a run meanwhile."""
        while True:
            try:
                with self._database.write() as connection:
                    return decide(connection)
            except writes.Moved:
                continue

    def _read(self, query: Select[Any], where: dict[str, Any]) -> tuple[StoredSchedule, ...]:
        """The schedules of a query, but those of a newer version: they are left alone."""
        with self._database.read() as connection:
            selected = connection.execute(query, where).mappings().all()
        schedules = tuple(rows.readable(selected, rows.schedule_from))
        names = {each.schedule.name for each in schedules}
        self._unreadable |= {r["name"]: r["seq"] for r in selected if r["name"] not in names}
        return schedules


def _whose(owners: Collection[str]) -> ColumnElement[bool]:
    """Those of a project with some modules, and those that say of no project."""
    marks = [f"@{owner}{end}" for owner in owners for end in '@"']
    return or_(
        _schedule.c.definition.not_like('%"origin":"%@%'),
        *(_schedule.c.definition.contains(mark, autoescape=True) for mark in marks),
    )


def _locked(connection: Connection, name: str) -> RowMapping:
    """A schedule's row, which nobody else changes until the transaction ends."""
    row = connection.execute(_FOR_UPDATE, {"name": name}).mappings().first()
    if row is None or row["status"] == ScheduleStatus.REMOVED:
        raise _unknown(connection, name)
    return row


def _unknown(connection: Connection, name: str) -> NotFound:
    near = get_close_matches(name, connection.execute(_NAMES).scalars().all(), n=1)
    hint = f"did you mean {near[0]}?" if near else "see them: ratchet schedules"
    return NotFound(f"there is no schedule {name}", hint=hint)


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


def _redeclared(row: RowMapping, fresh: StoredSchedule) -> StoredSchedule | None:
    """What a stored schedule becomes by a new declaration; None when nothing changes.

    Raises Refused: a newer version wrote it.
    """
    back = row["status"] == ScheduleStatus.REMOVED
    if not back and row["definition"] == values.dumps(fresh.schedule):
        return None
    try:
        stored = rows.schedule_from(row)
    except NotStorable as error:
        problem = f"schedule {row['name']} was written by a newer Ratchet: {error}"
        raise Refused(problem, hint="upgrade this one") from error
    changed = replace(fresh, created_at=row["created_at"], seq=row["seq"] + 1)
    if row["status"] == ScheduleStatus.PAUSED:
        changed = replace(changed, status=ScheduleStatus.PAUSED, reason=row["reason"])
    if not back and stored.schedule.trigger == fresh.schedule.trigger:
        changed = replace(changed, next_at=stored.next_at, cursor=stored.cursor)
    return changed


_FIRING = (ScheduleStatus.ACTIVE, ScheduleStatus.PAUSED)
_IS_ACTIVE = text("status = 'active'")  # literally, for the partial indexes
_HAS_TOPIC = text("topic IS NOT NULL")
_HAS_TIME = text("next_at IS NOT NULL")
_BY_NAME = select(_schedule).where(_schedule.c.name == bindparam("name"))
_FOR_UPDATE = _BY_NAME.with_for_update()
_NAMES = select(_schedule.c.name).where(_schedule.c.status != ScheduleStatus.REMOVED.value)
_TOPICS = select(_schedule.c.topic).where(_IS_ACTIVE, _HAS_TOPIC).distinct()
_ON_TOPICS = select(_schedule).where(
    _IS_ACTIVE, _schedule.c.topic.in_(bindparam("topics", expanding=True))
)
_EARLIEST = select(func.min(_schedule.c.next_at)).where(_IS_ACTIVE, _HAS_TIME)
_DUE = (
    select(_schedule)
    .where(
        _IS_ACTIVE,
        _schedule.c.next_at <= bindparam("now"),
        tuple_(_schedule.c.name, _schedule.c.seq).not_in(bindparam("unreadable", expanding=True)),
    )
    .order_by(_schedule.c.next_at)
    .limit(bindparam("limit"))
)
_TO_DECIDE = select(_schedule).where(
    _IS_ACTIVE,
    _schedule.c.next_at.is_(None) | (_schedule.c.next_at <= bindparam("now")),
    _schedule.c.name.in_(select(_fire.c.schedule).where(fires.IS_PENDING)),
)
_INSERT_IF_NEW = f"{insertion(_schedule)} ON CONFLICT DO NOTHING"
_SET = change(_schedule, ("status", "reason", "next_at", "updated_at", "seq"), where="name = :name")
