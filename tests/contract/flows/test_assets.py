"""What every state store promises about assets, and the schedules that wait for them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from sqlalchemy import text

from flows.core import due
from flows.core.claiming import Capabilities
from flows.core.graph import Const, Node, validated
from flows.core.records import Asset, Outcome, OutcomeKind
from flows.core.schedule import FireOutcome, OnAsset, Overlap, Schedule
from flows.core.scheduler import Scheduler
from flows.core.store import NewRun, Store
from flows.core.store.assets import Updated, insert_fires
from tests.manual_clock import ManualClock

NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
SEVEN = Asset(name="model:digits", version="7")
GRAPH = validated((Node(key="a", function="m:a", inputs={"x": Const(const=1)}),))
NUMBERS = count(1)


def run_of(flow: str = "f", lane: str | None = None) -> NewRun:
    number = next(NUMBERS)
    return NewRun(
        id=f"r{number}", flow=flow, key=f"k{number}", source="m:f", graph=GRAPH, config={},
        config_yaml="", config_digest="d", trigger={}, lane=lane,
    )  # fmt: skip


def save(store: Store, name: str, asset: str = "model:*", now: datetime = NOW) -> None:
    schedule = Schedule(name=name, flow="f", trigger=OnAsset(asset=asset), overlap=Overlap.ALLOW)
    store.schedules.save(schedule, *due.first(schedule, now), now)


def scheduler(store: Store, now: datetime = NOW) -> Scheduler:
    return Scheduler(store, lambda *_: run_of(), None, clock=ManualClock(now))


def waiting(store: Store, name: str) -> list[str]:
    return [fire.key for fire in store.schedules.pending(name)]


def told(store: Store) -> list[int]:
    return sorted(update.event for update in store.assets.newest())


def made_by_a_task(store: Store, *assets: Asset, now: datetime = NOW) -> None:
    """A run whose only task says that it made some assets."""
    new = run_of()
    store.runs.create(new, now)
    can = Capabilities(worker="w", slots={"inline": 1}, default_executor="inline", now=now)
    store.runs.step([], can, runs=[new.id])
    done = Outcome(attempt_id=f"{new.id}.a.1", kind=OutcomeKind.SUCCEEDED, value="1", assets=assets)
    store.runs.step([done], can, runs=[])


def test_the_fires_of_those_who_wait_are_in_the_commit_of_the_asset(store: Store) -> None:
    save(store, "any")
    save(store, "digits", "model:digits")
    save(store, "other", "model:other")
    save(store, "odd", "model:[d]igits")
    made_by_a_task(store, SEVEN, Asset(name="table:sales", version="1"))
    assert store.assets.update(SEVEN, cause="approved: epoch 2", now=NOW)
    keys = [f"event:{number}" for number in (told(store)[0], told(store)[2])]
    for name in ("any", "digits", "odd"):
        assert waiting(store, name) == keys
    assert waiting(store, "other") == []
    newest = store.schedules.fires("any")[0]
    assert (newest.outcome, newest.run_id, newest.decided_at) == (FireOutcome.PENDING, None, NOW)


def test_one_change_is_told_once_and_another_again(store: Store) -> None:
    later = NOW + HOUR
    assert store.assets.update(SEVEN, cause="approved: epoch 2", now=NOW)
    assert not store.assets.update(SEVEN, cause="approved: epoch 2", now=later)
    assert store.assets.update(SEVEN, cause="approved: epoch 4", now=later)
    assert len(told(store)) == 2


def test_a_change_that_several_tell_of_at_the_same_moment_is_told_once(store_url: str) -> None:
    stores, epochs = [Store.open(store_url) for _ in range(3)], range(10)
    save(stores[0], "any")
    together = threading.Barrier(len(stores), timeout=60)

    def tell_of_all(store: Store) -> list[bool]:
        news = []
        for epoch in epochs:
            together.wait()
            news.append(store.assets.update(SEVEN, cause=f"approved: epoch {epoch}", now=NOW))
        return news

    with ThreadPoolExecutor(len(stores)) as threads:
        of_each = list(threads.map(tell_of_all, stores))
    assert [sum(news) for news in zip(*of_each, strict=True)] == [1] * len(epochs)
    assert len(waiting(stores[0], "any")) == len(epochs)
    for opened in stores:
        opened.close()


def test_a_new_schedule_begins_now_however_much_was_told_before(store: Store) -> None:
    with store.database.write() as connection:
        connection.execute(
            text(
                "INSERT INTO event (run_id, seq, at, kind, data) VALUES"
                ' (:run, 1, :at, \'asset.updated\', \'{"asset":"model:digits","version":"1"}\')'
            ),
            [
                {"run": f"old{number}", "at": at_column(store, NOW - HOUR)}
                for number in range(12_000)
            ],
        )
    save(store, "any")
    mine = scheduler(store)
    assert mine.tick(NOW) == []
    store.assets.update(SEVEN, cause="x", now=NOW)
    (fire,) = mine.tick(NOW)
    assert (fire.key, fire.outcome) == (f"event:{told(store)[-1]}", FireOutcome.STARTED)
    assert waiting(store, "any") == []
    assert mine.tick(NOW) == []


def test_an_asset_whose_commit_stalls_is_not_lost(store_url: str) -> None:
    if store_url.startswith("sqlite"):
        pytest.skip("one writer at a time: ids become visible in their order")
    store, slow = Store.open(store_url), Store.open(store_url)
    save(store, "any")
    begun, go_on = threading.Event(), threading.Event()

    def stall() -> None:
        with slow.database.write() as connection:
            event = {"run": "slow", "at": NOW, "data": '{"asset":"model:slow","version":"1"}'}
            number = connection.execute(
                text(
                    "INSERT INTO event (run_id, seq, at, kind, data)"
                    " VALUES (:run, 1, :at, 'asset.updated', :data) RETURNING id"
                ),
                event,
            ).scalar_one()
            insert_fires(connection, [Updated(number, NOW, "model:slow")])
            begun.set()
            go_on.wait(60)

    with ThreadPoolExecutor(1) as pool:
        stalled = pool.submit(stall)
        assert begun.wait(60)
        with store.database.write() as connection:
            connection.execute(
                text(
                    "INSERT INTO event (run_id, seq, at, kind, data)"
                    " VALUES (:run, 1, :at, 'x', '{}')"
                ),
                [{"run": f"other{number}", "at": NOW} for number in range(1_100)],
            )
        store.assets.update(SEVEN, cause="while the other stalls", now=NOW)
        mine = scheduler(store)
        first = mine.tick(NOW)
        go_on.set()
        stalled.result()
    second = mine.tick(NOW)
    assert [fire.outcome for fire in (*first, *second)] == [FireOutcome.STARTED] * 2
    assert {fire.key for fire in (*first, *second)} == {f"event:{n}" for n in told(store)}
    store.close()
    slow.close()


def test_what_waits_while_a_schedule_is_paused_is_decided_on_when_it_is_resumed(
    store: Store,
) -> None:
    save(store, "any")
    store.schedules.pause("any", "paused by ann", NOW)
    store.assets.update(SEVEN, cause="x", now=NOW)
    assert scheduler(store).tick(NOW) == []
    store.schedules.resume("any", "ann", NOW)
    assert [fire.outcome for fire in scheduler(store).tick(NOW)] == [FireOutcome.STARTED]


def test_what_waits_is_forgotten_when_its_schedule_waits_for_another_thing(store: Store) -> None:
    save(store, "any")
    store.assets.update(SEVEN, cause="x", now=NOW)
    save(store, "any", "table:*")
    assert waiting(store, "any") == []
    store.assets.update(Asset(name="table:sales", version="1"), cause="x", now=NOW)
    store.schedules.remove("any", NOW)
    assert waiting(store, "any") == []


def test_assets_told_by_workers_of_the_release_before_fire_too_and_once(store: Store) -> None:
    save(store, "any")
    save(store, "later", now=NOW + HOUR)
    with store.database.write() as connection:
        for number, name in enumerate(("model:digits", "table:sales", "model:digits")):
            connection.execute(
                text(
                    "INSERT INTO event (run_id, seq, at, kind, data)"
                    " VALUES (:run, 1, :at, 'asset.updated', :data)"
                ),
                {
                    "run": f"old{number}",
                    "at": at_column(store, NOW + timedelta(seconds=number)),
                    "data": f'{{"asset":"{name}","version":"1"}}',
                },
            )
    now = NOW + timedelta(seconds=10)
    fires = scheduler(store).tick(now)
    assert {(fire.schedule, fire.key) for fire in fires} == {
        ("any", f"event:{told(store)[0]}"), ("any", f"event:{told(store)[2]}"),
    }  # fmt: skip
    assert scheduler(store).tick(now) == []


@pytest.mark.parametrize("cursor", ['{"at": 5}', '{"at": "2026-03-01T03:00:00"}', "[1]", "later"])
def test_the_cursor_of_a_newer_version_stops_no_scheduler(store: Store, cursor: str) -> None:
    save(store, "newer")
    save(store, "ours")
    written = text("UPDATE schedule SET cursor = :cursor WHERE name = 'newer'")
    with store.database.write() as connection:
        connection.execute(written, {"cursor": cursor})
    store.assets.update(SEVEN, cause="somebody", now=NOW + HOUR)
    fires = scheduler(store, NOW + HOUR).tick(NOW + HOUR)
    assert "ours" in {fire.schedule for fire in fires}


def test_many_tasks_and_schedulers_at_once_lose_and_double_nothing(store_url: str) -> None:
    stores = [Store.open(store_url) for _ in range(4)]
    for name in ("any", "digits"):
        save(stores[0], name)

    def work(store: Store) -> list[str]:
        return [made_by_a_task(store, SEVEN) for _ in range(10)] and []

    def decide(store: Store) -> list[str]:
        mine = scheduler(store)
        fires = [fire for _ in range(20) for fire in mine.tick(NOW)]
        return [f"{fire.schedule} {fire.key}" for fire in fires]

    with ThreadPoolExecutor(4) as pool:
        some = pool.map(lambda job: job[0](job[1]), zip((work, decide) * 2, stores, strict=True))
        fired = [key for keys in some for key in keys]
    fired += decide(stores[0])
    wanted = {f"{name} event:{n}" for name in ("any", "digits") for n in told(stores[0])}
    assert len(wanted) == 40
    assert (sorted(fired), len(fired)) == (sorted(wanted), 40)
    for store in stores:
        store.close()


def at_column(store: Store, at: datetime) -> object:
    """A time as a driver without our column types takes it."""
    if store.database.url.get_backend_name() == "sqlite":
        return at.isoformat(timespec="microseconds")
    return at
