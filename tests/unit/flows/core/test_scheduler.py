"""The scheduler fires what is due, once, whatever else happens."""

from __future__ import annotations

import errno
import threading
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from flows.core import due
from flows.core.alert import AlertKind
from flows.core.claiming import Capabilities
from flows.core.data_source import BoundedSource
from flows.core.errors import ConfigError, DataUnavailable, NotFound, StoreError
from flows.core.graph import Const, Node, validated
from flows.core.records import Asset, Outcome, OutcomeKind, RunStatus
from flows.core.schedule import (
    Cron,
    DataState,
    Deadline,
    FireOutcome,
    Interval,
    Missed,
    NewData,
    OnAsset,
    Overlap,
    Schedule,
    ScheduleStatus,
)
from flows.core.scheduler import Scheduler
from flows.core.store import NewRun, Store
from tests.manual_clock import ManualClock

START = datetime(2026, 3, 1, tzinfo=UTC)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
GRAPH = validated((Node(key="a", function="m:a", inputs={"x": Const(const=1)}),))
HOURLY = Schedule(name="hourly", flow="f", trigger=Interval(every=HOUR))
FRESH = Schedule(name="fresh", flow="f", trigger=NewData(view="v"))
AFTER = Schedule(name="after", flow="g", trigger=OnAsset(asset="model:*"))


class Views:
    """Views whose commits are made by the test: (rows, when)."""

    def __init__(self):
        self.commits = []
        self.error = None
        self.watches = []
        self.hanging = False

    def check(self, view):
        if view != "v":
            raise NotFound(f"no view {view}")

    def state(self, trigger, since):
        if self.error is not None:
            raise self.error
        new = self.commits[since or 0 :]
        return DataState(
            version=len(self.commits),
            new_rows=sum(rows for rows, _ in new),
            first_at=new[0][1] if new else None,
            last_at=new[-1][1] if new else None,
        )

    def watch(self, views, changed):
        self.watches.append((frozenset(views), changed))
        for view in views:
            changed(view)
        return self

    def close(self):
        self.watches.append(None)

    def hangs(self):
        return self.hanging

    def commit(self, rows, at):
        self.commits.append((rows, at))
        _, changed = self.watches[-1]
        changed("v")


