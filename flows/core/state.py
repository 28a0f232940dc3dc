"""One run in memory: where everything of it stands, and what has changed since it was stored.

Nothing is decided here. `Progress` decides, and moves the state through `move_task`,
`move_attempt` and `move_run`, each of which looks the transition up in `lifecycle` and
appends its event.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from flows.core import values
from flows.core.alert import NOTICED
from flows.core.graph import (
    CONFIG,
    Const,
    Graph,
    Input,
    Many,
    Ref,
    child_index,
    child_key,
    node_key,
)
from flows.core.lifecycle import ATTEMPT, RUN, TASK, AttemptEvent, RunEvent, TaskEvent, after
from flows.core.records import (
    Attempt,
    AttemptStatus,
    ErrorInfo,
    Event,
    Outcome,
    Run,
    RunStatus,
    TaskRun,
    TaskStatus,
    changed,
)

ASSET_UPDATED = "asset.updated"
"""The event that tells of one asset; what schedules on assets wait for."""


@dataclass(kw_only=True)
class Changes:
    """What one stimulus changed: rows to write and events to append, in one transaction."""

    run: Run | None = None
    before: Run | None = None  # as it is stored; None also for a new one
    new_tasks: dict[str, TaskRun] = field(default_factory=dict)
    tasks: dict[str, TaskRun] = field(default_factory=dict)
    new_attempts: dict[str, Attempt] = field(default_factory=dict)
    attempts: dict[str, Attempt] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)


class RunState:
    """A run, its tasks and its live attempts; a mutable working copy of what is stored."""

    def __init__(
        self,
        run: Run,
        graph: Graph,
        config: Any,
        tasks: Iterable[TaskRun],
        attempts: Iterable[Attempt] = (),
        config_yaml: str = "",
    ) -> None:
        self.run = run
        self.graph = graph
        self.config = config
        self.config_yaml = config_yaml
        self.tasks = {task.key: task for task in tasks}
        self.attempts = {a.key: a for a in attempts if a.status is AttemptStatus.RUNNING}
        self.stored = run  # as the store must still hold it for the changes to be valid
        self._seq = run.seq
        self.undecided: deque[str] = deque()  # tasks whose upstream has ended
        self._changes = Changes()
        self._costs: dict[str, dict[str, Any]] = {}  # of attempts that end with the next event
        self._parsed: dict[str, Any] = {}
        self._of_values = sum(len(task.value or "") for task in self.tasks.values())
        self.recount()

    # ------------------------------------------------------------------ questions

    @cached_property
    def config_text(self) -> str:
        """The resolved config as JSON text, as each attempt is given it."""
        return values.dumps(self.config)

    @property
    def characters(self) -> int:
        """About as many as it takes in memory: most in values, where these are large."""
        return len(self.config_yaml) + 1000 * len(self.tasks) + self._of_values

    def claimable(self, now: datetime) -> Iterator[str]:
        """Keys of the tasks that may be started now, in the order in which they became so."""
        if self.run.status is RunStatus.CANCELLING:
            return
        for key in tuple(self.ready):
            if key not in self.delayed or self.delayed[key] <= now:
                yield key

    def next_ready(self) -> datetime | None:
        """When the next waiting retry may be claimed, if there is one."""
        return min(self.delayed.values(), default=None)

    def arguments(self, key: str) -> dict[str, Any]:
        """Parameter -> JSON data for a task run whose upstream has ended."""
        node, index = self.graph.node(key), child_index(key)
        found = {name: self.read(source) for name, source in node.inputs.items()}
        if node.over is not None and index is not None:
            found[node.over] = found[node.over][index]
        return found

    def take(self) -> Changes:
        """Hand over what changed since the last call."""
        changes, self._changes = self._changes, Changes()
        if changes.events:
            changes.before = None if self.stored.seq == 0 else self.stored
            at, pools = self._waiting()
            self.stored = self.run = changes.run = changed(
                self.run, seq=self._seq, claimable_at=at, claimable=pools
            )
        return changes

    def _waiting(self) -> tuple[datetime | None, str | None]:
        """When something may first be claimed, and the pools of what waits for that."""
        if not self.ready or self.run.status.ended or self.run.status is RunStatus.CANCELLING:
            return None, None
        if len(self.ready) > len(self.delayed):  # the first of them has waited longest
            at = next(self.tasks[key].ready_at for key in self.ready if key not in self.delayed)
        else:
            at = min(self.delayed.values())
        pools = self.graph.pools
        if len(pools) > 1:
            pools = frozenset(self.graph.node(key).pool for key in self.ready)
        return at, between_spaces(pools)

    def live(self, attempt_id: str) -> Attempt | None:
        """The attempt, if it is this run's and still alive."""
        key = attempt_id[len(self.run.id) + 1 :].rpartition(".")[0]
        attempt = self.attempts.get(key)
        return attempt if attempt and attempt.id == attempt_id else None

    # ------------------------------------------------------------------ bookkeeping

    def recount(self) -> None:
        """Derive the counters from the tasks; they are never stored."""
        self.ready = {key: None for key, task in self.tasks.items() if task.status.claimable}
        self.delayed = {
            key: task.ready_at
            for key, task in self.tasks.items()
            if task.status is TaskStatus.RETRYING and task.ready_at is not None
        }
        nodes = self.graph.nodes
        self.open_nodes = sum(not self.tasks[n.key].status.ended for n in nodes)
        self.waiting = {
            n.key: sum(not self.tasks[key].status.ended for key in n.upstream) for n in nodes
        }
        self.open_children: dict[str, int] = {n.key: 0 for n in nodes if n.over}
        for key, task in self.tasks.items():
            if (parent := node_key(key)) != key and not task.status.ended:
                self.open_children[parent] += 1

    def is_decidable(self, key: str) -> bool:
        return self.tasks[key].status is TaskStatus.PENDING and not self.waiting[key]

    def children(self, key: str) -> Sequence[TaskRun]:
        found: list[TaskRun] = []
        while (child := self.tasks.get(child_key(key, len(found)))) is not None:
            found.append(child)
        return found

    def read(self, source: Input) -> Any:
        if isinstance(source, Const):
            return source.const
        if isinstance(source, Many):
            return [self.read(item) for item in source.items]
        return _follow(source, self.config if source.node == CONFIG else self._value(source.node))

    def _value(self, key: str) -> Any:
        if key not in self._parsed:
            text = self.tasks[key].value
            if text is None:
                return None
            self._parsed[key] = values.loads(text)
        return self._parsed[key]

    def record_creation(self, now: datetime) -> None:
        """It is new, and so are all its tasks."""
        self._changes.new_tasks.update(self.tasks)
        data = {**self.run.trigger, "flow": self.run.flow}
        self._append("run.created", now, None, None, data)

    def keep(self, attempt: Attempt) -> None:
        self.attempts[attempt.key] = attempt
        new = attempt.id in self._changes.new_attempts
        (self._changes.new_attempts if new else self._changes.attempts)[attempt.id] = attempt

    def move_attempt(
        self,
        attempt: Attempt,
        event: AttemptEvent,
        now: datetime,
        error: ErrorInfo | None = None,
        *,
        outcome: Outcome | None = None,
    ) -> None:
        """End an attempt; what it cost goes into the event of its task that follows."""
        ended = changed(
            attempt, status=after(ATTEMPT, attempt.status, event), ended_at=now, error=error
        )
        self.keep(ended)
        del self.attempts[attempt.key]
        self._costs[attempt.key] = _cost(ended, now, outcome)

    def move_task(
        self,
        key: str,
        event: TaskEvent,
        now: datetime,
        data: dict[str, Any] | None = None,
        **fields: Any,
    ) -> None:
        task = self.tasks[key]
        if fields.get("reason"):
            fields["reason"] = values.message(fields["reason"])
        status = after(TASK, task.status, event)
        if status.ended:
            fields["ended_at"] = now
        moved = changed(task, status=status, **fields)
        self.tasks[key] = moved
        self._of_values += len(moved.value or "") - len(task.value or "")
        new = key in self._changes.new_tasks
        (self._changes.new_tasks if new else self._changes.tasks)[key] = moved
        if status is TaskStatus.RETRYING and moved.ready_at is not None:
            self.delayed[key] = moved.ready_at
        else:
            self.delayed.pop(key, None)
        if status.claimable:
            self.ready[key] = None
        else:
            self.ready.pop(key, None)
        cost = self._costs.pop(key, None)
        self._append(
            event, now, key, moved.attempt or None, {**(data or {}), **cost} if cost else data
        )

    def announce(self, attempt: Attempt, outcome: Outcome, now: datetime) -> None:
        """Tell those who wait for what the attempt made, and people what it noticed."""
        for asset in outcome.assets:
            data: dict[str, Any] = {"asset": asset.name, "version": asset.version}
            if asset.at is not None:
                data["at"] = asset.at.isoformat()
            data["flow"] = self.run.flow
            self._append(ASSET_UPDATED, now, attempt.key, attempt.number, data)
        for notice in outcome.notices:
            self._append(NOTICED, now, attempt.key, attempt.number, asdict(notice))

    def move_run(
        self, event: RunEvent, now: datetime, data: dict[str, Any] | None = None, **fields: Any
    ) -> None:
        if reason := fields.get("reason"):
            fields["reason"] = reason = values.storable(reason)
        self.run = changed(self.run, status=after(RUN, self.run.status, event), **fields)
        self._append(event, now, None, None, {"reason": reason} if reason else data)

    def _append(
        self,
        kind: str,
        now: datetime,
        task: str | None,
        attempt: int | None,
        data: dict[str, Any] | None,
    ) -> None:
        self._seq += 1
        self._changes.events.append(
            Event(
                seq=self._seq,
                at=now,
                kind=str(kind),
                run_id=self.run.id,
                task=task,
                attempt=attempt,
                data=data or {},
            )
        )


def between_spaces(names: Iterable[str]) -> str:
    """` default gpu `: names in a column, each to be found by its spaces."""
    return f" {' '.join(sorted(names))} "


def _cost(ended: Attempt, now: datetime, outcome: Outcome | None) -> dict[str, Any]:
    """How an attempt ended and what it used, as far as that is known."""
    cost: dict[str, Any] = {
        "ended": ended.status.value,
        "executor": ended.executor,
        "seconds": round((now - ended.started_at).total_seconds(), 6),
    }
    spent = {"cpu_s": outcome.cpu_seconds, "gpu_s": outcome.gpu_seconds} if outcome else {}
    return cost | {n: round(s, 6) for n, s in spent.items() if s is not None and math.isfinite(s)}


def _follow(ref: Ref, value: Any) -> Any:
    for part in ref.path:
        if value is None:
            return None
        value = value[part]
    return value
