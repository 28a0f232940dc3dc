"""The KPIs of a training loop, from the events alone. Pure; `docs/kpis.md` states the formulas.

One pass over any number of events in constant memory: the events of one run stand together and
in their order, the runs in any order, with what belongs to no run (alerts) anywhere between.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from flows.core.alert import AlertKind
from flows.core.lifecycle import RunEvent, TaskEvent
from flows.core.records import AttemptStatus, Event, RunStatus

MODEL, WATERMARK = "model:", "watermark:"
"""How the assets begin that freshness is read from."""

_ENDINGS = {
    str(RunEvent.SUCCEEDED): RunStatus.SUCCEEDED,
    str(RunEvent.HALTED): RunStatus.HALTED,
    str(RunEvent.SKIPPED): RunStatus.SKIPPED,
    str(RunEvent.FAILED): RunStatus.FAILED,
    str(RunEvent.CANCELLED): RunStatus.CANCELLED,
}
DID_THEIR_JOB = frozenset({RunStatus.SUCCEEDED, RunStatus.HALTED, RunStatus.SKIPPED})
"""A run that halts, or that finds nothing to do, has decided: that is its job."""
_ORDERLY = frozenset({AttemptStatus.SUCCEEDED, AttemptStatus.HALTED, AttemptStatus.SKIPPED})
_COUNTED = frozenset({str(TaskEvent.RETRY), str(TaskEvent.LOST), str(TaskEvent.ADOPTED)})
_FAULTS = frozenset(AlertKind) - {
    AlertKind.TEST,
    AlertKind.DIGEST,
    AlertKind.DEADLINE_AT_RISK,
    AlertKind.NOT_PROVEN,
    AlertKind.AWAITS_APPROVAL,
}


_WITHOUT_COST = {
    TaskEvent.READY,
    TaskEvent.STARTED,
    TaskEvent.EXPANDED,
    TaskEvent.REUSED,
    TaskEvent.REOPENED,
}
KINDS = (
    *_ENDINGS,
    "run.created",
    str(RunEvent.STARTED),
    str(RunEvent.REOPENED),
    *(str(event) for event in set(TaskEvent) - _WITHOUT_COST),
    "asset.updated",
    "alert.delivered",
)
"""The kinds of events that `measure` looks at; others may be left away."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """A part of a whole."""

    part: float
    whole: float

    @property
    def value(self) -> float | None:
        """Between 0 and 1; None where there is nothing to divide."""
        return self.part / self.whole if self.whole else None


@dataclass(frozen=True, kw_only=True)
class Times:
    """How long something took, over many."""

    count: int = 0
    total_s: float = 0.0
    longest_s: float = 0.0

    @property
    def mean_s(self) -> float | None:
        """Seconds; None where there was none."""
        return self.total_s / self.count if self.count else None

    def and_one(self, took: timedelta) -> Times:
        """With one more; below zero (clocks of two machines) counts as zero."""
        seconds = max(0.0, took.total_seconds())
        return Times(
            count=self.count + 1,
            total_s=self.total_s + seconds,
            longest_s=max(self.longest_s, seconds),
        )


@dataclass(frozen=True, kw_only=True)
class Freshness:
    """How old something is that the loop keeps up to date."""

    name: str  # model, or view/model
    version: str  # the newest
    at: datetime  # when it was made; for data, its newest row where that is known
    age: timedelta


@dataclass(frozen=True, kw_only=True)
class Kpis:
    """Figures of the runs that ended within a time, and of what is live at its end."""

    since: datetime | None  # None: from the beginning
    until: datetime
    flow: str | None  # None: of all flows
    runs: dict[str, int]  # ended runs by how they ended
    success: Share  # runs that did their job, of those and the failed ones
    detection: Times  # from a fault to the first channel that took its alert
    deadlines: Share  # runs that did their job in time, of those that had a deadline
    data: tuple[Freshness, ...]  # the newest data that each model's loop decided on; oldest first
    champions: tuple[Freshness, ...]  # the last promotion of each model; oldest first
    cpu: Share  # CPU-seconds of attempts that helped a run do its job, of all
    gpu: Share  # GPU-seconds, in the same way
    estimated: int  # attempts whose CPU-seconds are their duration, because nothing else is known
    queue: Times  # from a run's creation to its first task's start
    attempts: int  # that ended
    retries: int  # attempts that were tried again after a failure or a timeout
    lost: int  # attempts whose worker or Ray job died
    adopted: int  # attempts that outlived their worker, and went on with another
    reopened: int  # times that an ended run was retried


def measure(
    events: Iterable[Event], *, since: datetime | None, until: datetime, flow: str | None = None
) -> Kpis:
    """The KPIs of `events`.

    - Counts the runs whose last ending lies in `[since, until]`, with everything that belongs
      to them, also from before; and the alerts that were delivered in that time.
    - Freshness looks at every `asset.updated` that is passed in, however old.
    - With `flow`, what belongs to other flows is left out.
    """
    tally = _Tally(since=since, until=until, flow=flow)
    run: _Run | None = None
    for event in events:
        if event.kind == "asset.updated":
            tally.count_asset(event)
        if event.run_id is None:
            tally.count_alert(event)
            continue
        if run is None or run.id != event.run_id:
            tally.count_run(run)
            run = _Run(id=event.run_id)
        run.follow(event)
    tally.count_run(run)
    return tally.kpis()


@dataclass(kw_only=True)
class _Run:
    """What one run's events have said so far."""

    id: str
    flow: str | None = None
    created: datetime | None = None
    started: datetime | None = None
    deadline: datetime | None = None
    status: RunStatus | None = None  # how it has ended; None: open
    ended: datetime | None = None
    orderly: list[float] = field(default_factory=lambda: [0.0, 0.0])  # CPU-s and GPU-s
    spent: list[float] = field(default_factory=lambda: [0.0, 0.0])  # orderly or not
    estimated: int = 0
    attempts: int = 0
    kinds: Counter[str] = field(default_factory=Counter)

    def follow(self, event: Event) -> None:
        kind = event.kind
        if kind.startswith("task."):
            if "ended" in event.data:
                self._count_attempt(event)
            if kind in _COUNTED:
                self.kinds[kind] += 1
        elif kind in _ENDINGS:
            self.status, self.ended = _ENDINGS[kind], event.at
        elif kind == RunEvent.STARTED:
            self.started = event.at
        elif kind == RunEvent.REOPENED:
            self.status = self.ended = None
            self.kinds[kind] += 1
        elif kind == "run.created":
            self.flow, self.created = event.data.get("flow"), event.at
            if due := event.data.get("deadline"):
                self.deadline = datetime.fromisoformat(due)

    def _count_attempt(self, event: Event) -> None:
        data = event.data
        self.attempts += 1
        cpu = data.get("cpu_s")
        if cpu is None:
            cpu = data["seconds"]
            self.estimated += 1
        used = (cpu, data.get("gpu_s", 0.0))
        for account in (self.spent, *((self.orderly,) if data["ended"] in _ORDERLY else ())):
            for index, seconds in enumerate(used):
                account[index] += seconds


