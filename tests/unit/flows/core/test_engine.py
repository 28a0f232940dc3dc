"""The engine drives runs to their end, on a clock that the test moves."""

from __future__ import annotations

import threading
from datetime import timedelta
from itertools import pairwise

import pytest

from flows.core.clock import SystemClock
from flows.core.context import current
from flows.core.engine import Engine
from flows.core.errors import ConfigError, GiveUp, Halt, LeaseLost, RowRefused, Skip, StoreError
from flows.core.executors.inline import InlineExecutor
from flows.core.executors.protocol import Outcome, OutcomeKind
from flows.core.executors.threads import ThreadExecutor
from flows.core.flow import flow, task
from flows.core.lease_keeper import LEASE
from flows.core.records import RunStatus
from flows.core.retry import Retry
from flows.core.service import Service
from flows.core.store import Store
from tests.manual_clock import ManualClock


class Held:
    """An executor whose work ends when the test says so."""

    name, slots, queues, kills, survives, capacity = "held", 4, False, True, False, None

    def __init__(self):
        self.started, self.stopped, self.deliver = [], [], None

    def open(self, deliver):
        self.deliver = deliver

    def warm(self): ...

    def start(self, work):
        self.started.append(work)

    def began(self, attempt_id):
        return True

    def stop(self, attempt_id, grace):
        self.stopped.append(attempt_id)

    def close(self): ...

    def end(self, index=-1, kind=OutcomeKind.SUCCEEDED, **fields):
        self.deliver(Outcome(attempt_id=self.started[index].attempt_id, kind=kind, **fields))


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def store(tmp_path, request):
    """Its time is that of the test's clock, if it has one."""
    clock = request.getfixturevalue("clock") if "clock" in request.fixturenames else None
    opened = Store.open(f"sqlite:///{tmp_path}/ratchet.db", clock)
    yield opened
    opened.close()


def begin(store, clock, which, config=None):
    return Service(store, clock).start(
        which, config=config or {}, config_yaml="", config_digest="d", trigger={"kind": "test"}
    )


def engine(store, clock, executor, *flows, **options):
    tasks = {f.name: f.tasks for f in flows}
    return Engine(
        store, {executor.name: executor}, clock=clock, default_executor=executor.name,
        calls=lambda name, key: tasks[name][key].function, **options,
    )  # fmt: skip


def run(store, which, executor=None, config=None):
    with engine(store, SystemClock(), executor or InlineExecutor(), which) as driver:
        made = begin(store, SystemClock(), which, config)
        driver.run_until_ended([made.id])
    return store.reads.detail(made.id)


@task
def one() -> int:
    return 1


@task
def add(x: int, y: int = 1) -> int:
    return x + y


@task
def numbers(upto: int) -> list[int]:
    return list(range(upto))


@task
def total(xs: list[int]) -> int:
    return sum(xs)


@flow
def chain() -> None:
    add(add(one()), y=5)


@flow
def wide() -> None:
    total(add.map(numbers(20), y=100))


@pytest.mark.parametrize("executor", [InlineExecutor, lambda: ThreadExecutor(4)])
def test_values_flow_from_task_to_task(store, executor):
    detail = run(store, chain, executor())
    assert detail.run.status is RunStatus.SUCCEEDED
    assert [t.value for t in detail.tasks] == ["1", "2", "7"]


@pytest.mark.parametrize("executor", [InlineExecutor, lambda: ThreadExecutor(4)])
def test_a_task_fans_out_over_a_list_known_only_at_run_time(store, executor):
    detail = run(store, wide, executor())
    assert {t.key: t.value for t in detail.tasks}["total"] == str(sum(range(20)) + 20 * 100)


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (Halt("the data is bad"), RunStatus.HALTED, "the data is bad"),
        (Skip("no new data"), RunStatus.SKIPPED, "no new data"),
        (GiveUp("hopeless"), RunStatus.FAILED, "act: GiveUp: hopeless"),
        (KeyError("x"), RunStatus.FAILED, "act: KeyError: 'x'"),
    ],
)
def test_what_a_task_raises_decides_how_the_run_ends(store, error, status, reason):
    @task
    def act() -> int:
        raise error

    @flow
    def acting() -> None:
        act()

    detail = run(store, acting)
    assert (detail.run.status, detail.run.reason) == (status, reason)


