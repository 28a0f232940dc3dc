"""What a running task may know about where it runs, and what it may say of itself."""

from __future__ import annotations

import math
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from flows.core import values
from flows.core.errors import Refused
from flows.core.records import Asset, Notice

LONGEST_NAME, LONGEST_VERSION, LONGEST_KEY = 200, 100, 200
"""Characters of an asset's name and version, and of a notice's key; longer keys are digested."""


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


@dataclass(kw_only=True)
class Account:
    """What an attempt says of itself while it runs."""

    assets: dict[str, Asset] = field(default_factory=dict)  # by name; the last word counts
    notices: dict[str, Notice] = field(default_factory=dict)  # by key
    cpu_seconds: float = 0.0  # beside the processor time of its own process
    gpu_seconds: float = 0.0


_current: ContextVar[tuple[TaskContext, Account]] = ContextVar("ratchet_task_context")


def current() -> TaskContext:
    """The context of the task that is running. Raises Refused outside of a task."""
    return _running()[0]


def produced(name: str, version: str | int, *, at: datetime | None = None) -> None:
    """Say that the running task made or changed something that other flows may wait for.

    Args:
        name: `kind:name`, such as `model:digits` or `table:sales`.
        version: of the thing, as its owner numbers it.
        at: the time up to which it goes, aware, where it has one: the newest row of a table.

    It is recorded, and schedules on it fire, when the task ends in order. A task that fails
    has produced nothing. Raises Refused outside of a task, and for a name without its kind.
    """
    kind, _, rest = name.partition(":")
    if not kind or not rest or values.fitted(name, LONGEST_NAME) != name:
        raise Refused(
            f"{name[:80]!r} is no name of an asset",
            hint=f"name it kind:name, such as table:sales, in at most {LONGEST_NAME} characters",
        )
    if at is not None and at.tzinfo is None:
        raise Refused(f"the time {at} of {name} has no time zone", hint="use aware UTC times")
    _running()[1].assets[name] = Asset(
        name=name, version=values.fitted(str(version), LONGEST_VERSION), at=at
    )


def noticed(title: str, *, reason: str, then: str, key: str, kind: str = "noticed") -> None:
    """Have people told of something that does not end the run.

    Args:
        title: one line, such as `the champion of digits was rolled back`.
        reason: one sentence: why.
        then: the command or link for the next step.
        key: unique; what was told under it is not told again, whichever run says so.
        kind: of the alert, by which channels may choose: `noticed`, a warning; or, critical,
            `champion_harmful` or `champion_unwatched`. Any other is told as `noticed`.

    The alert is posted in the transaction in which the task ends in order. A task that fails has
    said nothing. Raises Refused outside of a task.
    """
    notice = Notice(
        key=values.fitted(f"{kind}:{key}", LONGEST_KEY),
        kind=values.storable(kind),
        title=values.message(title),
        reason=values.message(reason),
        next=values.message(then),
    )
    _running()[1].notices[notice.key] = notice


def spent(*, cpu_seconds: float = 0.0, gpu_seconds: float = 0.0) -> None:
    """Say what the running task used elsewhere: a remote service's CPUs or GPUs, times seconds.

    The processor time of its own process, and what Ratchet's own Ray tasks were granted, are
    counted anyway. Raises Refused outside of a task, and for what is no number.
    """
    account = _running()[1]
    if not (math.isfinite(cpu_seconds) and math.isfinite(gpu_seconds)):
        raise Refused(f"spent: {cpu_seconds} and {gpu_seconds} are no numbers of seconds")
    account.cpu_seconds += cpu_seconds
    account.gpu_seconds += gpu_seconds


def _running() -> tuple[TaskContext, Account]:
    try:
        return _current.get()
    except LookupError:
        raise Refused(
            "there is no running task here", hint="call this inside a function with @task"
        ) from None


class entered:  # noqa: N801  (reads as a phrase: `with entered(context) as account:`)
    """Make `context` the current one for the duration of a ``with`` block."""

    def __init__(self, context: TaskContext) -> None:
        self._context = context

    def __enter__(self) -> Account:
        account = Account()
        self._token = _current.set((self._context, account))
        return account

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)
