"""The outbox: alerts written with the event that they tell of, until every channel has them.

- An alert is a row of `outbox`. A courier, who knows the channels, gives it a row of `delivery`
  for each; from then on these decide, and the alert's own row says what they come to.
- A delivery is taken by pushing its `next_at` ahead by a lease: while that runs, nobody else
  takes it, and what a courier records afterwards holds only if `next_at` is still what it set.
  What a courier that died had taken is due again when its lease ends.
- The release before knows the alert's row only, and takes the alert when its `next_at` comes.
  That is put far ahead once the deliveries are written, so that both may serve one store: at
  worst a channel is told twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, delete, func, select, text

from flows.core.alert import Alert, AlertRecord, AlertStatus, Delivery, DeliveryState, status_of
from flows.core.errors import NotStorable
from flows.core.records import Event
from flows.core.store import events, rows, schema
from flows.core.store.batch import change, execute, insertion
from flows.core.store.database import Database, has_table

_outbox, _delivery = schema.outbox, schema.delivery

ADDRESSED = timedelta(days=2)
"""How long the release before leaves alone what has its deliveries: longer than a courier tries."""
LEFT_ALONE = timedelta(minutes=1)
"""So long an alert that could not be addressed is left alone before it is tried again."""

Move = tuple[Delivery, Delivery]
"""A delivery as it was taken, and as it is now."""


def insert(connection: Connection, alerts: Iterable[Alert]) -> list[Alert]:
    """Post alerts within the open transaction; returns those whose key is new.

    In the order of their keys, and all of a transaction at once: whoever posts the same at the
    same moment waits for it, and no two may wait for each other.
    """
    alerts = sorted(alerts, key=lambda alert: alert.key)
    return [alert for alert in alerts if execute(connection, _INSERT, [rows.alert_row(alert)]) == 1]


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
            events.append(connection, [_event("alert.raised", alert, now) for alert in new])
        return new

    def address(
        self,
        channels: Callable[[Alert], Sequence[str]],
        now: datetime,
        *,
        limit: int,
        subject: str | None = None,
    ) -> list[str]:
        """Give the alerts that have none their deliveries, the oldest first; returns their keys.

        With `subject`, only those about that run, schedule or model. One that cannot be
        addressed is left alone for a while.
        """
        query = select(_outbox).where(_IS_PENDING, _outbox.c.next_at <= now)
        if subject is not None:
            query = query.where(_outbox.c.subject == subject)
        query = query.order_by(_outbox.c.next_at).limit(limit).with_for_update(skip_locked=True)
        with self._database.write() as connection:
            if not has_table(connection, _delivery.name):
                _make_table(connection)
            alerts = connection.execute(query).mappings().all()
            to_write = dict(rows.readable(alerts, _addressed_by(channels)))
            for key, deliveries in to_write.items():
                _write_deliveries(connection, key, deliveries, now)
            later = {"next_at": now + LEFT_ALONE}
            left_alone = [row["key"] for row in alerts if row["key"] not in to_write]
            execute(connection, _ADDRESS, [{"key": key, **later} for key in left_alone])
            _conclude(connection, [row for row in alerts if row["key"] in to_write], now)
        return sorted(to_write)

    def due(self) -> datetime | None:
        """When a courier is needed next; None when nothing waits."""
        waiting = select(func.min(_outbox.c.next_at)).where(_IS_PENDING)
        open_ = select(func.min(_delivery.c.next_at)).where(_IS_OPEN, _IS_KNOWN)
        with self._database.read() as connection:
            queries = [waiting, open_] if has_table(connection, _delivery.name) else [waiting]
            earliest = [connection.execute(query).scalar() for query in queries]
        return min((at for at in earliest if at is not None), default=None)

    def due_channels(self, now: datetime, *, subject: str | None = None) -> list[str]:
        """The channels on which something is due."""
        is_due = (_IS_OPEN, _IS_KNOWN, _delivery.c.next_at <= now)
        query = select(_delivery.c.channel).distinct().where(*is_due)
        with self._database.read() as connection:
            return sorted(connection.execute(_about(subject, query)).scalars())

    def take(
        self,
        channel: str,
        now: datetime,
        *,
        limit: int,
        lease: timedelta,
        held: bool = False,
        subject: str | None = None,
    ) -> list[tuple[Alert, Delivery]]:
        """Take a channel's deliveries that are due, the oldest first; nobody else gets them.

        Either those that a throttle held, or the others. They are due again after `lease`,
        unless `settle` says otherwise before.
        """
        query = _about(subject, _due(channel, now, held=held)).limit(limit)
        with self._database.write() as connection:
            return _change(connection, query, next_at=now + lease)

    def hold(self, channel: str, now: datetime, *, until: datetime, limit: int) -> None:
        """Keep what else is due on a channel for the digest at `until`."""
        query = _due(channel, now, held=False).limit(limit)
        problem = "there were too many in this window"
        with self._database.write() as connection:
            held = _change(
                connection, query, state=DeliveryState.HELD, next_at=until, at=now, problem=problem
            )
            events.append(
                connection, [_event("alert.held", alert, now, held=[channel]) for alert, _ in held]
            )

    def settle(self, moves: Sequence[Move], now: datetime) -> None:
        """Record what became of deliveries that were taken, and are still this courier's.

        Appends to the event table when an alert first reaches somebody, waits to be tried again,
        or is given up.
        """
        keys = sorted({taken.alert for taken, _ in moves})
        query = select(_outbox).where(_outbox.c.key.in_(keys)).order_by(_outbox.c.key)
        with self._database.write() as connection:
            alerts = connection.execute(query.with_for_update()).mappings().all()
            moved = [move for move in moves if _settle(connection, [move])]
            tried = {taken.alert for taken, is_now in moved if is_now.tries > taken.tries}
            _conclude(connection, alerts, now, tried=tried)

    def delivered_since(self, channel: str, since: datetime) -> int:
        """How many alerts a channel took one by one, from `since` on."""
        query = select(func.count()).select_from(_delivery)
        query = query.where(_IS_DELIVERED, _delivery.c.channel == channel, _delivery.c.at >= since)
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one())

    def revive(self, now: datetime) -> list[str]:
        """Make everything that some channel has not taken due at once, also what was given up.

        What a courier tries at this very moment may reach its channel twice. Returns the keys.
        """
        query = select(_outbox).where(
            _outbox.c.status != AlertStatus.DELIVERED.value, _outbox.c.tries > 0
        )
        with self._database.write() as connection:
            undelivered = connection.execute(query.order_by(_outbox.c.key)).mappings().all()
            keys = [row["key"] for row in undelivered]
            execute(connection, _REVIVE, [{"key": key, "now": now} for key in keys])
            revived = [rows.alert_from(row) for row in undelivered]
            events.append(connection, [_event("alert.revived", alert, now) for alert in revived])
        return keys

    def list(
        self,
        *,
        limit: int = 50,
        status: AlertStatus | None = None,
        keys: Iterable[str] | None = None,
    ) -> tuple[AlertRecord, ...]:
        """The newest alerts first."""
        query = select(_outbox).order_by(_outbox.c.at.desc(), _outbox.c.key).limit(limit)
        if status is not None:
            query = query.where(_outbox.c.status == status.value)
        if keys is not None:
            query = query.where(_outbox.c.key.in_([*keys]))
        with self._database.read() as connection:
            return tuple(_records(connection, connection.execute(query).mappings().all()))


# ---------------------------------------------------------------- inside a transaction


def _make_table(connection: Connection) -> None:
    """What tables of the release before lack, and nobody of that release looks at."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(7282438)"))  # as `migrate` does
    _delivery.create(connection, checkfirst=True)