def test_a_task_knows_its_run_and_its_config(store):
    @task
    def look() -> str:
        here = current()
        return f"{here.flow}/{here.task}/{here.attempt}/{here.config['depth']}"

    @flow
    def looking() -> None:
        look()

    assert run(store, looking, config={"depth": 3}).tasks[0].value == '"looking/look/1/3"'


def test_a_failed_task_is_tried_again_when_its_wait_is_over(store, clock):
    tries = []

    @task(retry=Retry(attempts=3, delay=30))
    def flaky() -> int:
        tries.append(clock.now())
        if len(tries) < 3:
            raise OSError("not yet")
        return len(tries)

    @flow
    def trying() -> None:
        flaky()

    with engine(store, clock, InlineExecutor(), trying) as driver:
        made = begin(store, clock, trying)
        driver.drive(made.id)
        for _ in range(20):
            driver.tick(clock.now())  # starts
            driver.tick(clock.now())  # records
            if store.reads.find(made.id).status.ended:
                break
            clock.advance(5)
            driver._lease._renew()
    assert [t - tries[0] for t in tries] == [
        timedelta(0),
        timedelta(seconds=30),
        timedelta(seconds=60),
    ]


def test_work_past_its_timeout_is_told_to_end_once_and_recorded_when_it_is_gone(store, clock):
    @task(timeout=8, executor="held")
    def slow() -> int: ...

    @flow
    def slowly() -> None:
        slow()

    held = Held()
    with engine(store, clock, held, slowly) as driver:
        made = begin(store, clock, slowly)
        driver.drive(made.id)
        driver.tick(clock.now())
        clock.advance(7)
        driver.tick(clock.now())
        assert held.stopped == []
        clock.advance(1)
        driver.tick(clock.now())
        driver.tick(clock.now())
        assert held.stopped == [f"{made.id}.slow.1"]
        assert store.reads.find(made.id).status is RunStatus.RUNNING  # it is not gone yet
        held.end(kind=OutcomeKind.STOPPED)
        (ended,) = driver.tick(clock.now())
    assert ended.reason == "slow: TimedOut: slow was ended after its timeout of 8 s"


def test_a_cancelled_run_is_cancelled_only_when_its_work_is_gone(store, clock):
    held = Held()
    with engine(store, clock, held, chain) as driver:
        made = begin(store, clock, chain)
        driver.drive(made.id)
        driver.tick(clock.now())
        Service(store, clock).cancel(made.id, by="ada")
        driver.tick(clock.now())
        assert held.stopped == [f"{made.id}.one.1"]
        assert store.reads.find(made.id).status is RunStatus.CANCELLING
        held.end(kind=OutcomeKind.STOPPED)
        (ended,) = driver.tick(clock.now())
    assert (ended.status, ended.reason) == (RunStatus.CANCELLED, "cancelled by ada")


def test_a_full_disk_loses_no_outcome(store, clock, monkeypatch):
    held = Held()
    with engine(store, clock, held, chain) as driver:
        made = begin(store, clock, chain)
        driver.drive(made.id)
        driver.tick(clock.now())
        held.end(value="1")
        whole = store.runs.step

        def full(*_, **__):
            raise StoreError("the disk is full")

        monkeypatch.setattr(store.runs, "step", full)
        with pytest.raises(StoreError):
            driver.tick(clock.now())
        monkeypatch.setattr(store.runs, "step", whole)
        driver.tick(clock.now())
    assert store.reads.detail(made.id).tasks[0].value == "1"
    assert len(held.started) == 2


def test_a_worker_that_slept_past_its_lease_goes_on_when_nobody_took_over(store, clock):
    held = Held()
    with engine(store, clock, held, chain) as driver:
        made = begin(store, clock, chain)
        driver.drive(made.id)
        driver.tick(clock.now())
        held.end(value="1")
        clock.advance(LEASE.total_seconds() + 1)
        driver.tick(clock.now())
    assert store.reads.detail(made.id).tasks[0].value == "1"


