"""What both clients share: submitting once, waiting, stopping, and orphans. No Ray here."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from ray_jobs import JobSpec, JobState, RayConfig, RayUnreachable
from ray_jobs.entry import run_job
from ray_jobs.marked import MarkedClient
from ray_jobs.markers import Heartbeat, StopReason
from ray_jobs.process import this_process
from ray_jobs.witnesses import RayAnswer, RayState

SPEC = JobSpec(id="j1", name="n", entrypoint="textwrap:dedent", payload="  a")
DEAD = replace(this_process(), started=1)


class ScriptedRay(MarkedClient):
    """A Ray that says what the test wants, and notes what it is asked for."""

    ends_orphans = True

    def __init__(self, folder: Path) -> None:
        super().__init__(RayConfig(stop_grace_s=3), str(folder))
        self.says = RayAnswer(state=RayState.UNKNOWN)
        self.reachable = True
        self.submitted: list[str] = []
        self.stopped: list[str] = []

    def _ask_ray(self, job_id: str, max_age_s: float) -> RayAnswer:
        return self.says

    def _submit_to_ray(self, spec: JobSpec) -> None:
        if not self.reachable:
            raise RayUnreachable("No Ray answers.")
        self.submitted.append(spec.id)

    def _stop_in_ray(self, job_id: str, grace: float) -> None:
        self.stopped.append(job_id)

    def beat(self, number: int, process: object = None, **given: object) -> None:
        fields = {"beat": number, "at": "", "every_s": 2.0, "dedicated": True} | given
        self._markers("j1").beat(Heartbeat(process=process or this_process(), **fields))

    def run(self) -> None:
        run_job(self._artifacts.location, "j1")
        self._note_change()


@pytest.fixture
def ray(tmp_path: Path) -> ScriptedRay:
    return ScriptedRay(tmp_path)


def test_an_intent_is_written_before_ray_hears_of_the_job(ray: ScriptedRay) -> None:
    ray.reachable = False
    with pytest.raises(RayUnreachable):
        ray.submit(SPEC)
    assert ray._markers("j1").spec() == SPEC
    assert ray.submitted == []


def test_an_intent_alone_is_a_job_that_never_started_and_may_be_submitted(
    ray: ScriptedRay,
) -> None:
    ray._markers("j1").intend(SPEC)
    assert ray.status("j1").state is JobState.UNKNOWN
    ray.submit(SPEC)
    assert ray.submitted == ["j1"]


def test_a_job_that_was_submitted_earlier_is_not_failed_because_ray_is_away(
    ray: ScriptedRay,
) -> None:
    ray.submit(SPEC)
    ray.reachable = False
    ray.submit(SPEC)
    assert ray.submitted == ["j1"]


def test_a_job_that_ever_started_is_adopted_not_submitted(ray: ScriptedRay) -> None:
    ray.beat(0, DEAD)
    ray.submit(SPEC)
    assert ray.submitted == []
    assert ray.status("j1").state is JobState.LOST


def test_a_done_marker_wins_over_all_that_ray_says(ray: ScriptedRay) -> None:
    ray.submit(SPEC)
    ray.run()
    ray.says = RayAnswer(state=RayState.FAILED, message="the supervisor died")
    status = ray.status("j1")
    assert (status.state, status.result) == (JobState.SUCCEEDED, "a")
    ray.submit(SPEC)
    assert ray.submitted == ["j1"]


def test_an_orphan_is_told_to_end_and_is_lost_only_once_it_is_gone(ray: ScriptedRay) -> None:
    ray.submit(SPEC)
    ray.beat(0)
    assert ray.status("j1").state is JobState.RUNNING
    request = ray._markers("j1").stop_request()
    assert request is not None
    assert (request.reason, request.grace_s) == (StopReason.ORPHAN, 3)
    assert ray.status("j1").state is JobState.RUNNING
    ray.beat(1, DEAD)
    assert ray.status("j1").state is JobState.LOST


def test_a_driver_that_was_killed_before_its_first_beat_has_not_failed(ray: ScriptedRay) -> None:
    ray.submit(SPEC)
    ray.says = RayAnswer(state=RayState.KILLED, message="exit code -9")
    status = ray.status("j1")
    assert status.state is JobState.LOST
    assert status.error is not None
    assert status.error.message.endswith("Ray says: exit code -9")


@pytest.mark.parametrize("state", [RayState.KILLED, RayState.FAILED])
def test_a_process_that_ray_lost_sight_of_never_begins_once_its_job_counts_as_ended(
    ray: ScriptedRay, state: RayState, tmp_path: Path
) -> None:
    spec = replace(SPEC, entrypoint="shutil:rmtree", payload=str(tmp_path / "kept"))
    (tmp_path / "kept").mkdir()
    ray.submit(spec)
    ray.says = RayAnswer(state=state)
    assert ray.status("j1").state.ended
    ray.run()  # it was slow to start, and comes now
    assert (tmp_path / "kept").exists()
    assert ray.status("j1").state is JobState.LOST


def test_a_job_that_counted_as_ended_is_not_unknown_to_the_next_head(ray: ScriptedRay) -> None:
    ray.submit(SPEC)
    ray.says = RayAnswer(state=RayState.KILLED)
    assert ray.status("j1").state is JobState.LOST
    ray.says = RayAnswer(state=RayState.UNKNOWN)
    assert ray.status("j1").state is JobState.LOST
    ray.submit(SPEC)
    assert ray.submitted == ["j1"]


def test_a_job_that_ray_runs_is_no_orphan(ray: ScriptedRay) -> None:
    ray.says = RayAnswer(state=RayState.LIVE)
    ray.beat(0)
    assert ray.status("j1").state is JobState.RUNNING
    assert ray._markers("j1").stop_request() is None


def test_nobody_ends_a_job_because_ray_does_not_answer(ray: ScriptedRay) -> None:
    ray.says = RayAnswer(state=RayState.UNREACHABLE, message="No Ray answers.")
    ray.beat(0)
    assert ray.status("j1").state is JobState.RUNNING
    assert ray._markers("j1").stop_request() is None


def test_when_nobody_can_tell_the_question_is_an_error_and_a_wait_goes_on(
    ray: ScriptedRay,
) -> None:
    ray.says = RayAnswer(state=RayState.UNREACHABLE, message="No Ray answers at h.")
    with pytest.raises(RayUnreachable, match="No Ray answers at h") as info:
        ray.status("j1")
    assert info.value.hint
    assert ray.wait(["j1"], timeout=0) == ()


def test_a_stopped_job_is_stopped_once_both_witnesses_agree(ray: ScriptedRay) -> None:
    ray.submit(SPEC)
    ray.beat(0)
    ray.stop("j1", grace=1)
    assert ray.stopped == ["j1"]
    ray.says = RayAnswer(state=RayState.STOPPED)
    assert ray.status("j1").state is JobState.RUNNING
    ray.beat(1, DEAD)
    assert ray.status("j1").state is JobState.STOPPED


def test_a_job_that_is_stopped_before_it_is_submitted_never_runs(ray: ScriptedRay) -> None:
    ray.stop("j1")
    ray.submit(SPEC)
    assert ray.submitted == []
    assert ray.status("j1").state is JobState.STOPPED


def test_stopping_a_job_that_is_done_leaves_it_as_it_ended(ray: ScriptedRay) -> None:
    ray.submit(SPEC)
    ray.run()
    ray.stop("j1")
    assert ray.stopped == []
    assert ray.status("j1").state is JobState.SUCCEEDED


def test_a_wait_returns_with_the_first_job_that_ends(ray: ScriptedRay) -> None:
    ray.says = RayAnswer(state=RayState.LIVE)
    ray.submit(SPEC)
    worker = threading.Thread(target=ray.run)
    worker.start()
    assert ray.wait(["j0", "j1"], timeout=30) == ("j1",)
    worker.join()


def test_a_wait_that_is_woken_returns_at_once_also_when_it_is_woken_before(
    ray: ScriptedRay,
) -> None:
    ray.says = RayAnswer(state=RayState.LIVE)
    ray.wake()
    assert ray.wait(["j1"], timeout=3600) == ()
    waker = threading.Timer(0, ray.wake)
    waker.start()
    assert ray.wait(["j1"], timeout=3600) == ()
    waker.join()


@pytest.mark.parametrize("state", [RayState.UNREACHABLE, RayState.UNKNOWN, RayState.KILLED])
def test_a_silent_job_is_told_to_end_before_it_counts_as_lost(
    ray: ScriptedRay, state: RayState
) -> None:
    clock = iter(range(0, 10_000, 100))
    ray._pulses = replace(ray._pulses, clock=lambda: float(next(clock)))
    ray.submit(SPEC)
    elsewhere = replace(this_process(), host="other", machine="other")
    ray.beat(0, elsewhere)
    ray.says = RayAnswer(state=RayState.LIVE)
    assert ray.status("j1").state is JobState.RUNNING
    assert ray._markers("j1").stop_request() is None
    ray.says = RayAnswer(state=state)
    assert ray.status("j1").state is JobState.LOST
    request = ray._markers("j1").stop_request()
    assert request is not None
    assert request.reason is StopReason.ORPHAN


def test_a_silent_job_that_ray_still_runs_is_left_alone(ray: ScriptedRay) -> None:
    ray.submit(SPEC)
    ray.beat(0, DEAD)
    ray.says = RayAnswer(state=RayState.LIVE)
    assert ray.status("j1").state is JobState.RUNNING
    assert ray._markers("j1").stop_request() is None