class World:
    """A store on disk, data, and schedulers on a clock of their own."""

    def __init__(self, url, clock=None):
        self.url = url
        self.store = Store.open(url)
        self.clock = clock or ManualClock(START)
        self.stamp = 0
        self.views = Views()
        self.numbers = count(1)
        self.broken = {}
        self.about = {}  # what every run is about
        self.woken = 0
        self.scheduler = self.another()

    def another(self):
        return Scheduler(
            self.store, self.prepare, self.views, clock=self.clock, wake=self.wake,
            stamp=self.take_stamp,
        )  # fmt: skip

    def take_stamp(self):
        if isinstance(self.stamp, OSError):
            raise self.stamp
        return self.stamp

    def wake(self):
        self.woken += 1

    def prepare(self, schedule, key, at):
        if schedule.name in self.broken:
            raise self.broken[schedule.name]
        return NewRun(
            id=f"r{next(self.numbers)}", flow=schedule.flow, key="", source="m:f", graph=GRAPH,
            config={}, config_yaml="", config_digest="d", trigger=self.about,
            priority=7,
        )  # fmt: skip

    def save(self, *schedules):
        now = self.clock.now()
        for schedule in schedules:
            self.store.schedules.save(schedule, *due.first(schedule, now), now)

    def tick(self, after=timedelta(0)):
        return self.scheduler.tick(self.clock.advance(after))

    def tick_for(self, span):
        """Look every five seconds."""
        return [fire for _ in range(span // (5 * SECOND)) for fire in self.tick(5 * SECOND)]

    def fires(self, name):
        return {fire.key: fire.outcome for fire in self.store.schedules.fires(name, 10_000)}

    def end(self, run_id):
        """Carry a run out, at once."""
        now = self.clock.now()
        can = Capabilities(worker="w", slots={"inline": 1}, default_executor="inline", now=now)
        self.store.runs.step([], can, runs=[run_id])
        done = Outcome(attempt_id=f"{run_id}.a.1", kind=OutcomeKind.SUCCEEDED, value="1")
        self.store.runs.step([done], can, runs=[])

    def kinds(self, prefix):
        return [e.kind for e in self.store.reads.events() if e.kind.startswith(prefix)]

    def alerts(self):
        return sorted(record.alert.kind.value for record in self.store.outbox.list())


@pytest.fixture
def world(tmp_path):
    made = World(f"sqlite:///{tmp_path}/ratchet.db")
    yield made
    made.store.close()


def test_a_schedule_fires_at_its_time_and_its_run_says_why(world):
    world.save(HOURLY)
    assert world.tick(59 * MINUTE) == []
    (fire,) = world.tick(MINUTE)
    run = world.store.reads.find(fire.run_id)
    key = "2026-03-01T01:00:00+00:00"
    assert (fire.key, fire.at, fire.outcome) == (key, START + HOUR, FireOutcome.STARTED)
    assert (run.flow, run.key, run.lane, run.priority) == (
        "f", f"hourly:{key}", "schedule:hourly", 7,
    )  # fmt: skip
    assert run.trigger == {
        "kind": "interval", "schedule": "hourly", "key": key, "at": key, "deadline": None,
        "overrides": [],
    }  # fmt: skip
    assert world.woken == 1
    assert world.tick() == []
    assert world.store.schedules.next_at() == START + 2 * HOUR


def test_three_schedulers_fire_each_occurrence_once_through_days(world):
    world.save(
        Schedule(name="hourly", flow="f", trigger=Interval(every=HOUR), overlap=Overlap.ALLOW),
        Schedule(name="nightly", flow="f", trigger=Cron(cron="0 3 * * *"), overlap=Overlap.QUEUE),
    )
    schedulers = [world.another() for _ in range(3)]
    recorded = []
    for _ in range(72):
        now = world.clock.advance(HOUR)
        barrier = threading.Barrier(3)

        def tick(scheduler, now=now, barrier=barrier):
            barrier.wait()
            recorded.extend(scheduler.tick(now))

        threads = [threading.Thread(target=tick, args=(s,)) for s in schedulers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(recorded) == len({(f.schedule, f.key) for f in recorded}) == 72 + 3
    assert len(world.store.reads.runs(limit=1000)) == 75
    assert set(world.fires("nightly").values()) == {FireOutcome.STARTED}


def test_a_schedule_that_cannot_be_carried_out_is_disabled_and_the_rest_goes_on(world):
    world.broken["hourly"] = ConfigError("there is no option x", hint="correct it")
    other = Schedule(name="other", flow="f", trigger=Interval(every=HOUR))
    world.save(HOURLY, other)
    assert [f.schedule for f in world.tick(HOUR)] == ["other"]
    world.tick_for(2 * MINUTE)
    disabled = world.store.schedules.get("hourly")
    assert (disabled.status, disabled.reason) == (ScheduleStatus.DISABLED, "there is no option x")
    assert list(world.fires("hourly").values()) == [FireOutcome.FAILED]
    assert world.alerts() == ["schedule_disabled"]
    assert world.kinds("schedule.failed") == ["schedule.failed"] * 2  # the first time, and its end


def test_any_exception_of_a_schedule_stays_with_it(world):
    world.broken["hourly"] = ZeroDivisionError("oh")
    world.save(HOURLY)
    assert world.tick(HOUR) == []
    assert world.store.schedules.get("hourly").reason == "ZeroDivisionError: oh"


def hidden(error):
    """A config's error as it is raised where `error` was met."""
    try:
        raise error
    except OSError:
        try:
            raise ConfigError("the config cannot be read") from None
        except ConfigError as found:
            return found


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "No such file", "conf/.config.yaml.swp"),
        OSError(errno.EMFILE, "Too many open files"),
        OSError(errno.ESTALE, "Stale file handle"),
        TimeoutError("the file server does not answer"),
        DataUnavailable("the feature store is away"),
        hidden(OSError(errno.EMFILE, "Too many open files")),
    ],
    ids=repr,
)
def test_what_may_pass_never_disables_and_is_made_up_for(world, error):
    world.broken["hourly"] = error
    world.save(HOURLY)
    world.tick(HOUR)
    world.tick_for(30 * MINUTE)
    troubled = world.store.schedules.get("hourly")
    assert (troubled.status, world.alerts()) == (ScheduleStatus.ACTIVE, [])
    assert troubled.reason
    world.broken.clear()
    world.tick_for(2 * MINUTE)
    assert world.fires("hourly") == {(START + HOUR).isoformat(): FireOutcome.STARTED}
    assert world.store.schedules.get("hourly").reason is None


