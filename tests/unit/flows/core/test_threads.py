"""What is particular to the threads executor."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from queue import SimpleQueue

import pytest

from flows.core.errors import ExecutorError
from flows.core.executors.protocol import Outcome, OutcomeKind, Work
from flows.core.executors.threads import ThreadExecutor

PATIENCE = 60.0

Delivered = SimpleQueue[Outcome]


@pytest.fixture
def delivered() -> Delivered:
    return SimpleQueue()


@pytest.fixture
def executor(delivered: Delivered) -> Iterator[ThreadExecutor]:
    executor = ThreadExecutor(2)
    executor.open(delivered.put)
    yield executor
    executor.close()


def work(call: object, attempt: str = "r.t.1") -> Work:
    return Work(
        attempt_id=attempt,
        run_id="r",
        flow="f",
        task="t",
        number=1,
        function="__main__:nowhere",
        arguments="{}",
        call=call,  # type: ignore[arg-type]
    )


def ratchet_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("ratchet-task")]


def test_as_many_attempts_run_at_once_as_there_are_slots(
    executor: ThreadExecutor, delivered: Delivered
) -> None:
    both = threading.Barrier(2)
    for attempt in ("r.t.1", "r.t.2"):
        executor.start(work(lambda: both.wait(PATIENCE) >= 0, attempt))
    assert [delivered.get(timeout=PATIENCE).value for _ in range(2)] == ["true", "true"]


def test_no_more_threads_are_started_than_there_are_slots(
    executor: ThreadExecutor, delivered: Delivered
) -> None:
    assert ratchet_threads() == []
    for i in range(10):
        executor.start(work(lambda: None, f"r.t.{i}"))
    for _ in range(10):
        delivered.get(timeout=PATIENCE)
    assert len(ratchet_threads()) == 2


def test_a_task_that_raises_anything_at_all_fails_and_its_thread_goes_on(
    executor: ThreadExecutor, delivered: Delivered
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    for i in range(4):
        executor.start(work(interrupted, f"r.t.{i}"))
    assert {delivered.get(timeout=PATIENCE).kind for _ in range(4)} == {OutcomeKind.FAILED}
    executor.start(work(lambda: 1, "r.t.9"))
    assert delivered.get(timeout=PATIENCE).value == "1"


def test_what_runs_cannot_be_stopped_and_close_waits_for_it(
    executor: ThreadExecutor, delivered: Delivered
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def task() -> str:
        begun.set()
        go_on.wait(PATIENCE)
        return "to the end"

    executor.start(work(task))
    assert begun.wait(PATIENCE)
    executor.stop("r.t.1", 0)
    assert delivered.empty()
    closing = threading.Thread(target=executor.close)
    closing.start()
    go_on.set()
    closing.join(PATIENCE)
    assert delivered.get(timeout=PATIENCE).value == '"to the end"'
    assert ratchet_threads() == []


def test_closing_takes_back_what_has_not_begun(delivered: Delivered) -> None:
    executor = ThreadExecutor(1)
    executor.open(delivered.put)
    begun, go_on = threading.Event(), threading.Event()

    def task() -> bool:
        begun.set()
        return go_on.wait(PATIENCE)

    executor.start(work(task))
    assert begun.wait(PATIENCE)
    executor.start(work(pytest.fail, "r.t.2"))
    closing = threading.Thread(target=executor.close)
    closing.start()
    outcome = delivered.get(timeout=PATIENCE)
    assert (outcome.attempt_id, outcome.kind) == ("r.t.2", OutcomeKind.STOPPED)
    go_on.set()
    closing.join(PATIENCE)
    assert delivered.get(timeout=PATIENCE).kind is OutcomeKind.SUCCEEDED


def test_nothing_is_started_before_open_or_after_close(delivered: Delivered) -> None:
    executor = ThreadExecutor(1)
    with pytest.raises(ExecutorError, match="not open"):
        executor.start(work(pytest.fail))
    executor.open(delivered.put)
    executor.close()
    with pytest.raises(ExecutorError, match="not open"):
        executor.start(work(pytest.fail))
