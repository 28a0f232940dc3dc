"""Rare states that nights have to reach, so that 10,000 seeds are not 10,000 alike.

Each is counted where it can be seen: in the stores' answers while the night goes on, in what the
cluster and the channels remember, and in the event table afterwards. A night that never takes
over a cancelled run proves nothing about taking over cancelled runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

from flows.core import identity
from flows.core.alert import AlertKind
from flows.core.errors import LeaseLost
from flows.core.firing import Firing
from flows.core.lifecycle import RunEvent, TaskEvent
from flows.core.progress import Progress
from flows.core.records import Attempt, AttemptStatus, Event, Lease, RunStatus, TaskStatus
from flows.core.schedule import FireOutcome, Schedule
from flows.core.store import RunDetail, writes
from flows.core.store.leases import LeaseStore
from flows.core.store.runs import RunStore
from flows.core.store.schedules import ScheduleStore
from tests.simulation.executions import Execution
from tests.simulation.findings import Record
from tests.simulation.poison import POISONED, NewerFlow
from tests.simulation.slots import RUN_ENDS
from tests.simulation.world import World

STATES: Mapping[str, int] = {
    # workers
    "attempt lost before it had begun": 1000,
    "attempt lost, and its task succeeded": 100,
    "attempt lost three times": 3000,
    "attempt lost while its run was cancelled": 1000,
    "claim heard of only later": 1000,
    "end of an attempt recorded by nobody, as its worker was taken for dead": 300,
    "lease run out and taken away": 300,
    "death proven on the same machine": 300,
    "worker learned that it was taken for dead": 300,
    "run moved while it was decided on": 100,
    "run of four workers": 1000,
    "every worker dead at once": 300,
    "clock of a worker set while it ran": 100,
    # the cluster
    "job adopted": 300,
    "job adopted twice": 1000,
    "job adopted while its run was cancelled": 3000,
    "job ended before it was adopted": 1000,
    "job left behind in good order": 1000,
    "jobs of two workers lost with the head": 1000,
    # people
    "asked for again, and given the same run": 300,
    "key refused for another request": 300,
    "cancelled before anything had started": 100,
    "cancelled between two tries": 1000,
    "cancelled while its timeout ended it": 3000,
    "reopened, and succeeded": 1000,
    "reopened twice": 3000,
    # tasks
    "timed out, and then succeeded": 100,
    "mapped over nothing": 100,
    "mapped, and a child failed": 3000,
    "join on a failure decided on again": 1000,
    "value reused": 100,
    # limits
    "worker of some pools only": 100,
    "pool full": 100,
    "rate used up": 1000,
    "lane handed on in one commit": 3000,
    "lane waited for": 100,
    # schedules
    "another scheduler was faster": 300,
    "fire missed": 1000,
    "fire skipped for an open run": 100,
    "run cancelled by the next fire": 100,
    "schedule postponed": 100,
    "config that cannot be read just now": 300,
    "asset waited for the end of an open run": 1000,
    "schedule disabled": 100,
    "deadline at risk": 1000,
    "deadline missed": 1000,
    # alerts
    "alert tried again": 100,
    "alert received twice": 1000,
    "digest sent": 300,
    # what is bad
    "poisoned run failed": 100,
    "poisoned run did well": 100,
    "notice of a poisoned run": 1000,
    "run of a newer version left alone, and later done": 300,
    "row refused by the database": 1000,
    "connection refused to a full pool": 100,
}
"""Rare states, and among how many seeds each is reached at least once."""


WITHOUT_ROW_LOCKS = {"run moved while it was decided on"}
"""What cannot be where a run is locked before it is read."""


def unreached(states: Iterable[str], seeds: int, *, row_locks: bool = False) -> list[str]:
    """The states that so many seeds should have reached, and have not."""
    reached = {*states, *(WITHOUT_ROW_LOCKS if row_locks else ())}
    return [name for name, within in STATES.items() if within <= seeds and name not in reached]


# ---------------------------------------------------------------------- while the night goes on


@contextmanager
def watched(world: World) -> Iterator[None]:
    """Count what the stores of all processes answer."""

    def fenced(dead: set[str], _: LeaseStore, leases: Iterable[Lease]) -> None:
        held = {lease.holder for lease in leases if lease.expires_at > world.now}
        for worker in dead:
            process, life = world.named.get(worker, (None, 0))
            if worker in held and process is not None and process.alive and process.life == life:
                world.surprises.append(f"{worker} lives, and was taken for dead before its time")
            proven = identity.is_proven_dead(worker)
            world.reach("death proven on the same machine", proven)
            world.reach("lease run out and taken away", not proven)

    def told_to_end(_: Attempt, __: Progress, attempt: Attempt, why: str) -> None:
        ends = (attempt.stopping, why) == ("timeout", "cancel")
        world.reach("cancelled while its timeout ended it", ends)

    class Moved(writes.Moved):
        def __init__(self) -> None:
            world.reach("run moved while it was decided on")

    with ExitStack() as stack:
        for one in (
            patch.object(writes, "Moved", Moved),
            _after(LeaseStore, "fence", fenced),
            _after(Progress, "stopping", told_to_end),
            _after(
                RunStore,
                "resume",
                lambda claim, *_: world.reach("claim heard of only later", claim is not None),
            ),
            _after(
                Firing,
                "_held",
                lambda held, *_: world.reach(
                    "asset waited for the end of an open run",
                    any(fire.outcome is FireOutcome.PENDING for fire, _ in held[1]),
                ),
            ),
            _after(
                ScheduleStore,
                "fire",
                lambda fires, *_, **__: world.reach("another scheduler was faster", fires is None),
            ),
            _raised(
                LeaseStore,
                "renew",
                LeaseLost,
                lambda: world.reach("worker learned that it was taken for dead"),
            ),
        ):
            stack.enter_context(one)
        yield


def _after(owner: type, name: str, look: Callable[..., object]) -> Any:
    """`look` at each answer of a method, and at what it was asked."""
    real = getattr(owner, name)

    def method(self: Any, *args: Any, **more: Any) -> Any:
        answer = real(self, *args, **more)
        look(answer, self, *args, **more)
        return answer

    return patch.object(owner, name, method)


def _raised(owner: type, name: str, kind: type[Exception], look: Callable[[], object]) -> Any:
    """`look` each time that a method raises such an error."""
    real = getattr(owner, name)

    def method(self: Any, *args: Any, **more: Any) -> Any:
        try:
            return real(self, *args, **more)
        except kind:
            look()
            raise

    return patch.object(owner, name, method)


# ---------------------------------------------------------------------- afterwards


def count_states(
    states: Counter[str],
    record: Record,
    executions: Iterable[Execution],
    schedules: Iterable[Schedule],
    received: Mapping[tuple[str, str], int],
) -> None:
    """Add what the record shows, what was executed, and what the channels have received."""
    began = {execution.attempt_id for execution in executions}
    ended = {execution.attempt_id for execution in executions if execution.ended_itself}
    for detail in record.details:
        chain = record.chains[detail.run.id]
        states.update(_of_attempts(detail, began, ended))
        states.update(_of_run(detail, chain))
        states.update(_of_cancels(chain))
        states.update(_of_adoptions(chain))
    states.update(_of_lanes(record))
    for schedule in schedules:
        fires = record.store.schedules.fires(schedule.name, 100_000)
        states.update(_OF_FIRES[f.outcome] for f in fires if f.outcome in _OF_FIRES)
    alerts = record.store.outbox.list(limit=100_000)
    states.update(_OF_ALERTS[a.alert.kind] for a in alerts if a.alert.kind in _OF_ALERTS)
    states["digest sent"] += sum(":digest:" in f":{key}" for _, key in received)
    states.update(_OF_EVENTS[e.kind] for e in record.events if e.kind in _OF_EVENTS)
    states["alert received twice"] += sum(times > 1 for times in received.values())


_OF_FIRES = {
    FireOutcome.MISSED: "fire missed",
    FireOutcome.SKIPPED: "fire skipped for an open run",
}
_OF_ALERTS = {
    AlertKind.DEADLINE_AT_RISK: "deadline at risk",
    AlertKind.DEADLINE_MISSED: "deadline missed",
    AlertKind.NOTICED: "notice of a poisoned run",
}
_OF_EVENTS = {
    "schedule.failed": "schedule postponed",
    "schedule.disabled": "schedule disabled",
    "alert.retry": "alert tried again",
}


def _of_attempts(detail: RunDetail, began: set[str], ended: set[str]) -> Iterator[str]:
    good = {a.key for a in detail.attempts if a.status is AttemptStatus.SUCCEEDED}
    lost = [a for a in detail.attempts if a.status is AttemptStatus.LOST]
    for attempt in lost:
        if attempt.id not in began:
            yield "attempt lost before it had begun"
        if attempt.id in ended:
            yield "end of an attempt recorded by nobody, as its worker was taken for dead"
        if attempt.key in good:
            yield "attempt lost, and its task succeeded"
    if any(times > 2 for times in Counter(a.key for a in lost).values()):
        yield "attempt lost three times"
    for attempt in detail.attempts:
        if attempt.status is AttemptStatus.TIMED_OUT and attempt.key in good:
            yield "timed out, and then succeeded"


def _of_run(detail: RunDetail, chain: list[Event]) -> Iterator[str]:
    kinds = Counter(event.kind for event in chain)
    again = {e.task for e in chain if e.kind == TaskEvent.REOPENED}
    if kinds[RunEvent.REOPENED] and "summary" in again:
        yield "join on a failure decided on again"
    if kinds[TaskEvent.REUSED]:
        yield "value reused"
    if kinds[RunEvent.REOPENED] > 1:
        yield "reopened twice"
    if kinds[RunEvent.REOPENED] and kinds[RunEvent.SUCCEEDED]:
        yield "reopened, and succeeded"
    if any(e.kind == TaskEvent.EXPANDED and not e.data["children"] for e in chain):
        yield "mapped over nothing"
    if detail.run.flow in POISONED and detail.run.status is RunStatus.FAILED:
        yield "poisoned run failed"
    if detail.run.flow == NewerFlow.name and detail.run.status.ended:
        yield "run of a newer version left alone, and later done"
    if detail.run.status is RunStatus.FAILED and "Unrecordable" in (detail.run.reason or ""):
        yield "row refused by the database"
    if detail.run.flow in POISONED and detail.run.status is RunStatus.SUCCEEDED:
        yield "poisoned run did well"
    failed = {task.key for task in detail.tasks if task.status is TaskStatus.FAILED}
    if any(child.startswith(f"{key}[") for key in failed for child in failed):
        yield "mapped, and a child failed"


def _of_cancels(chain: list[Event]) -> Iterator[str]:
    """What was going on when the end of a run was asked for, and until it came."""
    kinds: list[str] = []
    retrying: set[str] = set()
    cancelling = False
    for event in chain:
        if event.kind == RunEvent.CANCEL:
            if RunEvent.STARTED not in kinds:
                yield "cancelled before anything had started"
            if retrying:
                yield "cancelled between two tries"
            if "takes its place" in event.data["reason"]:
                yield "run cancelled by the next fire"
        elif cancelling and event.data.get("ended") == "lost":
            yield "attempt lost while its run was cancelled"
        elif cancelling and event.kind == TaskEvent.ADOPTED:
            yield "job adopted while its run was cancelled"
        if event.task is None:
            cancelling = event.kind == RunEvent.CANCEL
        elif event.kind in (TaskEvent.RETRY, TaskEvent.LOST):
            retrying.add(event.task)
        else:
            retrying.discard(event.task)
        kinds.append(event.kind)


def _of_adoptions(chain: list[Event]) -> Iterator[str]:
    adopted = Counter((e.task, e.attempt) for e in chain if e.kind == TaskEvent.ADOPTED)
    if adopted:
        yield "job adopted"
    if any(times > 1 for times in adopted.values()):
        yield "job adopted twice"
    if len({event.data["worker"] for event in chain if "worker" in event.data}) > 3:
        yield "run of four workers"


def _of_lanes(record: Record) -> Iterator[str]:
    """A run of a lane that began with, or long after, the end of the one before it."""
    lanes = {detail.run.id: detail.run.lane for detail in record.details}
    freed: dict[str, datetime] = {}
    for event in record.events:
        lane = lanes.get(event.run_id or "")
        if lane is None or event.task is not None:
            continue
        if event.kind in RUN_ENDS:
            freed[lane] = event.at
        elif event.kind == RunEvent.STARTED and lane in freed:
            begun = next(e.at for e in record.chains[event.run_id or ""])
            if freed[lane] == event.at:
                yield "lane handed on in one commit"
            elif freed[lane] - begun > timedelta(seconds=5):
                yield "lane waited for"
