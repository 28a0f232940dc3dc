"""Admission: limits, whose turn it is, and that heavy tasks are kept room for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from flows.core.admission import (
    Admission,
    Head,
    Pool,
    Rate,
    Starts,
    Turns,
    Usage,
    Waiting,
    check_pool_name,
)
from flows.core.errors import ConfigError
from flows.core.flow import task
from flows.core.records import Run, RunStatus

NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
GPU = Pool(name="gpu", slots=4)


def admission(pool=GPU, used=0, started=0, head=None):
    heads = {pool.name: head} if head else {}
    return Admission({pool.name: pool}, {pool.name: Usage(used=used, started=started)}, heads)


def admits(found, weight=1, *, run="r1", priority=0, pool="gpu"):
    return found.admits(pool, weight, run_id=run, priority=priority)


@pytest.mark.parametrize(
    ("text", "count", "per"),
    [
        ("10/1m", 10, timedelta(minutes=1)),
        ("3/s", 3, timedelta(seconds=1)),
        (" 100 / 24h ", 100, timedelta(days=1)),
        ("1/0.5d", 1, timedelta(hours=12)),
    ],
)
def test_a_rate_is_read_from_its_text(text, count, per):
    assert Rate.parse(text) == Rate(count=count, per=per)


@pytest.mark.parametrize("text", ["", "ten/1m", "10", "0/1m", "10/0m", "10/1y", "-1/1m"])
def test_what_is_no_rate_is_refused_with_how_to_write_one(text):
    with pytest.raises(ConfigError, match="is no rate") as caught:
        Rate.parse(text)
    assert "10/1m" in caught.value.hint


def test_a_pool_admits_as_much_as_its_slots_hold():
    found = admission(used=2)
    assert admits(found, 2)
    assert not admits(found, 3)
    found.take("gpu", 2)
    assert not admits(found)
    assert found.is_full("gpu")
    found.give("gpu", 1)
    assert admits(found)


def test_a_pool_without_a_limit_admits_everything():
    assert admits(admission(), 99, pool="default")
    assert admission().impossible("default", 99) is None


def test_a_weight_that_no_free_pool_could_hold_is_impossible():
    assert admission(used=4).impossible("gpu", 4) is None
    assert admission().impossible("gpu", 5) == "it weighs 5, and pool gpu has 4 slots"


def test_a_rate_admits_so_many_starts_and_no_more_when_they_end():
    found = admission(Pool(name="gpu", rate=Rate(count=2, per=timedelta(minutes=1))), started=1)
    assert admits(found, 9)
    found.take("gpu", 9)
    assert not admits(found)
    found.give("gpu", 9)
    assert not admits(found)


def test_room_is_kept_for_a_heavy_task_that_has_waited_long():
    found = admission(used=1, head=Head(run_id="heavy", priority=0, weight=4))
    assert not admits(found, run="light")
    assert not admits(found, 4, run="heavy")  # not yet
    found.give("gpu", 1)
    assert admits(found, 4, run="heavy")
    assert not admits(found, run="light")


def test_more_urgent_work_passes_the_one_that_room_is_kept_for():
    found = admission(used=1, head=Head(run_id="heavy", priority=0, weight=4))
    assert admits(found, run="urgent", priority=1)


def test_work_that_leaves_enough_room_passes_too():
    found = admission(used=0, head=Head(run_id="medium", priority=0, weight=2))
    assert admits(found, 2, run="light")
    assert not admits(found, 3, run="light")


def waiting(run_id, flow="f", priority=0, seconds=0):
    since = NOW + timedelta(seconds=seconds)
    return Waiting(run_id=run_id, flow=flow, priority=priority, since=since)


def order(turns, each=1):
    """Who gets something, as long as anybody waits; each run wants `each` things."""
    wants, found = {}, []
    while (up := turns.next()) is not None:
        found.append(up.run_id)
        turns.took(up.flow)
        wants[up.run_id] = wants.get(up.run_id, 0) + 1
        if wants[up.run_id] < each:
            turns.add(up)
    return found


def test_the_most_urgent_comes_first_whatever_its_flow_has():
    turns = Turns({"f": 50})
    turns.add(waiting("a", "g"))
    turns.add(waiting("b", "f", priority=1, seconds=9))
    assert order(turns) == ["b", "a"]


def test_flows_of_equal_priority_take_turns_and_within_a_flow_the_oldest_is_first():
    turns = Turns({})
    for number in range(4):
        turns.add(waiting(f"a{number}", "a", seconds=number))
    turns.add(waiting("b0", "b", seconds=99))
    assert order(turns) == ["a0", "b0", "a1", "a2", "a3"]


def test_a_flow_that_has_much_waits_for_those_that_have_little():
    turns = Turns({"a": 3})
    turns.add(waiting("a0", "a"))
    turns.add(waiting("b0", "b", seconds=9))
    assert order(turns, each=4) == ["b0", "b0", "b0", "a0", "b0", "a0", "a0", "a0"]


def run(run_id="r1", lane=None, max_runs=None):
    return Run(
        id=run_id, flow="f", key="k", status=RunStatus.QUEUED, reason=None, source="m:f",
        config_digest="", trigger={}, created_at=NOW, started_at=None, ended_at=None, seq=1,
        lane=lane, max_runs=max_runs,
    )  # fmt: skip


def test_of_the_runs_in_a_lane_one_starts():
    starts = Starts([("other", "night")])
    assert not starts.allows(run(lane="night"))
    assert starts.allows(run(lane="day"))
    starts.took("f", "day")
    assert not starts.allows(run(lane="day"))
    assert starts.allows(run(lane=None))


def test_as_many_runs_of_a_flow_start_as_it_allows():
    starts = Starts([("f", None), ("g", None)])
    assert starts.allows(run(max_runs=2))
    starts.took("f", None)
    assert not starts.allows(run(max_runs=2))
    assert starts.allows(run(max_runs=None))


@pytest.mark.parametrize("name", ["big gpu", " gpu", "", "g" * 101, "a\x00", "-", "café\udce9"])
def test_a_pool_is_not_called_what_a_column_of_names_would_take_for_another(name):
    with pytest.raises(ConfigError, match="is no name for a pool"):
        check_pool_name(name)
    with pytest.raises(ConfigError, match="is no name for a pool"):
        task(pool=name)(int)
