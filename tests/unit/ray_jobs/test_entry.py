"""Inside the job: it runs once, and leaves a true witness. No Ray is needed for that."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ray_jobs import ArtifactStore, JobNotKnown, JobSpec, JobState
from ray_jobs.entry import ALREADY_RUN, main, run_job
from ray_jobs.markers import Heartbeat, JobMarkers, StopReason, StopRequest
from ray_jobs.process import this_process

SPEC = JobSpec(
    id="j1",
    name="flow · task · run 1",
    entrypoint="entry_jobs:shout",
    payload="hello",
    import_paths=(str(Path(__file__).parent),),
)


@pytest.fixture(autouse=True)
def _import_paths_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture(params=["folder", "object-store"])
def artifacts(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path)
    return f"fsspec+memory://entry{tmp_path}"


@pytest.fixture
def markers(artifacts: str) -> JobMarkers:
    return JobMarkers(ArtifactStore(artifacts), "j1")


def test_a_job_leaves_its_result_its_log_and_a_last_heartbeat(
    artifacts: str, markers: JobMarkers
) -> None:
    markers.intend(SPEC)
    streams = sys.stdout, sys.stderr, list(logging.getLogger().handlers)
    done = run_job(artifacts, "j1")
    assert done is not None
    assert (done.state, done.result) == (JobState.SUCCEEDED, "HELLO")
    assert markers.done() == done
    beat = markers.heartbeat()
    assert beat is not None
    assert beat.ended
    assert beat.process == this_process()
    text = markers.log().text
    assert "printed hello\ncomplained\n" in text
    assert "INFO mine: logged hello" in text
    assert (sys.stdout, sys.stderr, list(logging.getLogger().handlers)) == streams


def test_a_job_that_is_done_is_not_run_again(artifacts: str, markers: JobMarkers) -> None:
    markers.intend(SPEC)
    first = run_job(artifacts, "j1")
    assert run_job(artifacts, "j1") == first
    assert markers.log().text.count("printed") == 1


def test_a_job_that_another_process_began_is_left_alone(
    artifacts: str, markers: JobMarkers
) -> None:
    markers.intend(SPEC)
    markers.claim(Heartbeat(beat=0, at="", every_s=2, process=this_process(), dedicated=True))
    assert run_job(artifacts, "j1") is None
    assert markers.done() is None
    assert main([artifacts, "j1"]) == ALREADY_RUN


def test_a_job_that_was_stopped_before_it_began_does_nothing(
    artifacts: str, markers: JobMarkers
) -> None:
    markers.intend(SPEC)
    markers.ask_to_stop(StopRequest(reason=StopReason.ASKED, grace_s=1))
    done = run_job(artifacts, "j1")
    assert done is not None
    assert done.state is JobState.STOPPED
    assert markers.log().text == ""


def test_an_orphan_that_ends_itself_is_lost_not_stopped(
    artifacts: str, markers: JobMarkers
) -> None:
    markers.intend(SPEC)
    markers.ask_to_stop(StopRequest(reason=StopReason.ORPHAN, grace_s=1))
    done = run_job(artifacts, "j1")
    assert done is not None
    assert done.state is JobState.LOST


@pytest.mark.parametrize(
    ("job", "type_", "message"),
    [
        ("entry_jobs:fail", "KeyError", "'hello'"),
        ("entry_jobs:leave", "SystemExit", "3"),
        ("entry_jobs:answer_with_a_number", "BadEntrypoint", "returned int, not text"),
        ("entry_jobs:nowhere", "BadEntrypoint", "entry_jobs has no function 'nowhere'"),
    ],
)
def test_a_job_that_fails_says_why_in_its_marker_and_its_log(
    artifacts: str, markers: JobMarkers, job: str, type_: str, message: str
) -> None:
    markers.intend(replace(SPEC, entrypoint=job))
    done = run_job(artifacts, "j1")
    assert done is not None
    assert done.state is JobState.FAILED
    assert done.error is not None
    assert done.error.type == type_
    assert message in done.error.message
    assert "Traceback" in done.error.trace
    assert type_ in markers.log().text


def test_an_error_carries_its_bases_its_hint_and_whether_a_retry_helps(
    artifacts: str, markers: JobMarkers
) -> None:
    markers.intend(replace(SPEC, entrypoint="entry_jobs:refuse"))
    done = run_job(artifacts, "j1")
    assert done is not None
    assert done.error is not None
    assert (done.error.hint, done.error.permanent) == ("do something else", True)
    assert done.error.kinds == ("entry_jobs.NoUse", "builtins.Exception")


def test_a_job_that_is_told_to_end_cleans_up_and_says_so(
    artifacts: str, markers: JobMarkers
) -> None:
    markers.intend(replace(SPEC, entrypoint="entry_jobs:hear_sigterm"))
    done = run_job(artifacts, "j1")
    assert done is not None
    assert done.state is JobState.STOPPED
    assert "cleaned up" in markers.log().text


def test_a_job_without_an_intent_is_refused(artifacts: str) -> None:
    with pytest.raises(JobNotKnown):
        run_job(artifacts, "j1")
