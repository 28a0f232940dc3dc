"""Trigger rules: whether a task runs, by how the tasks before it have ended."""

from __future__ import annotations

from collections.abc import Sequence

from flows.core.graph import RunIf
from flows.core.records import TaskRun, TaskStatus


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
