"""Runs: every event chain follows the lifecycle, and every task was done once."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

from flows.core import values
from flows.core.lifecycle import RUN, TASK, RunEvent, TaskEvent, after
from flows.core.progress import Progress
from flows.core.records import (
    Attempt,
    AttemptStatus,
    Event,
    Outcome,
    OutcomeKind,
    RunStatus,
    TaskStatus,
)
from flows.core.service import digest
from flows.core.store import RunDetail
from tests.simulation.executions import Execution
from tests.simulation.findings import Findings, Record
from tests.simulation.nights import FAILURES
from tests.simulation.poison import POISONED
from tests.simulation.world import World


def check_runs(found: Findings, record: Record, world: World) -> None:
    """No run is lost, none is made twice, and none has a history that cannot be."""
    for detail in record.details:
        check_chain(found, detail, record.chains[detail.run.id])
        check_attempts(found, detail, record.chains[detail.run.id])
        check_inputs(found, detail)
        check_branch(found, detail)
        check_reason(found, detail)
    check_promises(found, record.details, world)
    found.counts["runs"] = len(record.details)
    found.counts["attempts"] = sum(len(detail.attempts) for detail in record.details)


def check_chain(found: Findings, detail: RunDetail, chain: list[Event]) -> None:
    """The run's events follow the lifecycle without a gap, and end where the rows stand."""
    run = detail.run
    found.check(run.status.ended, f"run {run.id} is lost: still {run.status}")
    numbers = [event.seq for event in chain]
    found.check(
        numbers == list(range(1, run.seq + 1)), f"run {run.id}: its events are not 1..{run.seq}"
    )
    tasks = {node.key: TaskStatus.PENDING for node in detail.graph.nodes}
    status = RunStatus.QUEUED
    for event in chain:
        try:
            if event.kind in list(RunEvent):
                status = after(RUN, status, RunEvent(event.kind))
            elif event.kind in list(TaskEvent):
                assert event.task is not None
                before = tasks.get(event.task, TaskStatus.READY)  # mapped children begin so
                tasks[event.task] = after(TASK, before, TaskEvent(event.kind))
        except Exception as error:
            found.check(False, f"run {run.id}, event {event.seq}: {error}")
            return
    found.check(status is run.status, f"run {run.id} is {run.status}, its events say {status}")
    for task in detail.tasks:
        said = tasks.get(task.key, TaskStatus.READY)
        found.check(
            said is task.status, f"{run.id}.{task.key} is {task.status}, its events say {said}"
        )


def check_attempts(
    found: Findings, detail: RunDetail, chain: Sequence[Event] = (), *, stamped: bool = True
) -> None:
    """One after the other, one success at most, and nothing after it.

    A retry of the run decides anew on what saw its failure, and only on that: by its `chain`.
    `stamped`: the values of the tasks say which attempt has made them.
    """
    reopened = Counter(event.task for event in chain if event.kind == TaskEvent.REOPENED)
    by_task: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in detail.attempts:
        by_task[attempt.key].append(attempt)
        found.check(
            not detail.run.status.ended or attempt.status is not AttemptStatus.RUNNING,
            f"attempt {attempt.id} is alive although its run has ended",
        )
    values = {task.key: task.value for task in detail.tasks}
    for key, attempts in by_task.items():
        attempts.sort(key=lambda attempt: attempt.number)
        name = f"{detail.run.id}.{key}"
        found.check(
            [a.number for a in attempts] == list(range(1, len(attempts) + 1)),
            f"{name}: attempts are not numbered 1..{len(attempts)}",
        )
        good = [a for a in attempts if a.status is AttemptStatus.SUCCEEDED]
        found.check(len(good) <= 1 + reopened[key], f"{name}: a finished task was run again")
        if good and good[-1] is attempts[-1]:
            if stamped:
                check_stamp(found, good[-1], values[key])
        elif good:
            found.check(reopened[key], f"{name}: started again after it had succeeded")


def check_stamp(found: Findings, attempt: Attempt, value: str | None) -> None:
    """What is recorded is what the attempt's own worker made, not what a zombie did."""
    made = _stamp(value)
    if made is None:
        return
    found.check(
        made["attempt"] == attempt.id, f"{attempt.id} holds the result of {made['attempt']}"
    )
    if made.get("where", "cluster") != "cluster":
        found.check(
            made["where"] == attempt.worker,
            f"{attempt.id} of {attempt.worker} holds a result of {made['where']}",
        )


