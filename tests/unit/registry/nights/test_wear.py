"""Rows remember how many decisions have looked at them."""

from datetime import UTC, datetime, timedelta
from random import Random

from registry.nights.wear import REMEMBERED, Look, looked_at, newest, with_look


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


def test_no_look_is_forgotten_however_many_there_are() -> None:
    hours = [day(0) + timedelta(hours=hour) for hour in range(2000)]
    week, looks = timedelta(days=7), ()
    for hour in hours:
        looks = with_look(looks, hour - week, hour)
    assert len(looks) == REMEMBERED
    assert sum(look.times for look in looks) == 2000
    for back in (7, 30, 60, 83):
        since = hours[-1] - timedelta(days=back)
        overlapping = sum(hour >= since for hour in hours)
        counted = looked_at(looks, since, hours[-1])
        assert overlapping <= counted <= 1.2 * overlapping


def test_windows_of_different_length_in_any_order_are_never_counted_too_few() -> None:
    chance = Random(0)
    looks: tuple[Look, ...] = ()
    known: list[tuple[datetime, datetime]] = []
    for hour in range(720, 1720):
        until = day(0) + timedelta(hours=hour - chance.randrange(200))
        since = until - timedelta(days=chance.choice((1, 7, 30)))
        overlapping = sum(first <= until and last >= since for first, last in known)
        assert overlapping <= looked_at(looks, since, until) <= 1.8 * overlapping
        looks = with_look(looks, since, until)
        known.append((since, until))


def test_a_sweep_stays_one_look_among_many() -> None:
    looks = ()
    for night in range(200):
        for _ in range(50 if night == 190 else 1):
            looks = with_look(looks, day(night), day(night))
    assert looked_at(looks, day(190), day(190)) == 50
    assert [look.times for look in looks[-9:]] == [1] * 9


def test_a_look_at_older_rows_takes_its_place_among_the_others() -> None:
    looks = with_look(with_look((), day(5), day(6)), day(1), day(2))
    assert [look.until for look in looks] == [day(2), day(6)]


def test_the_newest_of_what_is_known() -> None:
    assert newest(day(1), None, day(3)) == day(3)
    assert newest(None) is None
