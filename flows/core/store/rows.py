"""Records to rows and back."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import CursorResult, RowMapping

from flows.core import values
from flows.core.alert import Alert, AlertKind, AlertStatus, Delivery, DeliveryState, Severity
from flows.core.errors import NotStorable
from flows.core.records import (
    Attempt,
    AttemptStatus,
    ErrorInfo,
    Event,
    Lease,
    Run,
    RunStatus,
    TaskRun,
    TaskStatus,
)
from flows.core.schedule import (
    Cron,
    Deadline,
    Fire,
    FireOutcome,
    Interval,
    NewData,
    Schedule,
    ScheduleStatus,
    StoredSchedule,
    Trigger,
    topic_of,
)
from flows.core.store import schema

Row = RowMapping | Mapping[str, Any]
T = TypeVar("T")
Word = TypeVar("Word", bound=StrEnum)

log = logging.getLogger(__name__)


def readable(found: Iterable[Row], read: Callable[[Row], T]) -> Iterator[T]:
    """What `read` makes of rows, but those of a newer version: they are left alone, and said."""
    for row in found:
        try:
            yield read(row)
        except (NotStorable, ValueError, TypeError, LookupError) as error:
            name = str(next(iter(row.values())))
            _say(read.__name__.strip("_").removesuffix("_from"), name, str(error))


@lru_cache(maxsize=1000)
def _say(kind: str, name: str, problem: str) -> None:
    log.warning("%s %s is left alone: %s", kind, name, problem)


def known(words: type[Word], text: str) -> Word:
    """A word as this version has it. Raises NotStorable for one of a newer version."""
    try:
        return words(text)
    except ValueError:
        raise NotStorable(
            f"{words.__name__} {text!r} is of a newer version of Ratchet", hint="upgrade ratchet-ml"
        ) from None


def run_row(run: Run) -> dict[str, Any]:
    """All columns of `run`."""
    return {**vars(run), "status": run.status.value, "trigger": values.dumps(run.trigger)}


def run_from(row: Row) -> Run:
    """A Run from its row."""
    fields = dict(row)
    fields["status"] = known(RunStatus, fields["status"])
    fields["trigger"] = json.loads(fields["trigger"])
    return Run(**fields)


def runs_from(found: CursorResult[Any]) -> tuple[Run, ...]:
    """Runs from a result, fetched at once: the way of long lists."""
    names = tuple(found.keys())
    read = (dict(zip(names, row, strict=True)) for row in found.all())
    return tuple(readable(read, run_from))


def task_row(task: TaskRun) -> dict[str, Any]:
    """All columns of `task_run`."""
    row = {**vars(task), "status": task.status.value}
    if task.error is not None:
        row["error"] = values.dumps(task.error)
    return row


def task_from(row: Row) -> TaskRun:
    """A TaskRun from its row."""
    return TaskRun(
        **{**row, "status": known(TaskStatus, row["status"]), "error": _error(row["error"])}
    )


def attempt_row(attempt: Attempt) -> dict[str, Any]:
    """All columns of `attempt`."""
    row = {**vars(attempt), "status": attempt.status.value}
    if attempt.error is not None:
        row["error"] = values.dumps(attempt.error)
    return row


def attempt_from(row: Row) -> Attempt:
    """An Attempt from its row."""
    return Attempt(
        **{**row, "status": known(AttemptStatus, row["status"]), "error": _error(row["error"])}
    )


def event_row(event: Event) -> dict[str, Any]:
    """The columns of `event` but its id, which the database gives."""
    row = {**vars(event), "data": values.dumps(event.data) if event.data else "{}"}
    del row["id"]
    return row


def event_from(row: Row) -> Event:
    """An Event from its row."""
    return Event(**{**row, "data": values.loads(row["data"])})


def lease_from(row: Row) -> Lease:
    """A Lease from its row."""
    return Lease(**row)


def alert_row(alert: Alert) -> dict[str, Any]:
    """The columns of `outbox` for an alert that nobody has tried to deliver yet."""
    return {
        "key": alert.key,
        "kind": alert.kind.value,
        "severity": alert.severity.value,
        "flow": alert.flow,
        "subject": alert.subject,
        "at": alert.at,
        "alert": values.dumps(alert),
        "status": AlertStatus.PENDING.value,
        "tries": 0,
        "next_at": alert.at,
        "delivered_at": None,
        "deliveries": "[]",
    }


def alert_from(row: Row) -> Alert:
    """The alert of a row; one that this version cannot read is told of as it stands there."""
    try:
        alert: Alert = values.loads(row["alert"], Alert)
        return alert
    except (NotStorable, ValueError):
        return Alert(
            key=row["key"],
            kind=AlertKind.NOTICED,
            severity=Severity.CRITICAL,
            flow=row["flow"],
            subject=row["subject"],
            title=f"an alert ({row['kind']}) that this version of Ratchet cannot read",
            reason=row["alert"],
            since=row["at"],
            at=row["at"],
            next="upgrade ratchet-ml",
        )


def delivery_row(delivery: Delivery) -> dict[str, Any]:
    """All columns of `delivery`."""
    return {**vars(delivery), "state": delivery.state.value}


def delivery_from(row: Row) -> Delivery:
    """A Delivery from its row."""
    return Delivery(**{**row, "state": known(DeliveryState, row["state"])})


def _error(text: str | None) -> ErrorInfo | None:
    if text is None:
        return None
    error: ErrorInfo = values.loads(text, ErrorInfo)
    return error


def schedule_row(stored: StoredSchedule) -> dict[str, Any]:
    """All columns of `schedule`."""
    return {
        "name": stored.schedule.name,
        "flow": stored.schedule.flow,
        "definition": values.dumps(stored.schedule),
        "topic": topic_of(stored.schedule.trigger),
        "status": stored.status.value,
        "reason": stored.reason,
        "next_at": stored.next_at,
        "cursor": values.dumps(stored.cursor),
        "created_at": stored.created_at,
        "updated_at": stored.updated_at,
        "seq": stored.seq,
    }


def schedule_from(row: Row) -> StoredSchedule:
    """A StoredSchedule. Raises NotStorable when a newer version wrote it."""
    try:
        schedule: Schedule = values.loads(row["definition"], Schedule)
        cursor: dict[str, Any] = values.loads(row["cursor"], dict[str, Any])
        for key, annotation in _CURSORS.get(type(schedule.trigger), {}).items():
            values.from_json(cursor.get(key), annotation)
    except (ValueError, TypeError) as error:  # a word, or a time, that is none here
        raise NotStorable(str(error), hint="upgrade ratchet-ml") from error
    return StoredSchedule(
        schedule=schedule,
        status=known(ScheduleStatus, row["status"]),
        reason=row["reason"],
        next_at=row["next_at"],
        cursor=cursor,
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        seq=row["seq"],
    )


_TIMES = {"at": datetime, "anchor": datetime | None}
_CURSORS: Mapping[type[Trigger], Mapping[str, Any]] = {
    Cron: _TIMES,
    Interval: _TIMES,
    Deadline: _TIMES,
    NewData: {"version": int | None, "restored": int | None},
}
"""What is read of a schedule's cursor, by its trigger."""


def fire_row(fire: Fire) -> dict[str, Any]:
    """All columns of `fire`: one that is pending such that older code can read it."""
    row = {**vars(fire), "outcome": fire.outcome.value}
    if fire.outcome is FireOutcome.PENDING:
        row |= {"outcome": FireOutcome.SKIPPED.value, "decided_at": schema.PENDING_UNTIL}
    return row


def fire_from(row: Row) -> Fire:
    """A Fire. Raises ValueError for an outcome that only a newer version knows."""
    fire = Fire(**{**row, "outcome": FireOutcome(row["outcome"])})
    if fire.decided_at < schema.PENDING_UNTIL:
        return fire
    return replace(fire, outcome=FireOutcome.PENDING, decided_at=fire.at)