def test_a_config_that_is_being_written_disables_nothing_until_it_is_the_same_for_a_while(world):
    world.broken["hourly"] = ConfigError("there is no option x")
    world.save(HOURLY)
    world.clock.advance(HOUR)
    for _ in range(20):  # the files of a big commit, one after the other
        world.stamp += 1
        world.tick_for(30 * SECOND)
    assert world.store.schedules.get("hourly").status is ScheduleStatus.ACTIVE
    world.tick_for(3 * MINUTE)
    assert world.store.schedules.get("hourly").status is ScheduleStatus.DISABLED


def test_a_stamp_that_cannot_be_taken_counts_as_a_change(world):
    world.broken["hourly"] = ConfigError("there is no option x")
    world.save(HOURLY)
    world.stamp = FileNotFoundError(errno.ENOENT, "No such file")
    world.tick(HOUR)
    world.tick_for(5 * MINUTE)
    assert world.store.schedules.get("hourly").status is ScheduleStatus.ACTIVE


def test_a_scheduler_that_lacks_a_module_disables_nothing_for_the_one_that_has_it(world):
    lacking = World(world.url, clock=world.clock)
    lacking.broken["often"] = NotFound("there is no flow f")
    every = Interval(every=10 * SECOND)
    world.save(Schedule(name="often", flow="f", trigger=every, overlap=Overlap.ALLOW))
    for _ in range(60):
        lacking.tick(5 * SECOND)
        world.tick(5 * SECOND)
    assert world.store.schedules.get("often").status is ScheduleStatus.ACTIVE
    assert set(world.fires("often").values()) == {FireOutcome.STARTED}
    lacking.store.close()


def test_what_an_error_says_stops_nobody(world):
    other = Schedule(name="other", flow="f", trigger=Interval(every=HOUR))
    world.broken["hourly"] = ValueError("cannot open caf\udce9.csv \0")
    world.save(HOURLY, other)
    assert [f.schedule for f in world.tick(HOUR)] == ["other"]
    world.tick_for(2 * MINUTE)
    reason = "ValueError: cannot open caf\\udce9.csv \\x00"
    assert world.store.schedules.get("hourly").reason == reason


def test_what_failed_is_made_up_for_once_it_is_corrected(world):
    world.broken["hourly"] = ConfigError("no")
    world.save(HOURLY)
    world.tick(HOUR)
    world.tick_for(2 * MINUTE)
    assert world.store.schedules.get("hourly").status is ScheduleStatus.DISABLED
    world.broken.clear()
    world.store.schedules.resume("hourly", "ann", world.clock.advance(10 * MINUTE))
    (fire,) = world.tick()
    assert (fire.at, fire.outcome) == (START + HOUR, FireOutcome.STARTED)


def test_a_fire_is_skipped_while_a_run_of_its_schedule_is_open(world):
    world.save(HOURLY)
    (first,) = world.tick(HOUR)
    (second,) = world.tick(HOUR)
    assert second.outcome is FireOutcome.SKIPPED
    assert second.reason == f"run {first.run_id} was still open"
    world.end(first.run_id)
    (third,) = world.tick(HOUR)
    assert third.outcome is FireOutcome.STARTED


