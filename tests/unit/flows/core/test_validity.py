"""A schedule that cannot be carried out is refused in one line that says what to write."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from flows.core.errors import ConfigError
from flows.core.schedule import (
    Cron,
    Deadline,
    Interval,
    Late,
    NewData,
    OnAsset,
    OnRequest,
    Schedule,
)
from flows.core.validity import validate

HOUR = timedelta(hours=1)
GOOD = Schedule(name="nightly", flow="retrain", trigger=OnRequest())


@pytest.mark.parametrize(
    "trigger",
    [
        Cron(cron="0 3 * * *", zone="Europe/Berlin"),
        Cron(cron="*/10 0 3 * * *"),
        Cron(cron="0 9 L * *"),
        Cron(cron="0 9 * * MON#2"),
        Cron(cron="0 0 29 2 *"),
        Cron(cron="@Weekly"),
        Interval(every=timedelta(seconds=1)),
        NewData(view="digits", min_rows=10, settle=timedelta(seconds=5), max_wait=HOUR),
        NewData(view="digits", late=Late.IGNORE, lateness=timedelta(days=2)),
        OnAsset(asset="model:*"),
        Deadline(by="06:00", zone="Asia/Kolkata", days="MON-FRI"),
        Deadline(by="06:00", latest_start=HOUR, earliest_start=HOUR),
        OnRequest(),
    ],
    ids=repr,
)
def test_what_can_be_carried_out_is_taken(trigger):
    validate(replace(GOOD, trigger=trigger))


@pytest.mark.parametrize(
    ("trigger", "problem", "hint"),
    [
        (Cron(cron="0 0 30 2 *"), "cannot be: bad day-of-month", "five fields"),
        (Cron(cron="0 0 30 2 */7#5"), "cannot be", "five fields"),
        (Cron(cron="0 0 31 4,6 *"), "cannot be: bad day-of-month", "five fields"),
        (Cron(cron="99 3 * * *"), "cannot be: bad minute", "five fields"),
        (Cron(cron="0 3"), "cannot be: wrong number of fields", "five fields"),
        (Cron(cron=""), "cannot be: wrong number of fields", "five fields"),
        (Cron(cron="@dayly"), "there is no cron @dayly", "@daily"),
        (Cron(cron="@daily", zone="Europe/Berln"), "no time zone 'Europe/Berln'", "Europe/Berlin"),
        (Cron(cron="@daily", zone="Berlin"), "there is no time zone", "Europe/Berlin"),
        (Cron(cron="@daily", zone="localtime"), "there is no time zone 'localtime'", ""),
        (Cron(cron="@daily", zone="Europe"), "there is no time zone 'Europe'", "did you mean"),
        (Cron(cron="@daily", zone="../../etc/passwd"), "there is no time zone", ""),
        (Cron(cron="@daily", zone=""), "there is no time zone ''", "IANA name"),
        (Interval(every=timedelta(milliseconds=999)), "at least 0:00:01", "15m"),
        (Interval(every=timedelta(days=4000)), "at most ten years", "15m"),
        (Interval(every=HOUR, anchor=datetime(2026, 1, 1)), "anchor has no time zone", "Z"),
        (
            Interval(every=HOUR, anchor=datetime(1, 1, 1, tzinfo=timezone(9 * HOUR))),
            "anchor is in the year 1",
            "",
        ),
        (NewData(view="a\x00b"), "a character that no database keeps", "NUL"),
        (OnAsset(asset="model:\ud800"), "a character that no database keeps", "NUL"),
        (Deadline(by="²:00"), "is no time of day", "'06:00'"),
        (Deadline(by="06:00", days="* *"), "is not one field of cron", "1-5"),
        (NewData(view=""), "it names no view", "ratchet features list"),
        (NewData(view="v", min_rows=0), "min_rows is less than 1", ""),
        (NewData(view="v", settle=-HOUR), "settle is -1 day", ""),
        (NewData(view="v", settle=2 * HOUR, max_wait=HOUR), "max_wait is 1:00:00", ""),
        (NewData(view="v", late=Late.IGNORE), "need each other", "lateness: 2d"),
        (NewData(view="v", lateness=HOUR), "need each other", "late: ignore"),
        (OnAsset(asset="digits"), "'digits' is no asset", "model:digits"),
        (OnAsset(asset="model:" + "n" * 200), "is no asset", "at most 200 characters"),
        (Deadline(by="6 am"), "by '6 am' is no time of day", "'06:00'"),
        (Deadline(by="24:00"), "by '24:00' is no time of day", "'06:00'"),
        (Deadline(by="06:00", days="8"), "bad day-of-week", "five fields"),
        (Deadline(by="06:00", confidence=95), "confidence is not between 0 and 1", "0.95"),
        (Deadline(by="06:00", latest_start=13 * HOUR), "latest_start is further", "longer"),
        (Deadline(by="06:00", earliest_start=200 * HOUR), "more than 7 days", "cron"),
    ],
)
def test_what_cannot_is_refused_with_the_schedules_name_and_a_hint(trigger, problem, hint):
    with pytest.raises(ConfigError) as refused:
        validate(replace(GOOD, trigger=trigger))
    assert str(refused.value).startswith("schedule nightly: ")
    assert problem in str(refused.value)
    assert "\n" not in str(refused.value)
    assert hint in (refused.value.hint or "")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"name": ""}, "no name for a schedule"),
        ({"name": "../up"}, "no name for a schedule"),
        ({"name": "n" * 101}, "no name for a schedule"),
        ({"flow": ""}, "it names no flow"),
        ({"grace": -HOUR}, "grace is"),
        ({"priority": 2**70}, "priority is beyond"),
        ({"overrides": ("a={at:%\ud800}",)}, "a character that no database keeps"),
        ({"deadline": timedelta(0)}, "deadline is 0:00:00"),
        ({"deadline": HOUR, "trigger": Deadline(by="06:00")}, "`by` is its deadline already"),
    ],
)
def test_its_other_parts_are_looked_at_too(changes, problem):
    with pytest.raises(ConfigError, match=problem):
        validate(replace(GOOD, **changes))
