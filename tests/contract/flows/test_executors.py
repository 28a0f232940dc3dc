"""One body of tests over the executors of the core."""

from __future__ import annotations

import logging
import os
import select
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue

import pytest

from flows.core import values
from flows.core.executors.inline import InlineExecutor
from flows.core.executors.processes import ProcessExecutor
from flows.core.executors.protocol import Executor, Outcome, OutcomeKind, Work
from flows.core.executors.threads import ThreadExecutor
from flows.core.records import Asset, Notice

PATIENCE = 60.0
"""Seconds after which a test gives up; nothing here takes long."""


class Running:
    """An open executor, with what it has delivered."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.delivered: SimpleQueue[Outcome] = SimpleQueue()
        executor.open(self.delivered.put)

    def start(self, task: str, *, attempt: str = "r.t.1", log: Path | None = None, **given: object):
        self.executor.start(
            Work(
                attempt_id=attempt,
                run_id="r",
                flow="f",
                task="t",
                number=1,
                function=task if ":" in task else f"executor_tasks:{task}",
                arguments=values.dumps(given),
                log=str(log) if log else None,
            )
        )

    def next(self) -> Outcome:
        return self.delivered.get(timeout=PATIENCE)

    def run(self, task: str, **given: object) -> Outcome:
        self.start(task, **given)
        return self.next()


EXECUTORS: dict[str, Callable[[], Executor]] = {
    "inline": InlineExecutor,
    "threads": lambda: ThreadExecutor(4),
    "processes": lambda: ProcessExecutor(2),
}


@pytest.fixture(autouse=True)
def _tasks_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


@pytest.fixture(params=EXECUTORS)
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    running = Running(EXECUTORS[request.param]())
    yield running
    running.executor.close()
    assert running.delivered.empty()


def test_a_typed_value_goes_in_and_comes_out(running: Running) -> None:
    outcome = running.run("swap", pair={"left": 1, "right": "2"})
    assert outcome.kind is OutcomeKind.SUCCEEDED
    assert outcome.attempt_id == "r.t.1"
    assert values.loads(outcome.value or "") == {"left": 2, "right": "1"}
    assert outcome.cpu_seconds is not None


def test_a_task_knows_its_attempt(running: Running) -> None:
    assert running.run("identity", attempt="r.t.7").value == '"r.t.7"'


def test_what_a_task_made_and_spent_comes_out_with_its_outcome(running: Running) -> None:
    outcome = running.run("makes", fails=False)
    assert outcome.assets == (
        Asset(name="table:sales", version="7", at=datetime(2026, 3, 1, tzinfo=UTC)),
        Asset(name="model:digits", version="2"),
    )
    assert outcome.notices == (
        Notice(key="noticed:7", kind="noticed", title="worse", reason="by 2 points", next="look"),
    )
    assert outcome.gpu_seconds == 4.0


def test_a_task_that_fails_has_spent_but_made_nothing(running: Running) -> None:
    outcome = running.run("makes", fails=True)
    assert (outcome.kind, outcome.assets) == (OutcomeKind.FAILED, ())
    assert outcome.notices == ()
    assert outcome.gpu_seconds == 4.0


def test_a_process_counts_the_threads_and_children_of_its_task() -> None:
    running = Running(ProcessExecutor(1))
    outcome = running.run("works")
    running.executor.close()
    assert outcome.cpu_seconds is not None
    assert outcome.cpu_seconds > 0.09


def test_a_halt_carries_its_reason_its_kind_and_what_to_do_next(running: Running) -> None:
    outcome = running.run("halts")
    assert (outcome.kind, outcome.reason) == (OutcomeKind.HALTED, "the data is not fit")
    assert outcome.error is not None
    assert (outcome.error.type, outcome.error.hint) == ("Halt", "look at it")
    assert outcome.error.kinds == ("bad_data",)


def test_a_skip_carries_its_reason(running: Running) -> None:
    outcome = running.run("skips")
    assert (outcome.kind, outcome.reason) == (OutcomeKind.SKIPPED, "nothing is new")


def test_an_exception_arrives_with_its_bases_and_the_trace(running: Running) -> None:
    outcome = running.run("fails")
    assert outcome.kind is OutcomeKind.FAILED
    assert outcome.error is not None
    assert outcome.error.type == "KeyError"
    assert "builtins.LookupError" in outcome.error.kinds
    assert 'raise KeyError("price")' in outcome.error.trace
    assert not outcome.error.permanent


def test_giving_up_is_a_permanent_failure(running: Running) -> None:
    outcome = running.run("gives_up")
    assert outcome.kind is OutcomeKind.FAILED
    assert outcome.error is not None
    assert (outcome.error.message, outcome.error.permanent) == ("the account is closed", True)


def test_sys_exit_fails_the_task_and_nothing_else(running: Running) -> None:
    outcome = running.run("exits")
    assert outcome.kind is OutcomeKind.FAILED
    assert outcome.error is not None
    assert outcome.error.type == "SystemExit"
    assert running.run("number").kind is OutcomeKind.SUCCEEDED


@pytest.mark.parametrize("function", ["executor_tasks:nowhere", "no_such_module:task"])
def test_an_unknown_function_fails_for_good_with_a_hint(running: Running, function: str) -> None:
    outcome = running.run(function)
    assert outcome.kind is OutcomeKind.FAILED
    assert outcome.error is not None
    assert function in outcome.error.message
    assert outcome.error.permanent
    assert outcome.error.hint


def test_a_result_that_is_not_a_small_typed_value_fails_for_good(running: Running) -> None:
    outcome = running.run("returns_an_object")
    assert outcome.kind is OutcomeKind.FAILED
    assert outcome.error is not None
    assert outcome.error.type == "NotStorable"
    assert outcome.error.permanent


def test_a_value_near_the_limit_of_the_store_goes_through(running: Running) -> None:
    text = "x" * 900_000
    assert running.run("length", text=text).value == "900000"
    outcome = running.run("returns_much")  # a million and more once its quotes are escaped
    assert outcome.error is not None
    assert outcome.error.type == "NotStorable"


def test_what_a_task_prints_and_logs_is_appended_to_its_log(
    running: Running, tmp_path: Path
) -> None:
    log = tmp_path / "deep" / "down" / "task.log"
    assert running.run("speaks", log=log).kind is OutcomeKind.SUCCEEDED
    running.run("says", log=log, text="said later")
    text = log.read_text()
    assert text.startswith("printed äß\ncomplained\n")
    assert "logged" in text
    assert text.endswith("said later\n")


def test_each_task_prints_into_its_own_log(running: Running, tmp_path: Path) -> None:
    for i in range(20):
        running.start("says", attempt=f"r.t.{i}", log=tmp_path / f"{i}.log", text=f"this is {i}")
    for _ in range(20):
        running.next()
    assert [(tmp_path / f"{i}.log").read_text() for i in range(20)] == [
        f"this is {i}\n" for i in range(20)
    ]


def test_a_log_that_cannot_be_written_fails_the_task_that_prints(
    running: Running, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a folder")
    outcome = running.run("says", log=tmp_path / "file" / "task.log", text="hello")
    assert outcome.kind is OutcomeKind.FAILED
    assert outcome.error is not None
    assert "builtins.OSError" in outcome.error.kinds


def test_the_streams_are_as_before_once_nothing_runs(running: Running, tmp_path: Path) -> None:
    before = sys.stdout, sys.stderr, list(logging.getLogger().handlers)
    running.run("speaks", log=tmp_path / "task.log")
    running.executor.close()
    assert (sys.stdout, sys.stderr, list(logging.getLogger().handlers)) == before


def test_two_hundred_attempts_are_each_delivered_once(running: Running) -> None:
    ids = [f"r.t.{i}" for i in range(200)]
    for attempt_id in ids:
        running.start("identity", attempt=attempt_id)
    outcomes = [running.next() for _ in ids]
    assert sorted(o.attempt_id for o in outcomes) == sorted(ids)
    assert all(o.value == f'"{o.attempt_id}"' for o in outcomes)


def test_stopping_what_is_not_there_does_nothing(running: Running) -> None:
    running.executor.stop("r.t.99", 1.0)
    assert running.run("number").kind is OutcomeKind.SUCCEEDED


def test_closing_twice_does_nothing(running: Running) -> None:
    running.run("number")
    running.executor.close()
    running.executor.close()


# Where work goes on beside the caller.


@pytest.fixture(params=["threads", "processes"])
def beside(request: pytest.FixtureRequest) -> Iterator[Running]:
    executor = ThreadExecutor(1) if request.param == "threads" else ProcessExecutor(1)
    running = Running(executor)
    yield running
    running.executor.close()


@pytest.fixture
def fifos(tmp_path: Path) -> tuple[str, str]:
    for name in ("start", "go"):
        os.mkfifo(tmp_path / name)
    return str(tmp_path / "start"), str(tmp_path / "go")


def heard(fifo: str) -> list[int]:
    """The numbers that a task writes into the fifo."""
    with os.fdopen(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)) as file:
        assert select.select([file], [], [], PATIENCE)[0], "the task has not announced itself"
        return [int(word) for word in file.read().split()]


def test_starting_the_same_attempt_again_adopts_it(beside: Running, fifos: tuple[str, str]) -> None:
    start, go = fifos
    beside.start("waits", start=start, go=go)
    beside.start("number", attempt="r.t.2")
    heard(start)
    beside.start("waits", start=start, go=go)
    beside.start("number", attempt="r.t.2")
    Path(go).write_text("go on")
    assert {beside.next().value for _ in range(2)} == {'"go on"', "1"}
    beside.executor.close()
    assert beside.delivered.empty()


def test_queued_work_is_taken_back_without_a_start(beside: Running, fifos: tuple[str, str]) -> None:
    start, go = fifos
    beside.start("waits", start=start, go=go)
    heard(start)
    beside.start("number", attempt="r.t.2")
    beside.executor.stop("r.t.2", 10.0)
    outcome = beside.next()
    assert (outcome.attempt_id, outcome.kind) == ("r.t.2", OutcomeKind.STOPPED)
    assert outcome.reason == "stopped before it began"
    Path(go).write_text("go on")
    assert beside.next().kind is OutcomeKind.SUCCEEDED
