"""Rows remember how many decisions have looked at them."""

from datetime import UTC, datetime, timedelta

from registry.nights.wear import REMEMBERED, looked_at, newest, with_look


def day(number: int) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number)


def test_a_rolling_window_of_seven_nights_counts_every_night_that_overlaps() -> None:
    looks = ()
    for night in range(7, 20):
        looks = with_look(looks, day(night - 6), day(night))
    assert looked_at(looks, day(14), day(20)) == 6  # nights 14 to 19
    assert looked_at(looks, day(20), day(26)) == 0


def test_a_sweep_on_the_same_rows_is_one_look_of_many_times() -> None:
    looks = ()
    for _ in range(500):
        looks = with_look(looks, day(1), day(2))
    (look,) = looks
    assert look.times == looked_at(looks, day(2), day(3)) == 500


def test_old_looks_are_forgotten_beyond_a_number() -> None:
    looks = ()
    for night in range(200):
        looks = with_look(looks, day(night), day(night))
    assert len(looks) == REMEMBERED


def test_the_newest_of_what_is_known() -> None:
    assert newest(day(1), None, day(3)) == day(3)
    assert newest(None) is None
