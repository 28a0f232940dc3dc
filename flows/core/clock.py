"""Time, as something that is passed in: the only place that reads the clock or sleeps.

Decisions take `now` as a parameter; loops take a `Clock`. Tests pass one on which a night passes
at once.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

TOLERANCE = timedelta(seconds=0.1)
"""Clocks that differ by less are not put right: asking for the time takes time as well."""
WRONG = timedelta(seconds=2)
"""A clock that differs by more from the store's is wrong, and its user is told."""

_log = logging.getLogger(__name__)


class Clock(Protocol):
    """What a loop needs of time."""

    def now(self) -> datetime:
        """The current time, aware, in UTC."""

    def elapsed(self) -> float:
        """Seconds since some moment, by a counter that nobody sets; it counts sleep as well."""

    def sleep(self, seconds: float) -> None:
        """Return once `seconds` have passed; at once for zero or less."""

    def wait(self, event: threading.Event, seconds: float | None) -> bool:
        """Return once `event` is set or `seconds` have passed (None: never); was it set?"""


class SystemClock:
    """The computer's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def elapsed(self) -> float:
        return time.clock_gettime(_COUNTER)

    def sleep(self, seconds: float) -> None:
        time.sleep(max(0.0, seconds))

    def wait(self, event: threading.Event, seconds: float | None) -> bool:
        return event.wait(seconds)


_COUNTER = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SteadyClock(SystemClock):
    """The computer's clock as it was at the start, and what has passed since: it never jumps."""

    def __init__(self) -> None:
        self._start, self._begun = super().now(), self.elapsed()

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self.elapsed() - self._begun)


class CorrectedClock:
    """A clock that is put right by the store's: of several machines, that one counts."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset = timedelta(0)
        self._was_wrong = False

    def now(self) -> datetime:
        return self._clock.now() + self._offset

    def elapsed(self) -> float:
        return self._clock.elapsed()

    def sleep(self, seconds: float) -> None:
        self._clock.sleep(seconds)

    def wait(self, event: threading.Event, seconds: float | None) -> bool:
        return self._clock.wait(event, seconds)

    def correct(self, now: datetime) -> None:
        """It is `now` by the store's clock; a wrong clock is told of once."""
        offset = now - self._clock.now()
        if abs(offset - self._offset) > TOLERANCE:
            self._offset = offset if abs(offset) > TOLERANCE else timedelta(0)
        if abs(offset) > WRONG and not self._was_wrong:
            self._was_wrong = True
            _log.warning(
                "the clock of this machine is %.0f s %s that of the state store, which counts",
                abs(offset).total_seconds(),
                "behind" if offset > timedelta(0) else "ahead of",
            )