@pytest.mark.parametrize("missed", list(Missed))
@pytest.mark.parametrize("away", [55 * SECOND, 90 * SECOND])
@pytest.mark.parametrize("overlap", list(Overlap))
def test_overlap_holds_after_an_outage(world, overlap, missed, away):
    every = Interval(every=SECOND)
    world.save(Schedule(name="often", flow="f", trigger=every, overlap=overlap, missed=missed))
    world.tick(away)
    seconds, on_time = int(away.total_seconds()), min(60, int(away.total_seconds())) + 1
    runs = world.store.reads.open_runs()
    if overlap in (Overlap.ALLOW, Overlap.QUEUE):  # each has its run
        expected = seconds if missed is Missed.ALL else min(seconds, on_time)
    elif overlap is Overlap.SKIP and missed is Missed.ALL and away > MINUTE:
        expected = seconds - on_time  # those that were missed, one after the other
    else:
        expected = 1
    assert len(runs) == expected
    assert len({run.lane for run in runs}) == 1
    assert len(world.fires("often")) == seconds  # nothing without a record
    assert world.tick() == []
    world.tick(SECOND)
    if overlap in (Overlap.SKIP, Overlap.CANCEL):
        assert len(world.store.reads.open_runs()) == (expected if overlap is Overlap.SKIP else 1)


def test_of_assets_that_came_together_one_runs_and_the_others_wait_for_its_end(world):
    world.save(AFTER)
    for name in ("model:a", "model:b", "model:c"):
        updated(world, name)
    (first,) = world.tick()
    assert list(world.fires("after").values()).count(FireOutcome.PENDING) == 2
    world.end(first.run_id)
    (second,) = world.tick(10 * SECOND)
    assert len(world.store.reads.open_runs()) == 1
    world.end(second.run_id)
    assert [fire.outcome for fire in world.tick(10 * SECOND)] == [FireOutcome.STARTED]


def test_a_run_that_cannot_be_prepared_ends_none_that_is_open(world):
    world.save(Schedule(name="c", flow="f", trigger=Interval(every=HOUR), overlap=Overlap.CANCEL))
    (first,) = world.tick(HOUR)
    world.broken["c"] = ConfigError("no")
    world.tick(HOUR)
    assert world.store.reads.find(first.run_id).status is RunStatus.QUEUED


def test_what_another_scheduler_took_meanwhile_is_not_prepared_again(world):
    names = [f"s{number}" for number in range(10)]
    world.save(*(Schedule(name=n, flow="f", trigger=Interval(every=HOUR)) for n in names))
    prepared, faster = [], []

    def prepare(schedule, key, at):
        prepared.append(schedule.name)
        if not faster:
            faster.extend(world.tick())
        return world.prepare(schedule, key, at)

    slower = Scheduler(world.store, prepare, world.views, clock=world.clock)
    assert slower.tick(world.clock.advance(HOUR)) == []
    assert (len(prepared), len(faster)) == (1, 10)


def test_a_queued_fire_waits_in_the_lane_of_its_schedule(world):
    world.save(Schedule(name="q", flow="f", trigger=Interval(every=HOUR), overlap=Overlap.QUEUE))
    fires = [*world.tick(HOUR), *world.tick(HOUR)]
    assert [world.store.reads.find(f.run_id).lane for f in fires] == ["schedule:q"] * 2


def test_a_newer_fire_cancels_the_open_run_where_that_was_wanted(world):
    world.save(Schedule(name="c", flow="f", trigger=Interval(every=HOUR), overlap=Overlap.CANCEL))
    (first,) = world.tick(HOUR)
    (second,) = world.tick(HOUR)
    cancelled = world.store.reads.find(first.run_id)
    assert (cancelled.status, cancelled.reason) == (
        RunStatus.CANCELLED, "a newer fire of schedule c takes its place",
    )  # fmt: skip
    assert world.store.reads.find(second.run_id).status is RunStatus.QUEUED


def test_a_fire_beside_others_has_no_lane(world):
    world.save(Schedule(name="a", flow="f", trigger=Interval(every=HOUR), overlap=Overlap.ALLOW))
    fires = [*world.tick(HOUR), *world.tick(HOUR)]
    assert [world.store.reads.find(f.run_id).lane for f in fires] == [None, None]


