"""A world in one thread: virtual time, processes that take turns, and chance from one seed.

Nothing here sleeps or runs beside anything else. Every step of every process is an entry in
one queue, ordered by virtual time; ties and durations come from the seed. A process that is
slow in the middle of a call lets the others take their steps there and then, and goes on
afterwards: so two processes interleave between any two transactions, as they do in reality,
and the same seed always gives the same story.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.process import Process

START = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
DEEPEST = 3
"""So many processes may be slow in the middle of a call at once."""


class Crash(BaseException):
    """The process is gone; nothing of it may catch this."""


class World:
    """Time, chance, and everything that waits for its turn."""

    def __init__(self, seed: int, *, tell: Callable[[str], None] | None = None) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.now = START
        self.faulty = True  # until the quiet at the end
        self.calm = False  # nothing goes wrong in it
        self.where = self.chance.choice(("one machine", "one machine", "hosts", "containers"))
        self.poison = self.chance.choice((0, 1, 9))  # how much more is asked for that is bad
        self.flaky = self.chance.choice((0.07, 0.07, 0.3))  # how many attempts fail
        self.busy = self.chance.choice((1.0, 1.0, 0.25))  # seconds from wish to wish, times this
        self.depth = 0
        self.tell = tell
        self.watcher: Callable[[Process, str], None] | None = (
            None  # sees each edge of a transaction
        )
        self.promises: list[tuple[str, str, str]] = []  # (flow, key, run id) that somebody was told
        self.bound: set[tuple[str, str]] = set()  # (key, request) that was accepted
        self.states: Counter[str] = Counter()  # rare states, and how often they were reached
        self.workers: set[str] = set()  # that are alive
        self.named: dict[str, tuple[Process, int]] = {}  # whose life has such a name
        self.serves: dict[str, frozenset[str] | None] = {}  # by each name of a worker
        self.surprises: list[str] = []  # errors that nobody had reckoned with
        self._queue: list[tuple[datetime, int, Process | None, int, Callable[[], None]]] = []
        self._order = count()
        self._lives: list[tuple[Process, int]] = []

    def at(self, seconds: float, what: Callable[[], None], process: Process | None = None) -> None:
        """Let `what` happen in so many seconds, unless the process has died by then."""
        life = process.life if process else 0
        due = self.now + timedelta(seconds=seconds)
        heapq.heappush(self._queue, (due, next(self._order), process, life, what))

    def pass_time(self, seconds: float) -> None:
        """Let everything happen that is due within so many seconds."""
        until = self.now + timedelta(seconds=seconds)
        while self._queue and self._queue[0][0] <= until:
            due, _, process, life, what = heapq.heappop(self._queue)
            self.now = max(self.now, due)
            if process is None:
                what()
            elif process.life == life:
                process.take_turn(what)
        self.now = max(self.now, until)

    def sleep(self, seconds: float) -> None:
        """The lid is closed: time passes, and nothing happens."""
        self.note("world", f"sleeps for {seconds:g} s")
        self.now += timedelta(seconds=seconds)

    def happens(self, probability: float) -> bool:
        """Whether a fault of this probability happens now."""
        return self.faulty and self.chance.random() < probability

    def reach(self, state: str, really: bool = True) -> None:
        """Count a rare state (`states.py`) that this story has come to."""
        self.states[state] += really

    def note(self, who: str, what: str) -> None:
        """One line of the story."""
        if self.tell:
            self.tell(
                f"{(self.now - START).total_seconds():9.3f}  {'  ' * self.depth}{who}: {what}"
            )

    def number_of(self, process: Process, life: int) -> int:
        """A number for one life of a process, as kernels give them."""
        self._lives.append((process, life))
        return len(self._lives) - 1

    def process_of(self, number: int) -> tuple[Process, int]:
        """Whose life has this number."""
        return self._lives[number]
