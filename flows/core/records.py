"""The nouns that are stored: runs, task runs, attempts, events, and how each may stand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

Record = TypeVar("Record")


class RunStatus(StrEnum):
    """Where a run stands."""

    QUEUED = "queued"  # recorded; nothing of it has started
    RUNNING = "running"  # at least one task has been started
    CANCELLING = "cancelling"  # told to end; something of it is still alive
    SUCCEEDED = "succeeded"  # everything that had to run did
    HALTED = "halted"  # it worked, and decided not to go on
    FAILED = "failed"  # a task failed for good
    CANCELLED = "cancelled"  # ended on request; nothing of it is alive
    SKIPPED = "skipped"  # there was nothing to do; the reason says why

    @property
    def ended(self) -> bool:
        """No further transition but a retry."""
        return self not in (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.CANCELLING)


class TaskStatus(StrEnum):
    """Where a task of a run stands."""

    PENDING = "pending"  # waits for the tasks before it
    READY = "ready"  # may be claimed, from `ready_at` on
    RUNNING = "running"  # an attempt is alive, or its mapped children are
    RETRYING = "retrying"  # failed or lost; may be claimed again from `ready_at` on
    SUCCEEDED = "succeeded"  # its value is recorded
    HALTED = "halted"  # it raised Halt
    FAILED = "failed"  # out of retries
    CANCELLED = "cancelled"  # ended on request
    SKIPPED = "skipped"  # its condition did not hold, or it raised Skip

    @property
    def ended(self) -> bool:
        """No further transition but a retry of the run."""
        return self not in _OPEN

    @property
    def claimable(self) -> bool:
        """May be started once `ready_at` has come."""
        return self in (TaskStatus.READY, TaskStatus.RETRYING)


_OPEN = frozenset({TaskStatus.PENDING, TaskStatus.READY, TaskStatus.RUNNING, TaskStatus.RETRYING})


class AttemptStatus(StrEnum):
    """How one try of a task went."""

    RUNNING = "running"  # claimed by a worker whose lease is (or was) alive
    SUCCEEDED = "succeeded"  # returned a value
    HALTED = "halted"  # raised Halt
    SKIPPED = "skipped"  # raised Skip
    FAILED = "failed"  # raised anything else
    TIMED_OUT = "timed_out"  # ended by us at its timeout; it is gone
    CANCELLED = "cancelled"  # ended by us on request; it is gone
    LOST = "lost"  # its worker or its Ray job died; nobody is working on it


@dataclass(frozen=True, kw_only=True)
class ErrorInfo:
    """An exception as data: it crossed a process boundary and is kept in the store."""

    type: str  # class name, `ValueError`
    message: str  # str(exception), one or several lines
    # Dotted names of the class and its bases, for retry rules; of a halt, its alert's kind.
    kinds: tuple[str, ...] = ()
    trace: str = ""  # formatted traceback
    hint: str | None = None  # the next thing to do, when the exception knows it
    permanent: bool = False  # a retry cannot help

    @property
    def line(self) -> str:
        """The error in one line, as a run's reason says it."""
        first = self.message.strip().partition("\n")[0]
        return f"{self.type}: {first}" if first else self.type


@dataclass(frozen=True, kw_only=True)
class Work:
    """One attempt, as data: enough to run it in any process that has the same code."""

    attempt_id: str  # unique for ever; starting the same id twice runs it once
    run_id: str
    flow: str
    task: str  # the task run's key
    number: int  # of the attempt, from 1
    function: str  # dotted path of the task, `flows.retrain:train`
    arguments: str  # JSON object: parameter -> value
    config: str = "{}"  # the run's resolved config, JSON
    config_yaml: str = ""  # the same, as it is shown and compared
    config_digest: str = ""  # sha256 of what of it the result depends on
    resources: str | None = None  # the argument that says what it needs of a cluster
    log: str | None = None  # file that takes what the task prints and logs; appended to
    # The function itself, for executors in this process (notebooks define tasks in __main__).
    call: Callable[..., Any] | None = field(default=None, compare=False, repr=False)


class OutcomeKind(StrEnum):
    """How an attempt ended, as its executor saw it."""

    SUCCEEDED = "succeeded"  # returned; `value` is its JSON
    HALTED = "halted"  # raised Halt; `reason` says why
    SKIPPED = "skipped"  # raised Skip; `reason` says why
    FAILED = "failed"  # raised; `error` says what
    STOPPED = "stopped"  # ended because it was told to, and is gone
    LOST = "lost"  # died without saying anything; nobody is working on it


