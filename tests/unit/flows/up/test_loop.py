"""A loop that fails is said and started again; one that is told to stop ends."""

from __future__ import annotations

import itertools
import threading
from datetime import timedelta

from flows.core.errors import StoreError
from flows.up.loop import LONGEST_PAUSE, Loop
from tests.manual_clock import ManualClock

PATIENCE = 60.0


def test_a_loop_ends_when_it_is_told_and_its_wait_is_ended() -> None:
    woken, asked = threading.Event(), threading.Event()

    def serve(stop: threading.Event) -> None:
        asked.set()
        woken.wait(PATIENCE)
        assert stop.is_set()

    loop = Loop("worker", serve, say=print, clock=ManualClock(), wake=woken.set)
    assert loop.ended(0)
    loop.start()
    assert asked.wait(PATIENCE)
    assert (loop.state, loop.ended(0)) == ("up", False)
    loop.stop()
    assert loop.ended(PATIENCE)
    assert loop.state == "stopped"


def test_a_loop_that_fails_is_said_and_started_again_later_each_time() -> None:
    said: list[str] = []
    begun: list[timedelta] = []
    clock = ManualClock()
    start = clock.now()

    def serve(stop: threading.Event) -> None:
        begun.append(clock.now() - start)
        if len(begun) < 12:
            raise StoreError("the database\nis away")
        stop.wait(PATIENCE)

    loop = Loop("scheduler", serve, say=said.append, clock=clock)
    loop.start()
    while len(begun) < 12:
        loop.ended(0.01)
    assert loop.state == "up"
    loop.stop()
    assert loop.ended(PATIENCE)
    pauses = [(b - a).total_seconds() for a, b in itertools.pairwise(begun)]
    assert pauses[:4] == [1, 2, 4, 8]
    assert max(pauses) == LONGEST_PAUSE
    assert said[0] == "the scheduler stopped: the database is away; it is started again in 1 s"
