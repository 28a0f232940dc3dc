"""The outbox: alerts written with the event that they tell of, until every channel has them.

A letter is taken by pushing its `next_at` ahead by a lease: while that runs, nobody else takes
it, and what a courier records afterwards holds only if `next_at` is still what it set. A courier
that dies leaves letters that are due again when its lease ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, RowMapping, func, select, text

from flows.core import values
from flows.core.alert import Alert, Delivery, DeliveryState, Letter, LetterStatus
from flows.core.records import Event
from flows.core.store import rows, schema
from flows.core.store.batch import change, execute, insertion
from flows.core.store.bell import ring
from flows.core.store.database import Database

_outbox = schema.outbox


def insert(connection: Connection, alerts: Iterable[Alert]) -> list[Alert]:
    """Post alerts within the open transaction; returns those whose key is new."""
    return [
        alert for alert in alerts if execute(connection, _INSERT, [_row(_letter_of(alert))]) == 1
    ]


class Outbox:
    """Every way in which an alert's delivery may move on; each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def post(self, alerts: Sequence[Alert], now: datetime) -> list[Alert]:
        """Post alerts that no other transaction tells of; returns those whose key is new."""
        if not alerts:
            return []
        with self._database.write() as connection:
            new = insert(connection, alerts)
            _append(connection, [_event("alert.raised", _letter_of(alert), now) for alert in new])
            if new:
                ring(connection)
        return new

    def take(
        self, now: datetime, *, limit: int, lease: timedelta, subject: str | None = None
    ) -> list[Letter]:
        """Take letters that are pending and due, the oldest first; nobody else gets them.

        They are due again after `lease`, unless `settle` says otherwise before. With `subject`,
        only what is about that run, schedule or model.
        """
        query = _PENDING.where(_outbox.c.next_at <= now).order_by(_outbox.c.next_at, _outbox.c.at)
        if subject is not None:
            query = query.where(_outbox.c.subject == subject)
        query = query.limit(limit).with_for_update(skip_locked=True)  # SQLite has one writer
        with self._database.write() as connection:
            found = [_letter(row) for row in connection.execute(query).mappings()]
            taken = [replace(letter, next_at=now + lease) for letter in found]
            if taken:
                execute(
                    connection,
                    _LEASE,
                    [{"key": letter.alert.key, "next_at": letter.next_at} for letter in taken],
                )
        return taken

    def settle(self, moves: Sequence[tuple[Letter, Letter]], now: datetime) -> list[Letter]:
        """Record what became of letters that were taken: each as it was taken, and as it is now.

        Appends to the event table when a letter first reaches somebody, waits to be tried again,
        is held by a throttle, or is given up. Returns the letters that this courier still had.
        """
        held: list[Letter] = []
        with self._database.write() as connection:
            for taken, after in moves:
                row = _row(after) | {"taken_until": taken.next_at}
                if execute(connection, _SETTLE, [row]) == 1:
                    held.append(after)
                    _append(connection, _events(taken, after, now))
        return held

    def revive(self, now: datetime) -> list[Letter]:
        """Make everything that some channel has not taken due at once, also what was given up.

        What a courier tries at this very moment may reach its channel twice.
        """
        query = select(_outbox).where(
            _outbox.c.status != LetterStatus.DELIVERED.value, _outbox.c.tries > 0
        )
        with self._database.write() as connection:
            found = [_letter(row) for row in connection.execute(query).mappings()]
            again = [
                replace(letter, status=LetterStatus.PENDING, tries=0, next_at=now)
                for letter in found
            ]
            for letter in again:
                execute(connection, _REVIVE, [_row(letter)])
            _append(connection, [_event("alert.revived", letter, now) for letter in again])
        return again

    def due(self) -> datetime | None:
        """When the next letter may be taken; None when nothing waits."""
        earliest = select(func.min(_outbox.c.next_at)).where(_IS_PENDING)
        with self._database.read() as connection:
            found: datetime | None = connection.execute(earliest).scalar()
        return found

    def list(
        self,
        *,
        limit: int = 50,
        status: LetterStatus | None = None,
        subject: str | None = None,
    ) -> tuple[Letter, ...]:
        """The newest alerts first."""
        query = select(_outbox)
        if status is not None:
            query = query.where(_outbox.c.status == status.value)
        if subject is not None:
            query = query.where(_outbox.c.subject == subject)
        query = query.order_by(_outbox.c.at.desc(), _outbox.c.key).limit(limit)
        with self._database.read() as connection:
            return tuple(_letter(row) for row in connection.execute(query).mappings())

    def told_since(self, since: datetime) -> dict[str, int]:
        """How many alerts each channel took one by one, from `since` on."""
        query = select(_outbox.c.deliveries).where(_outbox.c.delivered_at >= since)
        counts: dict[str, int] = {}
        with self._database.read() as connection:
            for deliveries in connection.execute(query).scalars():
                for delivery in values.loads(deliveries, tuple[Delivery, ...]):
                    if delivery.state is DeliveryState.DELIVERED and delivery.at >= since:
                        counts[delivery.channel] = counts.get(delivery.channel, 0) + 1
        return counts


