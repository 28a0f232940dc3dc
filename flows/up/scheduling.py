"""The scheduler of `ratchet up` and `ratchet scheduler`, over what config and flows declare."""

from __future__ import annotations

import threading
from collections.abc import Callable

from flows.bootstrap import Ratchet
from flows.core.errors import RatchetError
from flows.core.scheduler import Scheduler

LOOK = 2.0
"""Seconds between two looks for config files that have changed."""


class Scheduling:
    """Saves what is declared, fires it, and follows the config files when they change."""

    def __init__(
        self, ratchet: Ratchet, started: Callable[[], None], say: Callable[[str], None]
    ) -> None:
        """`started` is called when a run was recorded."""
        self._ratchet = ratchet
        self._started = started
        self._say = say
        self._scheduler: Scheduler | None = None
        self._stamp = ratchet.config_stamp()
        self._told: set[str] = set()

    def serve(self, stop: threading.Event) -> None:
        """Fire what is due until `stop` is set."""
        self._sync()
        self._scheduler = self._ratchet.scheduler(self._started)
        try:
            self._scheduler.serve(stop)
        finally:
            self._scheduler = None

    def wake(self) -> None:
        """Look now; callable from any thread."""
        if (scheduler := self._scheduler) is not None:
            scheduler.wake()

    def follow(self, stop: threading.Event) -> None:
        """Save the schedules again whenever a config file has changed, until `stop` is set."""
        while not self._ratchet.clock.wait(stop, LOOK):
            self._follow()

    def _follow(self) -> None:
        stamp = self._ratchet.config_stamp()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._ratchet = self._ratchet.reread()
            self._sync()
        except RatchetError as error:
            self._say(f"the changed config is not used: {error}")
        self.wake()

    def _sync(self) -> None:
        declared = self._ratchet.declared()
        synced = self._ratchet.schedules.sync(declared.schedules, declared.problems)
        if synced.saved or synced.removed:
            changes = [f"+{name}" for name in synced.saved] + [f"-{n}" for n in synced.removed]
            self._say(f"schedules: {' '.join(changes)}")
        for name, error in synced.refused.items():
            if f"{name}: {error}" not in self._told:  # once, not at every change of a file
                self._told.add(f"{name}: {error}")
                self._say(f"schedule {name} is not used: {error}")
