"""Tasks for the executor contract; a module of its own, since workers import tasks by name."""

# ruff: noqa: T201  (printing is what is tested)

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from flows.core.context import current, noticed, produced, spent
from flows.core.errors import GiveUp, Halt, Skip
from flows.core.executors.perform import Terminated


@dataclass(frozen=True, kw_only=True)
class Pair:
    left: int
    right: str


def swap(pair: Pair) -> Pair:
    return Pair(left=int(pair.right), right=str(pair.left))


def number() -> int:
    return current().attempt


def identity() -> str:
    return current().attempt_id


def makes(fails: bool) -> None:
    produced("table:sales", 7, at=datetime(2026, 3, 1, tzinfo=UTC))
    produced("model:digits", "2")
    noticed("worse", reason="by 2 points", then="look", key="7")
    spent(gpu_seconds=4.0)
    if fails:
        raise KeyError("price")


def works() -> int:
    """A tenth of a second of processor time, in a thread of its own."""
    end = time.process_time() + 0.1

    def work() -> None:
        while time.process_time() < end:
            pass

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return 1


def halts() -> None:
    raise Halt("the data is not fit", hint="look at it", kind="bad_data")


def skips() -> None:
    raise Skip("nothing is new")


def gives_up() -> None:
    raise GiveUp("the account is closed")


def fails() -> None:
    raise KeyError("price")


def exits() -> None:
    sys.exit(3)


def returns_an_object() -> object:
    return object()


def returns_much() -> str:
    return '"' * 900_000


def length(text: str) -> int:
    return len(text)


def speaks() -> None:
    print("printed äß")
    print("complained", file=sys.stderr)
    logging.getLogger("tasks").warning("logged")


def says(text: str) -> None:
    print(text)


def starts_a_child_that_prints() -> None:
    subprocess.run([sys.executable, "-c", "print('from the child')"], check=True)


def pid() -> int:
    return os.getpid()


def environment(name: str) -> str | None:
    return os.environ.get(name)


def session() -> tuple[int, int, int]:
    return os.getpid(), os.getpgrp(), os.getsid(0)


def dies(number: int) -> None:
    os.kill(os.getpid(), number)


def exits_at_once() -> None:
    os._exit(7)


def blocks(fifo: str) -> None:
    """Announce the process id into the fifo, then wait for ever."""
    _announce(fifo)
    signal.pause()


def waits(start: str, go: str) -> str:
    """Announce itself into one fifo, then wait for a line from another."""
    _announce(start)
    return Path(go).read_text()


def cleans_up(fifo: str, marker: str) -> None:
    try:
        blocks(fifo)
    except Terminated:
        Path(marker).write_text("cleaned up")
        raise


def ignores_sigterm(fifo: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    blocks(fifo)


def fails_when_told_to_end(fifo: str) -> None:
    try:
        blocks(fifo)
    except BaseException:
        raise RuntimeError("interrupted") from None


def has_a_child_that_blocks(fifo: str) -> None:
    subprocess.run([sys.executable, "-c", _BLOCK, fifo], check=True)


def forks_and_blocks(fifo: str) -> None:
    """Leave a forked child behind that holds every descriptor, and wait for ever."""
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.pause()
    blocks(fifo)


_BLOCK = """
import os, signal, sys
with open(sys.argv[1], "w") as fifo:
    fifo.write(f"{os.getpid()} {os.getppid()}")
signal.pause()
"""


def _announce(fifo: str) -> None:
    Path(fifo).write_text(str(os.getpid()))


def holds_the_gil(fifo: str) -> None:
    """Run C code for ever that lets no other thread of Python run."""
    _announce(fifo)
    re.match("(a+)+$", "a" * 60 + "b")
