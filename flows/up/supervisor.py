"""Keeps servers alive: looks at each, and starts those that died again, later each time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from flows.core.errors import RatchetError
from flows.up.child import Child, ChildState

LOOK = timedelta(seconds=1)
"""Between two looks whether a process lives."""

ASK = timedelta(seconds=15)
"""Between two questions to a server that is up; twice a second while one is not."""

HURRY = timedelta(seconds=0.5)

FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=1), timedelta(minutes=1)
"""Before the first restart; and at most, when it keeps dying."""

HEALTHY = timedelta(minutes=2)
"""Up for so long, a server is given the shortest pause again."""

SILENT = timedelta(minutes=2)
"""A server that runs and does not answer for so long is ended and started again."""

Say = Callable[[str], None]


@dataclass(kw_only=True)
class _Watch:
    child: Child
    pause: timedelta = FIRST_PAUSE
    restart_at: datetime | None = None
    look_at: datetime | None = None
    ask_at: datetime | None = None
    since: datetime | None = None  # of its present state
    state: ChildState = ChildState.STOPPED


class Supervisor:
    """Looks after children, one `tick` at a time."""

    def __init__(
        self,
        children: Sequence[Child],
        say: Say,
        *,
        back: Callable[[Child], None] = lambda child: None,
    ) -> None:
        self._watches = [_Watch(child=child) for child in children]
        self._say = say
        self._back = back  # called when a child that was started again answers

    def start(self, now: datetime) -> None:
        """Start them all, or adopt them; returns before they answer."""
        for watch in self._watches:
            self._start(watch, now)

    def tick(self, now: datetime) -> None:
        """Look at each whose time has come; restart the dead. Raises nothing."""
        for watch in self._watches:
            if watch.restart_at is not None:
                if watch.restart_at <= now:
                    self._start(watch, now)
            elif watch.look_at is not None and watch.look_at <= now:
                self._look(watch, now)

    def states(self) -> dict[str, ChildState]:
        """How each stood when it was last looked at."""
        return {watch.child.name: watch.state for watch in self._watches}

    # ------------------------------------------------------------------ inside

    def _start(self, watch: _Watch, now: datetime) -> None:
        watch.restart_at = None
        try:
            watch.child.start()
        except (OSError, RatchetError) as error:
            self._restart_later(watch, now, f"cannot be started: {error}")
            return
        watch.state, watch.since = ChildState.STARTING, now
        watch.look_at = watch.ask_at = now + HURRY

    def _look(self, watch: _Watch, now: datetime) -> None:
        ask = watch.ask_at is None or watch.ask_at <= now
        before, watch.state = watch.state, watch.child.look(ask=ask)
        if watch.state is not before:
            watch.since = now
        well = watch.state is ChildState.UP
        watch.look_at = now + (LOOK if well else HURRY)
        if ask:
            watch.ask_at = now + (ASK if well else HURRY)
        lasted = now - (watch.since or now)
        if watch.state is ChildState.DEAD:
            self._restart_later(watch, now, f"died (its log: {watch.child.log})")
        elif watch.state is ChildState.UP:
            if before is not ChildState.UP:
                self._say(f"{watch.child.name} is up: {watch.child.address}")
                self._back(watch.child)
            if lasted >= HEALTHY:
                watch.pause = FIRST_PAUSE
        elif lasted >= SILENT:
            watch.child.stop(1.0)
            self._restart_later(watch, now, f"does not answer (its log: {watch.child.log})")

    def _restart_later(self, watch: _Watch, now: datetime, why: str) -> None:
        watch.state = ChildState.DEAD
        watch.restart_at = now + watch.pause
        pause = watch.pause.total_seconds()
        self._say(f"{watch.child.name} {why}; it is started again in {pause:g} s")
        watch.pause = min(watch.pause * 2, LONGEST_PAUSE)