def test_a_worker_records_nothing_of_what_was_taken_over_while_it_slept(store, clock, tmp_path):
    held = Held()
    other = Store.open(f"sqlite:///{tmp_path}/ratchet.db", clock)
    with engine(store, clock, held, chain) as driver:
        made = begin(store, clock, chain)
        driver.drive(made.id)
        driver.tick(clock.now())
        clock.advance(LEASE.total_seconds() + 1)
        other.runs.recover(
            made.id, [driver._lease.name], worker="w2", survivors=set(), now=clock.now()
        )
        held.end(value="666")
        driver.tick(clock.now())
    assert store.reads.detail(made.id).tasks[0].value is None
    other.close()


def test_a_worker_whose_lease_is_gone_stops(store, clock):
    with engine(store, clock, Held(), chain) as driver:
        driver.drive(begin(store, clock, chain).id)
        store.leases.release(driver._lease._lease)
        clock.advance(LEASE.total_seconds() + 1)
        with pytest.raises(LeaseLost):
            driver.tick(clock.now())


def go_on(worker, clock, seconds):
    """A worker that is well renews its lease, and looks round once a second."""
    for _ in range(seconds):
        clock.advance(1)
        worker._lease._renew()
        worker.tick(clock.now())


def test_another_worker_takes_over_what_a_dead_one_left_within_ten_seconds(store, clock):
    lost, taken = Held(), Held()
    first = engine(store, clock, lost, chain)
    first.open()
    made = begin(store, clock, chain)
    first.drive(made.id)
    first.tick(clock.now())
    first._lease._stop.set()  # it dies: nothing renews its lease any more
    clock.advance(LEASE.total_seconds() + 1)
    with engine(store, clock, taken, chain) as second:
        second.drive(made.id)
        go_on(second, clock, 10)
        assert [w.attempt_id for w in taken.started] == [f"{made.id}.one.2"]


def test_a_retry_right_after_an_outage_takes_nothing_from_the_living(store, clock):
    """All leases have run out, and their holders are about to renew them."""
    his, mine = Held(), Held()
    with engine(store, clock, his, chain) as first:
        made = begin(store, clock, chain)
        first.drive(made.id)
        first.tick(clock.now())
        clock.advance(LEASE.total_seconds() + 60)
        with engine(store, clock, mine, chain) as second:
            second.drive(made.id)
            second.tick(clock.now())
            go_on(first, clock, 1)
            go_on(second, clock, 1)
            his.end(value="1")
            first.tick(clock.now())
    attempts = store.reads.detail(made.id).attempts
    assert [a.worker for a in attempts if a.key == "one"] == [first.worker]


def test_an_executor_that_outlives_its_worker_is_given_the_same_attempt_again(store, clock):
    lost, taken = Held(), Held()
    lost.survives = taken.survives = True
    first = engine(store, clock, lost, chain)
    first.open()
    made = begin(store, clock, chain)
    first.drive(made.id)
    first.tick(clock.now())
    first._lease._stop.set()
    clock.advance(LEASE.total_seconds() + 1)
    with engine(store, clock, taken, chain) as second:
        second.drive(made.id)
        go_on(second, clock, 10)
        assert [w.attempt_id for w in taken.started] == [f"{made.id}.one.1"]


def test_ctrl_c_in_inline_work_leaves_a_run_that_can_be_cancelled_cleanly(store):
    presses = iter([KeyboardInterrupt])

    @task
    def pressed() -> int:
        for press in presses:
            raise press
        return 1

    @flow
    def pressing() -> None:
        pressed()

    with engine(store, SystemClock(), InlineExecutor(), pressing) as driver:
        made = begin(store, SystemClock(), pressing)
        with pytest.raises(KeyboardInterrupt):
            driver.run_until_ended([made.id])
        Service(store, SystemClock()).cancel(made.id, by="ctrl-c")
        driver.run_until_ended([made.id])
    assert store.reads.find(made.id).status is RunStatus.CANCELLED


def test_a_loop_that_is_told_to_stop_leaves_the_run_as_it_is(store, clock):
    stop = threading.Event()
    stop.set()
    with engine(store, clock, Held(), chain) as driver:
        made = begin(store, clock, chain)
        driver.run_until_ended([made.id], stop)
    assert store.reads.find(made.id).status is RunStatus.QUEUED


