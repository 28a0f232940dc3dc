"""Worker processes: how they live, how they are ended, and that nothing of them is left."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest

from flows.core import values
from flows.core.errors import ExecutorError
from flows.core.executors import worker_process
from flows.core.executors.process_main import Frames, frame
from flows.core.executors.processes import ProcessExecutor
from flows.core.executors.protocol import Outcome, OutcomeKind, Work

PATIENCE = 60.0
TASKS = Path(__file__).parents[3] / "contract" / "flows"

Delivered = SimpleQueue[Outcome]


@pytest.fixture(autouse=True)
def _tasks_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TASKS))


@pytest.fixture
def delivered() -> Delivered:
    return SimpleQueue()


@pytest.fixture
def executor(delivered: Delivered) -> Iterator[ProcessExecutor]:
    executor = ProcessExecutor(1)
    executor.open(delivered.put)
    yield executor
    executor.close()


@pytest.fixture
def fifo(tmp_path: Path) -> str:
    os.mkfifo(tmp_path / "fifo")
    return str(tmp_path / "fifo")


def work(task: str, *, attempt: str = "r.t.1", log: str | None = None, **given: object) -> Work:
    return Work(
        attempt_id=attempt,
        run_id="r",
        flow="f",
        task="t",
        number=1,
        function=task if ":" in task else f"executor_tasks:{task}",
        arguments=values.dumps(given),
        log=log,
    )


def run(executor: ProcessExecutor, delivered: Delivered, task: str, **given: object) -> Outcome:
    executor.start(work(task, **given))
    return delivered.get(timeout=PATIENCE)


def heard(fifo: str) -> list[int]:
    """The numbers that a task writes into the fifo."""
    with os.fdopen(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)) as file:
        assert select.select([file], [], [], PATIENCE)[0], "the task has not announced itself"
        return [int(word) for word in file.read().split()]


def has_ended(pid: int, *, within: float = PATIENCE) -> bool:
    """Wait until the process, which need not be a child, has ended."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([pidfd], [], [], within)[0])
    finally:
        os.close(pidfd)


def test_a_worker_is_kept_for_the_next_work(
    executor: ProcessExecutor, delivered: Delivered
) -> None:
    first = run(executor, delivered, "pid")
    second = run(executor, delivered, "pid", attempt="r.t.2")
    assert first.value == second.value != str(os.getpid())


def test_no_worker_is_started_before_there_is_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process.subprocess, "Popen", pytest.fail)
    executor = ProcessExecutor(2)
    executor.open(pytest.fail)
    executor.close()


def test_a_worker_leads_a_session_of_its_own(
    executor: ProcessExecutor, delivered: Delivered
) -> None:
    pid, group, session = values.loads(run(executor, delivered, "session").value or "")
    assert pid == group == session != os.getsid(0)