def _events(taken: Letter, after: Letter, now: datetime) -> list[Event]:
    """What is appended when a letter that was taken is put back."""
    found = []
    if taken.delivered_at is None and after.delivered_at is not None:
        found.append(_event("alert.delivered", after, after.delivered_at))
    elif after.status is LetterStatus.DELIVERED:
        found.append(_event("alert.completed", after, now))
    if after.status is LetterStatus.DEAD:
        found.append(_event("alert.dead", after, now, problems=_problems(after)))
    elif after.tries > taken.tries:
        again = after.next_at.isoformat()
        found.append(_event("alert.retry", after, now, problems=_problems(after), next_at=again))
    held = _channels(after, DeliveryState.HELD)
    if held and held != _channels(taken, DeliveryState.HELD):
        found.append(_event("alert.held", after, now, held=held))
    return found


def _event(kind: str, letter: Letter, at: datetime, **more: object) -> Event:
    alert = letter.alert
    told = [delivery.channel for delivery in letter.deliveries if delivery.state.told]
    data = {
        "key": alert.key,
        "kind": alert.kind.value,
        "flow": alert.flow,
        "subject": alert.subject,
        "since": alert.since.isoformat(),
        "at": alert.at.isoformat(),
        "channels": told,
    }
    return Event(
        id=0, seq=0, at=at, kind=kind, run_id=None, task=None, attempt=None, data=data | more
    )


def _problems(letter: Letter) -> dict[str, str]:
    return {d.channel: d.problem for d in letter.deliveries if d.problem and not d.state.done}


def _channels(letter: Letter, state: DeliveryState) -> list[str]:
    return [delivery.channel for delivery in letter.deliveries if delivery.state is state]


def _append(connection: Connection, events: Sequence[Event]) -> None:
    if events:
        execute(connection, _INSERT_EVENT, [rows.event_row(event) for event in events])


def _letter_of(alert: Alert) -> Letter:
    """An alert that nobody has tried to deliver yet."""
    return Letter(
        alert=alert,
        status=LetterStatus.PENDING,
        tries=0,
        next_at=alert.at,
        delivered_at=None,
        deliveries=(),
    )


def _row(letter: Letter) -> dict[str, Any]:
    alert = letter.alert
    return {
        "key": alert.key,
        "kind": alert.kind.value,
        "severity": alert.severity.value,
        "flow": alert.flow,
        "subject": alert.subject,
        "at": alert.at,
        "alert": values.dumps(alert),
        "status": letter.status.value,
        "tries": letter.tries,
        "next_at": letter.next_at,
        "delivered_at": letter.delivered_at,
        "deliveries": values.dumps(letter.deliveries),
    }


def _letter(row: RowMapping) -> Letter:
    return Letter(
        alert=values.loads(row["alert"], Alert),
        status=LetterStatus(row["status"]),
        tries=row["tries"],
        next_at=row["next_at"],
        delivered_at=row["delivered_at"],
        deliveries=values.loads(row["deliveries"], tuple[Delivery, ...]),
    )


_IS_PENDING = text(f"status = '{LetterStatus.PENDING.value}'")  # literally, for the partial index
_PENDING = select(_outbox).where(_IS_PENDING)
_INSERT = f"{insertion(_outbox)} ON CONFLICT (key) DO NOTHING"
_INSERT_EVENT = insertion(schema.event, without=("id",))
_LEASE = change(_outbox, ("next_at",), where="key = :key")
_STATE = ("status", "tries", "next_at", "delivered_at", "deliveries")
_SETTLE = change(
    _outbox, _STATE, where="key = :key AND status = 'pending' AND next_at = :taken_until"
)
_REVIVE = change(_outbox, _STATE, where="key = :key")
