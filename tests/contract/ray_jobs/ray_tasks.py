"""Tasks for the Ray executor's tests; the folder is on the jobs' import path."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import dataclass

from flows.core.context import current
from flows.core.errors import GiveUp, Halt


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A small typed value."""

    left: int
    right: str


def swap(pair: Pair) -> Pair:
    print("swapping in", current().attempt_id, flush=True)  # noqa: T201
    return Pair(left=int(pair.right), right=str(pair.left))


def halts() -> None:
    raise Halt("the data is not fit")


def gives_up() -> None:
    raise GiveUp("the account is closed")


def waits() -> None:
    print("waiting in", os.getpid(), flush=True)  # noqa: T201
    threading.Event().wait()


def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
