"""What any number of workers on one store promise: each attempt is claimed once, within limits."""

from __future__ import annotations

import random
import threading
from collections import Counter
from datetime import timedelta

import pytest

from flows.core.claiming import PATIENCE, Budget, Capabilities, Capacity, Resources
from flows.core.clock import SystemClock
from flows.core.engine import Engine
from flows.core.errors import Refused
from flows.core.executors.inline import InlineExecutor
from flows.core.executors.protocol import Outcome, OutcomeKind
from flows.core.flow import flow, task
from flows.core.identity import Identity, this_machine
from flows.core.lease_keeper import LEASE
from flows.core.pool import Pool, Rate
from flows.core.records import AttemptStatus, ErrorInfo, RunStatus
from flows.core.retry import Retry
from flows.core.service import Service
from flows.core.store import NewRun, Store

RESTING = timedelta(seconds=1.5)  # more than an engine's round


class Held:
    """An executor whose work ends when the test says so."""

    name, queues, kills, survives, capacity = "held", False, True, False, None

    def __init__(self, slots=8, *, survives=False):
        self.slots, self.survives = slots, survives
        self.started, self.stopped, self.deliver = [], [], None

    def open(self, deliver):
        self.deliver = deliver

    def warm(self): ...

    def start(self, work):
        if work.attempt_id not in [w.attempt_id for w in self.started]:
            self.started.append(work)

    def began(self, attempt_id):
        return True

    def stop(self, attempt_id, grace):
        self.stopped.append(attempt_id)

    def close(self): ...

    @property
    def ids(self):
        return [work.attempt_id for work in self.started]

    def end(self, attempt_id, kind=OutcomeKind.SUCCEEDED, value="1"):
        self.deliver(Outcome(attempt_id=attempt_id, kind=kind, value=value))


class Off:
    """The clock of a machine that is wrong by so much; what passes, it counts as everybody."""

    def __init__(self, clock, seconds):
        self.by, self._clock = timedelta(seconds=seconds), clock
        self.elapsed, self.sleep, self.wait = clock.elapsed, clock.sleep, clock.wait

    def now(self):
        return self._clock.now() + self.by


@task
def light(x: int = 0) -> int:
    return x + 1


@task(retry=Retry(attempts=3, delay=600))
def flaky() -> int:
    return 1


@task(pool="gpu")
def on_gpu(x: int = 0) -> int:
    return x + 1


@task(pool="gpu", weight=4)
def heavy(x: int = 0) -> int:
    return x + 1


@task(pool="gpu", weight=5)
def too_heavy() -> int:
    return 1


@task
def numbers() -> list[int]:
    return list(range(1000))


@task
def each(number: int) -> int:
    return number


@flow
def mapped() -> None:
    each.map(numbers())


@flow
def plain() -> None:
    light()


@flow
def other() -> None:
    light()


@flow
def gpu() -> None:
    on_gpu()


@flow
def big() -> None:
    heavy()


@flow
def huge() -> None:
    too_heavy()


@flow
def mixed() -> None:
    on_gpu(light(on_gpu(light())))


@flow
def twice() -> None:
    on_gpu(on_gpu())


@flow
def retried() -> None:
    flaky()


@flow
def fan() -> None:
    for _ in range(6):
        light()


@task(cache=True, version="1")
def prepared() -> int:
    return 1


@task(executor="missing", pool="other")
def unstartable(x: int) -> int:
    return x


@task(pool="gpu", run_if="all_done")
def on_gpu_after_all(x: int | None) -> int:
    return 1


@flow
def cached() -> None:
    on_gpu(prepared())


@flow
def refused() -> None:
    on_gpu_after_all(unstartable(light()))


@task(executor="cluster")
def far(x: int = 0) -> int:
    return x


@flow
def models() -> None:
    far(light())


@task(executor="cluster", resources="size")
def sized(size: dict[str, int]) -> int:
    return 1


@flow
def narrow() -> None:
    sized({"num_gpus": 1})


@flow
def wide() -> None:
    sized({"num_gpus": 4})


FLOWS = (
    cached,
    refused,
    models,
    narrow,
    wide,
    plain,
    other,
    gpu,
    big,
    huge,
    mixed,
    twice,
    retried,
    fan,
    mapped,
)
TASKS = {f.name: f.tasks for f in FLOWS}
GPU = {"gpu": Pool(name="gpu", slots=4)}


