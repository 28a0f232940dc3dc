"""Alerts: what people are told of, what the message says, and where each one stands.

An alert is written into the outbox in the transaction of the event that it tells of, under a
key that makes it unique; a courier delivers it from there, at least once on every channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from flows.core.errors import ConfigError
from flows.core.records import Event, Run, TaskRun
from flows.core.values import fitted, storable

TIMED_OUT = "TimedOut"
"""The error of an attempt that was ended at its timeout, as `progress` names it."""
NOTICED = "task.noticed"
"""The event of a notice: what a task said with `noticed`."""
TOLD_OF = frozenset({"run.failed", "run.halted", NOTICED})
"""The events of a run that have an alert."""


class Severity(StrEnum):
    """How soon somebody has to look."""

    INFO = "info"  # nothing to do: a model that is not proven better
    WARNING = "warning"  # within the day: a halt, a deadline at risk
    CRITICAL = "critical"  # now: something failed, a deadline was missed


class AlertKind(StrEnum):
    """What happened."""

    FAILED = "failed"  # a run failed
    HALTED = "halted"  # a run halted, for another reason than the next three
    BAD_DATA = "bad_data"  # a run halted: its data failed the checks, or cannot be trained on
    NOT_PROVEN = "not_proven"  # a run halted: its model is not proven better, which is no fault
    AWAITS_APPROVAL = "awaits_approval"  # a run halted: its model waits for somebody's word
    TIMED_OUT = "timed_out"  # a task was ended at its timeout, and its run failed for it
    DEADLINE_AT_RISK = "deadline_at_risk"  # a run will probably not end in time
    DEADLINE_MISSED = "deadline_missed"  # a run had not ended in time
    SCHEDULE_DISABLED = "schedule_disabled"  # a schedule cannot be carried out
    SCHEDULE_SKIPPING = "schedule_skipping"  # its run does not end, and fire after fire is skipped
    CHAMPION_CHANGED = "champion_changed"  # by somebody outside of Ratchet
    CHAMPION_HARMFUL = "champion_harmful"  # proven worse than the one before, after its promotion
    CHAMPION_UNWATCHED = "champion_unwatched"  # its watch broke off: nothing rolls it back any more
    NOTICED = "noticed"  # a task said so
    DIGEST = "digest"  # several alerts in one message, because there were too many
    TEST = "test"  # `ratchet alerts test`


NOTICEABLE = (AlertKind.NOTICED, AlertKind.CHAMPION_HARMFUL, AlertKind.CHAMPION_UNWATCHED)
"""What a task may say with `noticed`; what Ratchet itself sees, only Ratchet says."""


_HALTS = {
    AlertKind.HALTED: ("halted", Severity.WARNING),
    AlertKind.BAD_DATA: ("halted: bad data", Severity.WARNING),
    AlertKind.NOT_PROVEN: ("halted: not proven better", Severity.INFO),
    AlertKind.AWAITS_APPROVAL: ("halted: it waits for approval", Severity.WARNING),
}
"""What a task may say with `Halt`: the words, and how soon somebody has to look."""


@dataclass(frozen=True, kw_only=True)
class Alert:
    """What is said: what happened, why, since when, and what to do next.

    Whatever its texts hold, they fit a message and can be stored: too long ones are cut.
    """

    key: str  # unique: the same thing is told once; `failed:<run>:<seq>`
    kind: AlertKind
    severity: Severity
    flow: str | None  # name of the flow that it is about
    subject: str  # run id, schedule name or model name
    title: str  # one line: `retrain failed`
    reason: str  # one sentence: why
    since: datetime  # when the trouble began: the fault, for the time to detection
    at: datetime  # when it was noticed
    next: str  # the command or link for the next step

    def __post_init__(self) -> None:
        for name, fit, longest in _TEXTS:
            if (text := getattr(self, name)) is not None:
                object.__setattr__(self, name, fit(text, longest))


def _cut(text: str, longest: int) -> str:
    """The words that fit: half of a URL would hide from whoever masks what is secret in it."""
    kept = storable(text, longest)
    if kept == storable(text, longest + 1):
        return kept
    return f"{kept[: longest - 4].rpartition(' ')[0] or kept[: longest - 4]} ..."


_TEXTS = (
    ("key", fitted, 300),
    ("flow", fitted, 200),
    ("subject", fitted, 200),
    ("title", _cut, 200),
    ("reason", _cut, 2000),
    ("next", _cut, 500),
)
"""How each text of an alert is made to fit: names stay unique, the others are cut."""


class DeliveryState(StrEnum):
    """How an alert stands on one channel."""

    PENDING = "pending"  # not tried yet
    DELIVERED = "delivered"  # the channel took it
    DIGESTED = "digested"  # the channel took it within a digest
    KEPT = "kept"  # written down, where nobody is told by it
    HELD = "held"  # over the channel's throttle; it goes into the digest at the window's end
    FAILED = "failed"  # the channel did not take it; `problem` says why

    @property
    def told(self) -> bool:
        """Whether somebody has been told."""
        return self in (DeliveryState.DELIVERED, DeliveryState.DIGESTED)

    @property
    def done(self) -> bool:
        """Whether nothing is left to do on the channel."""
        return self.told or self is DeliveryState.KEPT


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """An alert on its way to one channel."""

    alert: str  # its key
    channel: str  # `alerts.jsonl`, or the service, without anything secret; unique
    state: DeliveryState
    tries: int = 0  # that the channel did not take
    next_at: datetime | None = None  # when it is due; None: done, or given up
    at: datetime | None = None  # of the last try
    problem: str | None = None  # one line: why it is not done


class AlertStatus(StrEnum):
    """How an alert stands on all its channels."""

    PENDING = "pending"  # some channel has still to be tried
    DELIVERED = "delivered"  # every channel is done with it
    DEAD = "dead"  # given up: some channel did not take it in about a day


@dataclass(frozen=True, kw_only=True)
class AlertRecord:
    """An alert, and how far its delivery has come."""

    alert: Alert
    status: AlertStatus
    delivered_at: datetime | None  # when it first reached somebody
    deliveries: tuple[Delivery, ...]  # one for each channel; none before a courier has seen it

    @property
    def tries(self) -> int:
        """How often the channel that was tried most has not taken it."""
        return max((delivery.tries for delivery in self.deliveries), default=0)

    @property
    def next_at(self) -> datetime | None:
        """When some channel is tried next; None: nothing is left to do."""
        return min((d.next_at for d in self.deliveries if d.next_at is not None), default=None)


def status_of(deliveries: Sequence[Delivery]) -> AlertStatus:
    """What an alert's deliveries come to."""
    if any(delivery.next_at is not None for delivery in deliveries):
        return AlertStatus.PENDING
    failed = any(delivery.state is DeliveryState.FAILED for delivery in deliveries)
    return AlertStatus.DEAD if failed else AlertStatus.DELIVERED


