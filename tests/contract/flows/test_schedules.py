"""What every state store promises about schedules and their fires."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from sqlalchemy import event, text

from flows.core import due
from flows.core.alert import deadline_at_risk
from flows.core.deadline_watch import DeadlineWatch
from flows.core.errors import NotFound, Refused
from flows.core.graph import Const, Node, validated
from flows.core.records import Asset, RunStatus
from flows.core.schedule import (
    Cron,
    Fire,
    FireOutcome,
    Interval,
    NewData,
    OnAsset,
    OnRequest,
    Overlap,
    Schedule,
    ScheduleStatus,
    lane_of,
)
from flows.core.scheduler import Scheduler
from flows.core.store import NewRun, Store, rows
from tests.manual_clock import ManualClock

NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
SOON = NOW + timedelta(seconds=5)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
GRAPH = validated((Node(key="a", function="m:a", inputs={"x": Const(const=1)}),))
SEVEN = Asset(name="model:digits", version="7")
NIGHTLY = Schedule(name="nightly", flow="f", trigger=Cron(cron="0 3 * * *"))
SEEN, SEEN_SOON = {"at": NOW.isoformat()}, {"at": SOON.isoformat()}


def new(run_id="r1", key="nightly:k1", lane="schedule:nightly", deadline=None):
    return NewRun(
        id=run_id, flow="f", key=key, source="m:f", graph=GRAPH, config={}, config_yaml="",
        config_digest="d", trigger={"kind": "cron", "deadline": deadline}, lane=lane,
    )  # fmt: skip


def fire(key="k1", outcome=FireOutcome.STARTED, reason=None, schedule="nightly", now=NOW):
    return Fire(schedule=schedule, key=key, at=NOW, decided_at=now, outcome=outcome, reason=reason)


def saved(store, schedule=NIGHTLY, next_at=NOW, cursor=SEEN):
    assert store.schedules.save(schedule, next_at, cursor, NOW)
    return store.schedules.get(schedule.name)


def record(store, stored, *entries, next_at=SOON, cursor=SEEN, now=NOW):
    return store.schedules.fire(stored, entries, next_at=next_at, cursor=cursor, now=now)


def kinds(store):
    return [e.kind for e in store.reads.events() if e.kind.startswith("schedule.")]


def test_a_schedule_comes_back_as_it_was_declared(store):
    schedules = [
        NIGHTLY,
        Schedule(
            name="fresh", flow="f", overrides=("a=1",), trigger=NewData(view="v", settle=2 * DAY)
        ),
        Schedule(name="after", flow="f", trigger=OnAsset(asset="model:*"), deadline=DAY),
        Schedule(name="hook", flow="f", trigger=OnRequest()),
    ]
    for schedule in schedules:
        saved(store, schedule, next_at=None)
    assert {s.schedule.name: s.schedule for s in store.schedules.list()} == {
        s.name: s for s in schedules
    }
    assert store.schedules.topics() == {"view:v", "asset:model:*"}
    assert [s.schedule.name for s in store.schedules.on(["view:v"])] == ["fresh"]


def test_saving_what_is_as_it_was_changes_nothing(store):
    before = saved(store)
    assert not store.schedules.save(NIGHTLY, SOON, SEEN_SOON, SOON)
    assert store.schedules.get("nightly") == before
    assert kinds(store) == ["schedule.saved"]


def test_another_trigger_begins_anew_and_anything_else_keeps_what_was_seen(store):
    saved(store)
    store.schedules.save(replace(NIGHTLY, overrides=("a=1",)), SOON, SEEN_SOON, SOON)
    kept = store.schedules.get("nightly")
    assert (kept.next_at, kept.cursor) == (NOW, SEEN)
    assert kept.schedule.overrides == ("a=1",)
    store.schedules.save(replace(NIGHTLY, trigger=Cron(cron="5 3 * * *")), SOON, SEEN_SOON, SOON)
    begun = store.schedules.get("nightly")
    assert (begun.next_at, begun.cursor, begun.created_at) == (SOON, SEEN_SOON, NOW)


def test_a_paused_schedule_is_not_due_and_stays_paused_when_it_is_declared_anew(store):
    saved(store)
    assert store.schedules.pause("nightly", "paused by ann", SOON).status is ScheduleStatus.PAUSED
    assert store.schedules.due(SOON) == ()
    assert store.schedules.next_at() is None
    store.schedules.save(replace(NIGHTLY, priority=3), SOON, SEEN_SOON, SOON)
    paused = store.schedules.get("nightly")
    assert (paused.status, paused.reason) == (ScheduleStatus.PAUSED, "paused by ann")
    resumed = store.schedules.resume("nightly", "ann", SOON)
    assert (resumed.status, resumed.next_at, resumed.reason) == (ScheduleStatus.ACTIVE, SOON, None)


def test_a_disabled_schedule_tells_people_once_and_wakes_when_it_is_corrected(store):
    saved(store)
    failed = fire(outcome=FireOutcome.FAILED, reason="no such option")
    for _ in range(2):
        store.schedules.disable("nightly", "no such option", SOON, failed)
    disabled = store.schedules.get("nightly")
    assert (disabled.status, disabled.reason) == (ScheduleStatus.DISABLED, "no such option")
    assert [f.outcome for f in store.schedules.fires("nightly")] == [FireOutcome.FAILED]
    assert [record.alert.kind.value for record in store.outbox.list()] == ["schedule_disabled"]
    with pytest.raises(Refused, match="disabled: no such option"):
        store.schedules.pause("nightly", "x", SOON)
    assert not store.schedules.save(NIGHTLY, SOON, SEEN_SOON, SOON)
    assert store.schedules.save(replace(NIGHTLY, overrides=("a=1",)), SOON, SEEN_SOON, SOON)
    corrected = store.schedules.get("nightly")
    assert (corrected.status, corrected.next_at) == (ScheduleStatus.ACTIVE, NOW)
    assert kinds(store) == [
        "schedule.saved", "schedule.disabled", "schedule.failed", "schedule.saved",
    ]  # fmt: skip


def test_a_removed_schedule_keeps_its_fires_and_may_come_back(store):
    stored = saved(store)
    record(store, stored, (fire(), new()))
    store.schedules.remove("nightly", SOON)
    assert store.schedules.list() == ()
    assert [s.status for s in store.schedules.list(removed=True)] == [ScheduleStatus.REMOVED]
    with pytest.raises(NotFound):
        store.schedules.resume("nightly", "ann", SOON)
    assert store.schedules.save(NIGHTLY, SOON, SEEN_SOON, SOON)
    back = store.schedules.get("nightly")
    assert (back.status, back.next_at) == (ScheduleStatus.ACTIVE, SOON)
    assert record(store, back, (fire(), new("r2"))) == ()
    assert len(store.schedules.fires("nightly")) == 1


def test_an_unknown_schedule_names_the_nearest(store):
    saved(store)
    with pytest.raises(NotFound) as caught:
        store.schedules.get("nightyl")
    assert caught.value.hint == "did you mean nightly?"


def test_a_fire_its_run_and_the_next_time_are_one_commit(store):
    stored = saved(store)
    (recorded,) = record(store, stored, (fire(), new()), cursor=SEEN_SOON)
    assert recorded.run_id == "r1"
    assert store.schedules.fires("nightly") == (recorded,)
    assert store.reads.find("r1").status is RunStatus.QUEUED
    moved = store.schedules.get("nightly")
    assert (moved.next_at, moved.cursor, moved.seq) == (SOON, SEEN_SOON, stored.seq + 1)
    fired = [e for e in store.reads.events() if e.kind == "schedule.fired"]
    assert [(e.run_id, e.data["schedule"], e.data["run"]) for e in fired] == [
        (None, "nightly", "r1")
    ]


def test_of_two_schedulers_that_decided_alike_one_records(store):
    stored = saved(store)
    assert record(store, stored, (fire(), new())) is not None
    assert record(store, stored, (fire(), new("r2"))) is None
    assert record(store, stored, (fire("k2"), new("r3", "nightly:k2"))) is None
    assert [run.id for run in store.reads.runs()] == ["r1"]


def test_a_key_that_ran_never_runs_again_but_the_schedule_goes_on(store):
    record(store, saved(store), (fire(), new()))
    stored = store.schedules.get("nightly")
    assert record(store, stored, (fire(), new("r2")), next_at=NOW + DAY) == ()
    assert store.schedules.get("nightly").next_at == NOW + DAY
    assert len(store.reads.runs()) == 1


@pytest.mark.parametrize("outcome", [FireOutcome.FAILED, FireOutcome.MISSED, FireOutcome.SKIPPED])
def test_what_has_no_run_may_still_be_started(store, outcome):
    record(store, saved(store), (fire(outcome=outcome, reason="so"), None))
    assert record(store, store.schedules.get("nightly"), (fire(), new())) != ()
    (only,) = store.schedules.fires("nightly")
    assert (only.outcome, only.reason, only.run_id) == (FireOutcome.STARTED, None, "r1")


def test_what_was_recorded_is_not_recorded_again_without_a_run(store):
    for outcome in (FireOutcome.SKIPPED, FireOutcome.MISSED, FireOutcome.SKIPPED):
        stored = store.schedules.get("nightly") if kinds(store) else saved(store)
        record(store, stored, (fire(outcome=outcome, reason="so"), None))
    assert kinds(store) == ["schedule.saved", "schedule.skipped"]


def test_any_number_of_callers_with_one_key_start_one_run(store_url):
    store = Store.open(store_url)
    saved(store, Schedule(name="hook", flow="f", trigger=OnRequest()), next_at=None)
    barrier = threading.Barrier(8)

    def ask(number):
        mine = Store.open(store_url)
        barrier.wait()
        asked = fire("order-7", schedule="hook")
        found = mine.schedules.request(asked, new(f"r{number}", "hook:order-7", None), NOW)
        mine.close()
        return found

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert len({answer.run_id for answer in answers}) == 1
    assert [run.id for run in store.reads.runs()] == [answers[0].run_id]
    assert len(store.schedules.fires("hook")) == 1
    assert kinds(store) == ["schedule.saved", "schedule.fired"]
    store.close()


def test_callers_without_a_stored_schedule_start_one_run_too(store_url):
    store = Store.open(store_url)
    barrier = threading.Barrier(8)

    def fill(number):
        mine = Store.open(store_url)
        barrier.wait()
        asked = fire("2026-01-01", schedule="backfill-f")
        found = mine.schedules.request(asked, new(f"r{number}", "backfill-f:2026"), NOW)
        mine.close()
        return found

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(fill, range(8)))
    assert len({answer.run_id for answer in answers}) == 1
    assert len(store.reads.runs()) == 1
    store.close()


def test_a_request_that_must_be_alone_is_skipped_while_a_run_is_open(store):
    saved(store)
    first = store.schedules.request(fire("k1"), new(), NOW, alone=True)
    second = store.schedules.request(fire("k2"), new("r2", "nightly:k2"), NOW, alone=True)
    assert (second.outcome, second.reason) == (FireOutcome.SKIPPED, "run r1 was still open")
    store.runs.cancel("r1", "away", SOON)
    third = store.schedules.request(fire("k2"), new("r2", "nightly:k2"), SOON, alone=True)
    assert (first.run_id, third.run_id) == ("r1", "r2")


def test_a_request_makes_a_decision_that_was_taken_before_it_void(store):
    stored = saved(store)
    store.schedules.request(fire("asked"), new("r1", "nightly:asked"), NOW)
    assert record(store, stored, (fire(), new("r2"))) is None


def test_open_runs_are_told_only_to_who_has_read_the_schedule_as_it_is(store):
    stored = saved(store)
    record(store, stored, (fire(), new()))
    assert store.schedules.open_runs(stored) == ()
    assert [*store.schedules.open_runs(store.schedules.get("nightly"))] == ["r1"]


def test_trouble_is_an_event_once_until_it_is_over(store):
    saved(store)
    for _ in range(3):
        store.schedules.postpone(store.schedules.get("nightly"), "away", SOON, NOW)
    troubled = store.schedules.get("nightly")
    assert (troubled.status, troubled.reason) == (ScheduleStatus.ACTIVE, "away")
    record(store, troubled)
    assert store.schedules.get("nightly").reason is None
    assert kinds(store) == ["schedule.saved", "schedule.failed"]


@pytest.mark.parametrize(
    "strange",
    [
        'definition = \'{"name": "strange", "trigger": {"moon": "full"}}\'',
        "status = 'sleeping'",
        "cursor = '[7]'",
        'cursor = \'{"after": "2026-03-01"}\'',
        'cursor = \'{"at": "a week ago"}\'',
        "definition = 'no JSON'",
    ],
)
def test_a_schedule_that_a_newer_version_wrote_is_left_alone_and_the_rest_is_read(
    store, strange, caplog
):
    prefix = f"strange-{store.database.url.get_backend_name()}-"  # a process says it once
    names = [f"{prefix}{number:03}" for number in range(120)]
    for name in names:
        saved(store, replace(NIGHTLY, name=name), next_at=NOW - HOUR)
    saved(store)
    readable = rows.schedule_row(store.schedules.get(f"{prefix}007"))
    with store.database.write() as connection:
        connection.execute(text(f"UPDATE schedule SET {strange} WHERE name LIKE 'strange%'"))
    for _ in range(2):
        assert [s.schedule.name for s in store.schedules.due(NOW)] == ["nightly"]
        assert [s.schedule.name for s in store.schedules.list()] == ["nightly"]
    with pytest.raises(Refused, match=f"{prefix}000 was written by a newer Ratchet"):
        store.schedules.save(
            replace(NIGHTLY, name=f"{prefix}000", priority=1), SOON, SEEN_SOON, SOON
        )
    assert "schedule.disabled" not in kinds(store)
    assert caplog.text.count(f"schedule {prefix}000 is left alone") == 1
    with store.database.write() as connection:
        again = "definition = :definition, status = 'active', cursor = :cursor, seq = seq + 1"
        connection.execute(text(f"UPDATE schedule SET {again} WHERE name = :name"), readable)
    assert {s.schedule.name for s in store.schedules.due(NOW)} == {"nightly", f"{prefix}007"}


def test_a_fire_whose_outcome_only_a_newer_version_knows_hides_no_other(store):
    record(store, saved(store), (fire(), new()), (fire("k2", FireOutcome.MISSED, "late"), None))
    with store.database.write() as connection:
        connection.execute(text("UPDATE fire SET outcome = 'dreamt' WHERE key = 'k2'"))
    assert [f.key for f in store.schedules.fires("nightly")] == ["k1"]
    assert store.schedules.last_fires()["nightly"].key == "k1"


def test_an_open_run_that_only_a_newer_version_knows_keeps_no_other_from_taking_its_place(store):
    lane = lane_of("nightly")
    record(store, saved(store), (fire(), replace(new(), lane=lane)))
    with store.database.write() as connection:
        connection.execute(text("UPDATE run SET status = 'suspended'"))
    nightly = store.schedules.get("nightly")
    started = (fire("k2"), replace(new("r2", "nightly:k2"), lane=lane))
    recorded = store.schedules.fire(
        nightly, [started], next_at=None, cursor=SEEN, now=NOW, instead="a newer one"
    )
    assert [each.run_id for each in recorded] == ["r2"]


def test_three_schedulers_fire_each_occurrence_once_through_days(store_url):
    stores = [Store.open(store_url) for _ in range(3)]
    hourly = Schedule(name="hourly", flow="f", trigger=Interval(every=HOUR), overlap=Overlap.ALLOW)
    stores[0].schedules.save(hourly, *due.first(hourly, NOW), NOW)
    numbers = count(1)

    def prepare(schedule, key, at):
        return new(f"r{next(numbers)}")

    schedulers = [Scheduler(s, prepare, None, clock=ManualClock(NOW)) for s in stores]
    recorded = []
    with ThreadPoolExecutor(3) as pool:
        for hour in range(1, 49):
            found = pool.map(lambda s, now=NOW + hour * HOUR: s.tick(now), schedulers)
            recorded += [fire.key for fires in found for fire in fires]
    keys = {(NOW + hour * HOUR).isoformat() for hour in range(1, 49)}
    assert (len(recorded), set(recorded)) == (48, keys)
    assert len(stores[0].reads.runs(limit=100)) == 48
    for store in stores:
        store.close()


def test_of_two_that_look_at_a_deadline_one_tells(store):
    deadline = NOW + HOUR
    record(store, saved(store), (fire(), new(deadline=deadline.isoformat())))
    assert store.deadlines.due(NOW - HOUR) == ()
    (watched,) = store.deadlines.due(NOW)
    assert (watched.run.id, watched.at, watched.warned) == ("r1", deadline, False)
    told = deadline_at_risk(watched.run, deadline, "it is slow", now=SOON)
    assert store.deadlines.looked(watched, next_at=deadline, alert=told, now=SOON)
    assert not store.deadlines.looked(watched, next_at=deadline, alert=told, now=SOON)
    assert store.deadlines.next_at() == deadline
    assert [record.alert.kind.value for record in store.outbox.list()] == ["deadline_at_risk"]
    events = [e for e in store.reads.events() if e.kind.startswith("deadline.")]
    assert [(e.kind, e.data["run"], e.data["flow"]) for e in events] == [
        ("deadline.at_risk", "r1", "f")
    ]
    (again,) = store.deadlines.due(deadline)
    assert again.warned
    assert store.deadlines.looked(again, next_at=None, now=deadline)
    assert store.deadlines.due(deadline + DAY) == ()


def test_runs_of_a_newer_version_hold_up_the_deadlines_of_no_other(store):
    stored = saved(store)
    for number in range(3):
        one = new(f"r{number}", f"nightly:{number}", deadline=(NOW + HOUR).isoformat())
        record(store, stored, (fire(f"k{number}"), one), now=NOW + timedelta(seconds=number))
        stored = store.schedules.get("nightly")
    with store.database.write() as connection:
        connection.execute(text("UPDATE run SET status = 'suspended' WHERE id IN ('r0', 'r1')"))
    assert [watched.run.id for watched in store.deadlines.due(NOW + HOUR, limit=1)] == ["r2"]


def test_a_run_whose_deadline_cannot_be_looked_at_leaves_the_turn_to_others(store, monkeypatch):
    record(store, saved(store), (fire(), new(deadline=(NOW + HOUR).isoformat())))

    def fail(flow):
        raise ValueError(flow)

    monkeypatch.setattr(store.deadlines, "durations", fail)
    assert DeadlineWatch(store).tick(NOW) == []
    assert store.deadlines.due(NOW) == ()
    assert len(store.deadlines.due(NOW + HOUR)) == 1


def test_the_newest_fire_of_each_schedule_is_known(store):
    saved(store)
    saved(store, replace(NIGHTLY, name="other"))
    for minute, name in enumerate(("nightly", "other", "nightly")):
        now = NOW + timedelta(minutes=minute)
        store.schedules.request(
            fire(f"k{minute}", schedule=name, now=now), new(f"r{minute}", f"x{minute}"), now
        )
    newest = store.schedules.last_fires()
    assert {name: fire.key for name, fire in newest.items()} == {"nightly": "k2", "other": "k1"}
    assert [f.key for f in store.schedules.fires("nightly")] == ["k2", "k0"]


def test_looking_for_what_is_due_costs_by_what_is_due(store):
    with store.database.write() as connection:
        connection.execute(
            text(
                "INSERT INTO schedule (name, flow, definition, status, next_at, cursor, created_at,"
                " updated_at, seq) VALUES (:name, 'f', '{}', 'active', :at, '{}', :at, :at, 1)"
            ),
            [{"name": f"s{n:05}", "at": _bound(store, NOW + n * DAY)} for n in range(1, 10_001)],
        )
        if store.database.url.get_backend_name() != "sqlite":
            connection.execute(text("ANALYZE schedule"))
    saved(store)
    assert [s.schedule.name for s in store.schedules.due(NOW)] == ["nightly"]
    assert store.schedules.next_at() == NOW
    for look in (lambda: store.schedules.due(NOW), store.schedules.next_at):
        assert "schedule_due" in _plan(store, look)


def test_looking_for_fires_that_wait_costs_by_these(store):
    with store.database.write() as connection:
        connection.execute(
            text(
                "INSERT INTO schedule (name, flow, definition, topic, status, cursor, created_at,"
                " updated_at, seq) VALUES (:name, 'f', '{}', :topic, 'active', '{}', :at, :at, 1)"
            ),
            [
                {"name": f"s{n:05}", "topic": f"asset:model:m{n}", "at": _bound(store, NOW)}
                for n in range(10_000)
            ],
        )
        connection.execute(
            text(
                "INSERT INTO fire (schedule, key, at, decided_at, outcome, run_id)"
                " VALUES (:name, :key, :at, :at, 'started', 'r')"
            ),
            [
                {"name": f"s{n % 10_000:05}", "key": str(n), "at": _bound(store, NOW)}
                for n in range(20_000)
            ],
        )
        if store.database.url.get_backend_name() != "sqlite":
            connection.execute(text("ANALYZE schedule, fire"))
    saved(store, Schedule(name="after", flow="f", trigger=OnAsset(asset="model:*")), next_at=None)
    store.assets.update(Asset(name="model:m7", version="1"), cause="x", now=NOW)
    assert [f.key for f in store.schedules.pending("after")] == ["event:2"]
    assert [f.key for f in store.schedules.pending("s00007")] == ["event:2"]
    assert [s.schedule.name for s in store.schedules.to_decide(NOW)] == ["after"]
    assert "fire_pending" in _plan(store, lambda: store.schedules.to_decide(NOW))
    assert "fire" in _plan(store, lambda: store.schedules.pending("after"))
    changes = _statements(store, lambda: store.assets.update(SEVEN, cause="y", now=NOW))
    waiting = [each for each in changes if "FROM schedule" in each[0]]
    plan = _explained(store, waiting[0])
    assert "schedule_waits " in plan
    assert "schedule_waits_for_any" in plan


def _bound(store, at):
    """A time as a driver without our column types takes it."""
    if store.database.url.get_backend_name() == "sqlite":
        return at.isoformat(timespec="microseconds")
    return at


def _plan(store, look):
    """How the database finds what `look` asks for."""
    return _explained(store, _statements(store, look)[-1])


def _statements(store, look):
    asked = []

    def note(_connection, _cursor, statement, parameters, *_rest):
        asked.append((statement, parameters))

    event.listen(store.database.engine, "before_cursor_execute", note)
    look()
    event.remove(store.database.engine, "before_cursor_execute", note)
    return asked


def _explained(store, asked):
    explain = (
        "EXPLAIN QUERY PLAN" if store.database.url.get_backend_name() == "sqlite" else "EXPLAIN"
    )
    statement, parameters = asked
    with store.database.read() as connection:
        selected = connection.exec_driver_sql(f"{explain} {statement}", parameters)
        return "\n".join(str(row) for row in selected)