def make(store, clock, which, run_id=None, **fields):
    run_id = run_id or f"{which.name}{random.randrange(10**9):09}"
    new = NewRun(
        id=run_id, flow=which.name, key=run_id, source=fields.pop("source", which.source),
        graph=which.graph, config={}, config_yaml="", config_digest="d", trigger={}, **fields,
    )  # fmt: skip
    return store.runs.create(new, clock.now()).id


def engine(store, clock, executor=None, **options):
    executor = executor or InlineExecutor()
    options.setdefault("discovers", True)
    return Engine(
        store, {executor.name: executor}, clock=clock, default_executor=executor.name,
        calls=lambda name, key: TASKS[name][key].function, **options,
    )  # fmt: skip


def vanish(dead):
    """What a process that is gone does not do any more: renew its lease, and give it back."""
    dead._lease._stop.set()
    dead._lease._thread.join()


def statuses(store):
    return Counter(run.status for run in store.reads.runs(limit=10_000))


def attempts(store):
    return [a for r in store.reads.runs(limit=10_000) for a in store.reads.detail(r.id).attempts]


def replay(store, slots):
    """Go through the event table: what a pool held at each moment, and how often a task began."""
    nodes = {f.name: f.graph for f in FLOWS}
    flows = {run.id: run.flow for run in store.reads.runs(limit=10_000)}
    used, live, most = 0, set(), 0
    events, after = [], 0
    while page := store.reads.events(after=after):
        events += page
        after = page[-1].id
    for event in events:
        if event.task is None:
            continue
        node = nodes[flows[event.run_id]].node(event.task)
        weight = node.weight if node.pool == "gpu" else 0
        key = (event.run_id, event.task)
        if event.kind == "task.started":
            assert key not in live, f"{key} was started twice"
            live.add(key)
            used += weight
            most = max(most, used)
            assert used <= slots, f"{used} of {slots} slots at {event}"
        elif key in live and event.kind != "task.adopted":
            live.discard(key)
            used -= weight
    assert used == 0, "a slot was leaked"
    assert not live
    return most


def serve_all(store_url, workers, until, **options):
    """Let workers, each with a store of its own, serve in threads until `until` says so."""
    stop, opened, failures = threading.Event(), [], []

    def serve():
        mine = Store.open(store_url)
        try:
            with engine(mine, SystemClock(), discovers=False, **options) as served:
                opened.append(served)
                served.serve(stop, drain=5)
        except BaseException as error:
            failures.append(error)
        finally:
            mine.close()

    threads = [threading.Thread(target=serve) for _ in range(workers)]
    for thread in threads:
        thread.start()
    committed = threading.Event()
    watching = Store.open(store_url)
    listener = watching.listen(committed.set)
    try:
        for _ in range(3000):
            if until() or failures:
                break
            committed.wait(0.1)
            committed.clear()
    finally:
        stop.set()
        for served in opened:
            served.wake()
        for thread in threads:
            thread.join()
        listener.close()
        watching.close()
    assert failures == []
    return opened


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_beside_each_other_claim_each_attempt_once_and_keep_to_the_pools(
    store, store_url, workers
):
    clock = SystemClock()
    for number in range(30):
        for which in (mixed, plain, gpu):
            make(store, clock, which, f"{which.name}-{number}")
    make(store, clock, big, "big-0")
    made = 91

    def all_ended():
        some = [store.reads.runs(status=s, limit=1) for s in (RunStatus.QUEUED, RunStatus.RUNNING)]
        return not any(some)

    serve_all(store_url, workers, all_ended, pools=GPU)
    assert statuses(store) == {RunStatus.SUCCEEDED: made}
    found = attempts(store)
    assert {a.status for a in found} == {AttemptStatus.SUCCEEDED}
    assert len(found) == 30 * (4 + 1 + 1) + 1
    assert {a.number for a in found} == {1}
    assert replay(store, 4) == 4