def test_after_a_night_without_a_scheduler_the_policy_decides(world):
    for policy in Missed:
        trigger = Interval(every=HOUR)
        world.save(Schedule(name=policy.value, flow="f", trigger=trigger, missed=policy))
    world.tick(50 * HOUR + 10 * MINUTE)
    started = {
        policy.value: list(world.fires(policy.value).values()).count(FireOutcome.STARTED)
        for policy in Missed
    }
    assert started == {"skip": 0, "latest": 1, "all": 24}  # what is within the grace of a day
    assert all(len(world.fires(policy.value)) == 50 for policy in Missed)


@pytest.mark.parametrize("committed", [False, True])
def test_a_crash_while_catching_up_loses_and_repeats_nothing(world, committed):
    world.save(Schedule(name="all", flow="f", trigger=Interval(every=HOUR), missed=Missed.ALL))
    good = world.store.schedules.fire

    def crashing(*args, **kwargs):
        if committed:
            good(*args, **kwargs)
        raise SystemExit("killed")

    world.store.schedules.fire = crashing
    with pytest.raises(SystemExit):
        world.tick(23 * HOUR + 10 * MINUTE)
    del world.store.schedules.fire
    world.scheduler = world.another()
    assert len(world.tick(MINUTE)) == (0 if committed else 23)
    assert set(world.fires("all").values()) == {FireOutcome.STARTED}
    assert len(world.fires("all")) == len(world.store.reads.runs(limit=100)) == 23


def test_new_data_fires_and_the_same_data_never_again(world):
    world.save(FRESH)
    assert world.tick() == []
    world.views.commit(5, world.clock.now())
    (fire,) = world.tick()
    assert (fire.key, world.store.reads.find(fire.run_id).trigger["kind"]) == ("v@1", "new_data")
    world.end(fire.run_id)
    world.scheduler.changed("v")
    assert world.tick() == []
    assert world.another().tick(world.clock.now()) == []


def test_data_that_settles_is_waited_for(world):
    world.save(Schedule(name="calm", flow="f", trigger=NewData(view="v", settle=10 * MINUTE)))
    world.tick()
    world.views.commit(5, world.clock.now())
    assert world.tick(MINUTE) == []
    world.views.commit(5, world.clock.now())
    assert world.tick() == []
    assert world.store.schedules.next_at() == world.clock.now() + 10 * MINUTE
    assert [fire.key for fire in world.tick(10 * MINUTE)] == ["v@2"]


def test_data_that_comes_during_a_run_is_not_forgotten(world):
    world.save(FRESH)
    world.tick()
    world.views.commit(5, world.clock.now())
    (first,) = world.tick()
    world.views.commit(5, world.clock.now())
    (held,) = world.tick(MINUTE)
    assert (held.key, held.outcome) == ("v@2", FireOutcome.SKIPPED)
    assert [world.tick(timedelta(seconds=10)) for _ in range(5)] == [[]] * 5
    world.views.commit(5, world.clock.now())
    assert world.tick() == []  # said once
    world.end(first.run_id)
    (second,) = world.tick(timedelta(seconds=10))
    assert (second.key, second.outcome) == ("v@3", FireOutcome.STARTED)
    assert world.fires("fresh")["v@2"] is FireOutcome.SKIPPED


def test_a_feature_store_that_is_away_disables_nothing(world):
    world.save(FRESH)
    world.tick()
    world.views.error = DataUnavailable("the disk is not there")
    world.views.commit(5, world.clock.now())
    for _ in range(5):
        assert world.tick(MINUTE) == []
    troubled = world.store.schedules.get("fresh")
    assert (troubled.status, troubled.reason) == (
        ScheduleStatus.ACTIVE, "the disk is not there",
    )  # fmt: skip
    assert world.kinds("schedule.failed") == ["schedule.failed"]
    world.views.error = None
    assert [fire.key for fire in world.tick(2 * MINUTE)] == ["v@1"]
    assert world.store.schedules.get("fresh").reason is None