def _about(subject: str | None, query: Select[Any]) -> Select[Any]:
    """Only deliveries of alerts about one run, schedule or model; None: of all."""
    if subject is None:
        return query
    about = select(_outbox.c.key).where(
        _outbox.c.key == _delivery.c.alert, _outbox.c.subject == subject
    )
    return query.where(about.exists())


def _due(channel: str, now: datetime, *, held: bool) -> Select[Any]:
    is_held = _delivery.c.state == DeliveryState.HELD.value
    query = select(_delivery).where(
        _IS_OPEN,
        _IS_KNOWN,
        _delivery.c.next_at <= now,
        _delivery.c.channel == channel,
        is_held if held else ~is_held,
    )
    return query.order_by(_delivery.c.next_at, _delivery.c.alert)


def _change(
    connection: Connection, query: Select[Any], **fields: Any
) -> list[tuple[Alert, Delivery]]:
    """Change the deliveries that `query` selects; returns them with their alerts."""
    due = connection.execute(
        query.with_for_update(skip_locked=True)
    ).mappings()  # SQLite: one writer
    before = [rows.delivery_from(row) for row in due]
    after = [replace(delivery, **fields) for delivery in before]
    _settle(connection, list(zip(before, after, strict=True)))
    keys = {delivery.alert for delivery in after}
    alerts = connection.execute(select(_outbox).where(_outbox.c.key.in_(keys))).mappings()
    by_key = {row["key"]: rows.alert_from(row) for row in alerts}
    return [(by_key[delivery.alert], delivery) for delivery in after]


