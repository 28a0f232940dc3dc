"""The state machines of runs, task runs and attempts, each as one table.

A line says: in this status, on this event, the next status. Whatever has no line raises
IllegalTransition, so that a state that cannot be explained is never written. The names of
the events are what the event table stores.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from flows.core.errors import IllegalTransition
from flows.core.records import AttemptStatus, RunStatus, TaskStatus


class RunEvent(StrEnum):
    """What may happen to a run."""

    STARTED = "run.started"  # its first task was claimed
    CANCEL = "run.cancel_requested"  # somebody asked for its end
    SUCCEEDED = "run.succeeded"
    HALTED = "run.halted"
    FAILED = "run.failed"
    CANCELLED = "run.cancelled"  # the end that was asked for has come
    SKIPPED = "run.skipped"
    HANDED_OVER = "run.handed_over"  # its holder is gone; another has it to itself, or nobody
    REOPENED = "run.reopened"  # `retry`: what had not succeeded, and what follows, will be run


class TaskEvent(StrEnum):
    """What may happen to a task run."""

    READY = "task.ready"  # everything before it has ended as its rule wants
    STARTED = "task.started"  # claimed: an attempt exists
    ADOPTED = "task.adopted"  # its attempt outlived its worker, and has a new one
    EXPANDED = "task.expanded"  # a mapped task has got its children
    REUSED = "task.reused"  # the value of an equal task was taken over
    SUCCEEDED = "task.succeeded"
    HALTED = "task.halted"
    SKIPPED = "task.skipped"
    FAILED = "task.failed"
    RETRY = "task.retry"  # the attempt failed or timed out, and the policy allows another
    LOST = "task.lost"  # the attempt died with its worker, and may be started again
    CANCELLED = "task.cancelled"
    REOPENED = "task.reopened"  # the run is retried: this, or one before it, had not succeeded


class AttemptEvent(StrEnum):
    """What may happen to an attempt."""

    SUCCEEDED = "succeeded"
    HALTED = "halted"
    SKIPPED = "skipped"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    LOST = "lost"


R, T, A = RunStatus, TaskStatus, AttemptStatus

RUN: dict[tuple[RunStatus, RunEvent], RunStatus] = {
    (R.QUEUED, RunEvent.STARTED): R.RUNNING,
    (R.QUEUED, RunEvent.CANCEL): R.CANCELLING,
    (R.RUNNING, RunEvent.CANCEL): R.CANCELLING,
    (R.RUNNING, RunEvent.SUCCEEDED): R.SUCCEEDED,
    (R.RUNNING, RunEvent.HALTED): R.HALTED,
    (R.RUNNING, RunEvent.FAILED): R.FAILED,
    (R.RUNNING, RunEvent.SKIPPED): R.SKIPPED,
    (R.QUEUED, RunEvent.SUCCEEDED): R.SUCCEEDED,  # every task was reused or skipped
    (R.QUEUED, RunEvent.FAILED): R.FAILED,  # could not even be started
    (R.CANCELLING, RunEvent.CANCELLED): R.CANCELLED,
    (R.QUEUED, RunEvent.HANDED_OVER): R.QUEUED,
    (R.RUNNING, RunEvent.HANDED_OVER): R.RUNNING,
    (R.CANCELLING, RunEvent.HANDED_OVER): R.CANCELLING,
    (R.FAILED, RunEvent.REOPENED): R.RUNNING,
    (R.HALTED, RunEvent.REOPENED): R.RUNNING,
    (R.CANCELLED, RunEvent.REOPENED): R.RUNNING,
}

TASK: dict[tuple[TaskStatus, TaskEvent], TaskStatus] = {
    (T.PENDING, TaskEvent.READY): T.READY,
    (T.PENDING, TaskEvent.EXPANDED): T.RUNNING,
    (T.PENDING, TaskEvent.SKIPPED): T.SKIPPED,
    (T.PENDING, TaskEvent.FAILED): T.FAILED,  # its inputs cannot be read
    (T.PENDING, TaskEvent.CANCELLED): T.CANCELLED,
    (T.READY, TaskEvent.STARTED): T.RUNNING,
    (T.READY, TaskEvent.REUSED): T.SUCCEEDED,
    (T.READY, TaskEvent.FAILED): T.FAILED,
    (T.READY, TaskEvent.CANCELLED): T.CANCELLED,
    (T.RETRYING, TaskEvent.STARTED): T.RUNNING,
    (T.RETRYING, TaskEvent.REUSED): T.SUCCEEDED,  # another run was faster
    (T.RETRYING, TaskEvent.FAILED): T.FAILED,
    (T.RETRYING, TaskEvent.CANCELLED): T.CANCELLED,
    (T.RUNNING, TaskEvent.ADOPTED): T.RUNNING,
    (T.RUNNING, TaskEvent.SUCCEEDED): T.SUCCEEDED,
    (T.RUNNING, TaskEvent.HALTED): T.HALTED,
    (T.RUNNING, TaskEvent.SKIPPED): T.SKIPPED,
    (T.RUNNING, TaskEvent.FAILED): T.FAILED,
    (T.RUNNING, TaskEvent.RETRY): T.RETRYING,
    (T.RUNNING, TaskEvent.LOST): T.RETRYING,
    (T.RUNNING, TaskEvent.CANCELLED): T.CANCELLED,
    (T.FAILED, TaskEvent.REOPENED): T.PENDING,
    (T.HALTED, TaskEvent.REOPENED): T.PENDING,
    (T.CANCELLED, TaskEvent.REOPENED): T.PENDING,
    (T.SKIPPED, TaskEvent.REOPENED): T.PENDING,
    (T.SUCCEEDED, TaskEvent.REOPENED): T.PENDING,  # on the end of one that is done again
}

ATTEMPT: dict[tuple[AttemptStatus, AttemptEvent], AttemptStatus] = {
    (A.RUNNING, event): AttemptStatus(event.value) for event in AttemptEvent
}

Status = TypeVar("Status", RunStatus, TaskStatus, AttemptStatus)
Happening = TypeVar("Happening", RunEvent, TaskEvent, AttemptEvent)


def after(
    table: dict[tuple[Status, Happening], Status], status: Status, event: Happening
) -> Status:
    """The next status by one of the tables. Raises IllegalTransition."""
    try:
        return table[status, event]
    except KeyError:
        raise IllegalTransition(f"{event} cannot happen to something {status}") from None