def test_a_task_sees_the_environment_of_the_parent(
    executor: ProcessExecutor, delivered: Delivered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/as/it/was")
    assert run(executor, delivered, "environment", name="PYTHONPATH").value == '"/as/it/was"'


def test_what_a_child_of_a_task_prints_is_in_the_log(
    executor: ProcessExecutor, delivered: Delivered, tmp_path: Path
) -> None:
    log = tmp_path / "task.log"
    run(executor, delivered, "starts_a_child_that_prints", log=str(log))
    assert log.read_text() == "from the child\n"


def test_a_function_of_a_notebook_fails_for_good_and_says_where_to_put_it(
    executor: ProcessExecutor, delivered: Delivered
) -> None:
    outcome = run(executor, delivered, "__main__:train")
    assert outcome.kind is OutcomeKind.FAILED
    assert outcome.error is not None
    assert outcome.error.permanent
    assert outcome.error.message.startswith("the task train is defined in a script or notebook")
    assert outcome.error.hint == (
        "move it into a module, or run it with the threads or the inline executor"
    )


@pytest.mark.parametrize(
    ("task", "given", "how"),
    [
        ("dies", {"number": 9}, "signal 9; perhaps the machine ran out of memory"),
        ("dies", {"number": 11}, "signal 11"),
        ("exits_at_once", {}, "exit code 7"),
    ],
)
def test_a_worker_that_dies_loses_its_attempt_and_is_replaced(
    executor: ProcessExecutor, delivered: Delivered, task: str, given: dict[str, int], how: str
) -> None:
    outcome = run(executor, delivered, task, **given)
    assert (outcome.kind, outcome.reason) == (
        OutcomeKind.LOST,
        f"its worker process died ({how})",
    )
    assert run(executor, delivered, "number", attempt="r.t.2").kind is OutcomeKind.SUCCEEDED


def test_a_worker_killed_from_outside_loses_its_attempt(
    executor: ProcessExecutor, delivered: Delivered, fifo: str
) -> None:
    executor.start(work("blocks", fifo=fifo))
    (pid,) = heard(fifo)
    os.kill(pid, signal.SIGKILL)
    assert delivered.get(timeout=PATIENCE).kind is OutcomeKind.LOST
    assert has_ended(pid, within=0)


def test_a_worker_killed_while_idle_loses_nothing(
    executor: ProcessExecutor, delivered: Delivered
) -> None:
    pid = int(run(executor, delivered, "pid").value or "")
    os.kill(pid, signal.SIGKILL)
    assert has_ended(pid)
    assert run(executor, delivered, "number", attempt="r.t.2").kind is OutcomeKind.SUCCEEDED


def test_a_lost_worker_is_noticed_although_its_child_holds_the_socket(
    executor: ProcessExecutor, delivered: Delivered, fifo: str
) -> None:
    executor.start(work("forks_and_blocks", fifo=fifo))
    (pid,) = heard(fifo)
    os.kill(pid, signal.SIGKILL)
    assert delivered.get(timeout=PATIENCE).kind is OutcomeKind.LOST


def test_a_stopped_task_may_clean_up(
    executor: ProcessExecutor, delivered: Delivered, fifo: str, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    executor.start(work("cleans_up", fifo=fifo, marker=str(marker)))
    (pid,) = heard(fifo)
    executor.stop("r.t.1", PATIENCE)
    outcome = delivered.get(timeout=PATIENCE)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.STOPPED, "ended on request")
    assert marker.read_text() == "cleaned up"
    assert has_ended(pid, within=0)


def test_a_task_that_ignores_sigterm_is_killed_after_the_grace(
    executor: ProcessExecutor, delivered: Delivered, fifo: str
) -> None:
    executor.start(work("ignores_sigterm", fifo=fifo))
    (pid,) = heard(fifo)
    executor.stop("r.t.1", 0.05)
    assert delivered.get(timeout=PATIENCE).kind is OutcomeKind.STOPPED
    assert has_ended(pid, within=0)


def test_a_second_stop_can_shorten_the_grace(
    executor: ProcessExecutor, delivered: Delivered, fifo: str
) -> None:
    executor.start(work("ignores_sigterm", fifo=fifo))
    heard(fifo)
    executor.stop("r.t.1", 10 * PATIENCE)
    executor.stop("r.t.1", 0)
    assert delivered.get(timeout=PATIENCE).kind is OutcomeKind.STOPPED


def test_a_task_that_fails_because_it_was_stopped_is_stopped(
    executor: ProcessExecutor, delivered: Delivered, fifo: str
) -> None:
    executor.start(work("fails_when_told_to_end", fifo=fifo))
    (pid,) = heard(fifo)
    executor.stop("r.t.1", PATIENCE)
    assert delivered.get(timeout=PATIENCE).kind is OutcomeKind.STOPPED
    assert has_ended(pid, within=0)
    assert run(executor, delivered, "number", attempt="r.t.2").kind is OutcomeKind.SUCCEEDED


def test_a_stop_ends_what_the_task_has_started(
    executor: ProcessExecutor, delivered: Delivered, fifo: str
) -> None:
    executor.start(work("has_a_child_that_blocks", fifo=fifo))
    child, pid = heard(fifo)
    executor.stop("r.t.1", PATIENCE)
    assert delivered.get(timeout=PATIENCE).kind is OutcomeKind.STOPPED
    assert has_ended(pid, within=0)
    assert has_ended(child)


def test_closing_ends_what_runs_and_what_is_idle(delivered: Delivered, fifo: str) -> None:
    executor = ProcessExecutor(2, closing_grace=0.05)
    executor.open(delivered.put)
    executor.start(work("ignores_sigterm", fifo=fifo))
    (busy,) = heard(fifo)
    idle = int(run(executor, delivered, "pid", attempt="r.t.2").value or "")
    executor.close()
    assert has_ended(busy, within=0)
    assert has_ended(idle, within=0)
    outcome = delivered.get(timeout=PATIENCE)
    assert (outcome.attempt_id, outcome.kind) == ("r.t.1", OutcomeKind.STOPPED)
    assert delivered.empty()


def test_closing_stops_what_has_not_begun(delivered: Delivered, fifo: str) -> None:
    executor = ProcessExecutor(1)
    executor.open(delivered.put)
    executor.start(work("blocks", fifo=fifo))
    heard(fifo)
    executor.start(work("number", attempt="r.t.2"))
    executor.close()
    outcomes = [delivered.get(timeout=PATIENCE) for _ in range(2)]
    assert {o.attempt_id: o.kind for o in outcomes} == {
        "r.t.1": OutcomeKind.STOPPED,
        "r.t.2": OutcomeKind.STOPPED,
    }


def test_nothing_is_started_before_open_or_after_close(delivered: Delivered) -> None:
    executor = ProcessExecutor(1)
    with pytest.raises(ExecutorError, match="not open"):
        executor.start(work("number"))
    executor.open(delivered.put)
    executor.close()
    with pytest.raises(ExecutorError, match="not open"):
        executor.start(work("number"))


def test_work_fails_when_no_worker_can_be_started(
    executor: ProcessExecutor, delivered: Delivered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    outcome = run(executor, delivered, "number")
    assert outcome.kind is OutcomeKind.FAILED
    assert outcome.error is not None
    assert "no worker process can be started" in outcome.error.message


PARENT = """
import sys, threading
from flows.core.executors.processes import ProcessExecutor
from flows.core.executors.protocol import Work
executor = ProcessExecutor(1)
executor.open(print)
executor.start(
    Work(attempt_id="r.t.1", run_id="r", flow="f", task="t", number=1,
         function=f"executor_tasks:{sys.argv[1]}", arguments=sys.argv[2])
)
threading.Event().wait()
"""


@pytest.mark.parametrize("task", ["has_a_child_that_blocks", "ignores_sigterm", "holds_the_gil"])
def test_nothing_is_left_when_the_parent_is_killed(task: str, fifo: str) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, task, values.dumps({"fifo": fifo})],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        pids = heard(fifo)
    finally:
        parent.kill()
        parent.wait()
    assert all(has_ended(pid) for pid in pids)


def test_messages_survive_being_cut_anywhere() -> None:
    texts = ["", "one", "ä" * 1000, "\udc80 of a path"]
    stream = b"".join(frame(text) for text in texts)
    for size in (1, 3, len(stream)):
        frames = Frames()
        found = [
            text
            for start in range(0, len(stream), size)
            for text in frames.feed(stream[start : start + size])
        ]
        assert found == texts


def test_a_message_larger_than_the_socket_reaches_a_worker_that_is_still_starting(
    executor: ProcessExecutor, delivered: Delivered
) -> None:
    text = "x" * 900_000
    assert run(executor, delivered, "length", text=text).value == "900000"
