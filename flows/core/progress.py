"""One run in memory: pure decisions about what its next event changes.

A `Progress` takes a stimulus (an attempt ended, a worker died, somebody cancelled) and the
time, applies the tables of `lifecycle`, the policy of `retry` and the rules of `graph`, and
collects what changed: rows and events. It does no IO; a store method writes the collected
`Changes` in one transaction, guarded by the run's `seq`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from flows.core import retry, values
from flows.core.errors import Refused
from flows.core.graph import (
    CONFIG,
    Const,
    Graph,
    Input,
    Many,
    Node,
    Ref,
    RunIf,
    child_index,
    child_key,
    node_key,
)
from flows.core.lifecycle import (
    AttemptEvent,
    RunEvent,
    TaskEvent,
    attempt_after,
    run_after,
    task_after,
)
from flows.core.records import (
    Attempt,
    AttemptStatus,
    ErrorInfo,
    Event,
    Outcome,
    OutcomeKind,
    Run,
    RunStatus,
    TaskRun,
    TaskStatus,
)

FAILED = (TaskStatus.FAILED,)


@dataclass(kw_only=True)
class Changes:
    """What one stimulus changed: rows to write and events to append, in one transaction."""

    run: Run | None = None
    new_tasks: dict[str, TaskRun] = field(default_factory=dict)
    tasks: dict[str, TaskRun] = field(default_factory=dict)
    new_attempts: dict[str, Attempt] = field(default_factory=dict)
    attempts: dict[str, Attempt] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)


class Progress:
    """The state of one run, and the decisions that move it."""

    def __init__(
        self,
        run: Run,
        graph: Graph,
        config: Any,
        tasks: Iterable[TaskRun],
        attempts: Iterable[Attempt] = (),
    ) -> None:
        self.run = run
        self.graph = graph
        self.config = config
        self.tasks = {task.key: task for task in tasks}
        self.attempts = {a.key: a for a in attempts if a.status is AttemptStatus.RUNNING}
        self.base_seq = run.seq  # what the store must still hold for the changes to be valid
        self._changes = Changes()
        self._parsed: dict[str, Any] = {}
        self._undecided: deque[str] = deque()
        self._recount()

    # ------------------------------------------------------------------ questions

    @cached_property
    def config_text(self) -> str:
        """The resolved config as JSON text, as each attempt is given it."""
        return values.dumps(self.config)

    def claimable(self, now: datetime) -> list[str]:
        """Keys of the tasks that may be started now, in the order in which they became so."""
        if self.run.status is RunStatus.CANCELLING:
            return []
        return [key for key in self._ready if _due(self.tasks[key], now)]

    def next_ready(self) -> datetime | None:
        """When the next waiting retry may be claimed, if there is one."""
        times = [t for key in self._ready if (t := self.tasks[key].ready_at)]
        return min(times, default=None)

    def arguments(self, key: str) -> dict[str, Any]:
        """Parameter -> JSON data for a task run whose upstream has ended."""
        node, index = self.graph.node(key), child_index(key)
        found = {name: self._read(source) for name, source in node.inputs.items()}
        if node.over is not None and index is not None:
            found[node.over] = found[node.over][index]
        return found

    def take(self) -> Changes:
        """Hand over what changed since the last call."""
        changes, self._changes = self._changes, Changes()
        return changes

    # ------------------------------------------------------------------ stimuli

    def begin(self, now: datetime) -> None:
        """Decide on the tasks that wait for nothing; once, when the run is created."""
        for node in self.graph.nodes:
            if not node.upstream:
                self._undecided.append(node.key)
        self._settle(now)

    def start(self, key: str, *, worker: str, executor: str, now: datetime) -> Attempt:
        """Claim a task for a worker; its next attempt begins."""
        task = self.tasks[key]
        number = task.attempt + 1
        attempt = Attempt(
            id=f"{self.run.id}.{key}.{number}",
            run_id=self.run.id,
            key=key,
            number=number,
            status=AttemptStatus.RUNNING,
            executor=executor,
            worker=worker,
            started_at=now,
        )
        self.attempts[key] = self._changes.new_attempts[attempt.id] = attempt
        if self.run.status is RunStatus.QUEUED:
            self._run_event(RunEvent.STARTED, now, started_at=now)
        data = {"worker": worker, "executor": executor}
        self._task_event(
            key, TaskEvent.STARTED, now, data, attempt=number, started_at=task.started_at or now
        )
        return attempt

    def reuse(self, key: str, value: str, origin: str, now: datetime) -> None:
        """Take over the value of an equal task of run `origin`."""
        self._task_event(
            key,
            TaskEvent.REUSED,
            now,
            {"from": origin},
            value=value,
            ended_at=now,
            reason=f"reused from run {origin}",
        )
        self._task_ended(key, now)

    def live(self, attempt_id: str) -> Attempt | None:
        """The attempt, if it is this run's and still alive."""
        key = attempt_id[len(self.run.id) + 1 :].rpartition(".")[0]
        attempt = self.attempts.get(key)
        return attempt if attempt and attempt.id == attempt_id else None

    def finish(self, outcome: Outcome, now: datetime) -> bool:
        """An attempt has ended. False when it is not alive here: its end is not recorded."""
        attempt = self.live(outcome.attempt_id)
        if attempt is None:
            return False
        kind = outcome.kind
        if kind is OutcomeKind.SUCCEEDED:
            self._succeed(attempt, outcome.value or "null", now, outcome.cpu_seconds)
        elif kind is OutcomeKind.HALTED:
            self._signal(attempt, TaskEvent.HALTED, outcome.reason or "", now)
        elif kind is OutcomeKind.SKIPPED:
            self._signal(attempt, TaskEvent.SKIPPED, outcome.reason or "", now)
        elif kind is OutcomeKind.LOST:
            self.lose(attempt, outcome.reason or "its worker died", now)
        elif kind is OutcomeKind.STOPPED and attempt.stopping == "cancel":
            self._drop(attempt, now)
        elif kind is OutcomeKind.STOPPED:
            self._fail(attempt, _timeout(self.graph.node(attempt.key)), now, timed_out=True)
        else:
            unknown = ErrorInfo(type="Unknown", message="it failed without an error")
            self._fail(attempt, outcome.error or unknown, now)
        return True

    def _succeed(self, attempt: Attempt, value: str, now: datetime, cost: float | None) -> None:
        self._attempt_event(attempt, AttemptEvent.SUCCEEDED, now)
        self._task_event(
            attempt.key,
            TaskEvent.SUCCEEDED,
            now,
            _cost(cost),
            value=value,
            ended_at=now,
            reason=None,
            error=None,
        )
        self._task_ended(attempt.key, now)

    def _signal(self, attempt: Attempt, event: TaskEvent, reason: str, now: datetime) -> None:
        self._attempt_event(attempt, AttemptEvent(event.value.partition(".")[2]), now)
        self._task_event(
            attempt.key, event, now, {"reason": reason}, ended_at=now, reason=reason, error=None
        )
        self._task_ended(attempt.key, now)

    def _fail(
        self, attempt: Attempt, error: ErrorInfo, now: datetime, *, timed_out: bool = False
    ) -> None:
        event = AttemptEvent.TIMED_OUT if timed_out else AttemptEvent.FAILED
        self._attempt_event(attempt, event, now, error=error)
        task = self.tasks[attempt.key]
        decision = retry.decide(
            self.graph.node(task.key).retry, task.failures + 1, error, key=attempt.id, now=now
        )
        self._again_or_fail(attempt, decision, error, now, failures=task.failures + 1)

    def lose(self, attempt: Attempt, reason: str, now: datetime) -> None:
        """The attempt died with its worker, and nobody is working on it."""
        error = ErrorInfo(type="Lost", message=reason, kinds=("Lost",))
        self._attempt_event(attempt, AttemptEvent.LOST, now, error=error)
        task = self.tasks[attempt.key]
        decision = retry.decide_lost(self.graph.node(task.key).retry, task.losses + 1, now)
        self._again_or_fail(
            attempt, decision, error, now, event=TaskEvent.LOST, losses=task.losses + 1
        )

    def _drop(self, attempt: Attempt, now: datetime) -> None:
        self._attempt_event(attempt, AttemptEvent.CANCELLED, now)
        self._cancel_task(attempt.key, now)
        self._settle(now)

    def adopt(self, attempt: Attempt, worker: str, now: datetime) -> Attempt:
        """Another worker takes over an attempt that outlived its own."""
        adopted = replace(attempt, worker=worker)
        self._keep(adopted)
        self._task_event(attempt.key, TaskEvent.ADOPTED, now, {"worker": worker})
        return adopted

    def stopping(self, attempt: Attempt, why: str) -> Attempt:
        """Note that the attempt was told to end, before it is told."""
        noted = replace(attempt, stopping=why)
        self._keep(noted)
        return noted

    def cancel(self, reason: str, now: datetime) -> None:
        """Ask for the run's end: what has not started never will, what runs is told to end."""
        if self.run.status is RunStatus.CANCELLING:
            return
        if self.run.status.ended:
            raise Refused(f"run {self.run.id} has already ended: {self.run.status}")
        self._run_event(RunEvent.CANCEL, now, reason=reason)
        for key, task in list(self.tasks.items()):
            if task.status.claimable:
                self._cancel_task(key, now)
        self._undecided.extend(n.key for n in self.graph.nodes if self._is_decidable(n.key))
        for attempt in list(self.attempts.values()):
            self.stopping(attempt, "cancel")
        self._settle(now)

    def reopen(self, now: datetime) -> None:
        """Retry the run: everything that did not succeed is decided on again."""
        if not self.run.status.ended:
            raise Refused(f"run {self.run.id} is still {self.run.status}")
        if self.run.status in (RunStatus.SUCCEEDED, RunStatus.SKIPPED):
            raise Refused(f"run {self.run.id} {self.run.status}; there is nothing to retry")
        self._run_event(RunEvent.REOPENED, now, ended_at=None, reason=None)
        for key, task in list(self.tasks.items()):
            if task.status is not TaskStatus.SUCCEEDED:
                fresh: dict[str, Any] = {"failures": 0, "losses": 0, "ended_at": None}
                self._task_event(key, TaskEvent.REOPENED, now, reason=None, error=None, **fresh)
        self._recount()
        self._undecided.extend(n.key for n in self.graph.nodes if self._is_decidable(n.key))
        self._settle(now)

    def refuse(self, key: str, error: ErrorInfo, now: datetime) -> None:
        """A claimable task cannot be started at all: its input or its executor is wrong."""
        self._fail_task(key, error, now)
        self._settle(now)

    # ------------------------------------------------------------------ decisions

    def _settle(self, now: datetime) -> None:
        """Decide on every task whose upstream has ended, until nothing follows from it."""
        while self._undecided:
            self._decide(self.graph.by_key[self._undecided.popleft()], now)
        if not self._open_nodes and not self.run.status.ended:
            self._end(now)

    def _decide(self, node: Node, now: datetime) -> None:
        if self.tasks[node.key].status is not TaskStatus.PENDING:
            return
        if self.run.status is RunStatus.CANCELLING:
            self._cancel_task(node.key, now)
            return
        reason = self._why_not(node)
        if reason is not None:
            self._task_event(
                node.key, TaskEvent.SKIPPED, now, {"reason": reason}, ended_at=now, reason=reason
            )
            self._task_ended(node.key, now, settle=False)
        elif node.over is not None:
            self._expand(node, now)
        else:
            self._task_event(node.key, TaskEvent.READY, now, ready_at=now)
            self._ready[node.key] = None

    def _why_not(self, node: Node) -> str | None:
        """Why the node is not to run, in one sentence; None when it is."""
        before = [self.tasks[key] for key in node.upstream]
        failed = [t for t in before if t.status in FAILED]
        other = [t for t in before if t.status is not TaskStatus.SUCCEEDED]
        if node.run_if is RunIf.ALL_SUCCEEDED and other:
            return f"{other[0].key} was {other[0].status}"
        if node.run_if is RunIf.NONE_FAILED and (failed or (before and len(other) == len(before))):
            first = (failed or other)[0]
            return f"{first.key} was {first.status}"
        if node.run_if is RunIf.ANY_FAILED and not failed:
            return "nothing before it failed"
        if node.condition:
            for ref, wanted in node.condition.literals:
                if self._read(ref) is not wanted:
                    return f"{ref} is {'false' if wanted else 'true'}"
        return None

    def _expand(self, node: Node, now: datetime) -> None:
        assert node.over is not None
        items = self._read(node.inputs[node.over])
        if not isinstance(items, list):
            error = ErrorInfo(
                type="NotAList",
                message=f"{node.key} is mapped over {node.over}, which is not a list",
                permanent=True,
            )
            self._fail_task(node.key, error, now, settle=False)
            return
        self._task_event(
            node.key, TaskEvent.EXPANDED, now, {"children": len(items)}, started_at=now
        )
        waiting = 0
        for index in range(len(items)):
            waiting += self._open_child(child_key(node.key, index), now)
        self._open_children[node.key] = waiting
        if not waiting:
            self._finish_parent(node.key, now)

    def _open_child(self, key: str, now: datetime) -> int:
        """Make a mapped child claimable; 0 when it had already succeeded (a retried run)."""
        task = self.tasks.get(key)
        if task is None:
            task = TaskRun(run_id=self.run.id, key=key, status=TaskStatus.READY, ready_at=now)
            self.tasks[key] = self._changes.new_tasks[key] = task
        elif task.status is TaskStatus.SUCCEEDED:
            return 0
        else:
            self._task_event(key, TaskEvent.READY, now, ready_at=now)
        self._ready[key] = None
        return 1

    def _finish_parent(self, key: str, now: datetime) -> None:
        """All children of a mapped task have ended: so does it."""
        children = self._children(key)
        by_status: dict[TaskStatus, list[TaskRun]] = {}
        for child in children:
            by_status.setdefault(child.status, []).append(child)
        if TaskStatus.CANCELLED in by_status:
            self._cancel_task(key, now)
            return
        for status, event in (
            (TaskStatus.FAILED, TaskEvent.FAILED),
            (TaskStatus.HALTED, TaskEvent.HALTED),
        ):
            if found := by_status.get(status):
                reason = f"{len(found)} of {len(children)} {status}; {found[0].key}: " + (
                    found[0].reason or ""
                )
                self._task_event(
                    key,
                    event,
                    now,
                    {"reason": reason},
                    ended_at=now,
                    reason=reason,
                    error=found[0].error,
                )
                self._task_ended(key, now, settle=False)
                return
        value = "[" + ",".join(child.value or "null" for child in children) + "]"
        self._task_event(key, TaskEvent.SUCCEEDED, now, value=value, ended_at=now)
        self._task_ended(key, now, settle=False)

    def _again_or_fail(
        self,
        attempt: Attempt,
        decision: retry.Decision,
        error: ErrorInfo,
        now: datetime,
        *,
        event: TaskEvent = TaskEvent.RETRY,
        **counts: int,
    ) -> None:
        if self.run.status is RunStatus.CANCELLING:
            self._cancel_task(attempt.key, now)
        elif isinstance(decision, retry.RetryAt):
            data = {"error": _line(error), "at": decision.at.isoformat()}
            self._task_event(
                attempt.key,
                event,
                now,
                data,
                ready_at=decision.at,
                reason=_line(error),
                error=error,
                **counts,
            )
            self._ready[attempt.key] = None
        else:
            self._fail_task(attempt.key, error, now, settle=False, **counts)
        self._settle(now)

    def _fail_task(
        self, key: str, error: ErrorInfo, now: datetime, *, settle: bool = True, **fields: Any
    ) -> None:
        line = _line(error)
        data = {"error": line, "hint": error.hint} if error.hint else {"error": line}
        self._task_event(
            key, TaskEvent.FAILED, now, data, ended_at=now, reason=line, error=error, **fields
        )
        self._task_ended(key, now, settle=settle)

    def _cancel_task(self, key: str, now: datetime) -> None:
        self._task_event(key, TaskEvent.CANCELLED, now, ended_at=now, reason=self.run.reason)
        self._task_ended(key, now, settle=False)

    def _task_ended(self, key: str, now: datetime, *, settle: bool = True) -> None:
        self._ready.pop(key, None)
        parent = node_key(key)
        if parent != key:
            self._open_children[parent] -= 1
            if not self._open_children[parent]:
                self._finish_parent(parent, now)
        else:
            self._open_nodes -= 1
            for after in self.graph.downstream[key]:
                self._waiting[after] -= 1
                if not self._waiting[after]:
                    self._undecided.append(after)
        if settle:
            self._settle(now)

    def _end(self, now: datetime) -> None:
        event, reason = self._ending()
        self._run_event(event, now, ended_at=now, reason=reason)

    def _ending(self) -> tuple[RunEvent, str | None]:
        """How the run ends, and why, once all its tasks have ended."""
        if self.run.status is RunStatus.CANCELLING:
            return RunEvent.CANCELLED, self.run.reason
        nodes = [self.tasks[node.key] for node in self.graph.nodes]
        for status, event in (
            (TaskStatus.FAILED, RunEvent.FAILED),
            (TaskStatus.HALTED, RunEvent.HALTED),
        ):
            for task in nodes:
                if task.status is status:
                    reason = task.reason or ""
                    return event, f"{task.key}: {reason}" if event is RunEvent.FAILED else reason
        skipped = [t for t in nodes if t.status is TaskStatus.SKIPPED and t.attempt]
        idle = all(self.tasks[key].status is TaskStatus.SKIPPED for key in self.graph.leaves)
        if skipped and idle:
            return RunEvent.SKIPPED, skipped[0].reason
        return RunEvent.SUCCEEDED, None

    # ------------------------------------------------------------------ bookkeeping

    def _recount(self) -> None:
        """Derive the counters from the tasks; they are never stored."""
        self._ready = {key: None for key, task in self.tasks.items() if task.status.claimable}
        nodes = self.graph.nodes
        self._open_nodes = sum(not self.tasks[n.key].status.ended for n in nodes)
        self._waiting = {
            n.key: sum(not self.tasks[key].status.ended for key in n.upstream) for n in nodes
        }
        self._open_children: dict[str, int] = {n.key: 0 for n in nodes if n.over}
        for key, task in self.tasks.items():
            if (parent := node_key(key)) != key and not task.status.ended:
                self._open_children[parent] += 1

    def _is_decidable(self, key: str) -> bool:
        return self.tasks[key].status is TaskStatus.PENDING and not self._waiting[key]

    def _children(self, key: str) -> Sequence[TaskRun]:
        found: list[TaskRun] = []
        while (child := self.tasks.get(child_key(key, len(found)))) is not None:
            found.append(child)
        return found

    def _read(self, source: Input) -> Any:
        if isinstance(source, Const):
            return source.const
        if isinstance(source, Many):
            return [self._read(item) for item in source.items]
        return _follow(source, self.config if source.node == CONFIG else self._value(source.node))

    def _value(self, key: str) -> Any:
        if key not in self._parsed:
            text = self.tasks[key].value
            if text is None:
                return None
            self._parsed[key] = values.loads(text)
        return self._parsed[key]

    def _keep(self, attempt: Attempt) -> None:
        self.attempts[attempt.key] = attempt
        new = attempt.id in self._changes.new_attempts
        (self._changes.new_attempts if new else self._changes.attempts)[attempt.id] = attempt

    def _attempt_event(
        self,
        attempt: Attempt,
        event: AttemptEvent,
        now: datetime,
        error: ErrorInfo | None = None,
    ) -> None:
        ended = replace(
            attempt, status=attempt_after(attempt.status, event), ended_at=now, error=error
        )
        self._keep(ended)
        del self.attempts[attempt.key]

    def _task_event(
        self,
        key: str,
        event: TaskEvent,
        now: datetime,
        data: dict[str, Any] | None = None,
        **fields: Any,
    ) -> None:
        task = self.tasks[key]
        changed = replace(task, status=task_after(task.status, event), **fields)
        self.tasks[key] = changed
        new = key in self._changes.new_tasks
        (self._changes.new_tasks if new else self._changes.tasks)[key] = changed
        if not changed.status.claimable:
            self._ready.pop(key, None)
        self._append(event, now, key, changed.attempt or None, data or {})

    def _run_event(self, event: RunEvent, now: datetime, **fields: Any) -> None:
        self.run = replace(self.run, status=run_after(self.run.status, event), **fields)
        reason = fields.get("reason")
        self._append(event, now, None, None, {"reason": reason} if reason else {})

    def _append(
        self, kind: str, now: datetime, task: str | None, attempt: int | None, data: dict[str, Any]
    ) -> None:
        self.run = self._changes.run = replace(self.run, seq=self.run.seq + 1)
        self._changes.events.append(
            Event(
                id=0,
                seq=self.run.seq,
                at=now,
                kind=str(kind),
                run_id=self.run.id,
                task=task,
                attempt=attempt,
                data=data,
            )
        )


def _due(task: TaskRun, now: datetime) -> bool:
    return task.ready_at is None or task.ready_at <= now


def _timeout(node: Node) -> ErrorInfo:
    return ErrorInfo(
        type="TimedOut",
        message=f"{node.key} was ended after its timeout of {node.timeout:g} s",
        kinds=("TimedOut", "builtins.TimeoutError", "builtins.OSError", "builtins.Exception"),
    )


def _line(error: ErrorInfo) -> str:
    first = error.message.strip().partition("\n")[0]
    return f"{error.type}: {first}" if first else error.type


def _cost(cpu_seconds: float | None) -> dict[str, Any]:
    return {} if cpu_seconds is None else {"cpu_s": round(cpu_seconds, 6)}


def _follow(ref: Ref, value: Any) -> Any:
    for part in ref.path:
        if value is None:
            return None
        value = value[part]
    return value
