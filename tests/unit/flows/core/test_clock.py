"""The clocks."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from flows.core.clock import CorrectedClock, SteadyClock, SystemClock
from tests.manual_clock import ManualClock

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


class Ahead(ManualClock):
    """A clock that is wrong."""

    by = timedelta(seconds=12)

    def now(self) -> datetime:
        return super().now() + self.by


def test_a_wrong_clock_is_put_right_by_the_stores_and_told_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store, wrong = ManualClock(START), Ahead(START)
    clock = CorrectedClock(wrong)
    for _ in range(3):
        clock.correct(store.now())
        assert clock.now() == store.now()
        store.advance(1)
        wrong.advance(1)
        assert clock.now() == store.now()
    assert [record.getMessage() for record in caplog.records] == [
        "the clock of this machine is 12 s ahead of that of the state store, which counts"
    ]


def test_a_clock_that_is_set_is_put_right_again() -> None:
    store, mine = ManualClock(START), Ahead(START)
    clock = CorrectedClock(mine)
    for by in (3600, -3600, 0):
        mine.by = timedelta(seconds=by)
        clock.correct(store.now())
        assert clock.now() == store.now()


def test_what_it_takes_to_ask_for_the_time_moves_no_clock(caplog: pytest.LogCaptureFixture) -> None:
    clock = CorrectedClock(ManualClock(START))
    clock.correct(START + timedelta(seconds=0.05))
    assert clock.now() == START
    assert not caplog.records


def test_a_steady_clock_goes_on_whatever_is_done_to_the_computers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = SteadyClock()
    before = clock.now()
    monkeypatch.setattr(SystemClock, "now", lambda self: before - timedelta(days=1))
    assert timedelta(0) <= clock.now() - before < timedelta(hours=1)


def test_the_time_that_elapses_is_not_that_of_a_clock_that_is_set() -> None:
    clock = ManualClock()
    begun = clock.elapsed()
    clock.advance(5)
    assert clock.elapsed() - begun == 5
    assert 0 <= SystemClock().elapsed() <= SystemClock().elapsed()