@dataclass(frozen=True, kw_only=True)
class Throttle:
    """So many alerts on one channel in one window; what is over goes into one digest."""

    alerts: int = 20  # told one by one in each window; at least 1
    window: timedelta = timedelta(hours=1)  # windows begin at multiples of it, in UTC

    def __post_init__(self) -> None:
        if self.alerts < 1 or self.window < timedelta(seconds=1):
            raise ConfigError(
                f"a throttle of {self.alerts} alerts per {self.window} tells nobody anything",
                hint="at least 1 alert and 1s; or null for no throttle",
            )

    def begin(self, now: datetime) -> datetime:
        """When the window began that `now` lies in."""
        return now - timedelta(seconds=now.timestamp() % self.window.total_seconds())

    def end(self, now: datetime) -> datetime:
        """When the next one begins."""
        return self.begin(now) + self.window


def alert_of_run(run: Run, event: Event, cause: TaskRun | None = None) -> Alert | None:
    """The alert for an event of a run; None for an event that nobody needs to be told of.

    `cause` is the task by which the run ended so: the trouble began with its end, and a
    timeout is told from any other failure by its error.
    """
    if event.kind not in TOLD_OF:
        return None
    if event.kind == NOTICED:
        return _of_notice(run, event)
    error = cause.error if cause else None
    if event.kind == "run.halted":
        kind = next((k for k in _HALTS if error and k in error.kinds), AlertKind.HALTED)
        words, severity = _HALTS[kind]
        next_step = (error and error.hint) or f"ratchet show {run.id}"
    else:
        kind = AlertKind.TIMED_OUT if error and error.type == TIMED_OUT else AlertKind.FAILED
        words, severity, next_step = _words(kind), Severity.CRITICAL, f"ratchet retry {run.id}"
    return Alert(
        key=f"{kind}:{run.id}:{event.seq}",
        kind=kind,
        severity=severity,
        flow=run.flow,
        subject=run.id,
        title=f"{run.flow} {words}",
        reason=run.reason or "no reason was recorded",
        since=(cause.ended_at if cause else None) or event.at,
        at=event.at,
        next=next_step,
    )


def _of_notice(run: Run, event: Event) -> Alert:
    """What a task noticed; whatever else it calls itself, it is `noticed`, and under such a key."""
    notice = event.data
    kind = next((kind for kind in NOTICEABLE if kind == notice["kind"]), AlertKind.NOTICED)
    key = notice["key"] if notice["key"].startswith(f"{kind}:") else f"{kind}:{notice['key']}"
    severity = Severity.WARNING if kind is AlertKind.NOTICED else Severity.CRITICAL
    return Alert(
        key=key,
        kind=kind,
        severity=severity,
        flow=run.flow,
        subject=run.id,
        title=notice["title"],
        reason=notice["reason"],
        since=event.at,
        at=event.at,
        next=notice["next"],
    )


