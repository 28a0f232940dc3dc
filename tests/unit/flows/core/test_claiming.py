"""Claiming: limits, whose turn it is, and what is reserved for who has waited too long."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from flows.core.claiming import (
    ALONE,
    Blocked,
    Budget,
    Capabilities,
    Capacity,
    Need,
    Resources,
    Starts,
    Turns,
    Waiting,
    is_suspect,
)
from flows.core.errors import ConfigError
from flows.core.flow import task
from flows.core.pool import Pool, Rate, Usage, check_pool_name
from flows.core.records import TaskRun, TaskStatus
from flows.core.retry import Retry

NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
GPU = Pool(name="gpu", slots=4)


def need(weight=1, *, run="r1", priority=0, pool="gpu", executor="threads", **fields):
    fields = {"since": NOW, "may_queue": True, "alone": False, **fields}
    return Need(
        run_id=run, priority=priority, executor=executor, pool=pool, weight=weight, **fields
    )


def budget(pool=GPU, used=0, started=0, reserved=None, slots=None, **can):
    can = Capabilities(
        worker="w", now=NOW, slots=slots or {"threads": 100, "ray": 100},
        default_executor="threads", pools={pool.name: pool}, **can,
    )  # fmt: skip
    return Budget(can, lambda pool: Usage(used=used, started=started), reserved)


def admits(left, weight=1, **fields):
    return left.short_of(need(weight, **fields)) is None


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


@pytest.mark.parametrize(
    "text", ["", "ten/1m", "10", "0/1m", "10/0m", "10/1y", "-1/1m", "9/1000000d"]
)
def test_what_is_no_rate_is_refused_with_how_to_write_one(text):
    with pytest.raises(ConfigError, match="is no rate") as caught:
        Rate.parse(text)
    assert "10/1m" in caught.value.hint


def test_a_pool_admits_as_much_as_its_slots_hold():
    left = budget(used=2)
    assert admits(left, 2)
    assert not admits(left, 3)
    left.take(need(2))
    assert not admits(left)
    assert left.is_full("gpu")
    assert left.short_of(need()) == "pool gpu"


def test_a_pool_without_a_limit_admits_everything():
    assert admits(budget(), 99, pool="default")
    assert budget().impossible(need(99, pool="default"), "t") is None


def test_a_weight_that_no_free_pool_could_hold_is_impossible():
    assert budget(used=4).impossible(need(4), "t") is None
    error = budget().impossible(need(5), "train")
    assert error.message == "train can never start: it weighs 5, and pool gpu has 4 slots"


def test_a_pool_that_another_transaction_is_at_admits_nothing_for_now():
    can = Capabilities(
        worker="w", now=NOW, slots={"threads": 1}, default_executor="threads", pools={"gpu": GPU}
    )
    left = Budget(can, lambda pool: None)
    assert not admits(left)
    assert left.passed
    assert admits(left, pool="other")


def test_a_rate_admits_so_many_starts_and_no_more_when_they_end():
    left = budget(Pool(name="gpu", rate=Rate(count=2, per=timedelta(minutes=1))), started=1)
    assert admits(left, 9)
    left.take(need(9))
    assert not admits(left)


def test_more_is_reserved_for_a_heavy_task_that_has_waited_long():
    heavy = need(4, run="heavy")
    left = budget(used=1, reserved={"pool gpu": heavy})
    assert not admits(left, run="light")
    assert left.short_of(heavy) == "pool gpu"  # not yet
    left = budget(reserved={"pool gpu": heavy})
    assert admits(left, 4, run="heavy")
    assert not admits(left, run="light")


def test_more_urgent_work_passes_the_one_that_more_is_reserved_for():
    left = budget(used=1, reserved={"pool gpu": need(4, run="heavy")})
    assert admits(left, run="urgent", priority=1)


def test_work_that_leaves_enough_passes_too():
    left = budget(reserved={"pool gpu": need(2, run="medium")})
    assert admits(left, 2, run="light")
    assert not admits(left, 3, run="light")


ONE_GPU, FOUR_GPUS = (Resources(cpus=1, gpus=n) for n in (1, 4))


def test_a_cluster_takes_what_it_has_free_and_keeps_that_for_a_wide_job_that_has_waited_long():
    clusters = {"ray": Capacity(total=FOUR_GPUS, free=ONE_GPU)}
    one = need(run="light", executor="ray", resources=ONE_GPU)
    wide = need(run="wide", executor="ray", resources=FOUR_GPUS)
    left = budget(capacity_of=clusters.get)
    assert left.short_of(one) is None
    assert left.short_of(wide) == "cluster ray"
    left.take(one)
    assert left.short_of(one) == "cluster ray"
    assert (
        budget(capacity_of=clusters.get, reserved={"cluster ray": wide}).short_of(one)
        == "cluster ray"
    )


def test_a_task_that_died_with_its_workers_starts_only_where_nothing_else_runs():
    suspect, other = need(alone=True), need(run="r2")
    here = {"is_shared": {"threads"}.__contains__}
    assert budget(is_busy=lambda: True, **here).short_of(suspect) == "executor threads"
    assert budget(is_busy=lambda: True).short_of(need(alone=True, executor="ray")) is None
    left = budget(**here)
    left.take(suspect)
    assert left.short_of(other) == "executor threads"
    left = budget(**here)
    left.take(other)
    assert left.short_of(suspect) == "executor threads"


def test_a_suspect_is_who_was_lost_as_often_as_it_may_and_it_does_not_wait_for_ever():
    def is_one(losses, lost=3, waited=0):
        task = TaskRun(run_id="r", key="t", status=TaskStatus.READY, losses=losses, ready_at=NOW)
        return is_suspect(task, Retry(lost=lost), NOW + timedelta(seconds=waited))

    assert not is_one(2)
    assert is_one(3)
    assert not is_one(0, lost=0)
    assert not is_one(3, waited=ALONE.total_seconds())


def test_what_is_known_to_be_blocked_is_looked_at_again_when_it_moves_or_may_start():
    blocked = Blocked(seq=7, needs=frozenset({need(2)}), until=NOW + timedelta(seconds=9))
    assert blocked.still(7, budget(used=3).short_of, NOW)
    assert not blocked.still(8, budget(used=3).short_of, NOW)
    assert not blocked.still(7, budget(used=2).short_of, NOW)
    assert not blocked.still(7, budget(used=3).short_of, NOW + timedelta(seconds=9))


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


def run(lane=None, max_runs=None):
    return Waiting(run_id="r1", flow="f", priority=0, since=NOW, lane=lane, max_runs=max_runs)


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
