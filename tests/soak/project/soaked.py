"""Flows of the soak test: short tasks that write down that they ran, in a file outside."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from dataclasses import dataclass

from flows.core.context import current, noticed
from flows.core.flow import flow, task, when
from flows.core.retry import Retry

PATIENT = Retry(attempts=1, lost=1000)


@dataclass(frozen=True, kw_only=True)
class Done:
    """Which attempt has made this."""

    attempt: str


def work(seconds: float) -> Done:
    """Say that an attempt has begun, and take a while."""
    attempt = current().attempt_id
    write("SOAK_LOG", f"{time.time():.6f} {os.getpid()} {attempt}")
    time.sleep(seconds)
    return Done(attempt=attempt)


def work_as_a_job(seconds: float) -> Done:
    """Work inside of a Ray job: say which job begins and ends, and whether another is at it too.

    It holds a lock of the task while it is at work; the kernel takes that from a killed one.
    """
    here, submission = current(), sys.argv[-1]
    lock = os.open(f"{os.environ['SOAK_JOBS']}.{here.run_id}.{here.task}", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        write("SOAK_JOBS", f"beside {time.time():.6f} {here.attempt_id} {submission}")
    write("SOAK_JOBS", f"begin {time.time():.6f} {here.attempt_id} {submission}")
    done = work(seconds)
    os.close(lock)
    write("SOAK_JOBS", f"end {time.time():.6f} {here.attempt_id} {submission}")
    return done


def write(variable: str, line: str) -> None:
    """Append a line to the file that the variable names, in one write that no other breaks up."""
    log = os.open(os.environ[variable], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(log, f"{line}\n".encode())
    os.close(log)


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


@task(retry=PATIENT, executor="ray", pool="narrow")
def lift(before: Done) -> Done:
    """A Ray job; nothing but its loss is a reason to begin it again."""
    return work_as_a_job(2.0)


@flow
def lifted() -> None:
    """A local task, a Ray job, a local task."""
    then(lift(first()))


class Mute(Exception):
    """It cannot even say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def is_not_utf8() -> object:
    """A file name that is not UTF-8, in an exception."""
    raise OSError("cannot open caf\udce9.csv")


def has_nul() -> object:
    """NUL, in an exception."""
    raise ValueError("the file says \x00 here")


def is_mute() -> object:
    """An exception without a text."""
    raise Mute


def leaves() -> object:
    """The process is to end, says the task."""
    raise SystemExit(3)


def is_endless() -> object:
    """A value that is data."""
    return "x" * 3_000_000


SPOILS = (is_not_utf8, has_nul, is_mute, leaves, is_endless, dict)


@task(retry=PATIENT)
def spoils() -> dict[str, bool]:
    """As bad as it comes; the last one leaves out what is asked of it."""
    work(0.02)
    here = current()
    noticed("caf\udce9", reason="\x00", then="\x00", key=f"{here.run_id}{'k' * 3000}")
    return SPOILS[sum(map(ord, here.run_id)) % len(SPOILS)]()  # type: ignore[return-value]


@task(retry=PATIENT)
def follows() -> Done:
    """It never runs."""
    return work(0.02)


@flow
def spoiled() -> None:
    """What it does may end this run, and nobody else's."""
    when(spoils()["go"]).then(follows())
