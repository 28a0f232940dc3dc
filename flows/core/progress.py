"""The decisions about one run, given a stimulus (an attempt ended, somebody cancelled) and a time.

Each follows the tables of `lifecycle`, the policy of `retry` and the rules of `graph`, and does no
IO: a store method writes the collected `Changes` in one transaction, guarded by the run's `seq`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from flows.core import retry
from flows.core.errors import Refused
from flows.core.graph import Node, child_key, node_key
from flows.core.lifecycle import AttemptEvent, RunEvent, TaskEvent
from flows.core.records import (
    Attempt,
    AttemptStatus,
    ErrorInfo,
    Outcome,
    OutcomeKind,
    RunStatus,
    TaskRun,
    TaskStatus,
)
from flows.core.rules import (
    ending,
    ending_of_mapped,
    not_mappable,
    to_do_again,
    undecidable,
    why_not,
)
from flows.core.state import RunState


class Progress(RunState):
    """A run that moves."""

    # ------------------------------------------------------------------ stimuli

    def begin(self, now: datetime) -> None:
        """Record the run and decide on the tasks that wait for nothing; once, when it is made."""
        self.record_creation(now)
        for node in self.graph.nodes:
            if not node.upstream:
                self.undecided.append(node.key)
        self._settle(now)

    def start(
        self, key: str, *, worker: str, executor: str, now: datetime, pool: str | None = None
    ) -> Attempt:
        """Claim a task for a worker; its next attempt begins, in `pool` where that has a limit."""
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
            pool=pool,
            weight=self.graph.node(key).weight,
        )
        self.attempts[key] = self._changes.new_attempts[attempt.id] = attempt
        if self.run.status is RunStatus.QUEUED:
            self.move_run(RunEvent.STARTED, now, started_at=now)
        data = {"worker": worker, "executor": executor}
        self.move_task(
            key, TaskEvent.STARTED, now, data, attempt=number, started_at=task.started_at or now
        )
        return attempt

    def reuse(self, key: str, value: str, origin: str, now: datetime) -> None:
        """Take over the value of an equal task of run `origin`."""
        self.move_task(
            key,
            TaskEvent.REUSED,
            now,
            {"from": origin},
            value=value,
            reason=f"reused from run {origin}",
            error=None,
        )
        self._task_ended(key, now)
        self._settle(now)

    def finish(self, outcome: Outcome, now: datetime, *, worker: str) -> bool:
        """An attempt has ended, says a worker. False when it is not alive, or not that worker's:

        its end is not recorded.
        """
        attempt = self.live(outcome.attempt_id)
        if attempt is None or attempt.worker != worker:
            return False
        kind = outcome.kind
        if kind is OutcomeKind.SUCCEEDED:
            self._succeed(attempt, outcome, now)
        elif kind is OutcomeKind.HALTED:
            self._signal(attempt, TaskEvent.HALTED, outcome, now)
        elif kind is OutcomeKind.SKIPPED:
            self._signal(attempt, TaskEvent.SKIPPED, outcome, now)
        elif kind is OutcomeKind.STOPPED and attempt.stopping == "cancel":
            self.move_attempt(attempt, AttemptEvent.CANCELLED, now, outcome=outcome)
            self._cancel_task(attempt.key, now)
        elif kind is OutcomeKind.STOPPED and attempt.stopping == "timeout":
            self._fail(attempt, _timeout(self.graph.node(attempt.key)), outcome, now)
        elif kind in (OutcomeKind.LOST, OutcomeKind.STOPPED):  # stopped: with its worker
            self.lose(attempt, outcome.reason or "its worker died", now, outcome)
        else:
            unknown = ErrorInfo(type="Unknown", message="it failed without an error")
            self._fail(attempt, outcome.error or unknown, outcome, now)
        self._settle(now)
        return True

    def _succeed(self, attempt: Attempt, outcome: Outcome, now: datetime) -> None:
        self.move_attempt(attempt, AttemptEvent.SUCCEEDED, now, outcome=outcome)
        self.move_task(
            attempt.key,
            TaskEvent.SUCCEEDED,
            now,
            value=outcome.value or "null",
            reason=None,
            error=None,
        )
        self.announce(attempt, outcome, now)
        self._task_ended(attempt.key, now)

    def _signal(self, attempt: Attempt, event: TaskEvent, outcome: Outcome, now: datetime) -> None:
        kind, reason = AttemptEvent(event.value.partition(".")[2]), outcome.reason or ""
        self.move_attempt(attempt, kind, now, outcome=outcome)
        data, error = {"reason": reason}, outcome.error
        self.move_task(attempt.key, event, now, data, reason=reason, error=error)
        self.announce(attempt, outcome, now)
        self._task_ended(attempt.key, now)

    def _fail(self, attempt: Attempt, error: ErrorInfo, outcome: Outcome, now: datetime) -> None:
        timed_out = outcome.kind is OutcomeKind.STOPPED
        event = AttemptEvent.TIMED_OUT if timed_out else AttemptEvent.FAILED
        self.move_attempt(attempt, event, now, error=error, outcome=outcome)
        task = self.tasks[attempt.key]
        decision = retry.decide(
            self.graph.node(task.key).retry, task.failures + 1, error, key=attempt.id, now=now
        )
        self._again_or_fail(attempt, decision, error, now, failures=task.failures + 1)

    def lose(
        self, attempt: Attempt, reason: str, now: datetime, outcome: Outcome | None = None
    ) -> None:
        """The attempt died with its worker, and nobody is working on it."""
        error = ErrorInfo(type="Lost", message=reason, kinds=("Lost",))
        self.move_attempt(attempt, AttemptEvent.LOST, now, error=error, outcome=outcome)
        task = self.tasks[attempt.key]
        decision = retry.decide_lost(self.graph.node(task.key).retry, task.losses + 1, now)
        self._again_or_fail(
            attempt, decision, error, now, event=TaskEvent.LOST, losses=task.losses + 1
        )
        self._settle(now)

    def adopt(self, attempt: Attempt, worker: str, now: datetime) -> Attempt:
        """Another worker takes over an attempt that outlived its own."""
        adopted = replace(attempt, worker=worker)
        self.keep(adopted)
        self.move_task(attempt.key, TaskEvent.ADOPTED, now, {"worker": worker})
        return adopted

    def stopping(self, attempt: Attempt, why: str) -> Attempt:
        """Note that the attempt was told to end, before it is told."""
        noted = replace(attempt, stopping=why)
        self.keep(noted)
        return noted

    def cancel(self, reason: str, now: datetime) -> None:
        """Ask for the run's end: what has not started never will, what runs is told to end."""
        if self.run.status is RunStatus.CANCELLING:
            return
        if self.run.status.ended:
            raise Refused(f"run {self.run.id} has already ended: {self.run.status}")
        self.move_run(RunEvent.CANCEL, now, reason=reason)
        for key, task in list(self.tasks.items()):
            if task.status.claimable:
                self._cancel_task(key, now)
        self.undecided.extend(n.key for n in self.graph.nodes if self.is_decidable(n.key))
        for attempt in list(self.attempts.values()):
            self.stopping(attempt, "cancel")
        self._settle(now)

    def hand_over(self, holder: str | None, now: datetime) -> None:
        """The run's holder is gone: `holder` has the run to itself now; None: nobody does."""
        data = {"from": self.run.held_by, "to": holder}
        self.move_run(RunEvent.HANDED_OVER, now, data, held_by=holder)

    def reopen(self, now: datetime, holder: str | None = None) -> None:
        """Retry the run, for `holder` alone: what did not succeed is decided on again.

        So is everything after it: a join that ran on a failure has not seen what comes now.
        """
        if not self.run.status.ended:
            raise Refused(f"run {self.run.id} is still {self.run.status}")
        if self.run.status in (RunStatus.SUCCEEDED, RunStatus.SKIPPED):
            raise Refused(f"run {self.run.id} {self.run.status}; there is nothing to retry")
        self.move_run(RunEvent.REOPENED, now, ended_at=None, reason=None, held_by=holder)
        unfinished, behind = to_do_again(self.graph, self.tasks)
        for key, task in list(self.tasks.items()):
            node, done = node_key(key), task.status is TaskStatus.SUCCEEDED
            if node in behind or (node in unfinished and not done):
                self._reopen_task(key, now)
        self.recount()
        self.undecided.extend(n.key for n in self.graph.nodes if self.is_decidable(n.key))
        self._settle(now)

    def _reopen_task(self, key: str, now: datetime) -> None:
        if self.tasks[key].status is TaskStatus.PENDING:
            return  # the child of a mapped task that was never decided on
        fresh: dict[str, Any] = dict.fromkeys(_MADE_BY_A_PASS) | {"failures": 0, "losses": 0}
        self.move_task(key, TaskEvent.REOPENED, now, **fresh)
        self._parsed.pop(key, None)

    def refuse(self, key: str, error: ErrorInfo, now: datetime) -> None:
        """A claimable task cannot be started at all: its input or its executor is wrong."""
        self._fail_task(key, error, now)
        self._settle(now)

    # ------------------------------------------------------------------ decisions

    def _settle(self, now: datetime) -> None:
        """Decide on every task whose upstream has ended, until nothing follows from it."""
        while self.undecided:
            self._decide(self.graph.by_key[self.undecided.popleft()], now)
        if not self.open_nodes and not self.run.status.ended:
            self._end(now)

    def _decide(self, node: Node, now: datetime) -> None:
        if self.tasks[node.key].status is not TaskStatus.PENDING:
            return
        if self.run.status is RunStatus.CANCELLING:
            self._cancel_task(node.key, now)
            return
        try:
            reason = self._why_not(node)
            items = self.read(node.inputs[node.over]) if reason is None and node.over else None
        except Exception as error:  # a key that is not there, a value that is no mapping: its data
            self._fail_task(node.key, undecidable(node.key, error), now)
            return
        if reason is not None:
            self._skip(node.key, reason, now)
            self._task_ended(node.key, now)
        elif node.over is not None:
            self._expand(node, items, now)
        else:
            self.move_task(node.key, TaskEvent.READY, now, ready_at=now)

    def _why_not(self, node: Node) -> str | None:
        """Why the node is not to run, in one sentence; None when it is."""
        reason = why_not(node.run_if, [self.tasks[key] for key in node.upstream])
        if reason is None and node.condition:
            for ref, wanted in node.condition.literals:
                if self.read(ref) is not wanted:
                    return f"{ref} is {'false' if wanted else 'true'}"
        return reason

    def _expand(self, node: Node, items: Any, now: datetime) -> None:
        if (error := not_mappable(node, items)) is not None:
            self._fail_task(node.key, error, now)
            return
        self.move_task(node.key, TaskEvent.EXPANDED, now, {"children": len(items)}, started_at=now)
        keys = [child_key(node.key, index) for index in range(len(items))]
        self.open_children[node.key] = sum(self._open_child(key, now) for key in keys)
        self._skip_children(node.key, "its list has fewer elements now", now)
        if not self.open_children[node.key]:
            self._finish_parent(node.key, now)

    def _skip_children(self, key: str, reason: str, now: datetime) -> None:
        """End the elements that a retried run had once, and that this pass does not have."""
        for child in self.children(key):
            if child.status is TaskStatus.PENDING:
                self._skip(child.key, reason, now)

    def _open_child(self, key: str, now: datetime) -> bool:
        """Make a mapped child claimable; False when it had already succeeded (a retried run)."""
        task = self.tasks.get(key)
        if task is None:
            task = TaskRun(run_id=self.run.id, key=key, status=TaskStatus.READY, ready_at=now)
            self.tasks[key] = self._changes.new_tasks[key] = task
            self.ready[key] = None
        elif task.status is not TaskStatus.SUCCEEDED:
            self.move_task(key, TaskEvent.READY, now, ready_at=now)
        return key in self.ready

    def _finish_parent(self, key: str, now: datetime) -> None:
        """All children of a mapped task have ended: so does it."""
        children = self.children(key)
        if any(child.status is TaskStatus.CANCELLED for child in children):
            self._cancel_task(key, now)
            return
        event, fields = ending_of_mapped(children)
        reason = fields.get("reason")
        self.move_task(key, event, now, {"reason": reason} if reason else None, **fields)
        self._task_ended(key, now)

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
            data = {"error": error.line, "at": decision.at.isoformat()}
            self.move_task(
                attempt.key,
                event,
                now,
                data,
                ready_at=decision.at,
                reason=error.line,
                error=error,
                **counts,
            )
        else:
            self._fail_task(attempt.key, error, now, **counts)

    def _fail_task(self, key: str, error: ErrorInfo, now: datetime, **fields: Any) -> None:
        line = error.line
        data = {"error": line, "hint": error.hint} if error.hint else {"error": line}
        self.move_task(key, TaskEvent.FAILED, now, data, reason=line, error=error, **fields)
        self._task_ended(key, now)

    def _cancel_task(self, key: str, now: datetime) -> None:
        self.move_task(key, TaskEvent.CANCELLED, now, reason=self.run.reason)
        self._task_ended(key, now)

    def _skip(self, key: str, reason: str, now: datetime) -> None:
        self.move_task(key, TaskEvent.SKIPPED, now, {"reason": reason}, reason=reason)

    def _task_ended(self, key: str, now: datetime) -> None:
        """Count it, so that the tasks that waited for it alone are decided on."""
        parent = node_key(key)
        if parent != key:
            self.open_children[parent] -= 1
            if not self.open_children[parent]:
                self._finish_parent(parent, now)
            return
        if key in self.open_children:
            self._skip_children(key, self.tasks[key].reason or "", now)
        self.open_nodes -= 1
        for after in self.graph.downstream[key]:
            self.waiting[after] -= 1
            if not self.waiting[after]:
                self.undecided.append(after)

    def _end(self, now: datetime) -> None:
        if self.run.status is RunStatus.CANCELLING:
            event, reason = RunEvent.CANCELLED, self.run.reason
        else:
            event, reason = ending(self.graph, self.tasks)
        self.move_run(event, now, ended_at=now, reason=reason)


_MADE_BY_A_PASS = ("started_at", "ended_at", "reason", "error", "value", "cache_key")


def _timeout(node: Node) -> ErrorInfo:
    return ErrorInfo(
        type="TimedOut",
        message=f"{node.key} was ended after its timeout of {node.timeout:g} s",
        kinds=("TimedOut", "builtins.TimeoutError", "builtins.OSError", "builtins.Exception"),
    )
