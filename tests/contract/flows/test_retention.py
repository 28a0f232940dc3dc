"""What goes with age goes by one rule that the database itself keeps; KPIs stay right."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from flows.core import kpis
from flows.core.alert import Alert, AlertKind, AlertStatus, Severity
from flows.core.errors import StoreError
from flows.core.records import Asset
from flows.core.store import Store, events
from tests.contract.flows.plans import insert

NOW = datetime(2027, 1, 1, tzinfo=UTC)
START = datetime(2026, 1, 1, tzinfo=UTC)
HORIZON = START + timedelta(minutes=60)
FIRE = 'fire (schedule, "key", at, decided_at, outcome, run_id)'
NOT_YET = "'9000-01-01T00:00:00.000000+00:00'"  # when a fire that waits is decided on


def runs(store: Store, count: int) -> None:
    """Pruned runs one after the other, each of four events, a minute apart."""
    insert(store, count, "run (id, flow, key, status, source, config_digest, trigger, created_at, "
           "started_at, ended_at, seq) SELECT 'r' || i, 'f', 'k' || i, 'succeeded', 'm:f', 'd', "
           "'{}', AT, AT, AT, 4")  # fmt: skip
    insert(store, 4 * count, "event (run_id, seq, at, kind, data) "
           "SELECT 'r' || ((i + 3) / 4), i % 4, AT, "
           "CASE i % 4 WHEN 1 THEN 'run.created' WHEN 2 THEN 'task.succeeded' "
           "WHEN 3 THEN 'asset.updated' ELSE 'run.succeeded' END, "
           "CASE i % 4 WHEN 1 THEN '{\"flow\"\\: \"f\"}' "
           "WHEN 2 THEN '{\"ended\"\\: \"succeeded\", \"seconds\"\\: 1.0}' WHEN 3 THEN "
           "'{\"asset\"\\: \"model\\:m\", \"version\"\\: \"1\", \"flow\"\\: \"f\"}' "
           "ELSE '{}' END")  # fmt: skip
    change(store, "UPDATE run SET ended_at = (SELECT max(at) FROM event WHERE run_id = run.id)")


def measured(store: Store, since: datetime | None) -> kpis.Kpis:
    return kpis.measure(store.reads.events_by_run(kpis.KINDS, since), since=since, until=NOW)


def kinds(store: Store) -> list[str]:
    return [event.kind for event in store.reads.events(limit=100_000)]


def test_events_of_pruned_runs_go_with_age_and_the_kpis_of_the_time_since_stay(store):
    runs(store, 100)
    before = measured(store, HORIZON)
    assert before.runs["succeeded"] == 86
    assert store.retention.count(HORIZON)["event"] == 4 * 14
    gone = store.retention.remove(HORIZON, NOW)
    assert gone == {"event": 4 * 14}
    assert store.retention.kept_since() == HORIZON
    assert kinds(store).count("run.created") == 86
    assert kinds(store)[-1] == "events.pruned"
    assert measured(store, HORIZON) == before
    assert store.retention.remove(HORIZON, NOW) == {}


def test_what_stays_whatever_its_age(store):
    runs(store, 10)
    insert(store, 1, "definition (run_id, graph, config, config_yaml) "
           "SELECT 'r1', '{}', '{}', ''")  # fmt: skip
    insert(store, 1, "event (run_id, seq, at, kind, data) "
           "SELECT 'r2', 9, AT, 'asset.updated', '{\"asset\"\\: \"table\\:t\"}'")  # fmt: skip
    with store.database.write() as connection:
        connection.execute(text("UPDATE run SET ended_at = NULL WHERE id = 'r3'"))
    store.retention.remove(NOW, NOW)
    left = {(event.run_id, event.kind) for event in store.reads.events() if event.run_id}
    assert {run for run, kind in left if kind == "run.created"} == {"r1", "r3"}
    assert {run for run, kind in left if kind == "asset.updated"} == {"r1", "r2", "r3", "r10"}


def test_the_database_refuses_to_change_or_remove_what_is_kept(store):
    runs(store, 100)
    refused = pytest.raises(StoreError, match="append-only")
    with refused:
        change(store, "DELETE FROM event")
    store.retention.remove(HORIZON, NOW)
    for statement in ("UPDATE event SET kind = 'x'", "DELETE FROM event"):
        with pytest.raises(StoreError, match="append-only"):
            change(store, statement)


@pytest.mark.parametrize(
    "statement", ["DELETE FROM retention", "UPDATE retention SET before = '2020-01-01'"]
)
def test_since_when_events_are_kept_only_moves_on(store, statement):
    store.retention.remove(HORIZON, NOW)
    with pytest.raises(StoreError, match="only moves on"):
        change(store, statement)
    store.retention.remove(START, NOW)
    assert store.retention.kept_since() == HORIZON


def change(store: Store, statement: str) -> None:
    with store.database.write() as connection:
        connection.exec_driver_sql(statement)


def test_several_who_prune_at_the_same_moment_do_not_refuse_each_other(store_url):
    stores, horizons = [Store.open(store_url) for _ in range(3)], range(10)
    together = threading.Barrier(len(stores), timeout=60)

    def prune(number: int) -> None:
        for horizon in horizons:
            together.wait()
            before = START + timedelta(hours=horizon, minutes=number)
            stores[number].retention.remove(before, NOW)

    with ThreadPoolExecutor(len(stores)) as threads:
        list(threads.map(prune, range(len(stores))))
    assert stores[0].retention.kept_since() == START + timedelta(hours=9, minutes=2)
    for opened in stores:
        opened.close()


def test_fires_go_with_age_but_for_the_last_of_each_schedule(store):
    insert(store, 100, f"{FIRE} SELECT 's' || (i % 2), 'k' || i, AT, AT, 'skipped', NULL")
    assert store.retention.remove(NOW, NOW) == {"fire": 98}
    assert [len(store.schedules.fires(f"s{n}")) for n in range(2)] == [1, 1]


def test_a_fire_that_has_waited_since_before_the_horizon_goes(store):
    insert(store, 2, f"{FIRE} SELECT 's', 'waits' || i, AT, {NOT_YET}, 'skipped', NULL")
    first, second = (fire.at for fire in store.schedules.fires("s"))
    assert store.retention.count(max(first, second)) == {"fire": 1}
    assert store.retention.remove(max(first, second), NOW) == {"fire": 1}
    assert len(store.schedules.fires("s")) == 1


def test_a_fire_that_waits_does_not_stand_for_the_last_that_was_decided_on(store):
    insert(store, 2, f"{FIRE} SELECT 's', 'k' || i, AT, AT, 'skipped', NULL")
    insert(store, 1, f"{FIRE} SELECT 's', 'waits', AT, {NOT_YET}, 'skipped', NULL")
    assert store.retention.remove(START + timedelta(seconds=1), NOW) == {}
    assert store.retention.remove(HORIZON, NOW) == {"fire": 2}
    assert [fire.key for fire in store.schedules.fires("s")] == ["k2"]


def alert(key: str, at: datetime) -> Alert:
    return Alert(key=key, kind=AlertKind.TEST, severity=Severity.INFO, flow=None, subject=key,
                 title="t", reason="r", since=at, at=at, next="n")  # fmt: skip


def test_alerts_go_with_age_once_nobody_has_to_be_told_any_more(store):
    store.outbox.post([alert(key, START) for key in ("old", "waits")], START)
    store.outbox.post([alert("new", NOW)], NOW)
    with store.database.write() as connection:
        connection.execute(text("UPDATE outbox SET status = 'delivered' WHERE key <> 'waits'"))
        values = "('old', 'c', 'delivered', 1), ('new', 'c', 'delivered', 1)"
        columns = "(alert, channel, state, tries)"
        connection.execute(text(f"INSERT INTO delivery {columns} VALUES {values}"))
    assert store.retention.remove(HORIZON, NOW)["outbox"] == 1
    with store.database.read() as connection:
        assert connection.execute(text("SELECT alert FROM delivery")).scalars().all() == ["new"]
    assert {each.alert.key for each in store.outbox.list()} == {"waits", "new"}
    assert AlertStatus.PENDING in {each.status for each in store.outbox.list()}


def test_leases_of_workers_that_have_died_go_and_those_of_the_living_stay(store):
    for name in ("worker:dead", "worker:alive", "something"):
        store.leases.acquire(name, name.partition(":")[2] or name, timedelta(seconds=8))
    change(store, "UPDATE lease SET expires_at = '2026-01-01T00:00:00.000000+00:00' "
           "WHERE name <> 'worker:alive'")  # fmt: skip
    assert store.retention.remove(START, NOW) == {"lease": 1}
    with store.database.read() as connection:
        names = connection.execute(text("SELECT name FROM lease")).scalars().all()
    assert set(names) == {"worker:alive", "something"}


def test_what_happened_since_a_time_begins_at_a_number_that_misses_nothing(store):
    runs(store, 5000)
    with store.database.read() as connection:
        for since in (START, START + timedelta(days=2), NOW):
            first = events.first_since(connection, since)
            later = [e for e in store.reads.events(limit=100_000) if e.at >= since]
            assert all(event.id >= first for event in later)
        assert events.first_since(connection, START) <= 1
        assert events.first_since(connection, NOW) >= 4 * 5000


def test_the_newest_of_each_asset_is_read_however_old(store):
    for number in range(1, 4):
        for name in ("model:a", "model:b"):
            asset = Asset(name=name, version=str(number))
            store.assets.update(asset, cause=str(number), now=START + timedelta(hours=number))
    newest = measured(store, NOW - timedelta(days=7)).champions
    assert [(fresh.name, fresh.version) for fresh in newest] == [("a", "3"), ("b", "3")]