def test_a_view_whose_storage_hangs_stops_no_time_and_is_named(world):
    go_on, good = threading.Event(), world.views.state

    def hang(*args, **kwargs):
        go_on.wait(60)
        return good(*args, **kwargs)

    world.views.state = hang
    world.scheduler = Scheduler(
        world.store, world.prepare, BoundedSource(world.views, clock=world.clock, limit=0.01),
        clock=world.clock,
    )  # fmt: skip
    world.save(FRESH, HOURLY)
    world.views.commits.append((5, START))
    assert [fire.schedule for fire in world.tick(HOUR)] == ["hourly"]
    troubled = world.store.schedules.get("fresh")
    assert troubled.status is ScheduleStatus.ACTIVE
    assert "view v has not answered" in troubled.reason
    go_on.set()


def test_views_are_looked_at_now_and_then_though_their_watch_is_silent(world):
    world.save(FRESH)
    world.tick()
    world.views.commits.append((5, world.clock.now()))
    assert world.tick(MINUTE) == []
    assert [fire.key for fire in world.tick(10 * MINUTE)] == ["v@1"]


def test_while_a_watch_hangs_all_views_are_looked_at_every_minute(world):
    world.save(FRESH)
    world.tick()
    world.views.commits.append((5, world.clock.now()))
    world.views.hanging = True
    assert world.tick(30 * SECOND) == []
    assert [fire.key for fire in world.tick(30 * SECOND)] == ["v@1"]


def test_many_views_that_changed_are_looked_at_in_turn(world):
    names = [f"v{number:02}" for number in range(50)]
    for name in names:
        schedule = Schedule(name=name, flow="f", trigger=NewData(view=name))
        world.store.schedules.save(schedule, None, {"version": None}, START)
    looks, good = [], world.views.state
    world.views.state = lambda trigger, since: (looks.append(trigger.view), good(trigger, since))[1]
    world.tick()
    assert looks == names[:20]
    world.tick()
    world.tick()
    assert looks == names


def test_a_view_that_is_gone_disables_its_schedule(world):
    world.save(FRESH)
    world.views.error = NotFound("no view 'v'")
    world.tick_for(2 * MINUTE)
    assert world.store.schedules.get("fresh").status is ScheduleStatus.DISABLED


def test_the_views_of_active_schedules_are_watched_and_no_others(world):
    world.tick()
    assert world.views.watches == []
    world.save(FRESH)
    world.tick()
    world.tick()
    assert [watch[0] for watch in world.views.watches] == [{"v"}]
    world.store.schedules.pause("fresh", "x", world.clock.now())
    world.tick()
    assert world.views.watches[-1] is None


def test_without_a_watch_every_tick_looks_for_itself(world):
    def refuse(views, changed):
        raise OSError("too many watches")

    world.views.watch = refuse
    world.save(FRESH)
    world.tick()
    world.views.commits.append((5, world.clock.now()))
    assert [fire.key for fire in world.tick(MINUTE)] == ["v@1"]


def updated(world, name):
    """What somebody outside leaves in the store."""
    now = world.clock.now()
    world.store.assets.update(Asset(name=name, version="1"), cause=f"at {now}", now=now)


def test_an_asset_fires_what_waits_for_it(world):
    updated(world, "model:old")
    world.clock.advance(MINUTE)
    world.save(AFTER)
    assert world.tick() == []
    updated(world, "table:x")
    updated(world, "model:digits")
    (fire,) = world.tick(MINUTE)
    assert (fire.schedule, fire.outcome) == ("after", FireOutcome.STARTED)
    assert fire.key.startswith("event:")
    world.end(fire.run_id)
    assert world.tick(MINUTE) == []
    assert world.another().tick(world.clock.now()) == []


def test_an_asset_that_comes_during_a_run_is_not_forgotten(world):
    world.save(AFTER)
    updated(world, "model:a")
    (first,) = world.tick(MINUTE)
    updated(world, "model:b")
    (held,) = world.tick(MINUTE)
    assert (held.outcome, held.reason) == (
        FireOutcome.PENDING, f"run {first.run_id} was still open",
    )  # fmt: skip
    assert [world.tick(timedelta(seconds=10)) for _ in range(3)] == [[]] * 3  # said once
    world.end(first.run_id)
    (second,) = world.tick(MINUTE)
    assert (second.key, second.outcome) == (held.key, FireOutcome.STARTED)


