"""The scheduler of `ratchet up` and `ratchet scheduler`, over what config and flows declare."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

from flows.adapters.champions import ChampionWatch
from flows.bootstrap import Ratchet
from flows.core.errors import RatchetError, StoreError
from flows.core.firing import passes
from flows.core.scheduler import Scheduler
from flows.up.loop import Loop

LOOK = 2.0
"""Seconds between two looks for config files that have changed."""

SETTLED = 5
"""After so many looks that found no change, no file is half-written any more."""

AGAIN = 15
"""After so many looks, modules that could not be imported are tried again."""


def scheduling_loops(
    ratchet: Ratchet, started: Callable[[], None], say: Callable[[str], None]
) -> list[Loop]:
    """What fires schedules, delivers alerts and watches champions; not started yet.

    `started` is called when a run was recorded.
    """
    clock, store = ratchet.clock, ratchet.service.store
    scheduling, courier = Scheduling(ratchet, started, say), ratchet.courier()
    champions = ChampionWatch(ratchet.settings, store, clock=clock)
    return [
        Loop("scheduler", scheduling.serve, say=say, clock=clock, wake=scheduling.wake),
        Loop("config", scheduling.follow, say=say, clock=clock),
        Loop("courier", courier.serve, say=say, clock=clock, wake=courier.wake),
        Loop("champions", champions.serve, say=say, clock=clock),
    ]


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
        self._stamp: object = None
        self._looks = 0  # since the config changed
        self._shown: set[str] = set()

    def serve(self, stop: threading.Event) -> None:
        """Fire what is due until `stop` is set."""
        self._stamp, self._looks = self._ratchet.config_stamp(), 0
        self._sync(fresh=True)
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
            with suppress(StoreError):  # it is asked again soon
                self._ratchet.service.store.ask_time()

    def _follow(self) -> None:
        """Look once; what has changed is saved at once, and what is gone once all is written."""
        try:
            stamp = self._ratchet.config_stamp()
        except OSError:  # a file that is just being renamed
            return
        changed, self._stamp = stamp != self._stamp, stamp
        self._looks = 0 if changed else self._looks + 1
        again = bool(self._ratchet.broken) and self._looks % AGAIN == 0
        if not (changed or again or self._looks == SETTLED):
            return
        try:
            if changed or again:
                self._ratchet = self._ratchet.reread()
            self._sync(fresh=self._looks < SETTLED)
        except (RatchetError, OSError) as error:
            if passes(error):
                self._stamp = None  # read it again at the next look
            self._tell(f"the changed config is not used: {error}")
        self.wake()

    def _sync(self, *, fresh: bool) -> None:
        declared = self._ratchet.declared()
        synced = self._ratchet.schedules.sync(
            declared.schedules, declared.problems, broken=declared.broken, fresh=fresh
        )
        if synced.saved or synced.removed:
            changes = [f"+{name}" for name in synced.saved] + [f"-{n}" for n in synced.removed]
            self._say(f"schedules: {' '.join(changes)}")
        for name, error in synced.refused.items():
            self._tell(f"schedule {name} is not used: {error}")

    def _tell(self, line: str) -> None:
        """Say something once, not at every change of a file."""
        if line not in self._shown:
            self._shown.add(line)
            self._say(line)
