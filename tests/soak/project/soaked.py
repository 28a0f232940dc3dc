"""Flows of the soak test: short tasks that write down that they ran, in a file outside."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from flows.core.context import current
from flows.core.flow import flow, task
from flows.core.retry import Retry

PATIENT = Retry(attempts=1, lost=1000)


@dataclass(frozen=True, kw_only=True)
class Done:
    """Which attempt has made this."""

    attempt: str


def work(seconds: float) -> Done:
    """Say that an attempt has begun, in one write that no other can break up, and take a while."""
    attempt = current().attempt_id
    log = os.open(os.environ["SOAK_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(log, f"{time.time():.6f} {os.getpid()} {attempt}\n".encode())
    os.close(log)
    time.sleep(seconds)
    return Done(attempt=attempt)


@task(retry=PATIENT)
def gather() -> list[int]:
    """The first."""
    work(0.05)
    return [1, 2, 3]


@task(retry=PATIENT, pool="narrow")
def carry(part: int) -> Done:
    """Mapped, in a pool with few slots."""
    return work(0.2)


@task(retry=PATIENT, pool="narrow", weight=2)
def finish(carried: list[Done]) -> Done:
    """The last."""
    return work(0.1)


@flow
def soak() -> None:
    """Gather, carry, finish."""
    finish(carry.map(gather()))


@task(retry=PATIENT)
def first() -> Done:
    """Of a chain."""
    return work(0.02)


@task(retry=PATIENT)
def then(before: Done) -> Done:
    """Of a chain."""
    return work(0.02)


@flow
def steady() -> None:
    """A chain of short tasks: at any time something is in flight, and something comes next."""
    done = first()
    for _ in range(40):
        done = then(done)
