"""Tasks for the Ray executor's tests; the folder is on the jobs' import path."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import dataclass
from functools import partial

from flows.core.context import current, produced, spent
from flows.core.errors import GiveUp, Halt
from ray_jobs.tasks import run_all, submit


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A small typed value."""

    left: int
    right: str


def swap(pair: Pair) -> Pair:
    print("swapping in", current().attempt_id, flush=True)  # noqa: T201
    return Pair(left=int(pair.right), right=str(pair.left))


def makes() -> None:
    """Two Ray tasks of half a CPU and 0.4 s each, at least, and an asset."""
    produced("model:digits", "2")
    spent(gpu_seconds=4.0)
    calls = [partial(submit, time.sleep, 0.4, name="nap", num_cpus=0.5) for _ in range(2)]
    assert len(list(run_all(calls, parallel=lambda: 1))) == 2


def halts() -> None:
    raise Halt("the data is not fit")


def gives_up() -> None:
    raise GiveUp("the account is closed")


def waits() -> None:
    print("waiting in", os.getpid(), flush=True)  # noqa: T201
    threading.Event().wait()


def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