def _settle(connection: Connection, moves: Sequence[Move]) -> int:
    """How many of the deliveries were still as they had been taken, and have moved."""
    return execute(
        connection,
        _SETTLE,
        [rows.delivery_row(after) | {"taken_until": taken.next_at} for taken, after in moves],
    )


def _conclude(
    connection: Connection,
    alerts: Sequence[rows.Row],
    now: datetime,
    *,
    tried: Collection[str] = (),
) -> None:
    """Let the alerts' own rows, as they were, say what their deliveries have come to.

    `tried`: the keys of those that a channel has not taken just now.
    """
    for before in _records(connection, alerts):
        reached = [d.at for d in before.deliveries if d.at is not None and d.state.told]
        after = replace(
            before,
            status=status_of(before.deliveries),
            delivered_at=before.delivered_at or min(reached, default=None),
        )
        row: dict[str, Any] = {"key": after.alert.key, "status": after.status.value}
        row |= {"tries": after.tries, "delivered_at": after.delivered_at}
        execute(connection, _CONCLUDE, [row])
        is_tried = after.alert.key in tried
        events.append(connection, _events(before, after, now, is_tried=is_tried))


def _records(connection: Connection, alerts: Sequence[rows.Row]) -> Iterator[AlertRecord]:
    """The alerts of these rows with their deliveries, in their order; not those of a newer version.

    Their status and `delivered_at` are what was concluded last.
    """
    deliveries: dict[str, list[rows.Row]] = {row["key"]: [] for row in alerts}
    if has_table(connection, _delivery.name):
        mine = select(_delivery).where(_delivery.c.alert.in_(deliveries))
        for row in connection.execute(mine.order_by(_delivery.c.channel)).mappings():
            deliveries[row["alert"]].append(row)

    def alert_from(row: rows.Row) -> AlertRecord:
        mine = [rows.delivery_from(each) for each in deliveries[row["key"]]]
        return AlertRecord(
            alert=rows.alert_from(row),
            status=rows.known(AlertStatus, row["status"]),
            delivered_at=row["delivered_at"],
            deliveries=tuple(mine or _of_the_release_before(row)),
        )

    return rows.readable(alerts, alert_from)


def _addressed_by(
    channels: Callable[[Alert], Sequence[str]],
) -> Callable[[rows.Row], tuple[str, list[Delivery]]]:
    def alert_from(row: rows.Row) -> tuple[str, list[Delivery]]:
        """Its key and what it lacks; one that was revived goes where alerts go by now."""
        key, tried = row["key"], {each.channel: each for each in _of_the_release_before(row)}
        new = {"alert": key, "state": DeliveryState.PENDING, "next_at": row["at"]}
        try:
            wanted = channels(rows.alert_from(row))
        except Exception as error:  # of a route that fits this alert
            raise NotStorable(f"its channels cannot be told: {error!r}") from error
        return key, [tried.get(name) or Delivery(channel=name, **new) for name in wanted]

    return alert_from


