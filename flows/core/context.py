"""What a running task may know about where it runs: the run, the task, the attempt."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from flows.core import values
from flows.core.errors import Refused


@dataclass(frozen=True, kw_only=True)
class TaskContext:
    """The surroundings of one attempt, the same in every executor."""

    run_id: str  # the run that this attempt belongs to
    flow: str  # the flow's name
    task: str  # the task run's key, `extract` or `extract[3]`
    attempt: int  # 1 for the first try
    attempt_id: str  # unique over all runs; what the attempt writes carries it
    config_text: str  # the run's resolved config, JSON
    config_yaml: str = ""  # the same, as it is shown and compared
    config_digest: str = ""  # sha256 of what of it the result depends on

    @cached_property
    def config(self) -> dict[str, Any]:
        """The run's resolved config as plain data."""
        loaded: dict[str, Any] = values.loads(self.config_text)
        return loaded


_current: ContextVar[TaskContext] = ContextVar("ratchet_task_context")


def current() -> TaskContext:
    """The context of the task that is running. Raises Refused outside of a task."""
    try:
        return _current.get()
    except LookupError:
        raise Refused(
            "there is no running task here", hint="call this inside a function with @task"
        ) from None


class entered:  # noqa: N801  (reads as a phrase: `with entered(context):`)
    """Make `context` the current one for the duration of a ``with`` block."""

    def __init__(self, context: TaskContext) -> None:
        self._context = context

    def __enter__(self) -> TaskContext:
        self._token = _current.set(self._context)
        return self._context

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)
