"""What the commands that go on until Ctrl-C share: signals, times, and how they speak."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Sequence
from datetime import timedelta
from types import FrameType
from typing import Any

from flows.config.duration import parse_duration
from flows.core.clock import SystemClock
from flows.core.errors import ConfigError
from flows.up.part import Part
from flows.up.up import STOPPING, TICK
from flows.up.worker import Worker

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
