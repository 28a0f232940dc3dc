"""One body of tests over both clients, on real Rays."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from ray_jobs import JobState, NotEnoughResources

pytestmark = [pytest.mark.ray, pytest.mark.slow]

PATIENCE = 180.0


def test_a_job_returns_its_result_and_keeps_what_it_printed(jobs: Any) -> None:
    status = jobs.run("greet", "world")
    assert (status.state, status.result, status.error) == (JobState.SUCCEEDED, "WORLD", None)
    assert status.node
    chunk = jobs.client.logs(status.id)
    assert "hello world\n" in chunk.text
    assert jobs.client.logs(status.id, chunk.offset).text == ""


def test_the_same_id_is_executed_once_however_often_it_is_submitted(
    jobs: Any, tmp_path: Path
) -> None:
    spec = jobs.spec("count", str(tmp_path / "count"))
    together = [threading.Thread(target=jobs.client.submit, args=(spec,)) for _ in range(3)]
    for thread in together:
        thread.start()
    for thread in together:
        thread.join()
    assert jobs.end_of(spec.id).state is JobState.SUCCEEDED
    jobs.client.submit(spec)
    other = jobs.connect_again()
    other.submit(spec)
    assert other.status(spec.id).result == "counted"
    assert len((tmp_path / "count").read_text().splitlines()) == 1


def test_a_job_that_fails_says_why(jobs: Any) -> None:
    status = jobs.run("fail", "data")
    assert status.state is JobState.FAILED
    assert (status.error.type, status.error.message) == ("LookupError", "no data")
    assert "builtins.LookupError" in status.error.kinds
    assert "in fail" in status.error.trace


def test_another_client_adopts_a_job_that_runs(jobs: Any, fifo: Path) -> None:
    spec = jobs.spec("wait_for", str(fifo))
    jobs.client.submit(spec)
    jobs.pid_of(spec.id)
    other = jobs.connect_again()
    other.submit(spec)
    assert other.status(spec.id).state is JobState.RUNNING
    fifo.write_text("go on")
    assert other.wait([spec.id], PATIENCE) == (spec.id,)
    assert other.status(spec.id).result == "go on"


def test_a_wait_returns_the_job_that_ends_first(jobs: Any, fifo: Path) -> None:
    waiting, quick = jobs.submit("wait_for", str(fifo)), jobs.submit("greet", "x")
    assert jobs.client.wait([waiting, quick], PATIENCE) == (quick,)
    jobs.pid_of(waiting)
    fifo.write_text("go on")
    assert jobs.end_of(waiting).state is JobState.SUCCEEDED


def test_a_job_that_is_stopped_cleans_up_and_is_gone(jobs: Any, tmp_path: Path) -> None:
    job = jobs.submit("clean_up", str(tmp_path / "note"))
    jobs.pid_of(job)
    jobs.client.stop(job)
    assert jobs.end_of(job).state is JobState.STOPPED
    assert (tmp_path / "note").read_text() == "cleaned up"


def test_a_job_that_ignores_sigterm_is_ended_by_force(jobs: Any) -> None:
    job = jobs.submit("ignore_sigterm")
    pid = jobs.pid_of(job)
    jobs.client.stop(job, grace=0.5)
    assert jobs.end_of(job).state is JobState.STOPPED
    assert not runs(pid)


def test_a_job_whose_process_is_killed_is_lost(jobs: Any, fifo: Path) -> None:
    job = jobs.submit("wait_for", str(fifo))
    os.kill(jobs.pid_of(job), signal.SIGKILL)
    status = jobs.end_of(job)
    assert status.state is JobState.LOST
    assert "ended without leaving a result" in status.error.message
    assert "Ray says" in status.error.message


def test_a_job_starts_ray_tasks_that_find_the_projects_modules(jobs: Any) -> None:
    assert jobs.run("fan_out", "r7").result == "[0, 1, 4]"


def test_a_project_that_the_cluster_does_not_see_is_sent_along(jobs: Any, tmp_path: Path) -> None:
    if not jobs.client.survives:
        pytest.skip("an embedded Ray sees the same folders")
    for name in ("project", "more"):
        (tmp_path / name).mkdir()
    (tmp_path / "project" / "sent_job.py").write_text(
        "import ray, sent_too\n"
        "def where(payload):\n"
        "    return __file__ + ':' + ray.get(ray.remote(sent_too.here).remote())\n"
    )
    (tmp_path / "more" / "sent_too.py").write_text("def here(): return __file__\n")
    spec = jobs.spec(
        "where",
        entrypoint="sent_job:where",
        import_paths=(str(tmp_path / "project"), str(tmp_path / "more")),
    )
    sender = jobs.connect_again(ship=True, python=sys.executable)
    sender.submit(spec)
    sent = [Path(file) for file in jobs.end_of(spec.id).result.split(":")]
    assert [file.name for file in sent] == ["sent_job.py", "sent_too.py"]
    assert not any(tmp_path in file.parents for file in sent)


def test_ray_shows_the_names_that_people_gave(jobs: Any) -> None:
    name = "retrain · names · run 7f3"
    assert name in jobs.run("names_in_ray", name, name=name).result.splitlines()
    assert jobs.client.dashboard_url.startswith("http://127.0.0.1:")


def test_a_request_that_no_node_can_hold_is_refused_at_once(jobs: Any) -> None:
    with pytest.raises(NotEnoughResources, match="asks for 4 GPUs; the cluster has 0 GPUs"):
        jobs.submit("greet", num_gpus=4)


def test_the_cluster_says_what_it_has(jobs: Any) -> None:
    resources = jobs.client.resources()
    assert (resources.cpus, resources.gpus, len(resources.nodes)) == (2, 0, 1)


def runs(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
