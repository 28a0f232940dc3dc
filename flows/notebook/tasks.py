"""The tasks of a run as people look at them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from flows.core.graph import child_index, node_key
from flows.core.records import ErrorInfo, TaskRun, TaskStatus
from flows.core.store.reads import RunDetail
from flows.wording import duration


@dataclass(frozen=True, kw_only=True, repr=False)
class TaskView:
    """Where one task of a run stands."""

    key: str  # `train`, or `extract[3]` for a mapped task's child
    status: TaskStatus
    attempt: int  # number of the newest attempt; 0 before the first
    seconds: float | None  # since it was first started, or until it ended; None: never started
    reason: str | None  # why it ended as it did, or is tried again
    error: ErrorInfo | None  # of the newest attempt that failed
    children: int = 0  # how many a mapped task has
    ended_children: int = 0  # how many of these have ended

    def __repr__(self) -> str:
        words = [self.status.value]
        if self.children:
            words.append(f"{self.ended_children} of {self.children}")
        if self.seconds is not None:
            words.append(duration(self.seconds))
        if self.attempt > 1:
            words.append(f"attempt {self.attempt}")
        if self.reason:
            words.append(self.reason)
        return f"<{self.key}: {', '.join(words)}>"


def tasks_of(detail: RunDetail, now: datetime) -> dict[str, TaskView]:
    """The tasks of a run by key, in the order of the flow."""
    children: dict[str, list[TaskRun]] = {}
    for task in detail.tasks:
        if child_index(task.key) is not None:
            children.setdefault(node_key(task.key), []).append(task)
    return {task.key: _view(task, children.get(task.key, []), now) for task in detail.tasks}


def _view(task: TaskRun, children: list[TaskRun], now: datetime) -> TaskView:
    seconds = None
    if task.started_at is not None:
        seconds = max(0.0, ((task.ended_at or now) - task.started_at).total_seconds())
    return TaskView(
        key=task.key,
        status=task.status,
        attempt=task.attempt,
        seconds=seconds,
        reason=task.reason,
        error=task.error,
        children=len(children),
        ended_children=sum(child.status.ended for child in children),
    )
