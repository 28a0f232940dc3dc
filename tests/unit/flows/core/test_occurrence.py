"""When times come, also where wall times do not exist or exist twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.core.errors import ConfigError
from flows.core.occurrence import explained, newest, next_after, occurrences
from flows.core.schedule import Cron, Deadline, Interval, OnRequest

BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


def walls(cron: str, zone: str, since: datetime, days: int = 2) -> list[str]:
    """The occurrences as clocks in the zone show them, with their offset from UTC."""
    found = occurrences(Cron(cron=cron, zone=zone), since, since + timedelta(days=days))
    return [f"{at.astimezone(ZoneInfo(zone)):%d %H:%M %z}" for at in found]


@pytest.mark.parametrize(
    ("cron", "zone", "since", "expected"),
    [  # in the year 2026 clocks go forward on 29 March, 8 March and 4 October
        ("30 2 * * *", BERLIN, utc(2026, 3, 28, 12), ["29 03:00 +0200", "30 02:30 +0200"]),
        ("0 30 2 * * *", BERLIN, utc(2026, 3, 28, 12), ["29 03:00 +0200", "30 02:30 +0200"]),
        ("15,45 2 * * *", BERLIN, utc(2026, 3, 28, 23), ["29 03:00 +0200", "30 02:15 +0200",
                                                         "30 02:45 +0200"]),
        ("0 2,3 * * *", BERLIN, utc(2026, 3, 28, 23), ["29 03:00 +0200", "30 02:00 +0200",
                                                       "30 03:00 +0200"]),
        ("30 2 * * *", NEW_YORK, utc(2026, 3, 7, 12), ["08 03:00 -0400", "09 02:30 -0400"]),
        ("15 2 * * *", LORD_HOWE, utc(2026, 10, 3, 3), ["04 02:30 +1100", "05 02:15 +1100"]),
    ],
)  # fmt: skip
def test_a_fixed_time_in_the_gap_comes_at_the_first_instant_after_it(cron, zone, since, expected):
    assert walls(cron, zone, since) == expected


@pytest.mark.parametrize(
    ("cron", "zone", "since", "expected"),
    [  # and back on 25 October, 1 November and 5 April
        ("30 2 * * *", BERLIN, utc(2026, 10, 24, 12), ["25 02:30 +0200", "26 02:30 +0100"]),
        ("30 1 * * *", NEW_YORK, utc(2026, 10, 31, 12), ["01 01:30 -0400", "02 01:30 -0500"]),
        ("45 1 * * *", LORD_HOWE, utc(2026, 4, 4, 0), ["05 01:45 +1100", "06 01:45 +1030"]),
        ("0 45 1 * * *", LORD_HOWE, utc(2026, 4, 4, 0), ["05 01:45 +1100", "06 01:45 +1030"]),
    ],
)
def test_a_fixed_time_that_exists_twice_comes_once(cron, zone, since, expected):
    assert walls(cron, zone, since) == expected


def test_a_fixed_time_does_not_come_again_for_who_asks_between_the_two():
    between = utc(2026, 10, 25, 0, 45)  # 02:45 summer time; 02:30 is still to be shown again
    assert next_after(Cron(cron="30 2 * * *", zone=BERLIN), between) == utc(2026, 10, 26, 1, 30)


def test_a_repeated_time_comes_in_both_hours():
    half_hours = walls("*/30 * * * *", BERLIN, utc(2026, 10, 24, 23, 45))[:6]
    assert half_hours == [
        "25 02:00 +0200", "25 02:30 +0200", "25 02:00 +0100", "25 02:30 +0100",
        "25 03:00 +0100", "25 03:30 +0100",
    ]  # fmt: skip
    quarters = walls("*/15 1 * * *", LORD_HOWE, utc(2026, 4, 4, 3), days=1)
    assert quarters == [
        "05 01:00 +1100", "05 01:15 +1100", "05 01:30 +1100", "05 01:45 +1100",
        "05 01:30 +1030", "05 01:45 +1030",
    ]  # fmt: skip


def test_a_repeated_time_is_left_out_where_no_clock_shows_it():
    shown = walls("*/30 * * * *", BERLIN, utc(2026, 3, 29, 0, 15))[:3]
    assert shown == ["29 01:30 +0100", "29 03:00 +0200", "29 03:30 +0200"]
    hours = walls("0 */3 * * *", LORD_HOWE, utc(2026, 10, 3, 12), days=1)[:3]
    assert hours == ["04 00:00 +1030", "04 03:00 +1100", "04 06:00 +1100"]


ZONES = st.sampled_from([BERLIN, NEW_YORK, LORD_HOWE, "UTC", "Africa/Casablanca", "Asia/Kolkata"])
CRONS = st.sampled_from(
    ["*/7 * * * *", "30 2 * * *", "0 */5 * * *", "15 1-3 * * 1-5", "0 0 L * *", "5 4 1,15 * *"]
)


@given(
    cron=CRONS, zone=ZONES,
    since=st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1)).map(
        lambda at: at.replace(tzinfo=UTC)
    ),
    hours=st.integers(1, 72), cut=st.floats(0, 1),
)  # fmt: skip
def test_the_times_of_two_stretches_are_those_of_both_together(cron, zone, since, hours, cut):
    trigger, until = Cron(cron=cron, zone=zone), since + timedelta(hours=hours)
    middle = since + (until - since) * cut
    whole = list(occurrences(trigger, since, until))
    assert [*occurrences(trigger, since, middle), *occurrences(trigger, middle, until)] == whole
    assert all(a < b for a, b in pairwise([since, *whole]))
    assert all(at <= until and at.tzinfo is UTC for at in whole)


def test_an_interval_is_counted_from_its_anchor_on_both_sides_of_it():
    hourly = Interval(every=timedelta(hours=1), anchor=utc(2026, 1, 1, 0, 20))
    assert list(occurrences(hourly, utc(2025, 12, 31, 22, 20), utc(2026, 1, 1, 0, 20))) == [
        utc(2025, 12, 31, 23, 20), utc(2026, 1, 1, 0, 20),
    ]  # fmt: skip
    assert next_after(hourly, utc(2026, 6, 1, 12)) == utc(2026, 6, 1, 12, 20)


def test_the_times_of_a_deadline_are_the_deadlines():
    trigger = Deadline(by="6:00", zone=BERLIN, days="1-5")
    assert list(occurrences(trigger, utc(2026, 3, 27), utc(2026, 3, 31))) == [
        utc(2026, 3, 27, 5), utc(2026, 3, 30, 4),  # Friday in winter, Monday in summer time
    ]  # fmt: skip


@pytest.mark.parametrize(
    "trigger",
    [Cron(cron="* * * * * *", zone=BERLIN), Interval(every=timedelta(seconds=1))],
    ids=["cron", "interval"],
)
def test_of_a_year_of_seconds_only_the_newest_are_enumerated(trigger):
    found, oldest = newest(trigger, utc(2026, 1, 1), utc(2027, 1, 1), 100)
    assert (found[-1], len(found)) == (utc(2027, 1, 1), 100)
    assert found[0] == utc(2027, 1, 1) - timedelta(seconds=99)
    assert oldest == utc(2026, 1, 1, 0, 0, 1)


def test_of_few_all_are_enumerated():
    found, oldest = newest(Cron(cron="@daily"), utc(2026, 1, 1), utc(2026, 1, 11), 10)
    assert (len(found), found[0], oldest) == (10, utc(2026, 1, 2), None)


def test_a_trigger_without_times_says_so():
    with pytest.raises(ConfigError, match="a OnRequest trigger has no times of its own"):
        occurrences(OnRequest(), utc(2026, 1, 1), utc(2026, 1, 2))


def test_an_expression_is_explained_in_words():
    assert explained(Cron(cron="@daily")) == "At 00:00 every day"
    assert explained(Deadline(by="06:30", days="1-5")) == "At 06:30 on Monday through Friday"
