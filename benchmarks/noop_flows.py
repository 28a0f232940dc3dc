"""Flows that do nothing: what they cost is the core's own. In a module, for worker processes."""

from __future__ import annotations

import time
from dataclasses import dataclass

from flows import flow, task

CHAIN = 100  # tasks, one after the other
FAN = 500  # tasks side by side
SHORT = 10  # tasks, one after the other


@dataclass(frozen=True, kw_only=True)
class Moment:
    """When a task's own code began and ended: nanoseconds of the machine's monotonic clock."""

    begun: int
    ended: int


@task
def noop(x: int) -> int:
    """Nothing."""
    return x


@task
def numbers() -> list[int]:
    """What is fanned out over."""
    return list(range(FAN))


@task
def count(values: list[int]) -> int:
    """What waits for all of them."""
    return len(values)


@task
def stamp(before: Moment | None = None) -> Moment:
    """The time at its first statement and at its last."""
    begun = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    return Moment(begun=begun, ended=time.clock_gettime_ns(time.CLOCK_MONOTONIC))


@flow
def chain() -> None:
    """One task after the other."""
    x = noop(0)
    for _ in range(CHAIN - 1):
        x = noop(x)


@flow
def short() -> None:
    """A few tasks, one after the other."""
    x = noop(0)
    for _ in range(SHORT - 1):
        x = noop(x)


@flow
def fan_out() -> None:
    """Many tasks side by side."""
    count(noop.map(numbers()))


@flow
def stamps() -> None:
    """One task after the other, each with the time."""
    moment = stamp()
    for _ in range(CHAIN - 1):
        moment = stamp(moment)