def test_a_deadline_starts_a_run_in_time_and_watches_it(world):
    trigger = Deadline(by="06:00", latest_start=30 * MINUTE, earliest_start=2 * HOUR)
    world.save(Schedule(name="six", flow="f", trigger=trigger))
    assert world.tick(3 * HOUR) == []
    (fire,) = world.tick(HOUR)  # nothing is known of its duration: as early as allowed
    run = world.store.reads.find(fire.run_id)
    assert run.trigger["deadline"] == "2026-03-01T06:00:00+00:00"
    assert world.alerts() == []
    world.tick(2 * HOUR)
    world.tick(HOUR)
    assert world.alerts() == ["deadline_missed"]
    assert world.kinds("deadline.") == ["deadline.missed"]


def test_a_run_that_takes_longer_than_most_is_at_risk_and_told_of_once(world):
    schedule = Schedule(
        name="d", flow="f", trigger=Interval(every=DAY), deadline=HOUR, overlap=Overlap.ALLOW
    )
    world.save(schedule)
    for minutes in (10, 10, 70):
        (fire,) = world.tick(DAY - (world.clock.now() - START) % DAY)
        world.tick(minutes * MINUTE)
        world.end(fire.run_id)
    assert world.alerts() == ["deadline_missed"]  # nothing was known yet
    world.tick(DAY - (world.clock.now() - START) % DAY)
    world.tick(9 * MINUTE)
    assert world.alerts() == ["deadline_missed"]
    for _ in range(3):  # of those that took more than ten minutes, all took more than an hour
        world.tick(5 * MINUTE)
    assert world.alerts() == ["deadline_at_risk", "deadline_missed"]
    assert world.kinds("deadline.") == ["deadline.missed", "deadline.at_risk"]
    world.tick(HOUR)
    assert world.alerts() == ["deadline_at_risk", "deadline_missed", "deadline_missed"]


def test_a_run_that_ended_late_while_nobody_looked_is_told_of_too(world):
    world.save(Schedule(name="d", flow="f", trigger=Interval(every=DAY), deadline=HOUR))
    (fire,) = world.tick(DAY)
    world.clock.advance(2 * HOUR)
    world.end(fire.run_id)
    world.tick()
    assert world.alerts() == ["deadline_missed"]
    assert "1:00:00 late" in world.store.outbox.list()[0].alert.reason


def test_a_run_that_ended_in_time_is_told_of_to_nobody(world):
    world.save(Schedule(name="d", flow="f", trigger=Interval(every=DAY), deadline=HOUR))
    (fire,) = world.tick(DAY)
    world.end(fire.run_id)
    world.tick(2 * HOUR)
    assert (world.alerts(), world.store.deadlines.next_at()) == ([], None)


def test_a_deadline_that_cannot_be_looked_at_stops_no_other(world, caplog):
    for name in ("d", "e"):
        every = Interval(every=DAY)
        world.save(Schedule(name=name, flow=name, trigger=every, deadline=HOUR))
    world.tick(DAY)
    good = world.store.deadlines.durations

    def durations(flow):
        if flow == "d":
            raise ValueError("its history is odd")
        return good(flow)

    world.store.deadlines.durations = durations
    world.tick(2 * HOUR)
    world.tick(HOUR)
    assert world.alerts() == ["deadline_missed"]
    assert caplog.text.count("its history is odd") == 1


def test_a_clock_that_jumps_repeats_nothing(world):
    world.save(HOURLY)
    (first,) = world.tick(HOUR)
    world.end(first.run_id)
    back = World(world.url)  # its clock stands at the start
    assert back.scheduler.tick(START) == []
    back.store.close()
    world.tick(365 * DAY)
    outcomes = list(world.fires("hourly").values())
    assert outcomes.count(FireOutcome.STARTED) == 2
    assert len(outcomes) <= 1003


