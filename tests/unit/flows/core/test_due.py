"""What a schedule has to do: which pending fires run, which are missed, and when to look again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.core import due
from flows.core.occurrence import occurrences
from flows.core.schedule import (
    Cron,
    DataState,
    Deadline,
    Decision,
    Fire,
    FireOutcome,
    Interval,
    Missed,
    NewData,
    OnAsset,
    OnRequest,
    Schedule,
    ScheduleStatus,
    StoredSchedule,
    Trigger,
)

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
SAVED = datetime(2026, 1, 10, 12, 0, 0, tzinfo=UTC)
HOURLY = Cron(cron="0 * * * *")
DAILY = Cron(cron="0 3 * * *")


def saved(trigger: Trigger, **options: Any) -> StoredSchedule:
    schedule = Schedule(name="s", flow="f", trigger=trigger, **options)
    next_at, cursor = due.first(schedule, SAVED)
    return StoredSchedule(
        schedule=schedule, status=ScheduleStatus.ACTIVE, reason=None, next_at=next_at,
        cursor=cursor, created_at=SAVED, updated_at=SAVED, seq=1,
    )  # fmt: skip


def after(stored: StoredSchedule, decision: Decision) -> StoredSchedule:
    return replace(stored, cursor=decision.cursor, next_at=decision.next_at)


def times(fires: tuple[tuple[str, datetime], ...]) -> list[str]:
    return [f"{at:%d %H:%M}" for _, at in fires]


# ---------------------------------------------------------------- times


def test_a_fire_that_is_due_runs_and_the_next_one_is_looked_at_when_it_comes():
    stored = saved(DAILY)
    assert stored.next_at == datetime(2026, 1, 11, 3, tzinfo=UTC)
    early = due.decide_time(stored, stored.next_at - MINUTE)
    assert (early.fires, early.missed, early.next_at) == ((), (), stored.next_at)
    decision = due.decide_time(stored, stored.next_at + timedelta(seconds=2))
    assert decision.fires == (("2026-01-11T03:00:00+00:00", stored.next_at),)
    assert decision.missed == ()
    assert decision.next_at == stored.next_at + DAY
    assert decision.cursor == {"at": "2026-01-11T03:00:00+00:00"}
    again = due.decide_time(after(stored, decision), stored.next_at + timedelta(seconds=3))
    assert (again.fires, again.cursor) == ((), decision.cursor)


@pytest.mark.parametrize(
    ("policy", "fires", "missed"),
    [
        (Missed.SKIP, [], ["10 13:00", "10 14:00", "10 15:00"]),
        (Missed.LATEST, ["10 15:00"], ["10 13:00", "10 14:00"]),
        (Missed.ALL, ["10 13:00", "10 14:00", "10 15:00"], []),
    ],
)
def test_fires_that_nobody_was_there_for_follow_the_policy(policy, fires, missed):
    decision = due.decide_time(saved(HOURLY, missed=policy), SAVED + 3 * HOUR + 30 * MINUTE)
    assert (times(decision.fires), times(decision.missed)) == (fires, missed)
    assert decision.next_at == SAVED + 4 * HOUR


@pytest.mark.parametrize(
    ("policy", "fires", "missed"),
    [
        (Missed.SKIP, ["10 15:00"], ["10 13:00", "10 14:00"]),
        (Missed.LATEST, ["10 15:00"], ["10 13:00", "10 14:00"]),
        (Missed.ALL, ["10 13:00", "10 14:00", "10 15:00"], []),
    ],
)
def test_the_one_that_is_on_time_runs_whatever_the_policy(policy, fires, missed):
    decision = due.decide_time(saved(HOURLY, missed=policy), SAVED + 3 * HOUR + 20 * MINUTE / 60)
    assert (times(decision.fires), times(decision.missed)) == (fires, missed)


@pytest.mark.parametrize("policy", Missed)
def test_a_scheduler_that_ticks_slowly_calls_nothing_missed(policy):
    stored = saved(Interval(every=timedelta(seconds=10)), missed=policy, grace=timedelta(0))
    decision = due.decide_time(stored, SAVED + timedelta(seconds=35))
    assert (len(decision.fires), decision.missed) == (3, ())


@pytest.mark.parametrize("policy", [Missed.LATEST, Missed.ALL])
def test_a_fire_older_than_its_grace_is_missed_whatever_the_policy(policy):
    stored = saved(HOURLY, missed=policy, grace=2 * HOUR)
    decision = due.decide_time(stored, SAVED + 10 * HOUR + 30 * MINUTE)
    assert times(decision.fires)[-1] == "10 22:00"
    assert len(decision.fires) == (2 if policy is Missed.ALL else 1)
    assert len(decision.fires) + len(decision.missed) == 10
    late = due.decide_time(saved(DAILY, missed=policy, grace=HOUR), SAVED + DAY)
    assert (late.fires, times(late.missed)) == ((), ["11 03:00"])


def test_a_clock_that_jumps_by_ten_years_costs_no_enumeration_and_leaves_one_line_for_the_rest():
    stored, now = saved(Cron(cron="* * * * *"), missed=Missed.ALL), SAVED + 3650 * DAY
    decision = due.decide_time(stored, now)
    assert len(decision.fires) + len(decision.missed) == due.MOST + 1
    key, at = decision.missed[0]
    assert at == SAVED + MINUTE
    assert key == f"{at.isoformat()}..{(now - (due.MOST - 1) * MINUTE).isoformat()}"
    assert decision.fires[-1][1] == now
    assert decision.next_at == now + MINUTE


def test_a_clock_set_back_fires_nothing_again():
    stored = saved(HOURLY)
    fired = after(stored, due.decide_time(stored, SAVED + 5 * HOUR))
    for back in range(5):
        decision = due.decide_time(fired, SAVED + back * HOUR)
        assert (decision.fires, decision.missed, decision.cursor) == ((), (), fired.cursor)
        assert decision.next_at == SAVED + 6 * HOUR


def test_a_cursor_from_a_clock_that_was_years_ahead_does_not_silence_a_schedule():
    stored = saved(HOURLY)
    ahead = after(stored, due.decide_time(stored, SAVED + 1000 * DAY))
    decision = due.decide_time(ahead, SAVED + HOUR + MINUTE)
    assert (decision.fires, decision.next_at) == ((), SAVED + 2 * HOUR)
    assert times(due.decide_time(after(ahead, decision), SAVED + 2 * HOUR).fires) == ["10 14:00"]


def test_an_interval_stays_where_it_was_first_saved():
    stored = saved(Interval(every=7 * HOUR))
    assert stored.next_at == SAVED + 7 * HOUR
    late = due.decide_time(stored, SAVED + 8 * HOUR)
    assert times(late.fires) == ["10 19:00"]
    assert late.next_at == SAVED + 14 * HOUR
    assert due.trigger_of(after(stored, late)) == Interval(every=7 * HOUR, anchor=SAVED)


@given(
    steps=st.lists(st.floats(-3, 30), min_size=1, max_size=30), policy=st.sampled_from(Missed),
    hours=st.sampled_from([1, 5, 24]),
)  # fmt: skip
def test_every_occurrence_is_decided_once_however_the_clock_goes(steps, policy, hours):
    stored = saved(HOURLY, missed=policy, grace=hours * HOUR)
    now, decided = SAVED, []
    for step in steps:  # hours
        now += step * HOUR
        decision = due.decide_time(stored, now)
        assert decision.next_at is not None
        assert decision.next_at > now
        decided += [key for key, _ in (*decision.fires, *decision.missed)]
        stored = after(stored, decision)
    last = datetime.fromisoformat(stored.cursor["at"])
    expected = [at.isoformat() for at in occurrences(HOURLY, SAVED, last)]
    assert sorted(decided) == expected


# ---------------------------------------------------------------- deadlines

BY_SIX = Deadline(by="06:00", earliest_start=8 * HOUR, latest_start=HOUR)
SIX = datetime(2026, 1, 11, 6, tzinfo=UTC)


def test_without_a_history_a_deadline_starts_as_early_as_it_may():
    stored = saved(BY_SIX)
    assert stored.next_at == SIX - 8 * HOUR
    decision = due.decide_time(stored, stored.next_at)
    assert decision.fires == (("2026-01-11T06:00:00+00:00", SIX),)
    assert decision.next_at == SIX + DAY - 8 * HOUR
    assert due.ends_by(stored.schedule, decision.fires[0][1]) == SIX


@pytest.mark.parametrize(
    ("took", "before"),
    [(3 * HOUR, 3 * HOUR), (MINUTE, HOUR), (20 * HOUR, 8 * HOUR)],
    ids=["its bound", "held at latest_start", "held at earliest_start"],
)
def test_with_a_history_it_starts_as_early_as_that_needs(took, before):
    stored, history = saved(BY_SIX), [took] * 20
    start = SIX - before
    early = due.decide_time(stored, start - timedelta(seconds=1), history)
    assert early.fires == ()
    assert early.next_at is not None
    assert early.next_at <= start
    assert times(due.decide_time(stored, start, history).fires) == ["11 06:00"]


def test_while_it_comes_near_the_start_is_computed_anew():
    stored = saved(BY_SIX)
    decision = due.decide_time(stored, SIX - 8 * HOUR, [HOUR] * 20)
    assert (decision.fires, decision.next_at) == ((), SIX - 8 * HOUR + due.LOOK)
    longer = due.decide_time(after(stored, decision), decision.next_at, [7.9 * HOUR] * 20)
    assert times(longer.fires) == ["11 06:00"]  # its start has passed meanwhile: at once


def test_a_deadline_that_has_passed_is_missed():
    decision = due.decide_time(saved(BY_SIX), SIX + 3 * DAY + HOUR, [2 * HOUR] * 20)
    assert decision.fires == ()
    assert times(decision.missed) == ["11 06:00", "12 06:00", "13 06:00", "14 06:00"]
    assert decision.next_at == SIX + 4 * DAY - 8 * HOUR


def test_the_deadline_of_other_schedules_is_counted_from_the_fire():
    schedule = saved(DAILY, deadline=2 * HOUR).schedule
    assert due.ends_by(schedule, SAVED) == SAVED + 2 * HOUR
    assert due.ends_by(saved(DAILY).schedule, SAVED) is None


# ---------------------------------------------------------------- data


def state(version: int, new: int, first: datetime | None = None, last: datetime | None = None):
    return DataState(version=version, new_rows=new, first_at=first or SAVED, last_at=last or SAVED)


def test_new_data_fires_once_for_its_version():
    stored = saved(NewData(view="digits"))
    assert (stored.next_at, stored.cursor) == (SAVED, {"version": None})
    decision = due.decide_data(stored, state(7, 100), SAVED + HOUR)
    assert decision.fires == (("digits@7", SAVED),)
    assert (decision.next_at, decision.cursor) == (None, {"version": 7})
    assert due.decide_data(after(stored, decision), state(7, 0), SAVED + HOUR).fires == ()


def test_a_version_without_new_rows_only_moves_the_cursor():
    decision = due.decide_data(saved(NewData(view="digits")), state(8, 0), SAVED)
    assert (decision.fires, decision.next_at, decision.cursor) == ((), None, {"version": 8})


def test_too_few_rows_wait_for_more_or_for_max_wait():
    few = saved(NewData(view="v", min_rows=10))
    assert due.decide_data(few, state(1, 9), SAVED) == Decision(cursor={"version": None})
    assert due.decide_data(few, state(2, 10), SAVED).fires == (("v@2", SAVED),)
    waits = saved(NewData(view="v", min_rows=10, max_wait=HOUR))
    early = due.decide_data(waits, state(1, 1), SAVED + 59 * MINUTE)
    assert (early.fires, early.next_at) == ((), SAVED + HOUR)
    assert due.decide_data(waits, state(1, 1), SAVED + HOUR).fires == (("v@1", SAVED),)


def test_it_settles_and_max_wait_ends_the_settling():
    stored = saved(NewData(view="v", settle=10 * MINUTE, max_wait=30 * MINUTE))
    for minute in range(0, 30, 5):  # a commit every five minutes, which never settles
        now = SAVED + minute * MINUTE
        decision = due.decide_data(stored, state(minute, 1, last=now), now)
        assert decision.fires == ()
        assert decision.next_at == min(now + 10 * MINUTE, SAVED + 30 * MINUTE)
    assert due.decide_data(stored, state(6, 7, last=now), SAVED + 30 * MINUTE).fires
    quiet = due.decide_data(stored, state(6, 7, last=SAVED), SAVED + 10 * MINUTE)
    assert quiet.fires == (("v@6", SAVED),)


def test_a_storage_whose_clock_is_ahead_holds_nothing_back():
    ahead = SAVED + HOUR
    decision = due.decide_data(saved(NewData(view="v")), state(1, 1, ahead, ahead), SAVED)
    assert decision.fires == (("v@1", SAVED),)


def test_a_view_made_anew_is_all_new_and_its_versions_are_told_apart():
    stored = replace(saved(NewData(view="v")), cursor={"version": 7})
    decision = due.decide_data(stored, state(3, 0), SAVED)
    assert (decision.fires, decision.next_at) == ((), SAVED)
    looked = after(stored, decision)
    fired = due.decide_data(looked, state(3, 50), SAVED)
    assert [key for key, _ in fired.fires] == ["v@3+1"]
    assert fired.cursor == {"version": 3, "restored": 1}


def test_a_view_made_anew_with_as_many_versions_is_known_by_its_table():
    stored = replace(saved(NewData(view="v")), cursor={"version": 3, "table": "old"})
    there = replace(state(7, 0), table="new")
    decision = due.decide_data(stored, there, SAVED)
    assert (decision.fires, decision.next_at) == ((), SAVED)
    looked = after(stored, decision)
    fired = due.decide_data(looked, replace(state(7, 50), table="new"), SAVED)
    assert [key for key, _ in fired.fires] == ["v@7+1"]
    assert fired.cursor == {"version": 7, "restored": 1, "table": "new"}


def test_a_cursor_from_before_tables_had_ids_goes_on():
    stored = replace(saved(NewData(view="v")), cursor={"version": 3})
    decision = due.decide_data(stored, replace(state(4, 10), table="new"), SAVED)
    assert [key for key, _ in decision.fires] == ["v@4"]


# ---------------------------------------------------------------- assets


def made(number: int, at: datetime = SAVED):
    return Fire(
        schedule="s", key=f"event:{number}", at=at, decided_at=at, outcome=FireOutcome.PENDING
    )


def test_an_asset_fires_by_the_id_of_its_event():
    stored = saved(OnAsset(asset="model:*"))
    decision = due.decide_assets(stored, [made(4), made(3)], SAVED)
    assert decision.fires == (("event:4", SAVED), ("event:3", SAVED))
    assert (decision.missed, decision.cursor) == ((), stored.cursor)


@pytest.mark.parametrize(("policy", "fires"), [("skip", 0), ("latest", 1), ("all", 3)])
def test_assets_that_nobody_was_there_for_follow_the_policy(policy, fires):
    stored = saved(OnAsset(asset="model:digits"), missed=Missed(policy))
    decision = due.decide_assets(stored, [made(1), made(2), made(3)], SAVED + HOUR)
    assert len(decision.fires) == fires
    assert len(decision.missed) == 3 - fires


def test_of_very_many_assets_that_nobody_was_there_for_the_latest_is_among_the_last():
    stored = saved(OnAsset(asset="model:digits"), missed=Missed.LATEST)
    waiting = [made(number) for number in range(due.MOST + 1)]
    decision = due.decide_assets(stored, waiting, SAVED + HOUR)
    assert (decision.fires, len(decision.missed)) == ((), due.MOST)
    assert len(due.decide_assets(stored, waiting[-1:], SAVED + HOUR).fires) == 1
    decision = due.decide_assets(stored, [*waiting[1:], made(0, SAVED + HOUR)], SAVED + HOUR)
    assert decision.fires == ()


# ---------------------------------------------------------------- requests and overrides


def test_a_schedule_on_request_is_never_looked_at():
    assert due.first(saved(OnRequest()).schedule, SAVED) == (None, {})


def test_placeholders_are_filled_with_the_fires_time():
    overrides = ("day={at:%Y-%m-%d}", "at={at}", "params={at:3}", "plain=1")
    assert due.filled(saved(OnRequest(), overrides=overrides).schedule, SAVED) == (
        "day=2026-01-10", "at=2026-01-10T12:00:00+00:00", "params={at:3}", "plain=1",
    )  # fmt: skip


def test_dates_are_those_of_the_triggers_zone():
    trigger = Cron(cron="30 0 * * *", zone="Europe/Berlin")
    schedule = saved(trigger, overrides=("day={at:%Y-%m-%d}",)).schedule
    assert due.filled(schedule, datetime(2026, 1, 10, 23, 30, tzinfo=UTC)) == ("day=2026-01-11",)
