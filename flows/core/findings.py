"""What an examination finds; and, of an installation, what is wrong that nobody has noticed.

Nothing that `audit` finds failed loudly: a schedule that is off, one that should have fired and
did not, work that waits for a worker who never comes, an alert that reached nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from flows.core.alert import AlertRecord
from flows.core.records import Run, RunStatus
from flows.core.schedule import (
    Cron,
    Deadline,
    Fire,
    FireOutcome,
    Interval,
    ScheduleStatus,
    StoredSchedule,
)

LATE = timedelta(minutes=5)
"""A schedule this late, or work that has waited this long for a worker, has been forgotten."""
PAUSED = timedelta(days=30)
"""A pause this long was probably meant to end."""
NEVER = timedelta(days=5 * 365)
"""A schedule that next fires after this never does, as far as anybody here is concerned."""
SILENT = timedelta(days=90)
"""A flow without a run for this long, and without a schedule, is an orphan."""
IN_A_ROW = 3
"""Runs of a schedule that have to fail, and fires to be skipped, one after the other."""


class FindingKind(StrEnum):
    """What an audit may find."""

    DISABLED = "disabled"  # a schedule that could not be carried out
    PAUSED = "paused"  # a schedule that somebody paused long ago
    STALE = "stale"  # a schedule that should have fired, and nobody looked
    TROUBLED = "troubled"  # a schedule that cannot be carried out just now, and is tried again
    FAILING = "failing"  # a schedule whose last runs all failed
    SKIPPING = "skipping"  # a schedule whose last fires were all skipped for a run that is open
    NEVER = "never_fires"  # a schedule that has no time left to fire at
    ORPHANED = "orphaned"  # a schedule of an unknown flow; a flow that nothing runs any more
    UNSERVED = "unserved"  # work that waits for a worker
    UNATTENDED = "unattended"  # a run at work, whose workers are all dead
    UNDELIVERED = "undelivered"  # an alert that was given up


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at, and how it is."""

    what: str  # `flow retrain`, `python`; of an audit: schedule, flow, run, or key of an alert
    ok: bool = True
    sentence: str | None = None  # how it is, or what is wrong
    next: str | None = None  # the command that helps
    kind: FindingKind | None = None  # of an audit


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of an installation."""

    now: datetime
    schedules: tuple[StoredSchedule, ...] = ()  # but the removed ones
    results: Mapping[str, tuple[Run, ...]] = field(default_factory=dict)  # by schedule, newest 1st
    fires: Mapping[str, tuple[Fire, ...]] = field(default_factory=dict)  # the same of its fires
    flows: frozenset[str] = frozenset()  # names of those that can be imported here
    newest: Mapping[str, datetime] = field(default_factory=dict)  # when each flow last had a run
    open_runs: tuple[Run, ...] = ()
    alone: frozenset[str] = frozenset()  # ids of open runs at work without a living worker
    workers: int = 0  # that are alive
    dead_alerts: tuple[AlertRecord, ...] = ()


def audit(facts: Facts) -> tuple[Finding, ...]:
    """Everything that is found, by subject: schedules, flows, runs, alerts."""
    return (
        *(f for stored in facts.schedules for f in _of_schedule(stored, facts)),
        *_of_flows(facts),
        *(f for run in facts.open_runs for f in _of_open_run(run, facts)),
        *_of_alerts(facts),
    )


def _of_schedule(stored: StoredSchedule, facts: Facts) -> Iterator[Finding]:
    schedule, now = stored.schedule, facts.now

    def finding(kind: FindingKind, sentence: str, next_step: str) -> Finding:
        return _wrong(kind, schedule.name, f"schedule {schedule.name} {sentence}", next_step)

    show = f"ratchet schedules show {schedule.name}"
    if schedule.flow not in facts.flows:
        sentence = f"runs {schedule.flow}, which is not known here"
        yield finding(FindingKind.ORPHANED, sentence, "ratchet check")
    if stored.status is ScheduleStatus.DISABLED:
        sentence = f"is disabled: {stored.reason or 'no reason was recorded'}"
        yield finding(FindingKind.DISABLED, sentence, f"ratchet schedules resume {schedule.name}")
    elif stored.status is ScheduleStatus.PAUSED:
        if now - stored.updated_at > PAUSED:
            sentence = f"has been paused for {_days(now - stored.updated_at)}"
            yield finding(FindingKind.PAUSED, sentence, f"ratchet schedules resume {schedule.name}")
    elif stored.next_at is not None and now - stored.next_at > LATE:
        sentence = f"was due {_ago(now - stored.next_at)} ago, and nobody looked"
        yield finding(FindingKind.STALE, sentence, "start a scheduler: ratchet up")
    elif stored.reason is not None:
        sentence = f"cannot be carried out, and is tried again: {stored.reason}"
        yield finding(FindingKind.TROUBLED, sentence, show)
    elif _never(stored, now):
        yield finding(FindingKind.NEVER, "has no time left to fire at", show)
    failed = facts.results.get(schedule.name, ())[:IN_A_ROW]
    if len(failed) == IN_A_ROW and all(run.status is RunStatus.FAILED for run in failed):
        sentence = (
            f"fails: its last {IN_A_ROW} runs did; {failed[0].reason or 'no reason recorded'}"
        )
        yield finding(FindingKind.FAILING, sentence, f"ratchet show {failed[0].id}")

    skipped = facts.fires.get(schedule.name, ())[:IN_A_ROW]
    if len(skipped) == IN_A_ROW and all(f.outcome is FireOutcome.SKIPPED for f in skipped):
        sentence = f"skips: its last {IN_A_ROW} fires or more; {skipped[0].reason}"
        yield finding(FindingKind.SKIPPING, sentence, show)


def _never(stored: StoredSchedule, now: datetime) -> bool:
    """Only for triggers by time: others wait for something that may come at any moment."""
    if not isinstance(stored.schedule.trigger, Cron | Interval | Deadline):
        return False
    return stored.next_at is None or stored.next_at - now > NEVER


def _of_flows(facts: Facts) -> Iterator[Finding]:
    scheduled = {stored.schedule.flow for stored in facts.schedules}
    for flow, newest in sorted(facts.newest.items()):
        if flow not in scheduled and facts.now - newest > SILENT:
            here = "" if flow in facts.flows else ", and it is not known here any more"
            span = _days(facts.now - newest)
            sentence = f"flow {flow} has no schedule, and has not run for {span}{here}"
            yield _wrong(FindingKind.ORPHANED, flow, sentence, f"ratchet runs --flow {flow}")


def _of_open_run(run: Run, facts: Facts) -> Iterator[Finding]:
    if run.id in facts.alone:
        sentence = f"run {run.id} of {run.flow} is {run.status}, but its workers are dead"
        next_step = f"ratchet retry {run.id}, or start a worker: ratchet up"
        yield _wrong(FindingKind.UNATTENDED, run.id, sentence, next_step)
        return
    waits = run.claimable_at is not None and facts.now - run.claimable_at > LATE
    if not waits or run.claimable_at is None:
        return
    since = _ago(facts.now - run.claimable_at)
    pools = ", ".join((run.claimable or "default").split())
    if facts.workers:
        sentence = f"has waited {since} for pool {pools}: it is full, or no worker serves it"
        next_step = f"ratchet show {run.id}"
    else:
        sentence = f"has waited {since} for a worker, and there is none"
        next_step = "start one: ratchet up"
    sentence = f"run {run.id} of {run.flow} {sentence}"
    yield _wrong(FindingKind.UNSERVED, run.id, sentence, next_step)


def _of_alerts(facts: Facts) -> Iterator[Finding]:
    for record in facts.dead_alerts:
        alert = record.alert
        problems = "; ".join(
            f"{delivery.channel}: {delivery.problem}"
            for delivery in record.deliveries
            if delivery.problem and not delivery.state.done
        )
        sentence = f"nobody was told that {alert.title}: {problems or 'it was given up'}"
        yield _wrong(FindingKind.UNDELIVERED, alert.key, sentence, "ratchet alerts retry")


def _wrong(kind: FindingKind, what: str, sentence: str, next_step: str) -> Finding:
    return Finding(kind=kind, what=what, ok=False, sentence=sentence, next=next_step)


def _days(span: timedelta) -> str:
    return f"{span.days} days"


def _ago(span: timedelta) -> str:
    if span >= timedelta(days=2):
        return _days(span)
    if span >= timedelta(hours=2):
        return f"{span // timedelta(hours=1)} hours"
    return f"{span // timedelta(minutes=1)} minutes"