def schedule_disabled(name: str, flow: str, reason: str, *, seq: int, now: datetime) -> Alert:
    """A schedule cannot be carried out, and was disabled by its change number `seq`."""
    return Alert(
        key=f"{AlertKind.SCHEDULE_DISABLED}:{name}:{seq}",
        kind=AlertKind.SCHEDULE_DISABLED,
        severity=Severity.CRITICAL,
        flow=flow,
        subject=name,
        title=f"schedule {name} of {flow} is disabled",
        reason=reason,
        since=now,
        at=now,
        next=f"ratchet schedules resume {name}",
    )


def schedule_skipping(
    name: str, flow: str, run_id: str, skipped: int, since: datetime, *, now: datetime
) -> Alert:
    """A schedule waits for the end of a run that is open since then; told once a day."""
    fires = f"{skipped} fires in a row were skipped for it" if skipped else "new data waits for it"
    return Alert(
        key=f"{AlertKind.SCHEDULE_SKIPPING}:{name}:{now:%Y-%m-%d}",
        kind=AlertKind.SCHEDULE_SKIPPING,
        severity=Severity.WARNING,
        flow=flow,
        subject=name,
        title=f"schedule {name} of {flow} waits for a run that does not end",
        reason=f"run {run_id} is open since {since:%Y-%m-%d %H:%M} UTC; {fires}",
        since=since,
        at=now,
        next=f"ratchet show {run_id}",
    )


def deadline_at_risk(run: Run, due: datetime, reason: str, *, now: datetime) -> Alert:
    """A run will probably not have ended at `due`."""
    return _deadline(AlertKind.DEADLINE_AT_RISK, run, due, reason, since=now, now=now)


def deadline_missed(run: Run, due: datetime, reason: str, *, now: datetime) -> Alert:
    """A run had not ended at `due`."""
    return _deadline(AlertKind.DEADLINE_MISSED, run, due, reason, since=due, now=now)


def _deadline(
    kind: AlertKind, run: Run, due: datetime, reason: str, *, since: datetime, now: datetime
) -> Alert:
    missed = kind is AlertKind.DEADLINE_MISSED
    return Alert(
        key=f"{kind}:{run.id}:{due.isoformat()}",
        kind=kind,
        severity=Severity.CRITICAL if missed else Severity.WARNING,
        flow=run.flow,
        subject=run.id,
        title=f"{run.flow}: {_words(kind)}, due {due:%Y-%m-%d %H:%M} UTC",
        reason=reason,
        since=since,
        at=now,
        next=f"ratchet show {run.id}",
    )


def champion_changed(
    model: str, epoch: int, became: str | None, reason: str, out: str, now: datetime
) -> Alert:
    """Somebody moved a champion's alias, or took the champion away.

    `became`: what the alias names now, or what became of the champion, to tell changes apart.
    """
    return Alert(
        key=f"{AlertKind.CHAMPION_CHANGED}:{model}:{became or 'none'}:{epoch}",
        kind=AlertKind.CHAMPION_CHANGED,
        severity=Severity.CRITICAL,
        flow=None,
        subject=model,
        title=f"the champion of {model} was changed by somebody else",
        reason=reason,
        since=now,
        at=now,
        next=out,
    )


def digest_of(alerts: Sequence[Alert], now: datetime) -> Alert:
    """Several alerts as one message: how many of what, and the first few by their titles."""
    kinds: dict[str, int] = {}
    for alert in alerts:
        kinds[_words(alert.kind)] = kinds.get(_words(alert.kind), 0) + 1
    titles = list(dict.fromkeys(alert.title for alert in alerts))
    counts = ", ".join(f"{count} {words}" for words, count in kinds.items())
    shown = ", ".join(titles[:_TITLES]) + (", ..." if len(titles) > _TITLES else "")
    severities = {alert.severity for alert in alerts}
    flows = {alert.flow for alert in alerts}
    return Alert(
        key=f"{AlertKind.DIGEST}:{alerts[0].key}",
        kind=AlertKind.DIGEST,
        severity=next(s for s in reversed(Severity) if s in severities),
        flow=flows.pop() if len(flows) == 1 else None,
        subject=f"{len(alerts)} alerts",
        title=f"{len(alerts)} more alerts: {counts}",
        reason=shown,
        since=min(alert.since for alert in alerts),
        at=now,
        next="ratchet alerts",
    )


_TITLES = 10


def _words(kind: AlertKind) -> str:
    return kind.value.replace("_", " ")
