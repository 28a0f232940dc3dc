"""What every state store promises."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from flows.core.claiming import Capabilities
from flows.core.errors import LeaseLost, NotFound, Refused, StoreError
from flows.core.graph import Const, Node, Ref, validated
from flows.core.records import ErrorInfo, Outcome, OutcomeKind, RunStatus, TaskStatus
from flows.core.retry import Retry
from flows.core.store import NewRun, Store
from flows.core.store.leases import LeaseStore

NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
LATER = NOW + timedelta(seconds=5)
CHAIN = validated(
    (
        Node(key="a", function="m:a", inputs={"x": Const(const=1)}),
        Node(key="b", function="m:b", inputs={"x": Ref(node="a")}),
    )
)


def new(run_id="r1", key="k1", graph=CHAIN, flow="f"):
    return NewRun(
        id=run_id, flow=flow, key=key, source="m:f", graph=graph, config={"depth": 3},
        config_yaml="depth: 3\n", config_digest="d" * 64, trigger={"kind": "test"},
    )  # fmt: skip


def step(store, *outcomes, worker="w1", slots=8, runs=("r1",), now=NOW):
    return store.runs.step(
        outcomes,
        Capabilities(worker=worker, slots={"inline": slots}, default_executor="inline", now=now),
        runs=runs,
    )


def done(attempt_id, value="1"):
    return Outcome(attempt_id=attempt_id, kind=OutcomeKind.SUCCEEDED, value=value)


def test_a_run_goes_from_start_to_end_and_all_of_it_is_stored(store):
    assert store.runs.create(new(), NOW).status is RunStatus.QUEUED
    (claim,) = step(store).claims
    work = claim.work
    assert (claim.attempt.id, work.arguments, work.config) == ("r1.a.1", '{"x":1}', '{"depth":3}')
    (claim,) = step(store, done("r1.a.1", "41")).claims
    assert claim.work.arguments == '{"x":41}'
    (ended,) = step(store, done("r1.b.1", "42"), now=LATER).ended
    assert ended.status is RunStatus.SUCCEEDED
    detail = store.reads.detail("r1")
    assert detail.run == ended
    assert [(t.key, t.status, t.value) for t in detail.tasks] == [
        ("a", TaskStatus.SUCCEEDED, "41"),
        ("b", TaskStatus.SUCCEEDED, "42"),
    ]
    assert detail.graph == CHAIN
    assert detail.config_yaml == "depth: 3\n"
    assert [a.id for a in detail.attempts] == ["r1.a.1", "r1.b.1"]


def test_what_is_stored_is_the_same_for_another_process(store, store_url):
    store.runs.create(new(), NOW)
    step(store)
    other = Store.open(store_url)
    (claim,) = step(other, done("r1.a.1", "41")).claims
    other.close()
    assert claim.attempt.id == "r1.b.1"


def test_a_run_is_recorded_while_a_worker_waits_for_another_transaction(new_postgres):
    store = Store.open(new_postgres())
    store.runs.create(new(), NOW)
    with store.database.write() as connection:
        connection.execute(text("SELECT id FROM run WHERE id = 'r1' FOR UPDATE"))
        worker = threading.Thread(target=step, args=(store,))
        worker.start()
        until_somebody_waits(store)
        second = threading.Thread(target=store.runs.create, args=(new("r2", "k2"), NOW))
        second.start()
        second.join(10)
        assert worker.is_alive()
        assert not second.is_alive()
    assert store.reads.get("r2").key == "k2"
    worker.join()
    second.join()
    store.close()


def until_somebody_waits(store):
    while True:
        with store.database.read() as connection:
            if connection.execute(text("SELECT 1 FROM pg_locks WHERE NOT granted")).first():
                return


def test_creating_under_one_key_twice_gives_the_first_run(store):
    first = store.runs.create(new("r1"), NOW)
    assert store.runs.create(new("r2"), LATER) == first
    assert store.runs.create(new("r3", flow="other"), LATER).id == "r3"


def test_many_creating_under_one_key_at_once_make_one_run(store, store_url):
    stores = [Store.open(store_url) for _ in range(4)]
    made, barrier = [], threading.Barrier(4)

    def create(index):
        barrier.wait()
        made.append(stores[index].runs.create(new(f"r{index}"), NOW).id)

    threads = [threading.Thread(target=create, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 1
    assert len(store.reads.runs()) == 1
    for opened in stores:
        opened.close()


def test_several_workers_on_one_run_claim_each_task_once(store, store_url):
    wide = validated(tuple(Node(key=f"t{i}", function="m:t", inputs={}) for i in range(60)))
    store.runs.create(new(graph=wide), NOW)
    claimed, barrier = [], threading.Barrier(3)

    def work(name):
        mine = Store.open(store_url)
        barrier.wait()
        outcomes = []
        while True:
            done_now = step(mine, *outcomes, worker=name, slots=2)
            claimed.extend(c.attempt.id for c in done_now.claims)
            outcomes = [done(c.attempt.id) for c in done_now.claims]
            if not outcomes:
                mine.runs.refresh(["r1"])
                if mine.reads.find("r1").status.ended:
                    break
        mine.close()

    threads = [threading.Thread(target=work, args=(f"w{i}",)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == sorted(f"r1.t{i}.1" for i in range(60))
    assert store.reads.find("r1").status is RunStatus.SUCCEEDED


def test_no_more_is_claimed_than_there_are_slots(store):
    wide = validated(tuple(Node(key=f"t{i}", function="m:t", inputs={}) for i in range(5)))
    store.runs.create(new(graph=wide), NOW)
    assert len(step(store, slots=2).claims) == 2
    assert len(step(store, slots=0).claims) == 0


def test_a_task_for_an_executor_that_is_not_there_fails_and_says_which_are(store):
    graph = validated((Node(key="a", function="m:a", inputs={}, executor="gpu"),))
    store.runs.create(new(graph=graph), NOW)
    (ended,) = step(store).ended
    assert ended.reason == "a: NoExecutor: there is no executor 'gpu'"


def test_the_end_of_a_lost_attempt_is_reported_late_and_not_recorded(store):
    store.runs.create(new(), NOW)
    step(store, worker="w1")
    store.runs.recover("r1", ["w1"], worker="w2", survivors=set(), now=LATER)
    again = step(store, worker="w2", now=LATER)
    assert [c.attempt.id for c in again.claims] == ["r1.a.2"]
    late = step(store, done("r1.a.1", "666"), worker="w1", now=LATER)
    assert [o.attempt_id for o in late.late] == ["r1.a.1"]
    assert store.reads.detail("r1").tasks[0].value is None


def test_an_attempt_that_outlives_its_worker_is_handed_over_under_its_own_id(store):
    store.runs.create(new(), NOW)
    step(store, worker="w1")
    (adopted,) = store.runs.recover("r1", ["w1"], worker="w2", survivors={"inline"}, now=LATER)
    assert (adopted.attempt.id, adopted.attempt.worker) == ("r1.a.1", "w2")
    assert step(store, done("r1.a.1", "41"), worker="w2", now=LATER).claims


def test_a_recovery_leaves_the_work_of_living_workers_alone(store):
    store.runs.create(new(), NOW)
    step(store, worker="w1")
    assert store.runs.recover("r1", ["w9"], worker="w2", survivors=set(), now=LATER) == []
    assert list(store.owners.attempts_of("w1")) == ["r1.a.1"]


def test_a_cancelled_run_tells_the_worker_what_to_end_also_from_another_process(store, store_url):
    store.runs.create(new(), NOW)
    step(store)
    other = Store.open(store_url)
    other.runs.cancel("r1", "cancelled by ada", LATER)
    other.close()
    store.runs.refresh(["r1"])
    assert [a.id for a in step(store, now=LATER).to_stop] == ["r1.a.1"]
    stopped = Outcome(attempt_id="r1.a.1", kind=OutcomeKind.STOPPED)
    (ended,) = step(store, stopped, now=LATER).ended
    assert (ended.status, ended.reason) == (RunStatus.CANCELLED, "cancelled by ada")


def test_a_task_with_equal_code_and_inputs_is_reused_where_it_asks_for_that(store):
    graph = validated((Node(key="a", function="m:a", inputs={"x": Const(const=1)}, cache="v1"),))
    store.runs.create(new(graph=graph), NOW)
    step(store)
    step(store, done("r1.a.1", "41"))
    store.runs.create(new("r2", key="k2", graph=graph), LATER)
    (ended,) = step(store, runs=("r2",), now=LATER).ended
    task = store.reads.detail("r2").tasks[0]
    assert (ended.status, task.value, task.reason) == (
        RunStatus.SUCCEEDED,
        "41",
        "reused from run r1",
    )
    changed = replace(graph.nodes[0], cache="v2")
    store.runs.create(new("r3", key="k3", graph=validated((changed,))), LATER)
    assert step(store, runs=("r3",), now=LATER).claims
    other = replace(new("r4", key="k4", graph=graph), config_digest="e" * 64)
    store.runs.create(other, LATER)  # its config is another one, which the task may have read
    assert step(store, runs=("r4",), now=LATER).claims


def test_what_another_run_has_made_meanwhile_is_reused_for_the_next_try(store):
    policy = Retry(attempts=2, delay=5.0)
    node = Node(key="a", function="m:a", inputs={}, retry=policy, cache="v1")
    graph = validated((node,))
    for run in ("r1", "r2"):
        store.runs.create(new(run, key=run, graph=graph), NOW)
    step(store, runs=("r1", "r2"))
    error = ErrorInfo(type="OSError", message="no luck")
    step(store, Outcome(attempt_id="r1.a.1", kind=OutcomeKind.FAILED, error=error))
    step(store, done("r2.a.1", "41"))
    (ended,) = step(store, now=LATER).ended
    task = store.reads.detail("r1").tasks[0]
    assert (ended.status, task.value, task.reason, task.error) == (
        RunStatus.SUCCEEDED,
        "41",
        "reused from run r2",
        None,
    )


def test_events_are_numbered_without_gap_and_cannot_be_changed(store):
    store.runs.create(new(), NOW)
    step(store)
    step(store, done("r1.a.1"))
    events = store.reads.events(run_id="r1")
    assert [e.seq for e in events] == list(range(1, len(events) + 1))
    assert events[0].kind == "run.created"
    for statement in ("UPDATE event SET kind = 'x'", "DELETE FROM event"):
        with pytest.raises(StoreError, match="append-only"), store.database.write() as connection:
            connection.execute(text(statement))


def test_a_second_live_attempt_of_one_task_is_refused_by_the_database(store):
    store.runs.create(new(), NOW)
    step(store)
    copy = (
        "INSERT INTO attempt (id, run_id, key, number, status, executor, worker, started_at) "
        "SELECT 'r1.a.9', run_id, key, 9, status, executor, worker, started_at FROM attempt"
    )
    with pytest.raises(StoreError), store.database.write() as connection:
        connection.execute(text(copy))


def test_runs_are_listed_newest_first_and_found_by_the_end_of_their_id(store):
    for index in range(3):
        moment = NOW + timedelta(minutes=index)
        store.runs.create(new(f"260301-0{index}-ab{index}", key=str(index)), moment)
    assert [r.id[-3:] for r in store.reads.runs(limit=2)] == ["ab2", "ab1"]
    assert store.reads.find("ab1").id == "260301-01-ab1"
    assert store.reads.find("last").id == "260301-02-ab2"
    with pytest.raises(NotFound, match="there is no run zzz"):
        store.reads.find("zzz")
    with pytest.raises(NotFound):  # a pattern is not an id
        store.reads.find("%")
    store.runs.create(new("260301-09-9ab1", key="9"), NOW)
    with pytest.raises(Refused, match="several"):
        store.reads.find("ab1")


def test_retries_wait_in_the_store_and_are_claimed_when_due(store, store_url):
    graph = validated((Node(key="a", function="m:a", inputs={}, retry=Retry(attempts=2, delay=5)),))
    store.runs.create(new(graph=graph), NOW)
    step(store)
    failed = Outcome(attempt_id="r1.a.1", kind=OutcomeKind.FAILED)
    assert step(store, failed).claims == []
    other = Store.open(store_url)
    assert step(other, now=LATER - timedelta(seconds=1)).claims == []
    assert [c.attempt.id for c in step(other, now=LATER).claims] == ["r1.a.2"]
    other.close()


def test_a_lease_is_renewed_by_its_holder_and_taken_by_others_only_when_it_has_expired(
    store, clock
):
    ttl = timedelta(seconds=10)
    mine = store.leases.acquire("worker:a", "host:1:1:a", ttl)
    with pytest.raises(LeaseLost, match="held by host:1:1:a"):
        store.leases.acquire("worker:a", "host:2:2:b", ttl)
    clock.advance(5)
    renewed = store.leases.renew(mine, ttl)
    clock.advance(7)
    assert [h.holder for h in store.leases.holders()] == ["host:1:1:a"]
    clock.advance(8)
    assert store.leases.holders() == ()
    taken = store.leases.acquire("worker:a", "host:2:2:b", ttl)
    assert taken.token == mine.token + 1
    with pytest.raises(LeaseLost):
        store.leases.renew(renewed, ttl)


def test_a_lease_that_was_renewed_since_it_was_read_is_not_taken_away(store, clock):
    slow, dead = (
        store.leases.acquire(f"worker:{name}", name, timedelta(seconds=8)) for name in "ab"
    )
    clock.advance(9)
    now, read = store.leases.of(["a", "b", "nobody"])
    assert (now, read) == (clock.now(), {"a": slow, "b": dead})
    renewed = store.leases.renew(slow, timedelta(seconds=8))
    assert store.leases.fence(read.values()) == {"b"}
    assert store.leases.holders() == (renewed,)
    with pytest.raises(LeaseLost):
        store.leases.renew(dead, timedelta(seconds=8))


def test_a_lease_of_a_dead_holder_is_free_before_it_runs_out(store):
    store.leases.acquire("turn", "a", timedelta(seconds=8))
    store.leases.acquire("turn", "b", timedelta(seconds=8), is_dead={"a"}.__contains__)
    with pytest.raises(LeaseLost, match="held by b"):
        store.leases.acquire("turn", "c", timedelta(seconds=8), is_dead={"a"}.__contains__)


def test_of_several_that_take_a_free_lease_at_once_one_has_it(store, monkeypatch):
    """Whoever reads that it is free, and writes after another has taken it, is refused."""
    write, others = LeaseStore._write, iter(["b"])

    def late(self, lease, before):
        for other in others:
            store.leases.acquire(lease.name, other, timedelta(seconds=8))
        return write(self, lease, before)

    monkeypatch.setattr(LeaseStore, "_write", late)
    with pytest.raises(LeaseLost, match="at the same moment"):
        store.leases.acquire("turn", "a", timedelta(seconds=8))


def test_processes_that_open_a_new_store_at_once_all_find_it_ready(store_url):
    stores, barrier = [], threading.Barrier(4)

    def open_it():
        barrier.wait()
        stores.append(Store.open(store_url))

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stores) == 4
    for opened in stores:
        assert opened.reads.runs() == ()
        opened.close()


def test_threads_that_come_and_go_leave_no_connection_behind(store):
    def write(index):
        store.runs.create(new(f"r{index}", key=str(index)), NOW)

    for index in range(40):
        thread = threading.Thread(target=write, args=(index,))
        thread.start()
        thread.join()
    assert len(store.reads.runs()) == 40
    assert store.database.engine.pool.checkedout() <= 2