def test_an_executor_is_warmed_one_task_ahead_and_only_once(store, clock):
    @task(executor="held")
    def far(x: int) -> int:
        return x

    @flow
    def leading() -> None:
        far(far(add(one())))

    held, warmed = Held(), []
    held.warm = lambda: warmed.append(clock.now())
    threads = {"inline": InlineExecutor(), "held": held}
    with Engine(
        store, threads, clock=clock, default_executor="inline",
        calls=lambda _, key: leading.tasks[key].function,
    ) as driver:  # fmt: skip
        driver.drive(begin(store, clock, leading).id)
        driver.tick(clock.now())  # one starts: far is two tasks away
        assert warmed == []
        driver.tick(clock.now())  # add starts
        driver.tick(clock.now())  # far starts, and far-2 follows it
        assert len(warmed) == 1


def test_quick_work_is_claimed_ahead_of_its_workers_but_never_work_with_a_timeout(store, clock):
    @task(timeout=60, executor="held")
    def limited(x: int) -> int:
        return x

    @flow
    def many() -> None:
        add.map(numbers(30))

    @flow
    def guarded() -> None:
        limited.map(numbers(30))

    for which, most in ((many, 8), (guarded, 4)):
        held = Held()
        held.queues = True
        held.close = lambda: None
        with engine(store, clock, held, which) as driver:
            driver.drive(begin(store, clock, which).id)
            driver.tick(clock.now())
            held.end(value=str(list(range(30))))
            for _ in range(12):  # quick: no time passes
                driver.tick(clock.now())
                if len(held.started) > 1:
                    held.end(index=len(held.started) - len(driver.running.live), value="1")
            assert len(driver.running.live) == most


@pytest.mark.parametrize("never", [timedelta.max, timedelta(days=9000 * 365)])
def test_a_timeout_that_is_later_than_any_date_keeps_no_other_from_being_ended(store, clock, never):
    @task(timeout=never, executor="held")
    def endless() -> int: ...

    @flow
    def both() -> None:
        endless()
        limited()

    held = Held()
    with engine(store, clock, held, both) as driver:
        made = begin(store, clock, both)
        driver.drive(made.id)
        driver.tick(clock.now())
        assert len(held.started) == 2
        driver.tick(clock.advance(9))
        assert held.stopped == [f"{made.id}.limited.1"]


@task(timeout=8, executor="held")
def limited() -> int:
    return 1


@flow
def limiting() -> None:
    limited()


def test_a_timeout_counts_from_when_the_work_began_not_from_the_queue(store, clock):
    held, began = Held(), set()
    held.began = began.__contains__
    with engine(store, clock, held, limiting) as driver:
        made = begin(store, clock, limiting)
        driver.drive(made.id)
        driver.tick(clock.now())
        driver.tick(clock.advance(100))
        assert held.stopped == []
        began.add(f"{made.id}.limited.1")
        driver.tick(clock.advance(1))
        driver.tick(clock.advance(7))
        assert held.stopped == []
        driver.tick(clock.advance(1))
        assert held.stopped == [f"{made.id}.limited.1"]


class Stepped:
    """The clock of a machine that may be set; what passes is counted all the same."""

    def __init__(self, clock):
        self.by, self._clock = timedelta(0), clock
        self.elapsed, self.sleep, self.wait = clock.elapsed, clock.sleep, clock.wait

    def now(self):
        return self._clock.now() + self.by


@pytest.mark.parametrize("by", [timedelta(hours=1), timedelta(hours=-1)], ids=["on", "back"])
def test_a_clock_that_is_set_neither_ends_an_attempt_nor_lets_it_go_on(store, clock, by):
    held, set_clock = Held(), Stepped(clock)
    with engine(store, set_clock, held, limiting) as driver:
        made = begin(store, clock, limiting)
        driver.drive(made.id)
        driver.tick(driver.clock.now())
        set_clock.by = by
        clock.advance(7)
        driver.tick(driver.clock.now())
        assert held.stopped == []
        clock.advance(1)
        driver.tick(driver.clock.now())
        assert held.stopped == [f"{made.id}.limited.1"]