def test_the_loop_outlives_a_store_that_is_away(world, caplog):
    world.save(HOURLY)
    world.clock.advance(HOUR)
    stop = threading.Event()
    good, failures = world.store.schedules.topics, []

    def away():
        if len(failures) < 3:
            failures.append(1)
            raise StoreError("the database restarts")
        if world.store.reads.runs():
            stop.set()
        return good()

    world.store.schedules.topics = away
    world.scheduler.serve(stop)
    assert len(world.store.reads.runs()) == 1
    assert caplog.text.count("the database restarts") == 3


def test_waking_it_ends_its_wait(tmp_path):
    world = World(f"sqlite:///{tmp_path}/ratchet.db")
    stop, ticked = threading.Event(), threading.Semaphore(0)
    good = world.store.schedules.topics

    def noted():
        ticked.release()
        return good()

    class Still(ManualClock):
        def wait(self, event, seconds):
            return event.wait(60)

    world.store.schedules.topics = noted
    scheduler = Scheduler(world.store, world.prepare, world.views, clock=Still(START))
    thread = threading.Thread(target=scheduler.serve, args=(stop,))
    thread.start()
    for _ in range(3):
        assert ticked.acquire(timeout=60)
        scheduler.wake()
    stop.set()
    scheduler.wake()
    thread.join(60)
    assert not thread.is_alive()
    world.store.close()


def test_a_run_that_does_not_end_is_told_after_three_skipped_fires_once_a_day(world):
    world.save(HOURLY)
    (first,) = world.tick(HOUR)
    for _ in range(2):
        world.tick(HOUR)
    assert world.alerts() == []
    for _ in range(3):
        world.tick(HOUR)
    (record,) = world.store.outbox.list()
    assert (record.alert.kind, record.alert.subject) == (AlertKind.SCHEDULE_SKIPPING, "hourly")
    assert record.alert.reason == (
        f"run {first.run_id} is open since 2026-03-01 01:00 UTC; "
        "3 fires in a row were skipped for it"
    )
    assert record.alert.next == f"ratchet show {first.run_id}"
    world.tick(DAY)
    assert world.alerts() == ["schedule_skipping"] * 2


def test_a_nightly_schedule_need_not_lose_three_nights_until_its_stuck_run_is_told(world):
    world.save(Schedule(name="nightly", flow="f", trigger=Cron(cron="0 3 * * *")))
    world.tick(3 * HOUR)
    world.tick(DAY)
    assert world.alerts() == ["schedule_skipping"]


def test_new_data_that_waits_long_for_a_run_is_told(world):
    world.save(FRESH)
    world.tick()
    world.views.commit(10, world.clock.now())
    world.tick_for(MINUTE)
    world.views.commit(10, world.clock.now())
    world.tick_for(MINUTE)
    assert world.alerts() == []
    world.tick(13 * HOUR)
    assert world.alerts() == ["schedule_skipping"]


def test_of_two_schedules_that_train_one_model_the_second_waits_for_the_first_ones_run(world):
    """Both are due at the same moment; new data waits, and a time that passes is skipped."""
    world.about = {"subject": "churn"}
    world.save(HOURLY, FRESH)
    world.tick()
    world.views.commit(10, world.clock.now())
    first, second = world.tick(HOUR)
    assert (first.outcome, second.outcome) == (FireOutcome.STARTED, FireOutcome.SKIPPED)
    assert second.reason == f"run {first.run_id} was still open"
    held = second.schedule
    world.tick_for(MINUTE)
    assert len(world.store.reads.runs()) == 1
    world.end(first.run_id)
    fires = world.tick_for(HOUR)
    assert (held, FireOutcome.STARTED) in [(fire.schedule, fire.outcome) for fire in fires]


def test_schedules_that_train_different_models_do_not_wait_for_each_other(world):
    world.save(HOURLY, Schedule(name="other", flow="f", trigger=Interval(every=HOUR)))
    numbers = count()
    real = world.prepare

    def prepare(schedule, key, at):
        world.about = {"subject": f"model {next(numbers)}"}
        return real(schedule, key, at)

    world.scheduler = Scheduler(world.store, prepare, world.views, clock=world.clock)
    assert [fire.outcome for fire in world.tick(HOUR)] == [FireOutcome.STARTED] * 2