@dataclass(kw_only=True)
class _Tally:
    """The sums."""

    since: datetime | None
    until: datetime
    flow: str | None
    runs: Counter[str] = field(default_factory=Counter)
    in_time: int = 0
    with_deadline: int = 0
    useful: list[float] = field(default_factory=lambda: [0.0, 0.0])
    spent: list[float] = field(default_factory=lambda: [0.0, 0.0])
    estimated: int = 0
    attempts: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    queue: Times = Times()
    detection: Times = Times()
    assets: dict[str, Freshness] = field(default_factory=dict)

    def count_alert(self, event: Event) -> None:
        if event.kind != "alert.delivered" or not self._within(event.at):
            return
        data = event.data
        if data["kind"] in _FAULTS and self.flow in (None, data["flow"]):
            fault = datetime.fromisoformat(data["since"])
            self.detection = self.detection.and_one(event.at - fault)

    def count_asset(self, event: Event) -> None:
        name, data = event.data["asset"], event.data
        known = self.assets.get(name)
        if event.at > self.until or (self.flow is not None and data.get("flow") != self.flow):
            return
        at = event.at
        if name.startswith(WATERMARK) and "at" in data:
            at = datetime.fromisoformat(data["at"])
        if known is None or at >= known.at:
            self.assets[name] = Freshness(
                name=name.partition(":")[2], version=data["version"], at=at, age=self.until - at
            )

    def count_run(self, run: _Run | None) -> None:
        if run is None or run.created is None or self.flow not in (None, run.flow):
            return
        self._count_deadline(run)
        if run.status is None or run.ended is None or not self._within(run.ended):
            return
        self.runs[run.status.value] += 1
        self.attempts += run.attempts
        self.estimated += run.estimated
        self.kinds.update(run.kinds)
        for index in range(2):
            self.spent[index] += run.spent[index]
            self.useful[index] += run.orderly[index] if run.status in DID_THEIR_JOB else 0.0
        if run.started is not None:
            self.queue = self.queue.and_one(run.started - run.created)

    def _count_deadline(self, run: _Run) -> None:
        """Open runs count as well, once their time is over; a person's cancel decides nothing."""
        due = run.deadline
        if due is None or run.status is RunStatus.CANCELLED:
            return
        if run.ended is None:
            self.with_deadline += self._within(due)
        elif self._within(run.ended):
            self.with_deadline += 1
            self.in_time += run.ended <= due and run.status in DID_THEIR_JOB

    def _within(self, at: datetime) -> bool:
        return at <= self.until and (self.since is None or at >= self.since)

    def kpis(self) -> Kpis:
        did = sum(self.runs[status.value] for status in DID_THEIR_JOB)
        return Kpis(
            since=self.since,
            until=self.until,
            flow=self.flow,
            runs={status.value: self.runs[status.value] for status in _ENDINGS.values()},
            success=Share(part=did, whole=did + self.runs[RunStatus.FAILED.value]),
            detection=self.detection,
            deadlines=Share(part=self.in_time, whole=self.with_deadline),
            data=self._freshness(WATERMARK),
            champions=self._freshness(MODEL),
            cpu=Share(part=self.useful[0], whole=self.spent[0]),
            gpu=Share(part=self.useful[1], whole=self.spent[1]),
            estimated=self.estimated,
            queue=self.queue,
            attempts=self.attempts,
            retries=self.kinds[str(TaskEvent.RETRY)],
            lost=self.kinds[str(TaskEvent.LOST)],
            adopted=self.kinds[str(TaskEvent.ADOPTED)],
            reopened=self.kinds[str(RunEvent.REOPENED)],
        )

    def _freshness(self, prefix: str) -> tuple[Freshness, ...]:
        found = [fresh for name, fresh in self.assets.items() if name.startswith(prefix)]
        return tuple(sorted(found, key=lambda fresh: fresh.at))
