"""Deadlines of runs: when to look whether one will be met, and what was told of it.

A look is guarded by the time that it was set for, so that of several schedulers one tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, func, select, text

from flows.core.alert import Alert
from flows.core.records import Event, Run, RunStatus
from flows.core.store import events, outbox, rows, schema
from flows.core.store.batch import change, execute, insertion
from flows.core.store.database import Database

_deadline, _run = schema.deadline, schema.run


@dataclass(frozen=True, kw_only=True)
class WatchedRun:
    """A run that has to have ended at some time."""

    run: Run
    at: datetime  # its deadline
    warned: bool  # that it will probably miss it
    next_at: datetime  # when to look at it; what a look is guarded by


def insert(connection: Connection, run_id: str, at: datetime, now: datetime) -> None:
    """Watch a new run, in the transaction that makes it; the first look is at once."""
    row = {"run_id": run_id, "at": at, "warned": 0, "next_at": now}
    execute(connection, _INSERT, [row])


class DeadlineStore:
    """The runs that have to have ended at some time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def due(self, now: datetime, limit: int = 100) -> tuple[WatchedRun, ...]:
        """The runs to look at by now, but those of a newer version. Costs by these alone."""
        with self._database.read() as connection:
            selected = connection.execute(_DUE, {"now": now, "limit": limit}).mappings()
            return tuple(rows.readable(selected, _watched))

    def next_at(self) -> datetime | None:
        """When the next look is due; None when no run is watched."""
        with self._database.read() as connection:
            earliest: datetime | None = connection.execute(_EARLIEST).scalar()
        return earliest

    def looked(
        self,
        watched: WatchedRun,
        *,
        next_at: datetime | None,
        alert: Alert | None = None,
        now: datetime,
    ) -> bool:
        """Record a look, and tell what it found: an event `run.<kind of alert>` and the alert.

        None for `next_at`: there is nothing more to look at. False when another was faster.
        """
        row = {
            "run_id": watched.run.id,
            "next_at": next_at,
            "warned": int(watched.warned or alert is not None),
            "base": watched.next_at,
        }
        with self._database.write() as connection:
            if execute(connection, _LOOKED, [row]) != 1:
                return False
            new = outbox.insert(connection, [alert] if alert is not None else [])
            events.append(connection, [_event(watched, each, now) for each in new])
        return True

    def durations(self, flow: str, count: int = 50) -> Sequence[timedelta]:
        """How long the flow's newest runs took that worked, from creation to end."""
        with self._database.read() as connection:
            ended = connection.execute(_DURATIONS, {"flow": flow, "count": count}).all()
        return [row.ended_at - row.created_at for row in ended]


def _watched(row: rows.Row) -> WatchedRun:
    run = rows.run_from({column.name: row[column.name] for column in _run.columns})
    return WatchedRun(
        run=run, at=row["deadline_at"], warned=bool(row["warned"]), next_at=row["next_at"]
    )


def _event(watched: WatchedRun, alert: Alert, now: datetime) -> Event:
    """About a run, and not of it: the run itself has not moved, so its `run_id` stays free."""
    return Event(
        at=now,
        kind=f"deadline.{alert.kind.removeprefix('deadline_')}",
        data={
            "run": watched.run.id,
            "flow": watched.run.flow,
            "deadline": watched.at.isoformat(),
            "reason": alert.reason,
        },
    )


_DUE = (
    select(_run, _deadline.c.at.label("deadline_at"), _deadline.c.warned, _deadline.c.next_at)
    .join(_deadline, _deadline.c.run_id == _run.c.id)
    .where(
        _deadline.c.next_at <= bindparam("now"),
        _run.c.status.in_([status.value for status in RunStatus]),  # not those of a newer version
    )
    .order_by(_deadline.c.next_at)
    .limit(bindparam("limit"))
)
_EARLIEST = select(func.min(_deadline.c.next_at)).where(text("next_at IS NOT NULL"))
_DURATIONS = (
    select(_run.c.created_at, _run.c.ended_at)
    .where(
        _run.c.flow == bindparam("flow"),
        _run.c.status.in_((RunStatus.SUCCEEDED.value, RunStatus.HALTED.value)),
    )
    .order_by(_run.c.created_at.desc())
    .limit(bindparam("count"))
)
_INSERT = f"{insertion(schema.deadline)} ON CONFLICT DO NOTHING"
_LOOKED = change(_deadline, ("next_at", "warned"), where="run_id = :run_id AND next_at = :base")
