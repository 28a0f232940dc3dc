"""The two clocks."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from flows.core.clock import ManualClock, SystemClock

START = datetime(2026, 7, 4, 3, tzinfo=UTC)


def test_the_system_clock_tells_aware_utc_times_that_do_not_go_back() -> None:
    clock = SystemClock()
    first, second = clock.now(), clock.now()
    assert first.utcoffset() == timedelta(0)
    assert first <= second


def test_the_system_clock_sleeps_no_negative_times() -> None:
    SystemClock().sleep(-1)


def test_the_system_clock_waits_for_an_event() -> None:
    event = threading.Event()
    assert not SystemClock().wait(event, 0)
    event.set()
    assert SystemClock().wait(event, None)


def test_a_manual_clock_stands_still_until_it_is_moved() -> None:
    clock = ManualClock(START)
    assert clock.now() == clock.now() == START
    assert clock.advance(90) == clock.now() == START + timedelta(seconds=90)
    assert clock.advance(timedelta(days=1)) == START + timedelta(days=1, seconds=90)


def test_a_manual_clock_does_not_go_back() -> None:
    with pytest.raises(ValueError, match="does not go back"):
        ManualClock(START).advance(-1)


def test_sleeping_moves_a_manual_clock_at_once() -> None:
    clock = ManualClock(START)
    clock.sleep(3600)
    clock.sleep(-5)
    assert clock.now() == START + timedelta(hours=1)


def test_waiting_moves_a_manual_clock_only_while_the_event_is_not_set() -> None:
    clock, event = ManualClock(START), threading.Event()
    assert not clock.wait(event, 10)
    event.set()
    assert clock.wait(event, 10)
    assert clock.wait(event, None)
    assert clock.now() == START + timedelta(seconds=10)
