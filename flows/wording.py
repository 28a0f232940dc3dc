"""How times, statuses, tasks and people are said, at a terminal and in a notebook."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from flows.core.graph import child_index, node_key
from flows.core.lifecycle import TASK, TaskEvent
from flows.core.records import ErrorInfo, Event, TaskRun, TaskStatus

if TYPE_CHECKING:
    from flows.core.store import RunDetail

_STATUSES = {
    "○": "queued pending ready declared",
    "●": "running cancelling",
    "↻": "retrying",
    "✓": "succeeded delivered active started",
    "■": "halted paused",
    "✗": "failed timed_out lost disabled missed dead",
    "⊘": "cancelled",
    "·": "skipped",
}
MARKS = {status: mark for mark, statuses in _STATUSES.items() for status in statuses.split()}
"""A sign for each status, so that no colour has to be told apart."""


def duration(seconds: float | None) -> str:
    """`0.4s`, `12s`, `1m 23s`, `2h 05m`, `3d 04h`; empty for None."""
    if seconds is None:
        return ""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02}m"
    return f"{whole // 86400}d {whole % 86400 // 3600:02}h"


def ago(at: datetime | None, now: datetime) -> str:
    """`just now`, `5m ago`, `3h ago`, `2d ago`, or the date once that says more."""
    if at is None:
        return ""
    past = now - at
    if past < timedelta(minutes=1):
        return "just now"
    if past < timedelta(hours=1):
        return f"{past // timedelta(minutes=1)}m ago"
    if past < timedelta(days=1):
        return f"{past // timedelta(hours=1)}h ago"
    if past < timedelta(days=14):
        return f"{past.days}d ago"
    return f"{at:%Y-%m-%d}"


def ahead(at: datetime | None, now: datetime) -> str:
    """`now`, `in 5m`, `in 3h`, `in 2d`, or the date once that says more."""
    if at is None:
        return ""
    left = at - now
    if left < timedelta(minutes=1):
        return f"in {max(0, round(left.total_seconds()))}s" if left > timedelta(0) else "now"
    if left < timedelta(hours=1):
        return f"in {left // timedelta(minutes=1)}m"
    if left < timedelta(days=2):
        return f"in {left // timedelta(hours=1)}h"
    if left < timedelta(days=14):
        return f"in {left.days}d"
    return f"{at:%Y-%m-%d}"


def one_line(text: object) -> str:
    """A text with its line ends as single spaces."""
    return " ".join(str(text).split())


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

    @property
    def progress(self) -> str:
        """How many of a mapped task's children have ended; empty for another task."""
        return f"{self.ended_children} of {self.children}" if self.children else ""

    @property
    def remarks(self) -> list[str]:
        """What there is to say beside name, status and time."""
        again = f"attempt {self.attempt}" if self.attempt > 1 else ""
        return [remark for remark in (self.progress, again, one_line(self.reason or "")) if remark]

    def __repr__(self) -> str:
        took = [] if self.seconds is None else [duration(self.seconds)]
        return f"<{self.key}: {', '.join([self.status.value, *took, *self.remarks])}>"


def tasks_of(detail: RunDetail, now: datetime) -> dict[str, TaskView]:
    """The tasks of a run by key, in the order of the flow."""
    children: dict[str, list[TaskRun]] = {}
    for task in detail.tasks:
        if child_index(task.key) is not None:
            children.setdefault(node_key(task.key), []).append(task)
    return {task.key: _view(task, children.get(task.key, []), now) for task in detail.tasks}


def _view(task: TaskRun, children: list[TaskRun], now: datetime) -> TaskView:
    starts = [each.started_at for each in (task, *children) if each.started_at]
    began = None if task.status is TaskStatus.PENDING else min(starts, default=None)
    past = None if began is None else ((task.ended_at or now) - began).total_seconds()
    return TaskView(
        key=task.key,
        status=task.status,
        attempt=task.attempt,
        seconds=past,
        reason=task.reason,
        error=task.error,
        children=len(children),
        ended_children=sum(child.status.ended for child in children),
    )


_UNTOLD = (TaskEvent.READY, TaskEvent.EXPANDED, TaskEvent.ADOPTED, TaskEvent.REOPENED)
_BECOMES = {event.value: status for (_, event), status in TASK.items() if event not in _UNTOLD}
"""The status of a task after an event that is told."""


def event_line(event: Event, mark: Callable[[str], str]) -> str | None:
    """What has happened to a task, with the time and its status's mark; None: nothing to tell."""
    status = _BECOMES.get(event.kind)
    if status is None or event.task is None:
        return None
    if child_index(event.task) is not None and status not in ("failed", "retrying"):
        return None
    if status == "skipped" and not event.attempt:  # its condition did not hold
        return None
    words = [f"{event.at.astimezone():%H:%M:%S}", mark(status), event.task]
    words.append({"task.reused": "reused", "task.lost": "lost"}.get(event.kind, status))
    if event.attempt and event.attempt > 1:
        words.append(f"(attempt {event.attempt})")
    message = event.data.get("error") or event.data.get("reason")
    return " ".join(words) + (f": {one_line(message)}" if message else "")


def whoami() -> str:
    """Who is at the keyboard, as far as the machine knows."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under an id without a name
        return "somebody"
