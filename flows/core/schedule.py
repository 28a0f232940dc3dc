"""Schedules: what makes a flow run by itself, and what to do when that did not happen in time.

A schedule is declared, in config or beside its flow, and stored. Everything here is pure:
the scheduler passes in the time, what it knows of the data, and the flow's history.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any


class Missed(StrEnum):
    """What to do with fires that nobody was there for."""

    SKIP = "skip"  # record them as missed, and go on with the next
    LATEST = "latest"  # run the newest of them, record the others as missed
    ALL = "all"  # run every one of them, oldest first


class Overlap(StrEnum):
    """What to do with a fire while a run of the same schedule is still open."""

    SKIP = "skip"  # record the fire as skipped
    QUEUE = "queue"  # run it after the open ones, one at a time
    CANCEL = "cancel"  # cancel the open ones, and run it once they are gone
    ALLOW = "allow"  # run it beside them


class Late(StrEnum):
    """What rows that arrive later than `lateness` after their event time count for."""

    COUNT = "count"  # like any other row
    IGNORE = "ignore"  # they do not make a schedule fire; the next run trains on them anyway


@dataclass(frozen=True, kw_only=True)
class Cron:
    """At the times of a cron expression, in the wall time of a zone.

    When clocks go forward, a time that does not exist fires at the first instant after the
    gap; when they go back, a fixed time fires once and a repeated one (`*/30`) in both hours.
    """

    cron: str  # five fields, six with seconds first, or @hourly @daily @weekly @monthly @yearly
    zone: str = "UTC"  # IANA name, Europe/Berlin


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Every so often, counted from an anchor, so that a restart does not shift it."""

    every: timedelta  # at least one second
    anchor: datetime | None = None  # aware; None: when the schedule was first saved


@dataclass(frozen=True, kw_only=True)
class NewData:
    """When a feature view has new rows; keyed by data version, so none fires twice."""

    view: str
    min_rows: int = 1  # new rows since the last fire
    settle: timedelta = timedelta(0)  # wait until nothing was added for this long
    max_wait: timedelta | None = None  # fire at the latest this long after the first new row
    late: Late = Late.COUNT
    lateness: timedelta | None = None  # older than this at arrival is late; with late=ignore


@dataclass(frozen=True, kw_only=True)
class OnAsset:
    """When another flow made something: `model:digits` promoted, `table:sales` written."""

    asset: str  # `kind:name`; `model:*` matches all of a kind


@dataclass(frozen=True, kw_only=True)
class OnRequest:
    """Only when somebody asks: `ratchet schedules fire`, or the web hook."""


@dataclass(frozen=True, kw_only=True)
class Deadline:
    """Early enough that the run ends in time, as the flow's own history tells.

    Starts at `by` less an upper prediction bound for the run's duration (`duration_bound`),
    never later than `latest_start` before `by`, and never earlier than `earliest_start` before it.
    """

    by: str  # wall time, "06:00"
    zone: str = "UTC"
    days: str = "*"  # cron's day-of-week field: "1-5" is Monday to Friday
    confidence: float = 0.95  # of ending in time
    latest_start: timedelta = timedelta(minutes=30)  # before `by`
    earliest_start: timedelta = timedelta(hours=12)  # before `by`; also with fewer than three runs


Trigger = Cron | Interval | NewData | OnAsset | OnRequest | Deadline

VIEW, ASSET = "view:", "asset:"
"""How a topic begins."""


def topic_of(trigger: Trigger) -> str | None:
    """What the trigger waits for other than time: `view:digits`, `asset:model:*`, or nothing."""
    if isinstance(trigger, NewData):
        return VIEW + trigger.view
    return ASSET + trigger.asset if isinstance(trigger, OnAsset) else None


def lane_of(schedule: str) -> str:
    """The lane of a schedule's runs: of the runs in one lane, one runs at a time."""
    return f"schedule:{schedule}"


