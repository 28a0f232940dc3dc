"""Processes of the world: they take turns, hang, freeze, crash and come back."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from flows.core.errors import StoreError
from flows.core.store import Store
from tests.simulation.database import Disk, FaultyDatabase
from tests.simulation.world import START, Crash, World


@dataclass(frozen=True, kw_only=True)
class Faults:
    """How often things go wrong for one process, per transaction or turn."""

    crash: float = 0.0  # it dies, before or after a transaction
    error: float = 0.0  # the database fails, before or after (its commit is in doubt then)
    slow: float = 0.0  # it hangs in the middle of a call while the others go on
    freeze: float = 0.0  # it is stopped between two turns: a laptop's lid, a paused machine


class SkewedClock:
    """A process's own clock."""

    def __init__(self, world: World, skew: timedelta) -> None:
        self._world, self.skew = world, skew

    def now(self) -> datetime:
        return self._world.now + self.skew

    def elapsed(self) -> float:
        return (self._world.now - START).total_seconds()


class Process:
    """One process. `boot` makes its parts, `turn` is what its loop does again and again."""

    def __init__(
        self, name: str, world: World, disk: Disk, faults: Faults, skew: timedelta = timedelta(0)
    ) -> None:
        self.name, self.world, self.disk, self.faults = name, world, disk, faults
        self.clock = SkewedClock(world, skew)
        self.store_clock = SkewedClock(world, timedelta(0))
        self.life = 0
        self.deaths = 0
        self.alive = False
        self.busy = 0  # in the middle of a call
        self._frozen_until = world.now
        self._woken = False
        self.store: Store | None = None

    # what a kind of process fills in

    def boot(self) -> None:
        """Make its parts, over `self.store`."""
        raise NotImplementedError

    def turn(self) -> float:
        """One pass of its loop; returns the seconds until the next."""
        raise NotImplementedError

    # life

    def start(self, delay: float = 0.0) -> None:
        """Come to life in a while."""
        self.life += 1
        self.world.at(delay, self._boot, self)

    def _boot(self) -> None:
        self.alive = True
        self.store = Store(FaultyDatabase(self.disk, self))
        self.world.note(self.name, f"starts, life {self.life}")
        self.boot()
        self._loop()

    def die(self, why: str) -> None:
        """Nothing of this life happens any more; another begins in a while."""
        self.world.note(self.name, f"dies {why}")
        self.alive = False
        self.deaths += 1
        if self.store is not None:
            self.store.database.close()
        self.start(self.world.chance.choice((0.01, 1.0, 8.0, 25.0)))

    def end(self) -> None:
        """The story is over."""
        self.life += 1
        if self.store is not None:
            self.store.database.close()

    def hang(self, seconds: float) -> None:
        """Let the others go on for so long, in the middle of a call."""
        self.busy += 1
        self.world.depth += 1
        try:
            self.world.pass_time(seconds)
        finally:
            self.world.depth -= 1
            self.busy -= 1

    def take_turn(self, what: Callable[[], None]) -> None:
        """Do `what`, unless the process is busy or frozen: then as soon as it is not."""
        world = self.world
        if self.busy:
            world.at(0.05, what, self)
        elif world.now < self._frozen_until:
            world.at((self._frozen_until - world.now).total_seconds(), what, self)
        elif world.happens(self.faults.freeze):
            seconds = world.chance.choice((2.0, 12.0, 60.0))
            world.note(self.name, f"is frozen for {seconds:g} s")
            self._frozen_until = world.now + timedelta(seconds=seconds)
            world.at(seconds, what, self)
        else:
            self._try(what)

    def _try(self, what: Callable[[], None]) -> None:
        """What nobody catches ends the process; its supervisor starts it again."""
        life = self.life
        try:
            what()
        except Crash:
            pass
        except StoreError as error:
            if life == self.life:
                self.die(f"of {error}")
        except Exception as error:
            trace = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(trace.filename).name}:{trace.lineno}"
            self.world.surprises.append(f"{self.name} raised {error!r} in {place}")
            if life == self.life:
                self.die(f"of {error!r}")

    def wake(self) -> None:
        """Take the next turn soon."""
        if not self._woken:
            self._woken = True
            self.world.at(self.world.chance.uniform(0.0, 0.05), self._awake, self)

    def _awake(self) -> None:
        self._woken = False
        self.turn()

    def _loop(self) -> None:
        self.world.at(self.turn(), self._loop, self)