def serving(store, executor, *flows, **options):
    """An engine that serves in a thread; give the run that it starts with, and how to end it."""
    stop, opened = threading.Event(), engine(store, SystemClock(), executor, *flows)
    opened.open()
    thread = threading.Thread(target=opened.serve, args=(stop,), kwargs=options)
    thread.start()

    def end():
        stop.set()
        opened.wake()
        thread.join()

    return opened, end


class Told(Held):
    """Says when it was given work, and ends what is told to stop."""

    def __init__(self):
        super().__init__()
        self.given, self.asked = threading.Event(), threading.Event()

    def start(self, work):
        super().start(work)
        self.given.set()

    def stop(self, attempt_id, grace):
        super().stop(attempt_id, grace)
        self.asked.set()
        self.deliver(Outcome(attempt_id=attempt_id, kind=OutcomeKind.STOPPED, reason="told to"))


def test_a_worker_that_is_told_to_stop_claims_no_more_and_lets_work_end(store):
    held = Told()
    opened, end = serving(store, held, chain, drain=60)
    made = begin(store, SystemClock(), chain)
    assert held.given.wait(60)
    ending = threading.Thread(target=end)
    ending.start()
    while not opened._draining:  # else it may claim what follows before it hears of the end
        pass
    held.end(value="1")
    ending.join()
    opened.close()
    detail = store.reads.detail(made.id)
    assert detail.tasks[0].value == "1"
    assert [a.id for a in detail.attempts] == [f"{made.id}.one.1"]  # `add` is for the others
    assert held.stopped == []


def test_work_that_does_not_end_in_time_is_stopped_and_at_once_claimable_again(store):
    held = Told()
    opened, end = serving(store, held, chain, drain=0)
    made = begin(store, SystemClock(), chain)
    assert held.given.wait(60)
    end()
    opened.close()
    assert held.stopped == [f"{made.id}.one.1"]
    assert not [a for a in store.reads.detail(made.id).attempts if a.status == "running"]
    assert store.reads.find(made.id).claimable == " default "


def test_a_serving_worker_outlives_an_outage_of_the_store_and_records_what_ended_meanwhile(
    store, monkeypatch
):
    held, whole, tried = Told(), store.runs.step, threading.Event()

    def away(*_, **__):
        tried.set()
        raise StoreError("the database is away")

    opened, end = serving(store, held, chain, drain=0)
    made = begin(store, SystemClock(), chain)
    assert held.given.wait(60)
    monkeypatch.setattr(store.runs, "step", away)
    held.given.clear()
    held.end(value="1")
    assert tried.wait(60)
    monkeypatch.setattr(store.runs, "step", whole)
    assert held.given.wait(60)
    end()
    opened.close()
    assert store.reads.detail(made.id).tasks[0].value == "1"


def test_a_worker_that_serves_outlives_an_outage_of_any_length(store, clock, monkeypatch):
    stop, tries = threading.Event(), []

    def away(*_, **__):
        tries.append(clock.now())
        if len(tries) == 1500:  # 50 minutes
            stop.set()
        raise StoreError("the database is away")

    monkeypatch.setattr(store.runs, "step", away)
    with engine(store, clock, Held()) as driver:
        driver.serve(stop, drain=0)
    assert len(tries) == 1500
    pauses = [after - before for before, after in pairwise(tries)]
    assert max(pauses) == timedelta(seconds=2)


class Unusable(Held):
    """An executor that this machine has no secret for, and whose every answer is an error."""

    @property
    def survives(self):
        raise ConfigError("the secret RAY_TOKEN is not set")

    capacity = survives

    def start(self, work):
        raise OSError("no such cluster")

    def warm(self):
        raise OSError("no such cluster")

    began = stop = warm


def test_an_executor_that_cannot_be_asked_lets_its_work_wait_and_all_other_work_go_on(
    store, clock, caplog
):
    @task(executor="held")
    def far(x: int) -> int:
        return x

    @flow
    def both() -> None:
        add(far(one()))
        add(one())

    tasks = both.tasks
    options = {
        "clock": clock, "default_executor": "inline", "discovers": True,
        "calls": lambda name, key: tasks[key].function,
    }  # fmt: skip
    run_id = begin(store, clock, both).id
    with Engine(store, {"inline": InlineExecutor(), "held": Unusable()}, **options) as driver:
        for _ in range(5):
            driver.tick(clock.advance(2))
    stands = {t.key: str(t.status) for t in store.reads.detail(run_id).tasks}
    assert (stands["far"], stands["add-2"]) == ("ready", "succeeded")
    assert caplog.text.count("the secret RAY_TOKEN is not set") == 1