def still_open(run_id: str) -> str:
    """Why a fire was skipped, in one sentence."""
    return f"run {run_id} was still open"


@dataclass(frozen=True, kw_only=True)
class Policies:
    """What becomes of a schedule's fires, and what their runs are given."""

    overrides: tuple[str, ...] = ()  # of the flow's config; {at:%Y-%m-%d} is the fire's time
    missed: Missed = Missed.LATEST
    grace: timedelta = timedelta(hours=24)  # a fire older than this is missed for good
    overlap: Overlap = Overlap.SKIP
    priority: int = 0  # of its runs; 0: the flow's
    deadline: timedelta | None = None  # from a fire's time to its run's end: a warning, no timeout


@dataclass(frozen=True, kw_only=True)
class Schedule(Policies):
    """What makes a flow run by itself."""

    name: str = ""  # unique in the installation; beside a flow: the key that it stands under
    flow: str = ""  # the flow's name; beside a flow: that flow
    trigger: Trigger
    origin: str = "config"  # where it was declared: config, or the flow's dotted path; `@`, whose

    @property
    def module(self) -> str:
        """The module of the flow that it stands beside; `config`, when it stands there."""
        return self.origin.partition("@")[0].partition(":")[0]

    @property
    def owners(self) -> frozenset[str]:
        """The modules of the project that declared it; none: the only project of its store."""
        return frozenset(self.origin.split("@")[1:])

    def owned(self, owners: Iterable[str]) -> Schedule:
        """The same, of a project with these modules."""
        return replace(self, origin="@".join((self.origin.partition("@")[0], *sorted(owners))))


class ScheduleStatus(StrEnum):
    """Where a stored schedule stands."""

    ACTIVE = "active"  # fires
    PAUSED = "paused"  # by a person; fires meanwhile are treated as missed ones on resume
    DISABLED = "disabled"  # by Ratchet, because it could not be carried out; the reason says why
    REMOVED = "removed"  # no longer declared


@dataclass(frozen=True, kw_only=True)
class StoredSchedule:
    """A schedule and where it stands."""

    schedule: Schedule
    status: ScheduleStatus
    reason: str | None  # one sentence: paused (by whom), disabled, or not to be looked at just now
    next_at: datetime | None  # when the scheduler has to look at it again; None: never by time
    cursor: dict[str, Any]  # what its trigger has seen: {"at": iso} {"version": 7}
    created_at: datetime
    updated_at: datetime
    seq: int  # grows with every change; guards it as a run's does


class FireOutcome(StrEnum):
    """What became of one fire."""

    PENDING = "pending"  # it waits for a decision, or for an open run to end
    STARTED = "started"  # a run was recorded
    SKIPPED = "skipped"  # its overlap policy said so
    MISSED = "missed"  # nobody was there in time
    FAILED = "failed"  # its run could not be recorded; the schedule is disabled


@dataclass(frozen=True, kw_only=True)
class Fire:
    """One time at which a schedule's trigger was met; unique by schedule and key."""

    schedule: str
    key: str  # `2026-11-22T03:00:00+00:00`, `digits@7`, `event:31`, or the caller's own
    at: datetime  # the time that it stands for
    decided_at: datetime  # of one that is pending: `at`
    outcome: FireOutcome
    reason: str | None = None  # one sentence, unless started
    run_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class DataState:
    """What a view has beyond a version, as the scheduler is told."""

    version: int  # the newest
    new_rows: int  # added since, without late ones where the trigger ignores them
    first_at: datetime | None  # when the first of them was committed
    last_at: datetime | None  # when the newest of them was
    table: str | None = None  # id of the table: another one means that the view was made anew


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a schedule has to do now."""

    fires: tuple[tuple[str, datetime], ...] = ()  # (key, at) to run, oldest first
    missed: tuple[tuple[str, datetime], ...] = ()  # to record as missed, oldest first
    next_at: datetime | None = None  # when to look again
    cursor: dict[str, Any] = field(default_factory=dict)