@dataclass(frozen=True, kw_only=True)
class Asset:
    """Something outside that a task made or changed, and that others may wait for."""

    name: str  # `model:digits`, `table:digits_features`
    version: str  # of the thing, as its owner numbers it
    at: datetime | None = None  # the time up to which it goes, where it has one


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Something that a task wants people to know at once, and that does not end its run."""

    key: str  # unique: told once, whichever attempt or run says it again
    kind: str  # of the alert: `noticed`, or one that channels can be routed by
    title: str  # one line
    reason: str  # one sentence: why
    next: str  # the command or link for the next step


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The end of one attempt, as an executor delivers it."""

    attempt_id: str
    kind: OutcomeKind
    value: str | None = None  # JSON text, for SUCCEEDED
    reason: str | None = None  # one sentence, for HALTED, SKIPPED, STOPPED and LOST
    error: ErrorInfo | None = None  # for FAILED; for HALTED and SKIPPED, what to do next
    cpu_seconds: float | None = None  # processor time that the attempt used, where known
    gpu_seconds: float | None = None  # GPUs held, times the seconds that they were held
    assets: tuple[Asset, ...] = ()  # what the attempt made, as it said with `produced`
    notices: tuple[Notice, ...] = ()  # what people are to be told, as it said with `noticed`


@dataclass(frozen=True, kw_only=True)
class Run:
    """One execution of a flow, with the config that it was composed with."""

    id: str  # short, sortable by creation: `260704-0300-7f3a`
    flow: str  # the flow's name
    key: str  # unique per flow; the fire, data version or idempotency key behind it
    status: RunStatus
    reason: str | None  # one sentence: why it ended as it did
    source: str  # dotted path of the flow, `flows.retrain:retrain`
    config_digest: str  # sha256 of the resolved config
    trigger: dict[str, Any]  # what started it: {"kind": "cli", ...}
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    seq: int  # number of its last event; the version of its state
    priority: int = 0  # of several that wait, the highest goes first
    lane: str | None = None  # of the runs in one lane, one runs at a time
    max_runs: int | None = None  # as many runs of the flow may run at once
    held_by: str | None = None  # the worker that has it to itself (`ratchet run`, a notebook)
    claimable_at: datetime | None = None  # when something of it may first be claimed
    claimable: str | None = None  # the pools of what waits to be claimed, each between spaces


@dataclass(frozen=True, kw_only=True)
class TaskRun:
    """One task of one run. Mapped children have keys such as `extract[3]`."""

    run_id: str
    key: str
    status: TaskStatus
    attempt: int = 0  # number of the newest attempt; 0 before the first
    failures: int = 0  # attempts that failed or timed out since the run's last retry
    losses: int = 0  # attempts that were lost since the run's last retry
    ready_at: datetime | None = None  # not to be claimed before
    started_at: datetime | None = None
    ended_at: datetime | None = None
    reason: str | None = None  # one sentence for halted, skipped, failed, or reused
    value: str | None = None  # JSON text of what it returned
    error: ErrorInfo | None = None  # of the newest attempt that failed
    cache_key: str | None = None  # digest of code version, inputs and config


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One try of one task run. Its id is derived, so that a start can be repeated safely."""

    id: str  # `<run>.<task>.<number>`; the Ray submission id is derived from it
    run_id: str
    key: str
    number: int
    status: AttemptStatus
    executor: str  # inline, threads, processes, ray
    worker: str  # the worker that claimed it, and whose lease covers it
    started_at: datetime
    ended_at: datetime | None = None
    stopping: str | None = None  # why it was told to end: `timeout` or `cancel`
    error: ErrorInfo | None = None
    pool: str | None = None  # the pool whose slots it holds; None: its pool has no limit
    weight: int = 1  # slots that it holds


@dataclass(frozen=True, kw_only=True)
class Event:
    """One line of the append-only record: every transition writes exactly one."""

    id: int = 0  # global order; 0 until it is stored
    seq: int = 0  # number within its run, from 1, or of the schedule; 0: no transition
    at: datetime
    kind: str  # `run.created`, `task.started`, `task.succeeded`, ...
    run_id: str | None = None
    task: str | None = None
    attempt: int | None = None
    data: dict[str, Any]  # what the kind carries


@dataclass(frozen=True, kw_only=True)
class Lease:
    """A worker's proof of life; what it claimed is claimable again once this has expired."""

    name: str  # `worker:<id>`
    holder: str  # host, process id and start time
    token: int  # grows by one with every new holder
    expires_at: datetime
    serves: str | None = None  # pools, each between spaces, `*` all; None: only its own runs


def changed(record: Record, **fields: Any) -> Record:
    """A record with other values in some of its fields.

    As `dataclasses.replace`, for records that check nothing when they are made; that one takes
    seven times as long, and a step of a run changes a dozen.
    """
    copy = object.__new__(type(record))
    values = vars(copy)
    values |= vars(record)
    known = len(values)
    values |= fields
    if len(values) != known:
        raise TypeError(f"{type(record).__name__} has no field {list(values)[known]!r}")
    return copy