def test_work_that_its_executor_cannot_start_fails_whatever_is_raised(store, clock):
    class Broken(Held):
        def start(self, work):
            raise OSError("no such cluster")

    run_id = begin(store, clock, chain).id
    with engine(store, clock, Broken(), chain, discovers=True) as driver:
        for _ in range(4):
            driver.tick(clock.advance(2))
    assert store.reads.find(run_id).reason == "one: OSError: no such cluster"


def served(store, flows, *, executors, until, **options):
    """Let a worker serve from a thread until `until` is set; returns once it is closed."""
    tasks = {f.name: f.tasks for f in flows}
    stop = threading.Event()
    driver = Engine(
        store, executors, clock=SystemClock(), default_executor="inline",
        calls=lambda name, key: tasks[name][key].function, **options,
    )  # fmt: skip

    def serve():
        with driver:
            driver.serve(stop, drain=0)

    thread = threading.Thread(target=serve)
    thread.start()
    assert until.wait(60)
    stop.set()
    driver.wake()
    return driver, thread


def test_inline_work_of_one_run_holds_up_no_other_on_a_worker_that_serves(store):
    long_one_begun, quick_one_ended = threading.Event(), threading.Event()

    @task
    def long() -> int:
        long_one_begun.set()
        return 1 if quick_one_ended.wait(60) else 0

    @task(executor="threads")
    def quick() -> int:
        long_one_begun.wait(60)
        quick_one_ended.set()
        return 1

    @flow
    def slow() -> None:
        long()

    @flow
    def fast() -> None:
        quick()

    first, second = (begin(store, SystemClock(), which) for which in (slow, fast))
    executors = {"inline": InlineExecutor(), "threads": ThreadExecutor(2)}
    _, thread = served(store, [slow, fast], executors=executors, until=quick_one_ended)
    thread.join()
    assert store.reads.detail(first.id).tasks[0].value == "1"
    assert store.reads.find(second.id).status in (RunStatus.RUNNING, RunStatus.SUCCEEDED)


def test_what_comes_of_work_that_could_not_be_ended_counts_when_its_worker_stops(store, caplog):
    begun, may_end = threading.Event(), threading.Event()

    @task
    def long() -> int:
        begun.set()
        may_end.wait(60)
        return 42

    @flow
    def slow() -> None:
        long()

    run_id = begin(store, SystemClock(), slow).id
    executors = {"inline": ThreadExecutor(1, name="inline")}
    driver, thread = served(store, [slow], executors=executors, until=begun)
    worker = driver.worker
    assert worker in {lease.holder for lease in store.leases.holders()}
    may_end.set()
    thread.join()
    assert store.reads.detail(run_id).tasks[0].value == "42"
    assert store.leases.holders() == ()


@pytest.mark.parametrize("mistake", [ArithmeticError("1 / 0"), RowRefused("a name is too long")])
def test_a_mistake_in_a_pass_ends_neither_the_worker_nor_what_runs_there(
    store, monkeypatch, caplog, mistake
):
    passes, done = [], threading.Event()
    real = store.runs.refresh

    def refresh(run_ids):
        passes.append(1)
        if len(passes) in (2, 3):
            raise mistake
        real(run_ids)

    @task
    def last() -> int:
        done.set()
        return 1

    @flow
    def slow() -> None:
        last()

    class Stubborn(Engine):
        def _wait(self):
            if len(passes) == 4 and not store.reads.open_runs():
                begin(store, SystemClock(), slow)
            super()._wait()

    monkeypatch.setattr(store.runs, "refresh", refresh)
    monkeypatch.setattr("flows.core.engine.NOTIFIED_ROUND", timedelta(0))
    monkeypatch.setitem(globals(), "Engine", Stubborn)
    served(store, [slow], executors={"inline": InlineExecutor()}, until=done)[1].join()
    assert caplog.text.count("a pass of this worker failed") == 1
    assert "until it is back" not in caplog.text  # the store has been there all the time
