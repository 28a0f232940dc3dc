"""What people may ask about schedules."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from flows.core.errors import ConfigError, DataUnavailable, KeyReused, NotFound, Refused, StoreError
from flows.core.firing import Unprepared
from flows.core.graph import Const, Node, validated
from flows.core.schedule import (
    Cron,
    Deadline,
    FireOutcome,
    Interval,
    NewData,
    OnAsset,
    OnRequest,
    Overlap,
    Schedule,
    ScheduleStatus,
)
from flows.core.schedule_service import ScheduleService
from flows.core.store import NewRun, Store
from flows.core.store.schedules import ScheduleStore
from tests.manual_clock import ManualClock

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
GRAPH = validated((Node(key="a", function="m:a", inputs={"x": Const(const=1)}),))
NIGHTLY = Schedule(name="nightly", flow="f", trigger=Cron(cron="0 3 * * *"))
HOOK = Schedule(name="hook", flow="f", trigger=OnRequest(), overlap=Overlap.ALLOW)


class Views:
    """A feature store with one view, or out of reach."""

    away = False

    def check(self, view):
        if self.away:
            raise DataUnavailable("the disk is not there")
        if view != "v":
            raise NotFound(f"no view {view!r}", hint="did you mean v?")


@pytest.fixture
def views():
    return Views()


@pytest.fixture
def clock():
    return ManualClock(START)


@pytest.fixture
def store(tmp_path):
    opened = Store.open(f"sqlite:///{tmp_path}/ratchet.db")
    yield opened
    opened.close()


@pytest.fixture
def service(store, clock, views):
    return service_of(store, clock, views)


def service_of(store, clock, views, owners=(), flows=("f", "g")):
    """The service of a project: its modules, and the flows that it can import."""
    numbers = count(1)

    def check(schedule):
        if schedule.flow not in flows:
            raise NotFound(f"there is no flow {schedule.flow!r}")
        if "wrong=1" in schedule.overrides:
            raise ConfigError("no setting wrong")

    def prepare(schedule, key, at):
        if schedule.overrides == ("bad=1",):
            raise ConfigError("there is no option bad")
        return NewRun(
            id=f"r{next(numbers)}", flow=schedule.flow, key="", source="m:f", graph=GRAPH,
            config={}, config_yaml="", config_digest="d", trigger={},
        )  # fmt: skip

    return ScheduleService(store, clock, check, prepare, views, frozenset(owners))


def test_syncing_saves_what_is_declared_and_removes_what_no_longer_is(service):
    assert service.sync([NIGHTLY, HOOK]).saved == ("nightly", "hook")
    again = service.sync([NIGHTLY])
    assert (again.saved, again.unchanged, again.removed) == ((), ("nightly",), ("hook",))
    assert [listed.stored.schedule.name for listed in service.list()] == ["nightly"]


@pytest.mark.parametrize(
    ("schedule", "problem"),
    [
        (Schedule(name="x", flow="f", trigger=Cron(cron="0 0 30 2 *")), "cron"),
        (Schedule(name="x", flow="f", trigger=Cron(cron="0 3 * * *", zone="Mars")), "time zone"),
        (Schedule(name="x", flow="nobody", trigger=OnRequest()), "no flow 'nobody'"),
        (Schedule(name="x", flow="f", trigger=NewData(view="w")), "no view 'w'"),
        (Schedule(name="nightly", flow="g", trigger=OnRequest()), "two schedules are called"),
    ],
)
def test_what_can_never_be_carried_out_is_refused_and_the_rest_is_saved(service, schedule, problem):
    report = service.sync([NIGHTLY, schedule])
    assert report.saved == ("nightly",)
    assert problem in str(report.refused[schedule.name])


def test_a_stored_schedule_whose_declaration_went_bad_is_disabled(service, store):
    service.sync([NIGHTLY, HOOK])
    bad = Schedule(name="nightly", flow="nobody", trigger=OnRequest())
    assert service.sync([bad, HOOK]).removed == ()
    assert store.schedules.get("nightly").status is ScheduleStatus.DISABLED


def test_schedules_of_a_module_that_cannot_be_imported_wait_for_it(service, store):
    declared = Schedule(name="m", flow="f", trigger=OnRequest(), origin="team.flows:f")
    service.sync([declared])
    report = service.sync([], {"team.flows": ConfigError("SyntaxError: line 3")})
    assert report.removed == ()
    disabled = store.schedules.get("m")
    assert (disabled.status, disabled.reason) == (
        ScheduleStatus.DISABLED, "its declaration is wrong: SyntaxError: line 3",
    )  # fmt: skip
    assert service.sync([declared]).saved == ("m",)
    assert store.schedules.get("m").status is ScheduleStatus.ACTIVE


def test_what_could_not_be_carried_out_stays_disabled_while_its_declaration_is_the_same(
    service, store
):
    service.sync([NIGHTLY])
    store.schedules.disable("nightly", "there is no option x", START)
    assert service.sync([NIGHTLY]).unchanged == ("nightly",)
    assert store.schedules.get("nightly").status is ScheduleStatus.DISABLED


def test_projects_that_share_a_store_leave_each_others_schedules_alone(store, clock, views):
    shop = service_of(store, clock, views, {"shop.flows"})
    ads = service_of(store, clock, views, {"ads.flows"})
    assert shop.sync([NIGHTLY, HOOK]).saved == ("nightly", "hook")
    mine = Schedule(name="mine", flow="g", trigger=OnRequest())
    synced = ads.sync([NIGHTLY, mine])
    assert (synced.saved, synced.removed) == (("mine",), ())
    assert "another project's, of shop.flows" in str(synced.refused["nightly"])
    assert shop.sync([NIGHTLY]).removed == ("hook",)
    assert {s.schedule.name for s in store.schedules.list()} == {"nightly", "mine"}
    assert {s.status for s in store.schedules.list()} == {ScheduleStatus.ACTIVE}
    assert ads.sync([NIGHTLY, mine], take_over=True).saved == ("nightly",)


def test_a_scheduler_fires_the_schedules_of_its_own_project(store, clock, views):
    for owner in ("shop.flows", "shop.flow_", "ads.flows", ""):
        trigger = Interval(every=HOUR)
        owners = {owner} - {""}
        schedule = Schedule(name=owner or "nobodys", flow="f", trigger=trigger).owned(owners)
        store.schedules.save(schedule, START, {"at": START.isoformat()}, START)
    both = Schedule(name="both", flow="f", trigger=OnAsset(asset="a:b"))
    store.schedules.save(both.owned({"shop.flows", "new"}), None, {}, START)
    mine = ScheduleStore(store.database, {"shop.flows"})
    assert {s.schedule.name for s in mine.due(START)} == {"nobodys", "shop.flows"}
    assert mine.topics() == {"asset:a:b"}
    nobodys = ScheduleStore(store.database, set())
    assert [s.schedule.name for s in nobodys.due(START)] == ["nobodys"]
    assert nobodys.topics() == frozenset()
    assert len(store.schedules.due(START)) == 4


def test_a_project_that_adds_a_module_keeps_its_schedules(store, clock, views):
    service_of(store, clock, views, {"a"}).sync([NIGHTLY, HOOK])
    synced = service_of(store, clock, views, {"a", "b"}).sync([NIGHTLY])
    assert (synced.saved, synced.removed) == (("nightly",), ("hook",))


def test_the_first_sync_of_a_store_without_owners_takes_them_and_removes_what_is_gone(
    service, store, clock, views
):
    service.sync([NIGHTLY, HOOK])
    synced = service_of(store, clock, views, {"a"}).sync([NIGHTLY])
    assert (synced.saved, synced.removed) == (("nightly",), ("hook",))
    (taken,) = store.schedules.list()
    assert (taken.schedule.owners, taken.schedule.module) == ({"a"}, "config")


def test_a_machine_that_cannot_import_a_module_takes_nothing_from_the_others(store, clock, views):
    here = service_of(store, clock, views, {"team"})
    beside = Schedule(name="beside", flow="f", trigger=OnRequest(), origin="team.flows:f")
    here.sync([NIGHTLY, beside])
    there = service_of(store, clock, views, {"team"}, flows=())
    synced = there.sync([NIGHTLY], {"team.flows": ConfigError("no torch")}, broken={"team.flows"})
    assert set(synced.refused) == {"nightly", "team.flows"}
    assert synced.removed == ()
    assert {s.status for s in store.schedules.list()} == {ScheduleStatus.ACTIVE}


def test_a_config_that_may_be_half_written_removes_and_disables_nothing(service, store):
    service.sync([NIGHTLY, HOOK])
    bad = Schedule(name="nightly", flow="nobody", trigger=OnRequest())
    synced = service.sync([bad], fresh=True)
    assert (set(synced.refused), synced.removed) == ({"nightly"}, ())
    assert {s.status for s in store.schedules.list()} == {ScheduleStatus.ACTIVE}
    assert service.sync([bad]).removed == ("hook",)
    assert store.schedules.get("nightly").status is ScheduleStatus.DISABLED


def test_what_is_disabled_is_looked_at_again_when_the_config_has_changed(service, store):
    service.sync([NIGHTLY])
    store.schedules.disable("nightly", "there is no option x", START)
    assert service.sync([NIGHTLY], fresh=True).saved == ("nightly",)
    assert store.schedules.get("nightly").status is ScheduleStatus.ACTIVE
    store.schedules.pause("nightly", "paused by ann", START)
    assert service.sync([NIGHTLY], fresh=True).unchanged == ("nightly",)
    assert store.schedules.get("nightly").status is ScheduleStatus.PAUSED


def test_a_fresh_look_costs_by_what_has_changed_and_the_next_one_sees_the_rest(
    service, store, clock, views
):
    many = [replace(NIGHTLY, name=f"s{number}") for number in range(20)]
    service.sync(many)
    changed = [*many[:-1], replace(many[-1], priority=3)]
    looked, service = [], service_of(store, clock, views, flows=())
    service._check = lambda schedule: looked.append(schedule.name)
    assert service.sync(changed, fresh=True).saved == ("s19",)
    assert looked == ["s19"]
    store.schedules.disable("s7", "no such option", clock.now())
    assert service.sync(changed, fresh=True).saved == ("s7",)
    assert looked == ["s19", "s7"]
    assert len(service.sync(changed).unchanged) == 20
    assert sorted(looked[2:]) == sorted(schedule.name for schedule in many)


def test_whatever_one_declaration_holds_the_others_are_saved(service):
    service._check = lambda schedule: schedule.name == "odd" and "\ud800".encode()
    synced = service.sync([replace(NIGHTLY, name="odd"), NIGHTLY])
    assert synced.saved == ("nightly",)
    assert str(synced.refused["odd"]).startswith("schedule odd: UnicodeEncodeError")


def test_a_feature_store_that_is_away_refuses_no_schedule(service, views):
    views.away = True
    fresh = Schedule(name="fresh", flow="f", trigger=NewData(view="v"))
    assert service.sync([fresh]).saved == ("fresh",)


def test_firing_twice_with_one_key_starts_one_run(service, store):
    service.sync([HOOK])
    with ThreadPoolExecutor(8) as pool:
        fires = list(pool.map(lambda _: service.fire("hook", key="k", by="api"), range(16)))
    assert {fire.run_id for fire in fires} == {store.reads.runs()[0].id}
    assert len(store.reads.runs()) == 1
    trigger = store.reads.runs()[0].trigger
    assert (trigger["kind"], trigger["by"], trigger["key"]) == ("request", "api", "k")


def test_a_key_of_a_schedule_stands_for_one_request_whoever_asks(service, store):
    service.sync([HOOK, replace(HOOK, name="other")])
    first = service.fire("hook", key="k", by="api", overrides=("b=2",), scopes=("api",))
    with pytest.raises(KeyReused, match="the key k stands for another request"):
        service.fire("hook", key="k", by="ann")
    assert service.fire("hook", key="k", by="ann", overrides=("b=2",)) == first
    service.fire("other", key="k", by="ann")
    with pytest.raises(KeyReused):
        service.fire("other", key="k", by="api", scopes=("api",))
    assert len(store.reads.runs()) == 2


def test_what_cannot_be_done_takes_no_key(service):
    service.sync([HOOK])
    with pytest.raises(ConfigError, match="no setting wrong"):
        service.fire("hook", key="k", by="ann", overrides=("wrong=1",))
    assert service.fire("hook", key="k", by="ann").run_id is not None


def test_firing_without_a_key_starts_a_run_each_time(service, store):
    service.sync([HOOK])
    assert service.fire("hook", by="ann").run_id != service.fire("hook", by="ann").run_id


def test_firing_with_overrides_adds_them_to_those_of_the_schedule(service, store):
    service.sync([Schedule(name="o", flow="f", trigger=OnRequest(), overrides=("a=1",))])
    fire = service.fire("o", by="ann", overrides=("b=2",))
    assert store.reads.find(fire.run_id).trigger["overrides"] == ["a=1", "b=2"]
    assert store.schedules.get("o").schedule.overrides == ("a=1",)


def test_a_schedule_by_time_can_be_fired_by_hand_and_keeps_its_time(service, store):
    service.sync([NIGHTLY])
    before = store.schedules.get("nightly").next_at
    assert service.fire("nightly", by="ann").outcome is FireOutcome.STARTED
    assert store.schedules.get("nightly").next_at == before
    skipped = service.fire("nightly", by="ann")
    assert (skipped.outcome, skipped.run_id) == (FireOutcome.SKIPPED, None)


def test_firing_what_cancels_the_older_cancels_it(service, store):
    service.sync([Schedule(name="c", flow="f", trigger=OnRequest(), overlap=Overlap.CANCEL)])
    first, second = service.fire("c", by="ann"), service.fire("c", by="ann")
    assert store.reads.find(first.run_id).status.value == "cancelled"
    assert store.reads.find(second.run_id).status.value == "queued"


def test_a_fire_that_cannot_be_recorded_cancels_nothing(service, store):
    service.sync([Schedule(name="c", flow="f", trigger=OnRequest(), overlap=Overlap.CANCEL)])
    first = service.fire("c", by="ann")
    with store.database.write() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER full BEFORE INSERT ON run BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
    with pytest.raises(StoreError):
        service.fire("c", by="ann")
    assert store.reads.find(first.run_id).status.value == "queued"


def test_the_same_key_again_cancels_nothing(service, store):
    service.sync([Schedule(name="c", flow="f", trigger=OnRequest(), overlap=Overlap.CANCEL)])
    first, second = service.fire("c", key="k", by="ann"), service.fire("c", key="k", by="ann")
    assert first.run_id == second.run_id
    assert store.reads.find(first.run_id).status.value == "queued"


def test_firing_a_deadline_by_hand_promises_no_time(service, store):
    service.sync([Schedule(name="six", flow="f", trigger=Deadline(by="06:00"))])
    fire = service.fire("six", by="ann")
    assert store.reads.find(fire.run_id).trigger["deadline"] is None


def test_what_is_disabled_or_unknown_cannot_be_fired(service, store):
    service.sync([HOOK])
    with pytest.raises(NotFound):
        service.fire("nobody", by="ann")
    with pytest.raises(Refused, match="1 to 90 characters"):
        service.fire("hook", key="x" * 91, by="ann")
    store.schedules.disable("hook", "no such option", START)
    with pytest.raises(Refused, match="disabled: no such option"):
        service.fire("hook", by="ann")


def test_a_run_that_cannot_be_prepared_is_said_to_who_asked_and_disables_nothing(service, store):
    service.sync([Schedule(name="bad", flow="f", trigger=OnRequest(), overrides=("bad=1",))])
    with pytest.raises(Unprepared, match="no option bad"):
        service.fire("bad", by="ann")
    assert store.schedules.get("bad").status is ScheduleStatus.ACTIVE
    assert store.schedules.fires("bad") == ()


def test_pausing_says_who_and_why(service):
    service.sync([NIGHTLY])
    assert service.pause("nightly", by="ann", reason="moving").reason == "paused by ann: moving"
    assert service.resume("nightly", by="ann").status is ScheduleStatus.ACTIVE


def test_a_backfill_runs_what_did_not_run_and_nothing_twice(service, store, clock):
    service.sync([NIGHTLY])
    clock.advance(10 * DAY)
    span = (START, START + 5 * DAY)
    planned = service.backfill("f", *span, dry_run=True)
    assert [(f.at.day, f.started, f.run_id) for f in planned] == [
        (day, True, None) for day in range(1, 6)
    ]
    assert store.reads.runs() == ()
    assert sum(f.started for f in service.backfill("f", *span, limit=2)) == 2
    rest = service.backfill("f", *span)
    assert [f.started for f in rest] == [False, False, True, True, True]
    assert all(f.run_id for f in rest)
    runs = store.reads.runs()
    assert len(runs) == 5
    assert {(r.lane, r.priority, r.trigger["kind"], r.trigger["deadline"]) for r in runs} == {
        ("backfill:nightly", -100, "backfill", None)
    }


def test_a_backfill_of_a_flow_without_a_schedule_takes_a_distance(service, store):
    span = (START, START + DAY)
    with pytest.raises(Refused, match="no schedule by time"):
        service.backfill("f", *span)
    first = service.backfill("f", *span, every=6 * HOUR)
    assert [f.at.hour for f in first] == [0, 6, 12, 18]
    again = service.backfill("f", START + HOUR, START + DAY, every=6 * HOUR)
    assert [f.started for f in again] == [False] * 3


def test_times_of_a_backfill_without_a_zone_are_those_of_the_schedule(service):
    tokyo = Schedule(name="t", flow="f", trigger=Cron(cron="0 0 * * *", zone="Asia/Tokyo"))
    service.sync([tokyo])
    days = service.backfill("f", datetime(2026, 3, 1), datetime(2026, 3, 3))
    assert [f.at for f in days] == [START - 9 * HOUR, START + 15 * HOUR]
    by_utc = service.backfill("f", datetime(2026, 3, 1), datetime(2026, 3, 2), every=DAY)
    assert [f.at for f in by_utc] == [START]


def test_a_backfill_that_is_unclear_is_refused(service):
    hourly = Schedule(name="hourly", flow="f", trigger=Interval(every=HOUR))
    service.sync([NIGHTLY, hourly, HOOK])
    with pytest.raises(Refused, match="several schedules by time: hourly, nightly"):
        service.backfill("f", START, START + DAY)
    assert len(service.backfill("f", START, START + DAY, schedule="hourly")) == 24
    with pytest.raises(Refused, match="of flow f, not of g"):
        service.backfill("g", START, START + DAY, schedule="hourly")
    with pytest.raises(ConfigError, match="no times of its own"):
        service.backfill("f", START, START + DAY, schedule="hook")
    with pytest.raises(Refused, match=r"more than 10,000 times"):
        service.backfill("f", START, START + DAY, every=timedelta(seconds=1))
