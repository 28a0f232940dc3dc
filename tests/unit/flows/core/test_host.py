"""A host drives runs in a thread of its own, and tells what has stopped it."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import text

from flows.core.clock import SystemClock
from flows.core.engine import Engine
from flows.core.errors import LeaseLost, StoreError
from flows.core.executors.threads import ThreadExecutor
from flows.core.flow import flow, task
from flows.core.host import Host
from flows.core.records import RunStatus
from flows.core.service import Service
from flows.core.store import Store

PATIENCE = 60.0


@pytest.fixture
def store(tmp_path):
    opened = Store.open(f"sqlite:///{tmp_path}/ratchet.db")
    yield opened
    opened.close()


@pytest.fixture
def host(store):
    hosts = []

    def hosting(which, **options):
        def engine(identity):
            return Engine(
                store, {"threads": ThreadExecutor(2)}, clock=SystemClock(),
                default_executor="threads", identity=identity,
                calls=lambda _, key: which.tasks[key].function,
            )  # fmt: skip

        hosts.append(Host(engine, **options))
        return hosts[-1]

    yield hosting
    for each in hosts:
        each.close()


def start(store, which, host):
    return Service(store, SystemClock()).start(
        which, config={}, config_yaml="", config_digest="d", trigger={}, held_by=host.worker
    )


def wait(host, run):
    changes = 0
    while host.drives(run.id):
        changes = host.wait_for_change(changes, PATIENCE)


@task
def one() -> int:
    return 1


@flow
def single() -> None:
    one()


def test_runs_that_are_driven_one_after_the_other_share_a_worker(store, host):
    hosting, workers = host(single), set()
    for _ in range(2):
        run = start(store, single, hosting)
        hosting.drive(run.id)
        wait(hosting, run)
        detail = store.reads.detail(run.id)
        assert detail.run.status is RunStatus.SUCCEEDED
        workers |= {attempt.worker for attempt in detail.attempts} | {detail.run.held_by}
    assert workers == {hosting.worker}


def at_work(store, host):
    """A host in the middle of a task, its run, and what lets the task end."""
    begun, end = threading.Event(), threading.Event()

    @task
    def long() -> int:
        begun.set()
        end.wait(PATIENCE)
        return 1

    @flow
    def lasting() -> None:
        long()

    hosting = host(lasting)
    run = start(store, lasting, hosting)
    hosting.drive(run.id)
    assert begun.wait(PATIENCE)
    return hosting, run, end


def test_a_host_that_loses_its_lease_goes_on_as_a_new_worker(store, host):
    hosting, run, end = at_work(store, host)
    was = hosting.worker
    hosting._engine._lease._lost = LeaseLost("it was taken")
    hosting.wake()
    end.set()
    wait(hosting, run)
    assert hosting.worker != was
    assert store.reads.find(run.id).status is RunStatus.SUCCEEDED


def test_a_store_that_stays_away_stops_the_driving_and_says_so(store, host, monkeypatch):
    def away(*_, **__):
        raise StoreError("the disk is full")

    hosting = host(single)
    run = start(store, single, hosting)
    monkeypatch.setattr(store.runs, "step", away)
    hosting.drive(run.id)
    wait(hosting, run)
    assert "the disk is full" in str(hosting.error_of(run.id))
    monkeypatch.undo()
    hosting.drive(run.id)
    wait(hosting, run)
    assert hosting.error_of(run.id) is None
    assert store.reads.find(run.id).status is RunStatus.SUCCEEDED


def test_a_run_that_cannot_be_carried_on_ends_no_other_of_the_same_host(store, host):
    hosting, run, end = at_work(store, host)
    broken = start(store, single, hosting)
    with store.database.write() as connection:
        change = text("UPDATE definition SET graph = 'newer' WHERE run_id = :id")
        connection.execute(change, {"id": broken.id})
    store.runs.forget([broken.id])
    hosting.drive(broken.id)
    wait(hosting, broken)
    assert "cannot be carried on here" in str(hosting.error_of(broken.id))
    assert hosting.drives(run.id)
    end.set()
    wait(hosting, run)
    assert hosting.error_of(run.id) is None
    detail = store.reads.detail(run.id)
    assert detail.run.status is RunStatus.SUCCEEDED
    assert len(detail.attempts) == 1


def test_what_is_unfinished_when_a_host_is_closed_is_named(store, host):
    hosting, run, end = at_work(store, host)
    assert hosting.close(0.05) == (run.id,)
    end.set()
