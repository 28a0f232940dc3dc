"""What follows from how tasks end: whether the next runs, how the run ends, what a retry does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flows.core.graph import Graph, Node, RunIf
from flows.core.lifecycle import RunEvent, TaskEvent
from flows.core.records import ErrorInfo, TaskRun, TaskStatus
from flows.core.values import message

MOST_ELEMENTS = 10_000
"""A task may be mapped over so many: all of them are made in one transaction, and everybody
else waits for it."""


def why_not(rule: RunIf, before: Sequence[TaskRun]) -> str | None:
    """Why a task of this rule is not to run, in one sentence; None when it is.

    `before` holds the tasks that it waits for, each of which has ended.
    """
    failed = [task for task in before if task.status is TaskStatus.FAILED]
    other = [task for task in before if task.status is not TaskStatus.SUCCEEDED]
    if rule is RunIf.ALL_SUCCEEDED and other:
        return f"{other[0].key} was {other[0].status}"
    if rule is RunIf.NONE_FAILED and (failed or (before and len(other) == len(before))):
        first = (failed or other)[0]
        return f"{first.key} was {first.status}"
    if rule is RunIf.ANY_FAILED and not failed:
        return "nothing before it failed"
    return None


def ending(graph: Graph, tasks: Mapping[str, TaskRun]) -> tuple[RunEvent, str | None]:
    """How a run that nobody cancelled ends, and why, once all its tasks have ended."""
    nodes = [tasks[node.key] for node in graph.nodes]
    for status, event in (
        (TaskStatus.FAILED, RunEvent.FAILED),
        (TaskStatus.HALTED, RunEvent.HALTED),
    ):
        for task in nodes:
            if task.status is status:
                reason = task.reason or ""
                return event, f"{task.key}: {reason}" if event is RunEvent.FAILED else reason
    skipped = [task for task in nodes if _skipped_itself(task)]
    if skipped and all(tasks[key].status is TaskStatus.SKIPPED for key in graph.leaves):
        return RunEvent.SKIPPED, skipped[0].reason
    return RunEvent.SUCCEEDED, None


def ending_of_mapped(children: Sequence[TaskRun]) -> tuple[TaskEvent, dict[str, Any]]:
    """How a mapped task that nobody cancelled ends once its children have, and with what."""
    for status, event in (
        (TaskStatus.FAILED, TaskEvent.FAILED),
        (TaskStatus.HALTED, TaskEvent.HALTED),
    ):
        if same := [child for child in children if child.status is status]:
            first = same[0]
            reason = f"{len(same)} of {len(children)} {status}; {first.key}: {first.reason or ''}"
            return event, {"reason": reason, "error": first.error}
    made = [c.value or "null" for c in children if c.status is TaskStatus.SUCCEEDED]
    value = f"[{','.join(made)}]"  # without those that skipped: it is a list of what was made
    return TaskEvent.SUCCEEDED, {"value": value}


def to_do_again(graph: Graph, tasks: Mapping[str, TaskRun]) -> tuple[set[str], set[str]]:
    """The nodes that did not come to a good end, and those that saw one of them end.

    A task that was skipped by its rule or its branch is among the second, or stays skipped.
    """
    unfinished: set[str] = set()
    behind: set[str] = set()
    for node in graph.nodes:  # each stands after what it waits for
        task = tasks[node.key]
        good = task.status in (TaskStatus.SUCCEEDED, TaskStatus.SKIPPED)
        if not good or _skipped_itself(task):
            unfinished.add(node.key)
        if any(key in unfinished or key in behind for key in node.upstream):
            behind.add(node.key)
    return unfinished, behind


def _skipped_itself(task: TaskRun) -> bool:
    """Whether it raised `Skip`; not when its rule or its branch left it out."""
    return task.status is TaskStatus.SKIPPED and task.started_at is not None


def undecidable(key: str, error: Exception) -> ErrorInfo:
    """Why a task fails whose data does not say whether it is to run, and over what."""
    why = f"there is no {error}" if isinstance(error, LookupError) else message(error)
    return ErrorInfo(
        type="Undecidable",
        message=f"whether {key} is to run, and over what, cannot be read: {why}",
        kinds=("Undecidable", f"{type(error).__module__}.{type(error).__qualname__}"),
        hint="what the tasks before it returned does not have what the flow reads from it",
        permanent=True,
    )


def not_mappable(node: Node, items: Any) -> ErrorInfo | None:
    """Why a task cannot be mapped over these; None when it can."""
    if not isinstance(items, list):
        problem, hint, kind = "which is not a list", None, "NotAList"
    elif len(items) > MOST_ELEMENTS:
        problem = f"which has {len(items):,} elements: more than {MOST_ELEMENTS:,}"
        hint, kind = "let each element stand for several", "TooManyElements"
    else:
        return None
    message = f"{node.key} is mapped over {node.over}, {problem}"
    return ErrorInfo(type=kind, message=message, hint=hint, permanent=True)
