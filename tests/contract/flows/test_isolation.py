"""Nothing that one run's data, code or names hold stops the worker, or anybody else's run."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from sqlalchemy import text

from flows.core.clock import SystemClock
from flows.core.context import noticed, produced, spent
from flows.core.engine import Engine
from flows.core.errors import GiveUp, Halt, NotStorable, Refused, Skip
from flows.core.executors.inline import InlineExecutor
from flows.core.executors.protocol import Outcome, OutcomeKind
from flows.core.flow import flow, task, when
from flows.core.progress import Progress
from flows.core.records import RunStatus, TaskStatus
from flows.core.service import Service
from flows.core.store import Store, memory, rows
from flows.core.store.database import Database
from tests.manual_clock import ManualClock

NOT_UTF8, NUL = "caf\udce9.csv", "a\x00b"
WHY_NEWER = "NotStorable: Node has no field 'newer': a newer Ratchet wrote it"


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    @property
    def hint(self) -> str:
        raise RuntimeError("no hint")


class Bare(Halt):
    def __init__(self) -> None:
        pass


def raising(error):
    def fail() -> int:
        raise error

    return fail


def returning(value):
    def give() -> object:
        return value

    return give


def noticing(**changes):
    def notice() -> int:
        noticed(**{"title": "t", "reason": "r", "then": "n", "key": "k", **changes})
        return 1

    return notice


def producing(*asset):
    def produce() -> int:
        produced(*asset)
        return 1

    return produce


def spending(seconds):
    def spend() -> int:
        spent(cpu_seconds=seconds)
        return 1

    return spend


BODIES = {
    "a file name that is not UTF-8 in an exception": (raising(OSError(NOT_UTF8)), "failed"),
    "a file name that is not UTF-8 as the value": (returning([NOT_UTF8]), "succeeded"),
    "... and as a key": (returning({NOT_UTF8: 1}), "succeeded"),
    "NUL in an exception": (raising(ValueError(NUL)), "failed"),
    "NUL as the value": (returning(NUL), "succeeded"),
    "NUL in Halt": (raising(Halt(NUL)), "halted"),
    "NUL in Skip and its hint": (raising(Skip(NUL, hint=NUL)), "skipped"),
    "NUL in GiveUp": (raising(GiveUp(NUL)), "failed"),
    "a reason that is no text": (raising(Halt(7)), "halted"),
    "a reason that is far too long": (raising(Halt("x" * 3_000_000)), "halted"),
    "an exception without a text": (raising(Mute()), "failed"),
    "a signal that never got its reason": (raising(Bare()), "halted"),
    "an exception of asyncio's that is no Exception": (raising(asyncio.CancelledError()), "failed"),
    "sys.exit": (raising(SystemExit(3)), "failed"),
    "an endless value": (returning((lambda x: x.append(x) or x)([])), "failed"),
    "a long key of a notice": (noticing(key="k" * 3000), "succeeded"),
    "a notice that is not UTF-8": (
        noticing(title=NOT_UTF8, reason=NUL, then=NUL, key=NUL, kind=NOT_UTF8), "succeeded",
    ),
    "a long version of an asset": (producing("table:t", "v" * 3000), "succeeded"),
    "a long name of an asset": (producing("table:" + "t" * 3000, 1), "failed"),
    "seconds that are no number": (spending(float("nan")), "failed"),
}  # fmt: skip


@task
def flags() -> dict[str, bool]:
    return {}


@task
def lists() -> dict[str, list[int]]:
    return {}


@task
def numbers() -> list[int]:
    return []


@task
def act(x: int = 0) -> int:
    return x


@flow
def missing_flag() -> None:
    when(flags()["go"]).then(act())


@flow
def missing_list() -> None:
    act.map(lists()["xs"])


@flow
def missing_input() -> None:
    act(lists()["xs"][3])


@flow
def missing_item() -> None:
    act(numbers()[7])


@flow
def innocent() -> None:
    act(act())


@flow
def guiltless() -> None:
    act(act())


class Held(InlineExecutor):
    """Work that never ends."""

    def __init__(self) -> None:
        super().__init__()
        self.started, self.slots = [], 4

    def start(self, work) -> None:
        self.started.append(work)


@pytest.fixture
def clock():
    return ManualClock()


def serve(store, clock, flows, ticks=8, executors=None):
    """Let one worker do `ticks` passes over a run of each of these flows."""
    tasks = {f.name: f.tasks for f in flows}
    service = Service(store, clock)
    runs = {}
    for each in flows:
        made = service.start(
            each, config={}, config_yaml="", config_digest="d", trigger={"kind": "test"}
        )
        runs[each.name] = made.id
    engine = Engine(
        store, executors or {"inline": InlineExecutor()}, clock=clock, default_executor="inline",
        calls=lambda name, key: tasks[name][key].function, discovers=True,
    )  # fmt: skip
    with engine:
        for _ in range(ticks):
            engine.tick(clock.advance(1.5))
    return {name: store.reads.find(run_id) for name, run_id in runs.items()}


@pytest.mark.parametrize("body", BODIES)
def test_what_a_task_says_ends_its_own_run_and_hinders_no_other(store, clock, body):
    function, ending = BODIES[body]

    @flow
    def poison() -> None:
        task(function)()

    runs = serve(store, clock, [poison, innocent])
    assert runs["poison"].status == ending
    assert runs["innocent"].status is RunStatus.SUCCEEDED


@pytest.mark.parametrize("poison", [missing_flag, missing_list, missing_input, missing_item])
def test_what_a_value_does_not_have_fails_the_task_that_needs_it(store, clock, poison):
    runs = serve(store, clock, [poison, innocent])
    assert runs[poison.name].status is RunStatus.FAILED
    assert "cannot be read" in runs[poison.name].reason
    assert runs["innocent"].status is RunStatus.SUCCEEDED


def test_a_value_that_is_not_utf8_is_given_to_the_next_task_as_it_was(store, clock):
    given = []

    @task
    def find() -> list[str]:
        return [NOT_UTF8]

    @task
    def use(paths: list[str]) -> int:
        given.extend(paths)
        return 1

    @flow
    def passing() -> None:
        use(find())

    assert serve(store, clock, [passing])["passing"].status is RunStatus.SUCCEEDED
    assert given == [NOT_UTF8]


def test_a_key_that_is_longer_than_its_column_is_still_unique(store, clock):
    service = Service(store, clock)

    def start(key):
        return service.start(
            innocent, config={}, config_yaml="", config_digest="d", trigger={}, key=key
        )

    first, same, other = start("k" * 300 + "1"), start("k" * 300 + "1"), start("k" * 300 + "2")
    assert first.id == same.id != other.id
    assert start(NUL + NOT_UTF8).id == start(NUL + NOT_UTF8).id


def refusing(real, refused):
    """A method of `Progress` that cannot decide about the run of one flow."""

    def decide(self, *args, **kwargs):
        if self.run.flow == refused:
            raise ArithmeticError("there is a mistake in here")
        return real(self, *args, **kwargs)

    return decide


@pytest.mark.parametrize("method", ["_succeed", "start", "claimable", "take", "arguments"])
def test_a_mistake_in_the_decisions_about_one_run_hinders_no_other(
    store, clock, monkeypatch, caplog, method
):
    @flow
    def poison() -> None:
        act(act())

    monkeypatch.setattr(Progress, method, refusing(getattr(Progress, method), "poison"))
    if method == "take":  # only once it has been stored
        monkeypatch.undo()
        made = serve(store, clock, [poison], ticks=0)
        monkeypatch.setattr(Progress, method, refusing(Progress.take, "poison"))
        runs = serve(store, clock, [innocent])
        runs["poison"] = store.reads.find(made["poison"].id)
    else:
        runs = serve(store, clock, [poison, innocent])
    assert runs["innocent"].status is RunStatus.SUCCEEDED
    if runs["poison"].status is RunStatus.FAILED:
        assert "there is a mistake in here" in runs["poison"].reason
    else:
        assert caplog.text.count(f"run {runs['poison'].id} is left alone") == 1


def test_a_row_that_the_database_refuses_fails_its_task_and_is_no_outage(
    store, clock, monkeypatch, caplog
):
    """Whatever it is that gets past us: here, a number where only one value is allowed."""
    real = rows.task_row

    def task_row(task):
        row = real(task)
        if task.value == '"poison"':
            row["status"] = None
        return row

    monkeypatch.setattr(rows, "task_row", task_row)

    @flow
    def poison() -> None:
        task(returning("poison"))()

    runs = serve(store, clock, [poison, innocent])
    assert runs["innocent"].status is RunStatus.SUCCEEDED
    assert runs["poison"].status is RunStatus.FAILED
    assert "cannot be recorded" in runs["poison"].reason


def test_a_run_that_a_newer_version_made_is_left_alone_and_said_once(store, clock, caplog):
    made = serve(store, clock, [missing_flag], ticks=0)["missing_flag"]
    with store.database.write() as connection:
        connection.execute(
            text("UPDATE definition SET graph = :graph"), {"graph": '{"nodes":[{"newer":1}]}'}
        )
    store.runs.forget([made.id])
    runs = serve(store, clock, [innocent], ticks=12)
    assert runs["innocent"].status is RunStatus.SUCCEEDED
    assert store.reads.find(made.id).status is RunStatus.QUEUED
    assert caplog.text.count("is left alone") == 1
    with pytest.raises(Refused, match=f"run {made.id} cannot be carried on here"):
        alone(store, clock, made.id)


def test_a_run_that_is_left_alone_says_so_in_an_event_and_when_asked_why_it_waits(store, clock):
    made = serve(store, clock, [missing_flag], ticks=0)["missing_flag"]
    change = text("UPDATE definition SET graph = :graph")
    with store.database.write() as connection:
        graph = connection.execute(text("SELECT graph FROM definition")).scalar_one()
        connection.execute(change, {"graph": '{"nodes":[{"newer":1}]}'})
    workers = []

    def look():
        """As a process of its own, which remembers nothing of those before."""
        engine = Engine(
            Store(store.database), {"inline": InlineExecutor()}, clock=clock,
            default_executor="inline", discovers=True,
            calls=lambda name, key: missing_flag.tasks[key].function,
        )  # fmt: skip
        workers.append(engine.worker)
        with engine:
            for _ in range(3):
                engine.tick(clock.advance(1.5))
            return Service(store, clock).why_waiting(store.reads.find(made.id))

    assert [look(), look()] == [f"worker {workers[0]} cannot carry it on: {WHY_NEWER}"] * 2
    alone = [e for e in store.reads.events(run_id=made.id) if e.kind == "run.left_alone"]
    assert [(e.data, e.seq) for e in alone] == [({"worker": workers[0], "reason": WHY_NEWER}, 0)]
    with store.database.write() as connection:
        connection.execute(change, {"graph": graph})
    assert look() is None
    assert store.reads.find(made.id).status.ended


def test_what_ended_while_its_run_could_not_be_read_is_recorded_once_it_can_be(store, clock):
    run = Service(store, clock).start(
        innocent, config={}, config_yaml="", config_digest="d", trigger={"kind": "test"}
    )
    held, change = Held(), text("UPDATE definition SET graph = :graph")
    engine = Engine(
        store, {"inline": held}, clock=clock, default_executor="inline", discovers=True,
        calls=lambda name, key: innocent.tasks[key].function,
    )  # fmt: skip
    with engine:
        engine.tick(clock.advance(1.5))
        with store.database.write() as connection:
            graph = connection.execute(text("SELECT graph FROM definition")).scalar_one()
            connection.execute(change, {"graph": '{"nodes":[{"newer":1}]}'})
        store.runs.forget([run.id])
        done = Outcome(attempt_id=held.started[0].attempt_id, kind=OutcomeKind.SUCCEEDED, value="1")
        held._deliver(done)
        for _ in range(3):
            engine.tick(clock.advance(1.5))
        with store.database.write() as connection:
            connection.execute(change, {"graph": graph})
        for _ in range(3):
            engine.tick(clock.advance(61))
        first, second = store.reads.detail(run.id).tasks
        assert (first.status, first.value) == (TaskStatus.SUCCEEDED, "1")
        assert [work.task for work in held.started] == [first.key, second.key]


def test_a_run_that_cannot_be_read_leaves_no_query_open(store, clock):
    serve(store, clock, [missing_flag], ticks=0)
    with store.database.write() as connection:
        connection.execute(
            text("UPDATE definition SET graph = :graph"), {"graph": '{"nodes":[{"newer":1}]}'}
        )
    url = store.database.url.render_as_string(hide_password=False)
    mine, others = Store(Database(url)), Store(Database(url))  # as two processes have it
    engine = Engine(
        mine, {"inline": InlineExecutor()}, clock=clock, default_executor="inline", discovers=True,
        calls=lambda name, key: innocent.tasks[key].function,
    )  # fmt: skip
    with engine, mine.database.first():
        engine.tick(clock.advance(1.5))
        made = serve(others, clock, [innocent], ticks=0)["innocent"]
        engine.tick(clock.advance(1.5))  # SQLite refuses this at once while a query is open
        while not others.reads.find(made.id).status.ended:
            engine.tick(clock.advance(1.5))
    for each in (mine, others):
        each.close()


def test_what_a_worker_remembers_of_runs_that_it_leaves_alone_is_bounded(clock, monkeypatch):
    monkeypatch.setattr(memory, "REMEMBERED", 3)
    remembered = memory.Memory()
    for number in range(10):
        remembered.leave_alone(f"r{number}", NotStorable("newer"), clock.now())
    assert len(remembered._left_alone) <= 3
    assert len(remembered._said) <= 3
    assert remembered.is_left_alone("r9", clock.now())


def alone(store, clock, run_id):
    """Carry one run on, as `ratchet run` does."""
    engine = Engine(store, {"inline": InlineExecutor()}, clock=clock, default_executor="inline")
    with engine:
        engine.run_until_ended([run_id])


def test_what_a_dead_worker_left_of_a_broken_run_does_not_stop_who_takes_over(store, clock):
    held = Held()
    serve(store, clock, [innocent, guiltless], ticks=1, executors={"inline": held})
    assert len(held.started) == 2
    with store.database.write() as connection:
        connection.execute(
            text("UPDATE definition SET graph = 'newer' WHERE run_id LIKE :id"),
            {"id": held.started[0].run_id},
        )
    runs = [store.reads.find(work.run_id) for work in held.started]
    tasks = {f.name: f.tasks for f in (innocent, guiltless)}
    mine = Engine(
        store, {"inline": InlineExecutor()}, clock=clock, default_executor="inline",
        calls=lambda name, key: tasks[name][key].function, discovers=True,
    )  # fmt: skip
    for run in runs:
        store.runs.forget([run.id])
    with mine:
        for _ in range(12):
            mine.tick(clock.advance(1.5))
    assert [store.reads.find(run.id).status for run in runs] == ["running", "succeeded"]


def test_who_retries_and_who_cancels_at_once_see_a_run_of_one_moment(store_url):
    stores = [Store.open(store_url) for _ in range(4)]
    services = [Service(each, SystemClock()) for each in stores]
    made = (
        services[0]
        .start(missing_flag, config={}, config_yaml="", config_digest="d", trigger={}, key="k")
        .id
    )

    def act(number):
        service = services[number % 4]
        with suppress(Refused):
            service.cancel(made, by="x") if number % 2 else service.retry(made)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(act, range(400)))
    for each in stores:
        each.close()


def test_who_looks_at_a_run_sees_it_and_its_tasks_at_one_moment(store_url):
    looked_at, moved = Store.open(store_url), Store.open(store_url)
    service, stop = Service(moved, SystemClock()), threading.Event()
    made = service.start(
        missing_flag, config={}, config_yaml="", config_digest="d", trigger={}, key="k"
    ).id

    def move():
        while not stop.is_set():
            service.cancel(made, by="x")
            service.retry(made)

    mover = threading.Thread(target=move)
    mover.start()
    try:
        for _ in range(200):
            detail = looked_at.reads.detail(made)
            ended = {task.status.ended for task in detail.tasks}
            assert (ended == {True}) is detail.run.status.ended
    finally:
        stop.set()
        mover.join()
    looked_at.close()
    moved.close()
