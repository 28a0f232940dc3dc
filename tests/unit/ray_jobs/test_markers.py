"""The files that a job leaves, and what a reader makes of them."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from ray_jobs import ArtifactError, ArtifactStore, JobError, JobNotKnown, JobSpec, JobState, process
from ray_jobs.markers import Done, Heartbeat, JobMarkers, StopReason, StopRequest
from ray_jobs.process import ProcessIdentity, proved_alive, this_process

SPEC = JobSpec(
    id="retrain-r7f3-train-a1",
    name="retrain · train · run 7f3",
    entrypoint="m:f",
    payload='{"a": 1}',
    metadata=(("flow", "retrain"),),
    env=(("A", "1"),),
    import_paths=("project",),
)


@pytest.fixture
def markers(tmp_path: Path) -> JobMarkers:
    return JobMarkers(ArtifactStore(str(tmp_path)), SPEC.id)


def test_a_spec_comes_back_as_it_was_and_is_readable_json(markers: JobMarkers) -> None:
    assert markers.intend(SPEC)
    assert markers.spec() == SPEC
    assert json.loads(markers.store.read_text("spec.json"))["name"] == SPEC.name


def test_a_second_intent_keeps_the_first(markers: JobMarkers) -> None:
    markers.intend(SPEC)
    other = JobSpec(id=SPEC.id, name="other", entrypoint="m:g", payload="")
    assert not markers.intend(other)
    assert markers.spec() == SPEC


def test_a_job_without_an_intent_is_not_known(markers: JobMarkers) -> None:
    with pytest.raises(JobNotKnown, match=SPEC.id):
        markers.spec()


def test_only_the_first_process_claims_a_job(markers: JobMarkers) -> None:
    beat = Heartbeat(beat=0, at="", every_s=2, process=this_process(), dedicated=True)
    assert markers.claim(beat)
    assert not markers.claim(beat)
    assert markers.heartbeat() == beat


def test_an_ending_comes_back_with_its_error(markers: JobMarkers) -> None:
    assert markers.done() is None
    error = JobError(type="KeyError", message="'a'", kinds=("builtins.KeyError",), hint="add a")
    done = Done(id=SPEC.id, state=JobState.FAILED, at="", host="h", error=error)
    markers.finish(done)
    assert markers.done() == done


def test_a_request_of_the_user_outranks_one_for_an_orphan(markers: JobMarkers) -> None:
    asked = StopRequest(reason=StopReason.ASKED, grace_s=1)
    orphan = StopRequest(reason=StopReason.ORPHAN, grace_s=2)
    markers.ask_to_stop(orphan)
    markers.ask_to_stop(asked)
    markers.ask_to_stop(orphan)
    assert markers.stop_request() == asked


@pytest.mark.parametrize("text", ['{"id": "a1", "sta', "[]", '{"state": "sung"}', ""])
def test_an_end_that_cannot_be_read_is_a_failure_with_its_place(
    markers: JobMarkers, text: str
) -> None:
    markers.store.write_text("done.json", text)
    done = markers.done()
    assert done is not None
    assert (done.id, done.state) == (SPEC.id, JobState.FAILED)
    assert done.error is not None
    assert "done.json" in (done.error.hint or "")


@pytest.mark.parametrize("text", ['{"beat": 1, "pro', "[]", '{"beat": 1}', ""])
def test_a_sign_of_life_that_cannot_be_read_is_not_taken_for_none(
    markers: JobMarkers, text: str
) -> None:
    markers.store.write_text("heartbeat.json", text)
    markers.store.write_text("stop.json", text)
    with pytest.raises(ArtifactError, match=r"heartbeat.json cannot be read"):
        markers.heartbeat()
    with pytest.raises(ArtifactError, match=r"stop.json cannot be read"):
        markers.stop_request()


def test_what_a_newer_version_writes_beside_is_left_out(markers: JobMarkers) -> None:
    beat = Heartbeat(beat=3, at="now", every_s=1.0, process=this_process(), dedicated=True)
    assert markers.claim(beat)
    row = json.loads(markers.store.read_text("heartbeat.json"))
    row["mood"] = row["process"]["mood"] = "good"
    markers.store.write_text("heartbeat.json", json.dumps(row))
    assert markers.heartbeat() == beat


def test_a_log_is_read_on_in_whole_characters(markers: JobMarkers) -> None:
    data = "naïve ∑".encode()
    assert markers.log().text == ""
    markers.store.write_bytes("log.txt", data[:-1])
    chunk = markers.log()
    assert chunk.text == "naïve "
    markers.store.write_bytes("log.txt", data + b"\xff!")
    assert markers.log(chunk.offset).text == "∑\N{REPLACEMENT CHARACTER}!"


def test_this_process_is_alive_and_a_later_one_with_its_pid_is_not_it() -> None:
    me = this_process()
    assert proved_alive(me) is True
    later = ProcessIdentity(host=me.host, machine=me.machine, pid=me.pid, started=1)
    assert proved_alive(later) is False


def test_nothing_is_proved_about_a_process_that_proc_hides(monkeypatch: pytest.MonkeyPatch) -> None:
    me, shown = this_process(), Path.exists
    monkeypatch.setattr(process, "_start_ticks", lambda pid: None)
    monkeypatch.setattr(Path, "exists", lambda self: "/proc/" not in str(self) and shown(self))
    assert proved_alive(me) is None
    assert proved_alive(replace(me, pid=2**22 + 1)) is False


def test_where_proc_shows_another_namespace_nothing_is_proved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 2**22 + 1)  # /proc/self says something else
    assert this_process().machine is None


def test_nothing_is_proved_about_a_process_elsewhere() -> None:
    there = ProcessIdentity(host="far", machine="another boot", pid=1, started=1)
    assert proved_alive(there) is None
