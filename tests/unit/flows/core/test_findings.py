"""What an audit finds, and what it lets be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from flows.core.alert import (
    Alert,
    AlertKind,
    AlertRecord,
    AlertStatus,
    Delivery,
    DeliveryState,
    Severity,
)
from flows.core.findings import Facts, FindingKind, audit
from flows.core.records import Run, RunStatus
from flows.core.schedule import (
    Cron,
    Fire,
    FireOutcome,
    NewData,
    Schedule,
    ScheduleStatus,
    StoredSchedule,
)

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SOON = NOW + timedelta(hours=1)
NIGHTLY = Schedule(name="nightly", flow="f", trigger=Cron(cron="0 3 * * *"))


def stored(schedule=NIGHTLY, status=ScheduleStatus.ACTIVE, next_at=SOON, since=NOW, reason=None):
    return StoredSchedule(
        schedule=schedule,
        status=status,
        reason=reason,
        next_at=next_at,
        cursor={},
        created_at=since,
        updated_at=since,
        seq=1,
    )


def run(run_id="r1", status=RunStatus.FAILED, **fields):
    return Run(
        id=run_id, flow="f", key=run_id, status=status, reason="no", source="m:f",
        config_digest="", trigger={}, created_at=NOW, started_at=None, ended_at=None, seq=1,
        **fields,
    )  # fmt: skip


def found(**facts):
    return audit(Facts(**{"now": NOW, "flows": frozenset({"f"}), **facts}))


def kinds(**facts):
    return [finding.kind for finding in found(**facts)]


def test_nothing_is_found_where_all_is_well():
    waits = Schedule(name="data", flow="f", trigger=NewData(view="v"))
    assert not found(
        schedules=(stored(), stored(waits, next_at=None)),
        results={"nightly": (run(), run(), run(status=RunStatus.HALTED))},
        newest={"f": NOW - timedelta(days=400)},
        open_runs=(run(status=RunStatus.RUNNING, claimable_at=NOW - timedelta(minutes=1)),),
        workers=1,
    )


def test_a_disabled_schedule_is_found_with_its_reason():
    (finding,) = found(schedules=(stored(status=ScheduleStatus.DISABLED, reason="no view sales"),))
    assert finding.kind is FindingKind.DISABLED
    assert finding.sentence == "schedule nightly is disabled: no view sales"
    assert finding.next == "ratchet schedules resume nightly"


@pytest.mark.parametrize(("days", "expected"), [(29, []), (31, [FindingKind.PAUSED])])
def test_a_pause_is_found_once_it_has_lasted(days, expected):
    since = NOW - timedelta(days=days)
    schedule = stored(status=ScheduleStatus.PAUSED, since=since, next_at=since)
    assert kinds(schedules=(schedule,)) == expected


def test_a_schedule_that_was_due_and_that_nobody_looked_at_is_stale():
    (finding,) = found(schedules=(stored(next_at=NOW - timedelta(hours=3)),))
    assert finding.kind is FindingKind.STALE
    assert "was due 3 hours ago" in finding.sentence
    assert kinds(schedules=(stored(next_at=NOW - timedelta(minutes=4)),)) == []


def test_a_schedule_that_is_tried_again_is_troubled():
    (finding,) = found(schedules=(stored(reason="the disk is away"),))
    assert finding.kind is FindingKind.TROUBLED
    assert finding.sentence.endswith("is tried again: the disk is away")


@pytest.mark.parametrize("next_at", [None, NOW + timedelta(days=6 * 365)])
def test_a_schedule_by_time_that_has_none_left_never_fires(next_at):
    assert kinds(schedules=(stored(next_at=next_at),)) == [FindingKind.NEVER]


def test_a_schedule_whose_last_three_runs_failed_fails():
    results = {"nightly": (run("r3"), run("r2"), run("r1"))}
    (finding,) = found(schedules=(stored(),), results=results)
    assert (finding.kind, finding.next) == (FindingKind.FAILING, "ratchet show r3")
    assert kinds(schedules=(stored(),), results={"nightly": (run("r2"), run("r1"))}) == []


def test_a_schedule_of_an_unknown_flow_is_an_orphan():
    (finding,) = found(schedules=(stored(),), flows=frozenset())
    assert (finding.kind, finding.what) == (FindingKind.ORPHANED, "nightly")


def test_a_flow_that_nothing_runs_any_more_is_an_orphan():
    newest = {"g": NOW - timedelta(days=100), "h": NOW - timedelta(days=80)}
    (finding,) = found(newest=newest)
    assert finding.kind is FindingKind.ORPHANED
    assert "flow g has no schedule, and has not run for 100 days" in finding.sentence
    assert "not known here any more" in finding.sentence


def test_a_run_whose_workers_are_dead_is_found_once():
    open_run = run(status=RunStatus.RUNNING, claimable_at=NOW - timedelta(days=1))
    assert kinds(open_runs=(open_run,), alone=frozenset({"r1"})) == [FindingKind.UNATTENDED]


@pytest.mark.parametrize(
    ("workers", "said"),
    [(0, "for a worker, and there is none"), (1, "for pool gpu: it is full, or no worker")],
)
def test_work_that_has_waited_long_is_found_with_its_pool(workers, said):
    waiting = run(
        status=RunStatus.QUEUED, claimable_at=NOW - timedelta(minutes=20), claimable=" gpu "
    )
    (finding,) = found(open_runs=(waiting,), workers=workers)
    assert finding.kind is FindingKind.UNSERVED
    assert f"has waited 20 minutes {said}" in finding.sentence


def test_an_alert_that_was_given_up_is_found_with_the_problem():
    alert = Alert(
        key="failed:r1:9", kind=AlertKind.FAILED, severity=Severity.CRITICAL, flow="f",
        subject="r1", title="f failed", reason="no", since=NOW, at=NOW, next="ratchet retry r1",
    )  # fmt: skip
    failed = Delivery(
        alert=alert.key, channel="slack", state=DeliveryState.FAILED, tries=9, at=NOW, problem="404"
    )
    record = AlertRecord(
        alert=alert, status=AlertStatus.DEAD, delivered_at=None, deliveries=(failed,)
    )
    (finding,) = found(dead_alerts=(record,))
    assert finding.kind is FindingKind.UNDELIVERED
    assert finding.sentence == "nobody was told that f failed: slack: 404"


def test_a_schedule_that_skips_fire_after_fire_is_found_with_the_reason():
    skipped = Fire(
        schedule="nightly", key="k", at=NOW, decided_at=NOW, outcome=FireOutcome.SKIPPED,
        reason="run r1 was still open",
    )  # fmt: skip
    (finding,) = found(schedules=(stored(),), fires={"nightly": (skipped,) * 3})
    assert finding.kind is FindingKind.SKIPPING
    assert finding.sentence == (
        "schedule nightly skips: its last 3 fires or more; run r1 was still open"
    )
    assert finding.next == "ratchet schedules show nightly"
    assert kinds(schedules=(stored(),), fires={"nightly": (skipped,) * 2}) == []
