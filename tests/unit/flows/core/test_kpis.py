"""The KPIs, from events made by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from flows.core.kpis import KINDS, measure
from flows.core.records import Event

NOW = datetime(2026, 3, 8, tzinfo=UTC)
START = NOW - timedelta(days=1)


def at(seconds):
    return START + timedelta(seconds=seconds)


def event(kind, second, run="r1", task=None, **data):
    return Event(
        id=0, seq=0, at=at(second), kind=kind, run_id=run, task=task,
        attempt=1 if task else None, data=data,
    )  # fmt: skip


def run(run_id, ending, *between, flow="f", created=0, started=2, ended=100, **trigger):
    """The events of one run that was created at `created` and ended at `ended`."""
    return [
        event("run.created", created, run_id, flow=flow, **trigger),
        event("run.started", started, run_id),
        *between,
        event(f"run.{ending}", ended, run_id),
    ]


def attempt(run_id, kind, ended, second=50, **cost):
    return event(
        f"task.{kind}", second, run_id, "t", ended=ended, executor="ray", seconds=10.0, **cost
    )


def measured(*events, since=None, flow=None, until=NOW):
    return measure(events, since=since, until=until, flow=flow)


def test_without_events_there_is_nothing_to_compute_from():
    found = measured()
    assert (found.success.value, found.deadlines.value, found.cpu.value) == (None, None, None)
    assert (found.detection.mean_s, found.queue.mean_s) == (None, None)
    assert (found.data, found.champions, found.attempts) == ((), (), 0)
    assert set(found.runs.values()) == {0}


def test_a_halt_and_a_skip_count_as_success_and_a_cancel_does_not_count():
    endings = ("succeeded", "halted", "skipped", "failed", "cancelled")
    found = measured(*(e for i, how in enumerate(endings) for e in run(f"r{i}", how)))
    assert (found.success.part, found.success.whole, found.success.value) == (3, 4, 0.75)
    assert found.runs == dict.fromkeys(endings, 1)


def test_a_run_that_is_retried_counts_once_by_its_last_ending():
    events = [*run("r1", "failed"), event("run.reopened", 200), event("run.succeeded", 300)]
    found = measured(*events)
    assert (found.success.value, found.runs["failed"], found.reopened) == (1.0, 0, 1)


def test_only_cancelled_runs_give_no_rate():
    found = measured(*run("r1", "cancelled"))
    assert (found.success.value, found.runs["cancelled"]) == (None, 1)


def test_an_open_run_does_not_count():
    found = measured(*run("r1", "succeeded")[:-1])
    assert (found.success.whole, found.attempts) == (0, 0)


def test_only_runs_that_ended_since_then_count_but_with_all_that_was_before():
    cost = attempt("r1", "succeeded", "succeeded", 10, cpu_s=4.0)
    early = run("r0", "failed", ended=90)
    late = run("r1", "succeeded", cost, created=0, ended=110)
    found = measured(*early, *late, since=at(100))
    assert (found.success.value, found.cpu.whole, found.queue.count) == (1.0, 4.0, 1)


def test_detection_is_from_the_fault_to_the_delivery_of_its_alert():
    def told(kind, since, delivered, flow="f"):
        data = {"kind": kind, "flow": flow, "since": at(since).isoformat()}
        return Event(
            id=0, seq=0, at=at(delivered), kind="alert.delivered", run_id=None, task=None,
            attempt=None, data=data,
        )  # fmt: skip

    events = [
        told("failed", 10, 12),
        told("deadline_missed", 10, 18),
        told("test", 0, 1000),
        told("digest", 0, 1000),
        told("failed", 10, 50, flow="other"),
    ]
    found = measured(*events, flow="f")
    assert (found.detection.mean_s, found.detection.longest_s, found.detection.count) == (5, 8, 2)
    assert measured(*events).detection.count == 3
    assert measured(*events, since=at(15)).detection.count == 2


def test_a_clock_that_went_back_gives_no_negative_time():
    assert measured(*run("r1", "succeeded", created=5, started=2)).queue.longest_s == 0.0


@pytest.mark.parametrize(
    ("ending", "ended", "counts", "in_time"),
    [
        ("succeeded", 100, 1, 1),
        ("halted", 60, 1, 1),
        ("succeeded", 101, 1, 0),
        ("failed", 60, 1, 0),  # a failed run has not done by its deadline what it was to do
        ("cancelled", 60, 0, 0),
    ],
)
def test_a_deadline_is_met_by_a_run_that_did_its_job_by_then(ending, ended, counts, in_time):
    found = measured(*run("r1", ending, ended=ended, deadline=at(100).isoformat()))
    assert (found.deadlines.whole, found.deadlines.part) == (counts, in_time)


def test_an_open_run_misses_its_deadline_when_the_deadline_has_passed():
    events = run("r1", "succeeded", deadline=at(100).isoformat())[:-1]
    assert measured(*events, until=at(99)).deadlines.whole == 0
    late = measured(*events, until=at(101)).deadlines
    assert (late.part, late.whole) == (0, 1)


def test_an_asset_that_no_run_made_counts_as_well():
    approved = event("asset.updated", 10, None, asset="model:a", version="7", cause="approved")
    found = measured(approved, *run("r1", "succeeded"))
    assert [(one.name, one.version) for one in found.champions] == [("a", "7")]


def test_freshness_is_the_age_of_the_newest_of_each_asset_the_oldest_first():
    def asset(name, second, version, flow="f", **more):
        return event(
            "asset.updated", second, f"r{second}", "t",
            asset=name, version=version, flow=flow, **more,
        )  # fmt: skip

    rows = (START - timedelta(days=2)).isoformat()
    events = [
        asset("model:b", 30, "2"),
        asset("model:a", 10, "7"),
        asset("model:b", 20, "1"),
        asset("watermark:v/b", 30, "9", at=rows),
        asset("table:x", 40, "1"),
        asset("model:c", 5, "1", flow="other"),
    ]
    found = measured(*events, since=at(3600), flow="f")
    assert [(f.name, f.version) for f in found.champions] == [("a", "7"), ("b", "2")]
    assert found.champions[1].age == NOW - at(30)
    (data,) = found.data
    assert (data.name, data.version, data.age) == ("v/b", "9", timedelta(days=3))


def test_compute_is_useful_in_attempts_that_ended_in_order_of_runs_that_did_their_job():
    good = run(
        "r1", "succeeded",
        attempt("r1", "retry", "failed", cpu_s=1.0, gpu_s=2.0),
        attempt("r1", "succeeded", "succeeded", cpu_s=6.0, gpu_s=6.0),
        attempt("r1", "halted", "halted", cpu_s=1.0),
    )  # fmt: skip
    bad = run("r2", "failed", attempt("r2", "succeeded", "succeeded", cpu_s=2.0))
    found = measured(*good, *bad)
    assert (found.cpu.part, found.cpu.whole) == (7.0, 10.0)
    assert (found.gpu.part, found.gpu.whole, found.gpu.value) == (6.0, 8.0, 0.75)
    assert (found.attempts, found.retries, found.estimated) == (4, 1, 0)


def test_an_attempt_that_left_no_account_counts_its_duration_on_one_cpu():
    found = measured(*run("r1", "failed", attempt("r1", "lost", "lost")))
    assert (found.cpu.part, found.cpu.whole, found.estimated, found.lost) == (0.0, 10.0, 1, 1)


def test_what_a_task_says_without_an_attempt_costs_nothing():
    parent = event("task.succeeded", 50, "r1", "mapped")
    adopted = event("task.adopted", 50, "r1", "t", worker="w2")
    found = measured(*run("r1", "succeeded", parent, adopted))
    assert (found.attempts, found.cpu.whole, found.adopted) == (0, 0.0, 1)


def test_another_flows_runs_are_left_out():
    events = [*run("r1", "succeeded"), *run("r2", "failed", flow="other")]
    assert measured(*events, flow="f").success.value == 1.0
    assert measured(*events, flow="other").success.value == 0.0


def test_the_kinds_that_are_read_are_all_that_is_looked_at():
    looked_at = {
        "run.created", "run.started", "run.reopened", "run.cancelled",
        "task.lost", "task.retry", "task.cancelled", "asset.updated", "alert.delivered",
    }  # fmt: skip
    assert looked_at < set(KINDS)
    assert "task.ready" not in KINDS
