"""The core's executor over both clients: one attempt, one job, one outcome."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from flows.adapters.ray_executor import RayExecutor
from flows.core import values
from flows.core.executors.protocol import Outcome, OutcomeKind, Work
from flows.core.records import Asset

pytestmark = [pytest.mark.ray, pytest.mark.slow]

PATIENCE = 180.0
_RUNS = itertools.count()


class Running:
    """An open executor over a client of its own, with what it has delivered."""

    def __init__(self, jobs: Any, logs: Path) -> None:
        self.executor = RayExecutor(jobs.connect_again, import_paths=(str(Path(__file__).parent),))
        self.delivered: SimpleQueue[Outcome] = SimpleQueue()
        self.executor.open(self.delivered.put)
        self.logs = logs

    def work(self, task: str, **given: object) -> Work:
        run = f"x{next(_RUNS)}"
        return Work(
            attempt_id=f"{run}.{task}[0].1",
            run_id=run,
            flow="retrain",
            task=f"{task}[0]",
            number=1,
            function=f"ray_tasks:{task}",
            arguments=values.dumps(given),
            log=str(self.logs / f"{task}.log"),
        )

    def next(self) -> Outcome:
        return self.delivered.get(timeout=PATIENCE)

    def run(self, task: str, **given: object) -> Outcome:
        self.executor.start(self.work(task, **given))
        return self.next()


@pytest.fixture
def running(jobs: Any, tmp_path: Path) -> Iterator[Running]:
    jobs.run("greet")  # an embedded Ray that was started here outlives one executor
    running = Running(jobs, tmp_path / "logs")
    yield running
    running.executor.close()
    assert running.delivered.empty()


def test_a_typed_value_goes_through_a_job_once_and_its_log_comes_here(running: Running) -> None:
    work = running.work("swap", pair={"left": 1, "right": "2"})
    running.executor.start(work)
    running.executor.start(work)
    outcome = running.next()
    assert (outcome.kind, outcome.attempt_id) == (OutcomeKind.SUCCEEDED, work.attempt_id)
    assert values.loads(outcome.value or "") == {"left": 2, "right": "1"}
    log = (running.logs / "swap.log").read_text()
    assert log.count(f"swapping in {work.attempt_id}\n") == 1


def test_an_attempt_is_charged_what_its_ray_tasks_were_granted(running: Running) -> None:
    outcome = running.run("makes")
    assert (outcome.kind, outcome.error) == (OutcomeKind.SUCCEEDED, None)
    assert outcome.assets == (Asset(name="model:digits", version="2"),)
    assert outcome.gpu_seconds == 4.0
    assert 0.4 < (outcome.cpu_seconds or 0) < 10


def test_halts_and_permanent_failures_arrive_as_such(running: Running) -> None:
    halted = running.run("halts")
    assert (halted.kind, halted.reason) == (OutcomeKind.HALTED, "the data is not fit")
    failed = running.run("gives_up")
    assert failed.error is not None
    assert (failed.kind, failed.error.permanent) == (OutcomeKind.FAILED, True)


def test_an_attempt_that_is_stopped_is_delivered_once_it_is_gone(
    running: Running, jobs: Any
) -> None:
    work = running.work("waits")
    running.executor.start(work)
    jobs.pid_of(work.attempt_id.replace("[0]", ".0"))
    running.executor.stop("nobody.knows.1", 1.0)
    running.executor.stop(work.attempt_id, PATIENCE)  # it obeys, and says what it has used
    outcome = running.next()
    assert (outcome.attempt_id, outcome.kind) == (work.attempt_id, OutcomeKind.STOPPED)
    assert (outcome.cpu_seconds or 0) > 0


def test_an_attempt_that_dies_is_lost(running: Running) -> None:
    outcome = running.run("dies")
    assert outcome.kind is OutcomeKind.LOST
    assert "ended without leaving a result" in (outcome.reason or "")