def _write_deliveries(
    connection: Connection, key: str, deliveries: Sequence[Delivery], now: datetime
) -> None:
    """Give an alert the deliveries that it lacks."""
    execute(connection, _REOPEN, [{"key": key, "now": now}])
    execute(connection, _INSERT_DELIVERY, [rows.delivery_row(delivery) for delivery in deliveries])
    is_open = _delivery.c.next_at.is_not(None)
    elsewhere = _delivery.c.channel.not_in([delivery.channel for delivery in deliveries])
    connection.execute(delete(_delivery).where(_delivery.c.alert == key, is_open, elsewhere))
    execute(connection, _ADDRESS, [{"key": key, "next_at": now + ADDRESSED}])


def _of_the_release_before(row: rows.Row) -> list[Delivery]:
    """What the release before has recorded, which writes deliveries into the alert's row."""
    pending = row["next_at"] if row["status"] == AlertStatus.PENDING.value else None
    return [
        Delivery(
            alert=row["key"],
            channel=fields["channel"],
            state=(state := rows.known(DeliveryState, fields["state"])),
            tries=row["tries"],
            next_at=None if state.done else pending,
            at=datetime.fromisoformat(fields["at"]),
            problem=fields["problem"],
        )
        for fields in json.loads(row["deliveries"])
    ]


def _events(
    before: AlertRecord, after: AlertRecord, now: datetime, *, is_tried: bool
) -> Iterator[Event]:
    """What is appended when an alert's deliveries have moved."""
    channels = [delivery.channel for delivery in after.deliveries if delivery.state.told]
    if before.delivered_at is None and after.delivered_at is not None:
        yield _event("alert.delivered", after.alert, after.delivered_at, channels=channels)
    elif before.status is not after.status is AlertStatus.DELIVERED:
        yield _event("alert.completed", after.alert, now, channels=channels)
    problems = {d.channel: d.problem for d in after.deliveries if d.problem and not d.state.done}
    if before.status is not after.status is AlertStatus.DEAD:
        yield _event("alert.dead", after.alert, now, problems=problems)
    elif after.next_at is not None and is_tried:
        next_at = after.next_at.isoformat()
        yield _event("alert.retry", after.alert, now, problems=problems, next_at=next_at)


def _event(kind: str, alert: Alert, at: datetime, **more: object) -> Event:
    data = {
        "key": alert.key,
        "kind": alert.kind.value,
        "flow": alert.flow,
        "subject": alert.subject,
        "since": alert.since.isoformat(),
        "at": alert.at.isoformat(),
    }
    return Event(at=at, kind=kind, data=data | more)


# Literally, for the partial indexes:
_IS_PENDING = text(f"outbox.status = '{AlertStatus.PENDING.value}'")
_IS_OPEN = text("delivery.next_at IS NOT NULL")
_IS_KNOWN = _delivery.c.state.in_([state.value for state in DeliveryState])
_IS_DELIVERED = text(f"delivery.state = '{DeliveryState.DELIVERED.value}'")

_INSERT = f"{insertion(_outbox)} ON CONFLICT (key) DO NOTHING"
_ADDRESS = change(_outbox, ("next_at",), where="key = :key")
_CONCLUDE = change(_outbox, ("status", "tries", "delivered_at"), where="key = :key")
_REVIVE = "UPDATE outbox SET status = 'pending', tries = 0, next_at = :now WHERE key = :key"
_INSERT_DELIVERY = f"{insertion(_delivery)} ON CONFLICT (alert, channel) DO NOTHING"
_SETTLE = change(
    _delivery,
    ("state", "tries", "next_at", "at", "problem"),
    where="alert = :alert AND channel = :channel AND next_at = :taken_until",
)
_REOPEN = (  # what has deliveries and is due itself was revived
    "UPDATE delivery SET tries = 0, next_at = :now "
    "WHERE alert = :key AND tries > 0 AND state IN ('failed', 'held')"
)