def _stamp(value: str | None) -> dict[str, str] | None:
    """A value, if it says who has made it."""
    if value is None or not value.startswith('{"attempt":'):
        return None
    stamp: dict[str, str] = json.loads(value)
    return stamp


def check_inputs(found: Findings, detail: RunDetail) -> None:
    """What a task has made, it has made of what the tasks before it hold now."""
    progress = Progress(detail.run, detail.graph, {}, detail.tasks, detail.attempts)
    for task in detail.tasks:
        made = _stamp(task.value)
        if made is not None and task.status is TaskStatus.SUCCEEDED:
            inputs = digest(values.dumps(progress.arguments(task.key)))
            found.check(
                made["inputs"] == inputs, f"{detail.run.id}.{task.key} was made of other inputs"
            )


def check_branch(found: Findings, detail: RunDetail) -> None:
    """Of two tasks of which one was to run, the other did not."""
    tasks = {task.key: task for task in detail.tasks}
    better = tasks.get("better")
    if better is None or better.value is None:
        return
    wrong = "halt" if json.loads(better.value) else "promote"
    found.check(not tasks[wrong].attempt, f"{detail.run.id}.{wrong} ran: better={better.value}")


def check_reason(found: Findings, detail: RunDetail) -> None:
    """A run fails of what its own tasks did, and of nothing else; a poisoned one says why."""
    run, reason = detail.run, detail.run.reason or ""
    if run.status is RunStatus.FAILED:
        own = run.flow in POISONED or any(f"{kind}: " in reason for kind in FAILURES)
        found.check(own, f"run {run.id} failed, and not of its own tasks: {reason}")
    if run.status in (RunStatus.FAILED, RunStatus.HALTED, RunStatus.SKIPPED):
        found.check(reason, f"run {run.id} of {run.flow} {run.status}, and does not say why")


def check_promises(found: Findings, details: Iterable[RunDetail], world: World) -> None:
    """Whoever was given a run finds it; one key, one run."""
    for key, requests in Counter(key for key, _ in world.bound).items():
        found.check(requests == 1, f"{key} stands for {requests} requests")
    ids = {(detail.run.flow, detail.run.key): detail.run.id for detail in details}
    for flow, key, run_id in world.promises:
        found.check(
            ids.get((flow, key)) == run_id, f"run {run_id} was promised for {key}, and is not it"
        )


def check_end(found: Findings, attempt: Attempt, outcome: Outcome) -> None:
    """What is recorded of an attempt is how it ended, if that was recorded at all."""
    ends = {
        AttemptStatus.SUCCEEDED: OutcomeKind.SUCCEEDED,
        AttemptStatus.HALTED: OutcomeKind.HALTED,
        AttemptStatus.SKIPPED: OutcomeKind.SKIPPED,
        AttemptStatus.FAILED: OutcomeKind.FAILED,
    }
    wanted = ends.get(attempt.status, outcome.kind)
    found.check(
        outcome.kind is wanted, f"{attempt.id} ended {outcome.kind}, recorded is {attempt.status}"
    )


def check_executions(
    found: Findings, details: Sequence[RunDetail], executions: Iterable[Execution]
) -> None:
    """Nothing ran without its durable attempt, nothing twice, and no two jobs of one task."""
    known = {attempt.id: attempt for detail in details for attempt in detail.attempts}
    poisoned = {detail.run.id: detail.run.flow in POISONED for detail in details}
    seen: Counter[str] = Counter()
    jobs: dict[tuple[str, str], list[Execution]] = defaultdict(list)
    for done in executions:
        seen[done.attempt_id] += 1
        attempt = known.get(done.attempt_id)
        found.check(attempt is not None, f"{done.attempt_id} ran, and no attempt says so")
        if attempt is not None and done.outcome is not None and not poisoned[attempt.run_id]:
            check_end(found, attempt, done.outcome)
        if done.where == "cluster":
            jobs[done.run_id, done.task].append(done)
    for attempt_id, times in seen.items():
        found.check(times == 1, f"{attempt_id} was executed {times} times")
    for (run_id, task), same in jobs.items():
        same.sort(key=lambda job: job.begun)
        for earlier, later in pairwise(same):
            found.check(
                earlier.ended is not None and earlier.ended <= later.begun,
                f"{run_id}.{task}: {later.attempt_id} began while {earlier.attempt_id} ran",
            )
