"""What the commands that go on until Ctrl-C share: signals, times, and how they speak."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import Any

from flows.bootstrap import Ratchet
from flows.config.duration import parse_duration
from flows.core.clock import SystemClock
from flows.core.errors import ConfigError, Outdated, StoreError
from flows.up.part import Part
from flows.up.up import STOPPING, TICK
from flows.up.worker import Worker

LOOK = 2.0
"""Seconds between two looks at the version of the store."""
LOGGING: dict[str, Any] = {
    "level": logging.WARNING,
    "format": "%(asctime)s %(name)s: %(message)s",
    "datefmt": "%H:%M:%S",
}


class Asked:
    """Counts Ctrl-C and SIGTERM, while the block runs."""

    def __init__(self) -> None:
        self.once = threading.Event()
        self.twice = threading.Event()
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Asked:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._count)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _count(self, number: int, frame: FrameType | None) -> None:
        (self.twice if self.once.is_set() else self.once).set()


@contextmanager
def heeding(ratchet: Ratchet, asked: Asked) -> Iterator[None]:
    """End the block, as Ctrl-C does, once the store needs newer code than this; raises Outdated.

    What runs then is recorded: an upgrade that older code cannot live with is announced before
    it is carried out, and waits for the workers.
    """
    left, outdated = threading.Event(), []

    def look() -> None:
        while not left.wait(LOOK):
            try:
                ratchet.service.store.check_version()
            except Outdated as error:
                say(f"{error}; this process drains and ends")
                outdated.append(error)
                asked.once.set()
                return
            except StoreError:
                continue  # cannot be reached just now

    thread = threading.Thread(target=look, name="ratchet-version", daemon=True)
    thread.start()
    try:
        yield
    finally:
        left.set()
        thread.join()
    if outdated:
        raise outdated[0]


def say(line: str) -> None:
    """One line with the time of day, on stdout."""
    sys.stdout.write(f"{SystemClock().now().astimezone():%H:%M:%S} {line}\n")
    sys.stdout.flush()


def drain_time(text: str) -> timedelta:
    """From `90s` or `10m`. Raises ConfigError."""
    found = parse_duration(text)
    if found is None or found < timedelta(0):
        raise ConfigError(f"{text!r} is no time", hint="--drain 90s, or --drain 10m")
    return found


def serve(parts: Sequence[Part], asked: Asked, worker: Worker | None = None) -> None:
    """Run the parts until the first Ctrl-C, and let them end until the second."""
    for part in parts:
        part.start()
    asked.once.wait()
    say("stopping: nothing new is started; Ctrl-C again stops now")
    for part in parts:
        part.stop()
    if worker is not None and (running := worker.running()):
        say(f"waiting for {', '.join(running[:5])}")
    while not all(part.ended(TICK) for part in parts):
        if asked.twice.is_set():
            break
    if worker is not None:
        worker.hurry()
    for part in parts:
        part.ended(STOPPING)
    say("stopped")
