"""How an attempt becomes a Ray job, and a job's end the attempt's outcome."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import replace
from queue import Empty, SimpleQueue

import pytest

from flows.adapters.ray_executor import RayExecutor, job_id, job_spec, outcome_of
from flows.core.executors.perform import work_from_text
from flows.core.executors.protocol import Outcome, OutcomeKind, Work
from ray_jobs import JobError, JobSpec, JobState, JobStatus, RayConfig, RayUnreachable, connect

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
    outcome = delivered.get(timeout=30)
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
    outcome = delivered.get(timeout=30)
    executor.close()
    assert (outcome.kind, outcome.reason) == (OutcomeKind.STOPPED, "It ran.")
    assert ray.submitted == [job_id(WORK.attempt_id)]
