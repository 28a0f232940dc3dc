"""A clock on which a night passes at once."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta


class ManualClock:
    """A clock for tests: it moves when it is told to, and sleeping moves it at once.

    `wait` does not block either: when the event is not set yet, the time that it would have
    waited has passed on return. Waiting without a limit blocks for real, as only another
    thread can end that.
    """

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = start
        self._lock = threading.Lock()

    def now(self) -> datetime:
        return self._now

    def elapsed(self) -> float:
        return self._now.timestamp()

    def sleep(self, seconds: float) -> None:
        self.advance(max(0.0, seconds))

    def wait(self, event: threading.Event, seconds: float | None) -> bool:
        if seconds is None:
            return event.wait()
        if not event.is_set():
            self.sleep(seconds)
        return event.is_set()

    def advance(self, by: timedelta | float) -> datetime:
        """Move on by a timedelta or by seconds, never back; returns the new time."""
        step = by if isinstance(by, timedelta) else timedelta(seconds=by)
        if step < timedelta(0):
            raise ValueError(f"time does not go back: {step}")
        with self._lock:
            self._now += step
            return self._now