def test_a_run_that_another_process_makes_is_taken_up_at_once(store, store_url):
    clock = SystemClock()
    made = []

    def one_more():
        if made and not store.reads.find(made[-1]).status.ended:
            return False
        made.append(make(store, clock, plain))
        return len(made) == 12

    serve_all(store_url, 1, one_more)
    runs = [store.reads.find(run_id) for run_id in made[2:-1]]
    waited = sorted((run.started_at - run.created_at).total_seconds() for run in runs)
    assert waited[len(waited) // 2] < 0.5  # it does not wait for the next round, a second


def test_a_run_that_somebody_has_to_himself_is_left_to_him(store, clock):
    with engine(store, clock) as his, engine(store, clock) as mine:
        run_id = make(store, clock, plain, held_by=his.worker)
        for _ in range(3):
            mine.tick(clock.advance(RESTING))
        assert store.reads.find(run_id).status is RunStatus.QUEUED
        his.drive(run_id)
        his.tick(clock.now())
        his.tick(clock.now())
    assert store.reads.find(run_id).status is RunStatus.SUCCEEDED


def test_a_run_whose_holder_has_died_goes_to_the_workers(store, clock):
    his = engine(store, clock)
    his.open()
    run_id = make(store, clock, plain, held_by=his.worker)
    vanish(his)
    with engine(store, clock) as mine:
        for _ in range(12):
            mine.tick(clock.advance(RESTING))
    run = store.reads.find(run_id)
    assert (run.status, run.held_by) == (RunStatus.SUCCEEDED, None)
    kinds = [event.kind for event in store.reads.events(run_id=run_id)]
    assert "run.handed_over" in kinds


def test_a_run_of_a_session_that_has_died_waits_for_another_session(store, clock):
    his = engine(store, clock)
    his.open()
    run_id = make(store, clock, plain, held_by=his.worker, source="__main__:plain")
    vanish(his)
    with engine(store, clock) as mine:
        for _ in range(12):
            mine.tick(clock.advance(RESTING))
        assert store.reads.find(run_id).status is RunStatus.QUEUED
        mine.drive(run_id)
        assert store.reads.find(run_id).held_by == mine.worker
        mine.tick(clock.now())
        mine.tick(clock.now())
    assert store.reads.find(run_id).status is RunStatus.SUCCEEDED


def test_the_most_urgent_run_goes_first_and_then_flows_take_turns(store, clock):
    for number in range(4):
        make(store, clock, plain, f"p{number}")
        clock.advance(1)
    make(store, clock, other, "o0")
    make(store, clock, other, "u0", priority=5)
    held = Held(slots=3)
    with engine(store, clock, held) as mine:
        mine.tick(clock.now())
    # `u0` counts for its flow, so that the other flow comes first.
    assert held.ids == ["u0.light.1", "p0.light.1", "p1.light.1"]


def test_a_flow_with_a_thousand_runs_does_not_keep_the_others_from_starting(store, clock):
    for number in range(150):  # more than a worker looks at in one transaction
        make(store, clock, plain, f"p{number:03}")
    clock.advance(1)
    make(store, clock, other, "o0")
    held = Held(slots=2)
    with engine(store, clock, held) as mine:
        mine.tick(clock.now())
    assert held.ids == ["p000.light.1", "o0.light.1"]


def test_a_full_pool_holds_up_nothing_but_what_needs_it(store, clock):
    for number in range(80):
        make(store, clock, gpu, f"g{number:02}")
    clock.advance(1)
    make(store, clock, gpu, "urgent", priority=1)
    make(store, clock, plain, "p0")
    held = Held(slots=20)
    with engine(store, clock, held, pools=GPU) as mine:
        mine.tick(clock.now())
        assert sorted(held.ids) == [
            "g00.on_gpu.1", "g01.on_gpu.1", "g02.on_gpu.1", "p0.light.1", "urgent.on_gpu.1",
        ]  # fmt: skip
        mine.tick(clock.now())
        assert len(held.ids) == 5
        held.end("g00.on_gpu.1")
        mine.tick(clock.now())
        assert held.ids[-1] == "g03.on_gpu.1"
    (first, *_) = store.pools.holders("gpu")
    assert (first.pool, first.weight) == ("gpu", 1)


def test_a_slot_goes_to_the_urgent_before_the_run_that_has_freed_it(store, clock):
    one = {"gpu": Pool(name="gpu", slots=1)}

    make(store, clock, twice, "slow")
    held = Held()
    with engine(store, clock, held, pools=one) as mine:
        mine.tick(clock.now())
        make(store, clock, gpu, "urgent", priority=1)
        held.end("slow.on_gpu.1")
        mine.tick(clock.now())
    assert held.ids == ["slow.on_gpu.1", "urgent.on_gpu.1"]


def test_a_heavy_task_is_not_starved_by_light_ones(store, clock):
    held = Held(slots=20)
    with engine(store, clock, held, pools=GPU) as mine:
        for number in range(3):
            make(store, clock, gpu, f"a{number}")
        mine.tick(clock.now())
        make(store, clock, big, "heavy")
        started_after = 0
        for number in range(200):  # a new light one whenever one ends
            make(store, clock, gpu, f"b{number:03}")
            light_ones = [i for i in held.ids if "on_gpu" in i]
            held.end(light_ones[number]) if number < len(light_ones) else None
            mine.tick(clock.advance(1))
            if "heavy.heavy.1" in held.ids:
                started_after = number
                break
    assert 0 < started_after < PATIENCE.total_seconds() + 10


@pytest.mark.parametrize("which", [cached, refused])
def test_what_becomes_claimable_in_the_middle_of_a_step_keeps_to_its_pool_too(store, clock, which):
    held = Held(slots=20)
    with engine(store, clock, held, pools={"gpu": Pool(name="gpu", slots=1)}) as mine:
        make(store, clock, which, "first")
        for _ in range(3):  # what is reused by the others, and whatever comes before
            mine.tick(clock.advance(1))
            for attempt_id in held.ids:
                held.end(attempt_id)
        mine.tick(clock.advance(1))
        for number in range(4):
            make(store, clock, which, f"r{number}")
        for _ in range(2):
            mine.tick(clock.advance(1))
            for attempt_id in held.ids:
                held.end(attempt_id) if "light" in attempt_id else None
        mine.tick(clock.advance(1))
    alive = [a for a in attempts(store) if a.status is AttemptStatus.RUNNING]
    assert [a.pool for a in alive] == ["gpu"]


class Cluster(Held):
    """A cluster with so many GPUs free."""

    name = "cluster"

    def __init__(self, gpus):
        super().__init__(slots=1000)
        self.gpus = gpus

    @property
    def capacity(self):
        total = Resources(cpus=1000, gpus=4)
        return Capacity(total=total, free=Resources(cpus=1000 * self.gpus, gpus=self.gpus))


def on_cluster(store, clock, gpus, **options):
    return Engine(
        store, {"inline": InlineExecutor(), "cluster": Cluster(gpus)}, clock=clock,
        default_executor="inline", discovers=True,
        calls=lambda name, key: TASKS[name][key].function, **options,
    )  # fmt: skip


@pytest.mark.parametrize("many", [70, 210])
def test_nobody_waits_behind_work_that_cannot_start_anyway(store, clock, many):
    for number in range(many):
        make(store, clock, models, f"m{number:04}")
    with on_cluster(store, clock, gpus=0) as mine:
        for _ in range(3 * many):
            mine.tick(clock.now())
            if not store.reads.runs(status=RunStatus.QUEUED, limit=1):
                break
        mine.tick(clock.advance(1))
        assert Counter(a.key for a in attempts(store)) == {"light": many}
        make(store, clock, models, "late")
        for _ in range(6):
            mine.tick(clock.now())
    assert [t.status for t in store.reads.detail("late").tasks] == ["succeeded", "ready"]


def test_what_waits_of_a_mapped_task_is_not_gone_through_one_by_one(store, clock, monkeypatch):
    asked = []
    short_of = Budget.short_of
    monkeypatch.setattr(Budget, "short_of", lambda *a: asked.append(a) or short_of(*a))
    run_id = make(store, clock, mapped)
    with engine(store, clock, held := Held(slots=3)) as mine:
        mine.executors["inline"] = InlineExecutor()  # has free slots
        mine.tick(clock.now())
        held.end(f"{run_id}.numbers.1", value=str(list(range(1000))))
        mine.tick(clock.now())
        asked.clear()
        for number in range(3):
            held.end(f"{run_id}.each[{number}].1")
            mine.tick(clock.now())
    assert len(held.started) == 7
    assert len(asked) < 30


def test_a_wide_job_on_the_cluster_is_not_starved_by_narrow_ones(store, clock):
    with on_cluster(store, clock, gpus=3) as mine:
        cluster = mine.executors["cluster"]
        make(store, clock, wide, "wide")
        mine.tick(clock.now())
        for number in range(100):  # whenever one GPU is free, there is a narrow job for it
            clock.advance(1)
            make(store, clock, narrow, f"n{number:03}")
            cluster.gpus = 1 if len(cluster.ids) == number else cluster.gpus + 1
            mine.tick(clock.now())
            if "wide.sized.1" in cluster.ids:
                break
    assert "wide.sized.1" in cluster.ids
    assert PATIENCE.total_seconds() <= number < PATIENCE.total_seconds() + 10


def test_a_task_too_heavy_for_its_pool_fails_and_says_so(store, clock):
    run_id = make(store, clock, huge)
    with engine(store, clock, Held(), pools=GPU) as mine:
        mine.tick(clock.now())
    run = store.reads.find(run_id)
    assert run.status is RunStatus.FAILED
    assert "it weighs 5, and pool gpu has 4 slots" in run.reason


def test_a_rate_holds_over_all_workers_and_time_passes(store, store_url, clock):
    rate = {"gpu": Pool(name="gpu", rate=Rate(count=3, per=timedelta(seconds=60)))}
    for number in range(8):
        make(store, clock, gpu, f"g{number}")
    second = Store.open(store_url, clock)
    a, b = Held(), Held()
    with engine(store, clock, a, pools=rate) as mine, engine(second, clock, b, pools=rate) as his:
        for each in (mine, his, mine, his):
            each.tick(clock.now())
        assert len(a.ids + b.ids) == 3
        for executor in (a, b):
            for attempt_id in executor.ids:
                executor.end(attempt_id)
        clock.advance(5)
        mine.tick(clock.now())
        his.tick(clock.now())
        assert len(a.ids + b.ids) == 3
        clock.advance(60)
        his.tick(clock.now())
        mine.tick(clock.now())
        assert len(a.ids + b.ids) == 6
    second.close()


def test_of_the_runs_in_a_lane_one_runs_and_the_most_urgent_is_next(store, clock):
    make(store, clock, plain, "first", lane="night")
    held = Held()
    with engine(store, clock, held) as mine:
        mine.tick(clock.now())
        make(store, clock, plain, "second", lane="night")
        clock.advance(1)
        make(store, clock, plain, "third", lane="night", priority=1)
        make(store, clock, other, "beside")
        mine.tick(clock.now())
        assert held.ids == ["first.light.1", "beside.light.1"]
        held.end("first.light.1")
        mine.tick(clock.now())
        mine.tick(clock.now())
        assert held.ids[2:] == ["third.light.1"]


def test_no_more_runs_of_a_flow_run_than_it_allows(store, clock):
    for number in range(5):
        make(store, clock, fan, f"f{number}", max_runs=2)
        clock.advance(1)
    make(store, clock, other, "o0")
    held = Held(slots=100)
    with engine(store, clock, held) as mine:
        mine.tick(clock.now())
        assert {i.partition(".")[0] for i in held.ids} == {"f0", "f1", "o0"}
        for attempt_id in [i for i in held.ids if i.startswith("f0")]:
            held.end(attempt_id)
        mine.tick(clock.now())
        mine.tick(clock.now())
        assert {i.partition(".")[0] for i in held.ids} == {"f0", "f1", "f2", "o0"}


def test_a_worker_runs_only_tasks_of_the_pools_that_it_serves(store, clock):
    make(store, clock, mixed, "m0")
    make(store, clock, gpu, "g0")
    a, b = Held(), Held()
    with (
        engine(store, clock, a, serves=frozenset({"gpu"})) as on_gpus,
        engine(store, clock, b, serves=frozenset({"default"})) as on_cpus,
    ):
        for each in (on_gpus, on_cpus):
            each.tick(clock.now())
        assert (a.ids, b.ids) == (["g0.on_gpu.1"], ["m0.light.1"])
        b.end("m0.light.1")
        for each in (on_cpus, on_gpus):
            each.tick(clock.now())
        assert a.ids == ["g0.on_gpu.1", "m0.on_gpu.1"]


def foreign():
    """Somebody on another machine: that he is gone can only be told by his lease."""
    return Identity(
        host="elsewhere", machine="", pid=1, started=1, nonce=f"{random.randrange(16**6):06x}"
    )


def gone_from_here():
    """Somebody of this machine, whose process is gone."""
    return Identity(host="here", machine=this_machine(), pid=2**22 + 1, started=1, nonce="abcdef")


def test_what_a_vanished_worker_had_is_claimed_again_within_ten_seconds(store, clock):
    lost, taken = Held(), Held()
    gone = engine(store, clock, lost, identity=foreign(), pools=GPU)
    with engine(store, clock, taken, pools=GPU) as mine:
        clock.advance(LEASE)  # it has been up for a while
        mine._lease._renew()
        gone.open()
        make(store, clock, big, "b0")
        make(store, clock, gpu, "g0")
        gone.tick(clock.now())
        assert lost.ids == ["b0.heavy.1"]
        vanish(gone)
        seconds = 0
        while not taken.ids and seconds < 30:
            clock.advance(1)
            mine._lease._renew()
            mine.tick(clock.now())
            seconds += 1
        assert seconds <= 10
        assert taken.ids == ["b0.heavy.2"] or taken.ids == ["g0.on_gpu.1"]
        for attempt_id in taken.ids:
            taken.end(attempt_id)
        mine.tick(clock.now())
        for attempt_id in taken.ids[1:]:
            taken.end(attempt_id)
        mine.tick(clock.now())
    assert statuses(store) == {RunStatus.SUCCEEDED: 2}
    replay(store, 4)


def test_what_a_dead_process_of_this_machine_had_is_claimed_again_at_once(store, clock):
    lost, taken = Held(), Held()
    died = gone_from_here()
    gone = engine(store, clock, lost, identity=died)
    gone.open()
    make(store, clock, plain, "p0")
    gone.tick(clock.now())
    vanish(gone)
    with engine(store, clock, taken) as mine:
        mine.tick(clock.advance(RESTING))
    assert taken.ids == ["p0.light.2"]


def test_what_died_with_its_workers_beside_others_runs_alone_before_it_fails(store, clock):
    """One of the two kills each worker that it runs on; the other only happens to be there."""
    make(store, clock, plain, "innocent")
    make(store, clock, other, "poison")
    died = [
        Identity(host="here", machine=this_machine(), pid=2**22 + n, started=1, nonce=f"{n:06x}")
        for n in range(1, 6)
    ]
    together, alone = [], []
    for identity in died:
        held = Held()
        gone = engine(store, clock, held, identity=identity)
        gone.open()
        for _ in range(3):  # it takes over, then claims
            gone.tick(clock.advance(RESTING))
        (together if len(held.ids) == 2 else alone).append(held.ids)
        if [i.partition(".")[0] for i in held.ids] == ["innocent"]:
            held.end(held.ids[0])
            gone.tick(clock.now())
            gone.tick(clock.now())  # the other, alone
        vanish(gone)
    with engine(store, clock, Held()) as mine:
        for _ in range(3):
            mine.tick(clock.advance(RESTING))
    assert len(together) == 3
    assert all(len(ids) <= 2 for ids in alone)
    assert store.reads.find("innocent").status is RunStatus.SUCCEEDED
    assert store.reads.find("poison").status is RunStatus.FAILED
    assert len(store.reads.detail("poison").attempts) == 4


def test_work_on_an_executor_that_outlives_its_worker_is_adopted_not_repeated(store, clock):
    lost, taken = Held(survives=True), Held(survives=True)
    died = gone_from_here()
    gone = engine(store, clock, lost, identity=died)
    gone.open()
    make(store, clock, plain, "p0")
    gone.tick(clock.now())
    vanish(gone)
    with engine(store, clock, taken) as mine:
        mine.tick(clock.advance(RESTING))
        assert taken.ids == ["p0.light.1"]
        taken.end("p0.light.1")
        mine.tick(clock.now())
        lost.end("p0.light.1", value="666")  # the first one only slept
        gone._lease._lease = None
    assert statuses(store) == {RunStatus.SUCCEEDED: 1}


def test_nobody_is_taken_for_dead_when_everybodys_lease_has_run_out(store, clock):
    """After an outage of the database all leases are old, and all workers are alive."""
    his_work, my_work = Held(), Held()
    with (
        engine(store, clock, his_work, identity=foreign()) as his,
        engine(store, clock, my_work, identity=foreign()) as mine,
    ):
        make(store, clock, plain, "p0")
        his.tick(clock.now())
        assert his_work.ids == ["p0.light.1"]
        clock.advance(LEASE + timedelta(seconds=15))  # nobody could renew
        mine.tick(clock.now())  # the first that is back
        mine.tick(clock.advance(RESTING))
        his.tick(clock.now())
        his_work.end("p0.light.1")
        his.tick(clock.now())
    assert my_work.ids == []
    assert [a.status for a in attempts(store)] == [AttemptStatus.SUCCEEDED]


def test_a_worker_that_was_taken_for_dead_ends_its_work_and_goes_on_as_another(store, clock):
    his_work, my_work = Held(), Held()
    with engine(store, clock, my_work, identity=foreign()) as mine:
        clock.advance(LEASE)
        mine._lease._renew()
        his = engine(store, clock, his_work, identity=foreign())
        his.open()
        vanish(his)  # for now: it sleeps
        was = his.worker
        make(store, clock, plain, "p0")
        his.tick(clock.now())
        for _ in range(10):
            clock.advance(1)
            mine._lease._renew()
            mine.tick(clock.now())
        assert my_work.ids == ["p0.light.2"]
        his_work.end("p0.light.1", value="666")
        assert his._survived()
        assert his.worker != was
        his.tick(clock.now())
        assert his_work.stopped == ["p0.light.1"]
        my_work.end("p0.light.2", value="41")
        mine.tick(clock.now())
        his.close()
    assert store.reads.detail("p0").tasks[0].value == "41"


def test_a_worker_whose_clock_is_wrong_costs_the_others_nothing(store, clock):
    """It is an hour ahead: what it makes ready may be claimed by anybody at once."""

    his_work, my_work = Held(), Held(slots=1)
    with (
        engine(store, clock, his_work, identity=foreign()) as his,
        engine(store, Off(clock, 3600), my_work, identity=foreign()) as wrong,
    ):
        make(store, clock, mixed, "m0")
        wrong.tick(wrong.clock.now())
        assert my_work.ids == ["m0.light.1"]
        make(store, clock, plain, "p0")
        his.tick(clock.now())
        assert his_work.ids == ["p0.light.1"]
        my_work.slots = 0
        my_work.end("m0.light.1")
        for _ in range(12):
            for each in (his, wrong):
                each._lease._renew()
                each.tick(each.clock.now())
            clock.advance(1)
        assert his_work.ids == ["p0.light.1", "m0.on_gpu.1"]
    assert AttemptStatus.LOST not in {a.status for a in attempts(store)}


def test_an_engine_goes_on_looking_round_when_its_clock_is_set_back(store, clock):
    held, its_clock = Held(), Off(clock, 0)
    with engine(store, its_clock, held) as mine:
        make(store, clock, plain, "p0")
        mine.tick(mine.clock.now())
        its_clock.by = timedelta(hours=-1)
        Service(store, clock).cancel("p0", by="ada")
        mine.tick(mine.clock.now())
        assert held.stopped == ["p0.light.1"]


@pytest.mark.parametrize("ends", [False, True], ids=["at-work", "in-its-back-off"])
def test_a_retry_takes_no_run_from_the_living_session_that_has_it(store, clock, ends):
    held, service = Held(), Service(store, clock)
    with engine(store, clock, held) as his:
        run_id = make(store, clock, retried, held_by=his.worker, source="__main__:retried")
        his.drive(run_id)
        his.tick(clock.now())
        if ends:
            error = ErrorInfo(type="OSError", message="not yet")
            held.deliver(Outcome(attempt_id=held.ids[0], kind=OutcomeKind.FAILED, error=error))
            his.tick(clock.now())
        assert store.reads.find(run_id).status is RunStatus.RUNNING
        with pytest.raises(Refused, match=his.worker):
            service.retry(run_id)
        with pytest.raises(Refused, match=his.worker):
            service.retry(run_id, held_by="another")
        assert service.retry(run_id, held_by=his.worker).id == run_id
        vanish(his)
        clock.advance(LEASE)
        assert service.retry(run_id, held_by="another").id == run_id


def test_who_drives_what_a_living_session_has_to_itself_only_follows_it(store, clock):
    """Such as `ratchet run --key K`, typed again: the run is that of the first."""
    his_work, my_work = Held(), Held()
    his = engine(store, clock, his_work, identity=foreign(), discovers=False)
    with engine(store, clock, my_work, identity=foreign(), discovers=False) as mine:
        his.open()
        run_id = make(store, clock, twice, held_by=his.worker)
        mine.drive(run_id)
        mine.tick(clock.now())
        assert my_work.ids == []
        his.drive(run_id)
        his.tick(clock.now())
        assert his_work.ids == [f"{run_id}.on_gpu.1"]
        his_work.end(his_work.ids[0])
        his.tick(clock.now())
        vanish(his)
        for _ in range(10):
            clock.advance(1)
            mine._lease._renew()
            mine.tick(clock.now())
        assert my_work.ids == [f"{run_id}.on_gpu-2.2"]
        assert store.reads.find(run_id).held_by == mine.worker


def test_a_late_outcome_of_an_adopted_attempt_is_not_recorded(store, clock):
    store.runs.create(
        NewRun(
            id="r1", flow="plain", key="k", source="m:f", graph=plain.graph, config={},
            config_yaml="", config_digest="", trigger={},
        ),
        clock.now(),
    )  # fmt: skip
    options = {"slots": {"held": 1}, "default_executor": "held", "now": clock.now()}
    first, second = (Capabilities(worker=worker, **options) for worker in ("w1", "w2"))
    store.runs.step([], first, runs=["r1"])
    store.runs.recover("r1", ["w1"], worker="w2", survivors={"held"}, now=clock.now())
    end = Outcome(attempt_id="r1.light.1", kind=OutcomeKind.SUCCEEDED, value="666")
    assert store.runs.step([end], first, runs=["r1"]).late == [end]
    assert store.runs.step([end], second, runs=["r1"]).ended


def test_a_cancel_from_another_process_reaches_the_worker_that_is_at_it(store, store_url, clock):
    held = Held()
    with engine(store, clock, held) as mine:
        make(store, clock, plain, "p0")
        mine.tick(clock.now())
        elsewhere = Store.open(store_url, clock)
        Service(elsewhere, clock).cancel("p0", by="ada")
        elsewhere.close()
        mine.tick(clock.advance(RESTING))
        assert held.stopped == ["p0.light.1"]
        held.end("p0.light.1", OutcomeKind.STOPPED)
        mine.tick(clock.now())
    assert store.reads.find("p0").status is RunStatus.CANCELLED


def test_a_claim_whose_commit_was_never_confirmed_is_still_carried_out(store, clock, monkeypatch):
    held = Held()
    with engine(store, clock, held) as mine:
        make(store, clock, plain, "p0")
        whole = store.runs.step

        def broken(*args, **kwargs):
            whole(*args, **kwargs)
            raise ConnectionError("the answer was lost")

        monkeypatch.setattr(store.runs, "step", broken)
        with pytest.raises(ConnectionError):
            mine.tick(clock.now())
        monkeypatch.setattr(store.runs, "step", whole)
        assert held.ids == []
        mine.tick(clock.advance(RESTING))
        assert held.ids == ["p0.light.1"]


def test_why_a_run_waits_can_be_asked(store, clock):
    service = Service(store, clock, GPU)

    def why(run_id):
        return service.why_waiting(store.reads.find(run_id))

    make(store, clock, gpu, "nobody")
    assert why("nobody") == "no worker serves pool gpu"
    held = Held(slots=50)
    with engine(store, clock, held, pools=GPU) as mine:
        assert why("nobody") is None
        for number in range(3):
            make(store, clock, gpu, f"g{number}")
        mine.tick(clock.now())
        make(store, clock, gpu, "late")
        assert why("late").startswith("pool gpu is full: 4 of 4 slots, held by ")
        assert "nobody.on_gpu.1" in why("late")
        make(store, clock, plain, "first", lane="night", max_runs=1)
        mine.tick(clock.now())
        make(store, clock, plain, "second", lane="night")
        make(store, clock, plain, "third", max_runs=1)
        assert why("second") == "run first is at it, and of night one runs at a time"
        assert why("third") == "1 of 1 runs of plain are at it: first"
        assert why("first") is None


def test_only_the_workers_of_a_pool_are_woken_for_what_waits_in_it(store, store_url, clock):
    if store.database.url.get_backend_name() == "sqlite":
        pytest.skip("a file tells of every commit")
    woken = {"gpu": threading.Event(), "default": threading.Event(), "all": threading.Event()}
    serves = {"gpu": {"gpu"}, "default": {"default"}, "all": None}
    listeners = [store.listen(woken[name].set, serves[name]) for name in woken]
    try:
        for name in woken:  # each says once that it listens
            assert woken[name].wait(60)
        for event in woken.values():
            event.clear()
        make(store, clock, gpu, "g0")
        assert woken["gpu"].wait(60)
        assert woken["all"].wait(60)
        assert not woken["default"].is_set()
        with engine(store, clock, Held(), pools=GPU) as mine:
            mine.tick(clock.now())
            for event in woken.values():
                event.clear()
            store.runs.cancel("g0", "enough", clock.now())
            assert all(event.wait(60) for event in woken.values())
    finally:
        for listener in listeners:
            listener.close()
