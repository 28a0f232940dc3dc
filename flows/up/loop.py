"""One loop in a thread of its own: scheduler, worker, courier. It is started again if it fails."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from flows.core.clock import Clock

_log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds before the first new start; and at most, when it keeps failing."""

HEALTHY = 60.0
"""Seconds after which a loop counts as well again."""

Serve = Callable[[threading.Event], None]
"""Runs until the event is set, and returns when nothing of it is left."""


class Loop:
    """Runs a loop until it is told to stop, whatever it raises meanwhile."""

    def __init__(
        self,
        name: str,
        serve: Serve,
        *,
        say: Callable[[str], None],
        clock: Clock,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        """`wake` ends a wait of the loop, so that it sees that it is to stop."""
        self.name = name
        self.problem: str | None = None  # why it does not run just now
        self._serve = serve
        self._say = say
        self._clock = clock
        self._wake = wake
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"ratchet-{name}", daemon=True)

    @property
    def state(self) -> str:
        """`up`, `stopped`, or why it is neither."""
        if self.problem is not None:
            return self.problem
        return "up" if self._thread.is_alive() else "stopped"

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Ask it to end; returns at once."""
        self._stop.set()
        self._wake()

    def ended(self, within: float) -> bool:
        """Whether it has ended, `within` seconds at the latest."""
        if self._thread.ident is not None:
            self._thread.join(within)
        return not self._thread.is_alive()

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while not self._stop.is_set():
            begun = self._clock.now()
            try:
                self._serve(self._stop)
                return
            except Exception as error:  # a database that is away, a lease that was lost
                _log.debug("%s failed", self.name, exc_info=True)
                self.problem = " ".join(f"{error}".split()) or type(error).__name__
            if (self._clock.now() - begun).total_seconds() > HEALTHY:
                pause = FIRST_PAUSE
            self._say(
                f"the {self.name} stopped: {self.problem}; it is started again in {pause:g} s"
            )
            self._clock.wait(self._stop, pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            self.problem = None
