"""How an attempt becomes a Ray job, and a job's end the attempt's outcome."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue

import pytest

from flows.adapters.ray_executor import RayExecutor, job_id, job_spec, outcome_of
from flows.core.claiming import NOTHING_FREE, Resources
from flows.core.errors import ConfigError
from flows.core.executors.perform import outcome_to_text, work_from_text
from flows.core.executors.protocol import Outcome, OutcomeKind, Work
from ray_jobs import (
    ClusterLoad,
    JobError,
    JobSpec,
    JobState,
    JobStatus,
    LogChunk,
    RayConfig,
    RayUnreachable,
    connect,
)

WORK = Work(
    attempt_id="7f3.extract[3].2",
    run_id="7f3",
    flow="retrain",
    task="extract[3]",
    number=2,
    function="m:extract",
    arguments='{"a": 1}',
    log="here.log",
)


@pytest.mark.parametrize(
    ("attempt", "job"),
    [
        ("260704-0300-7f3a.train.1", "260704-0300-7f3a.train.1"),
        ("7f3.extract[3].2", "7f3.extract.3.2"),
        ("7f3.extract[3][4].2", "7f3.extract.3.4.2"),
    ],
)
def test_a_job_carries_its_attempts_id_as_far_as_a_file_name_can(attempt: str, job: str) -> None:
    assert job_id(attempt) == job


def test_attempts_with_odd_names_get_different_jobs() -> None:
    odd = [job_id(name) for name in ("_a b", "_a/b", "x" * 300, "x" * 301)]
    assert len(set(odd)) == 4
    assert all(len(name) <= 200 for name in odd)


def test_people_find_flow_task_and_run_in_a_jobs_name() -> None:
    spec = job_spec(WORK, ("project",), 2.0)
    assert spec.name == "retrain · extract[3] · run 7f3"
    assert dict(spec.metadata)["attempt"] == "2"
    work = work_from_text(spec.payload)
    assert (work.attempt_id, work.arguments, work.log) == (WORK.attempt_id, '{"a": 1}', None)


@pytest.mark.parametrize(
    ("state", "kind"),
    [(JobState.STOPPED, OutcomeKind.STOPPED), (JobState.LOST, OutcomeKind.LOST)],
)
def test_a_job_that_is_gone_gives_its_reason(state: JobState, kind: OutcomeKind) -> None:
    error = JobError(type="JobLost", message="It died.")
    outcome = outcome_of("a1", JobStatus(id="j", state=state, error=error))
    assert (outcome.attempt_id, outcome.kind, outcome.reason) == ("a1", kind, "It died.")


def test_a_result_of_another_version_fails_the_attempt_and_says_so() -> None:
    newer = JobStatus(id="j", state=JobState.SUCCEEDED, result='{"attempt_id": "a1", "mood": 3}')
    outcome = outcome_of("a1", newer)
    assert (outcome.attempt_id, outcome.kind) == ("a1", OutcomeKind.FAILED)
    assert outcome.error is not None
    assert "cannot be read" in outcome.error.message
    assert "same version of Ratchet" in (outcome.error.hint or "")


def test_a_jobs_own_failure_keeps_type_bases_hint_and_permanence() -> None:
    error = JobError(
        type="NotEnoughResources", message="no GPU", kinds=("x.Y",), hint="less", permanent=True
    )
    outcome = outcome_of("a1", JobStatus(id="j", state=JobState.FAILED, error=error))
    assert outcome.error is not None
    assert outcome.error.kinds == ("x.Y",)
    assert (outcome.error.hint, outcome.error.permanent) == ("less", True)


def test_a_cluster_that_does_not_answer_fails_the_attempt_with_a_hint(tmp_path: object) -> None:
    config = RayConfig(mode="cluster", address="http://127.0.0.1:9", unreachable_s=0.0)
    executor = RayExecutor(lambda: connect(config, str(tmp_path), str(tmp_path)))
    delivered: SimpleQueue[Outcome] = SimpleQueue()
    executor.open(delivered.put)
    assert executor.survives
    executor.start(WORK)
    outcome = delivered.get(timeout=60)
    executor.close()
    executor.close()
    assert (outcome.attempt_id, outcome.kind) == (WORK.attempt_id, OutcomeKind.FAILED)
    assert outcome.error is not None
    assert outcome.error.type == RayUnreachable.__name__
    assert not outcome.error.permanent
    assert outcome.error.hint


class AwayRay:
    """A cluster whose head is being started again; it takes jobs when the test says so."""

    survives = True
    config = RayConfig(mode="cluster", address="http://head:8265")

    def __init__(self) -> None:
        self.is_back = threading.Event()
        self.submitted: list[str] = []

    def submit(self, spec: JobSpec) -> None:
        self._answer()
        self.submitted.append(spec.id)

    def status(self, job_id: str) -> JobStatus:
        self._answer()
        if job_id not in self.submitted:
            return JobStatus(id=job_id, state=JobState.UNKNOWN)
        error = JobError(type="Stopped", message="It ran.")
        return JobStatus(id=job_id, state=JobState.STOPPED, error=error)

    def wait(self, job_ids: Iterable[str], timeout: float) -> tuple[str, ...]:
        self.is_back.wait(0.01)
        return tuple(job for job in job_ids if job in self.submitted)

    def load(self) -> None:
        self._answer()

    def has_begun(self, job_id: str) -> bool:
        return False

    def wake(self) -> None: ...

    def close(self) -> None: ...

    def _answer(self) -> None:
        if not self.is_back.is_set():
            raise RayUnreachable("No Ray answers.")


def test_an_attempt_waits_for_a_head_that_is_started_again_and_does_not_fail() -> None:
    ray = AwayRay()
    executor = RayExecutor(lambda: ray)
    delivered: SimpleQueue[Outcome] = SimpleQueue()
    executor.open(delivered.put)
    executor.start(replace(WORK, log=None))
    with pytest.raises(Empty):
        delivered.get(timeout=0.5)
    ray.is_back.set()
    outcome = delivered.get(timeout=60)
    executor.close()
    assert (outcome.kind, outcome.reason) == (OutcomeKind.STOPPED, "It ran.")
    assert ray.submitted == [job_id(WORK.attempt_id)]


class SomeRay(AwayRay):
    """A cluster that has all jobs at once, and of some says what nobody can make sense of."""

    def __init__(self, **results: str) -> None:
        super().__init__()
        self.is_back.set()
        self.results = results
        self.stopped: list[str] = []

    def status(self, job_id: str) -> JobStatus:
        result = self.results[job_id.split(".")[0]]
        if result == "odd":
            raise KeyError("state")
        return JobStatus(id=job_id, state=JobState.SUCCEEDED, result=result)

    def logs(self, job_id: str, offset: int = 0) -> LogChunk:
        return LogChunk(text="line\n", offset=offset + 5)

    def stop(self, job_id: str, grace: float | None = None) -> None:
        self.stopped.append(job_id)
        raise TimeoutError("the dashboard did not answer")


def work_of(run: str, log: str | None = None) -> Work:
    return replace(WORK, attempt_id=f"{run}.a.1", run_id=run, task="a", log=log)


def test_one_job_that_cannot_be_understood_holds_up_no_other(tmp_path: Path) -> None:
    good = outcome_to_text(Outcome(attempt_id="r2.a.1", kind=OutcomeKind.SUCCEEDED, value="1"))
    ray = SomeRay(r0="odd", r1=good[:-9], r2=good)
    executor = RayExecutor(lambda: ray)
    delivered: SimpleQueue[Outcome] = SimpleQueue()
    executor.open(delivered.put)
    nowhere = tmp_path / "file"
    nowhere.write_text("a log cannot be written into a file as if it were a folder")
    for run in ("r0", "r1", "r2"):
        executor.start(work_of(run, str(nowhere / "a.log")))
    outcomes = {o.attempt_id: o for o in (delivered.get(timeout=60), delivered.get(timeout=60))}
    executor.close()
    assert outcomes["r2.a.1"].value == "1"
    cut = outcomes["r1.a.1"]
    assert cut.kind is OutcomeKind.FAILED
    assert cut.error is not None
    assert "cannot be read" in cut.error.message


def test_a_stop_that_goes_wrong_is_said(caplog: pytest.LogCaptureFixture) -> None:
    ray = SomeRay(r0="odd")
    executor = RayExecutor(lambda: ray)
    executor.open(lambda outcome: None)
    executor.start(work_of("r0"))
    executor.stop("r0.a.1", 1.0)
    executor.close()
    assert ray.stopped == ["r0.a.1"]
    assert "the dashboard did not answer" in caplog.text


def test_a_secret_that_is_not_there_is_the_reason_of_the_attempt_and_nobody_elses() -> None:
    def connect() -> AwayRay:
        raise ConfigError("The secret RAY_TOKEN is not set.", hint="export RAY_TOKEN=...")

    executor = RayExecutor(connect)
    executor.open(lambda outcome: None)
    assert executor.survives
    assert executor.capacity is not None  # everything waits, until Ray was silent for too long
    executor.warm()
    with pytest.raises(ConfigError, match="RAY_TOKEN"):
        executor.start(work_of("r0"))
    executor.close()


class FullRay(AwayRay):
    """A cluster at its minimum of 8 CPUs, all of them busy."""

    def __init__(self, *, elastic: bool) -> None:
        super().__init__()
        self.config = RayConfig(mode="cluster", address="http://head:8265", elastic=elastic)

    def load(self) -> ClusterLoad:
        self._answer()
        return ClusterLoad(cpus=8, gpus=0, used_cpus=8, used_gpus=0, counted_at=1.0)


@pytest.mark.parametrize("elastic", [True, False])
def test_a_full_cluster_hears_of_more_work_if_it_can_add_nodes(elastic: bool) -> None:
    ray = FullRay(elastic=elastic)
    executor = RayExecutor(lambda: ray)
    assert executor.capacity is NOTHING_FREE  # it has not answered yet
    ray.is_back.set()
    executor._usage.look()
    found = executor.capacity
    assert (found is None) if elastic else (found is not None)
    if found is not None:
        assert not found.takes(Resources(cpus=4))
