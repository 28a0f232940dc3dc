"""A storage that does not answer holds up nobody who does not need it."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from flows.core.data_source import THREADS, BoundedSource
from flows.core.errors import DataUnavailable, NotFound
from flows.core.schedule import DataState, NewData
from tests.manual_clock import ManualClock

STATE = DataState(version=3, new_rows=5, first_at=None, last_at=None)


class Waiting(ManualClock):
    """A clock of the test, on which one waits for real."""

    def wait(self, event, seconds):
        return event.wait(seconds)


class Storage:
    """Views that answer when they are let; each that is asked is counted."""

    def __init__(self):
        self.hanging = {}
        self.asked = []
        self.answered = threading.Semaphore(0)

    def hang(self, view):
        self.hanging[view] = threading.Event()
        return self.hanging[view]

    def state(self, trigger, since):
        view = trigger.view
        self.asked.append(view)
        if view in self.hanging:
            self.hanging[view].wait(60)
        if view == "gone":
            raise NotFound("no view gone")
        return STATE

    def check(self, view):
        self.state(on(view), None)

    def watch(self, views, changed):
        return (views, changed)


@pytest.fixture
def storage():
    made = Storage()
    yield made
    for event in made.hanging.values():
        event.set()


def on(view):
    return NewData(view=view)


def bounded(storage, limit=30.0, clock=None):
    return BoundedSource(storage, clock=clock or Waiting(), limit=limit)


def test_what_answers_in_time_is_passed_on(storage):
    source = bounded(storage)
    assert source.state(on("v"), None) == source.state(on("v"), 2) == STATE
    source.check("v")
    for ask in (lambda: source.state(on("gone"), None), lambda: source.check("gone")):
        with pytest.raises(NotFound):
            ask()


def test_a_view_that_does_not_answer_is_named_and_asked_once_at_a_time(storage):
    clock = Waiting()
    source = bounded(storage, limit=0.01, clock=clock)
    storage.hang("slow")
    with pytest.raises(DataUnavailable, match="view slow has not answered"):
        source.state(on("slow"), None)
    clock.advance(70)
    with pytest.raises(DataUnavailable, match="view slow has not answered for 70 s"):
        source.state(on("slow"), None)
    with pytest.raises(DataUnavailable, match="view slow"):
        source.check("slow")
    assert storage.asked == ["slow", "slow"]


def test_an_answer_that_comes_late_is_told_and_kept_for_the_next_look(storage):
    clock, changed = Waiting(), threading.Semaphore(0)
    source = bounded(storage, limit=0.01, clock=clock)
    views = []
    source.watch(["slow"], lambda view: (views.append(view), changed.release()))
    go_on = storage.hang("slow")
    with pytest.raises(DataUnavailable):
        source.state(on("slow"), None)
    clock.advance(10)
    go_on.set()
    assert changed.acquire(timeout=60)
    assert (source.state(on("slow"), None), views, storage.asked) == (
        STATE,
        ["slow"],
        ["slow"],
    )


def test_an_answer_that_nobody_came_for_is_not_used_much_later(storage):
    clock, changed = Waiting(), threading.Semaphore(0)
    source = bounded(storage, limit=0.01, clock=clock)
    source.watch(["slow"], lambda _: changed.release())
    go_on = storage.hang("slow")
    with pytest.raises(DataUnavailable):
        source.state(on("slow"), None)
    clock.advance(10)
    go_on.set()
    assert changed.acquire(timeout=60)
    clock.advance(timedelta(hours=1))
    source._limit = 30.0
    assert source.state(on("slow"), None) == STATE
    assert storage.asked == ["slow", "slow"]


def test_of_many_views_that_do_not_answer_only_so_many_threads_wait(storage):
    source = bounded(storage, limit=0.001)
    for number in range(THREADS + 5):
        storage.hang(f"v{number:02}")
        with pytest.raises(DataUnavailable):
            source.state(on(f"v{number:02}"), None)
    assert len(storage.asked) <= THREADS
    with pytest.raises(DataUnavailable, match=f"{THREADS} questions are without an answer: v00"):
        source.state(on("v99"), None)
