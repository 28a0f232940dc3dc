"""Exactly one Ray job per attempt, whatever is killed when; on real Rays and with real kills."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ray_jobs import JobSpec, JobState, RayConfig, connect

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SAMPLES = Path(__file__).parents[1] / "contract" / "ray_jobs"
PATIENCE = 180.0


@pytest.fixture(autouse=True)
def _no_other_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def head() -> Iterator[Any]:
    """A cluster of one node."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SAMPLES))
        head = importlib.import_module("ray_head").Head()
        try:
            head.start()
            yield head
        finally:
            head.remove()


def job(function: str, payload: str, job_id: str) -> JobSpec:
    return JobSpec(
        id=job_id,
        name=f"retrain · {function} · run 7f3",
        entrypoint=f"ray_samples:{function}",
        payload=payload,
        import_paths=(str(SAMPLES),),
        heartbeat_s=0.5,
    )


def config_of(head: Any) -> RayConfig:
    return RayConfig(
        mode="cluster", address=head.address, token_path=str(head.token), stop_grace_s=1.0
    )


def until(true: Callable[[], object], what: str) -> None:
    """Waits for a fact about real processes."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, f"not within {PATIENCE:g} s: {what}"
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def descendants(pid: int) -> set[int]:
    """The processes below a process, at any depth."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found, before = {pid}, set[int]()
    while found != before:
        before = set(found)
        found |= {child for child, parent in parents.items() if parent in found}
    return found - {pid}


def drivers(job_id: str) -> list[int]:
    """The processes that Ray has started for a job."""
    wanted = ["ray_jobs.entry", job_id]
    pids = [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]
    return [pid for pid in pids if command_line(pid).split("\0")[3:6:2] == wanted]


# A submitter that is killed around the submission.

SUBMITTER = """
import os, signal, sys
from ray_jobs import JobSpec
from ray_jobs.cluster import ClusterRay
from ray_jobs.client import RayConfig

when, address, token, artifacts, spec = sys.argv[1:]
submit = ClusterRay._submit_to_ray

def killed_before(self, spec):
    os.kill(os.getpid(), signal.SIGKILL)

def killed_after(self, spec):
    submit(self, spec)
    os.kill(os.getpid(), signal.SIGKILL)

ClusterRay._submit_to_ray = killed_before if when == "before" else killed_after
config = RayConfig(mode="cluster", address=address, token_path=token)
ClusterRay(config, artifacts).submit(JobSpec.from_json(spec))
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_submitter_killed_around_the_submission_leaves_one_job(
    head: Any, tmp_path: Path, when: str
) -> None:
    spec = job("count", str(tmp_path / "count"), f"killed-{when}-a1")
    command = [sys.executable, "-c", SUBMITTER, when, head.address, str(head.token), str(tmp_path)]
    killed = subprocess.run([*command, spec.to_json()], check=False, timeout=PATIENCE)
    assert killed.returncode == -signal.SIGKILL
    client = connect(config_of(head), str(tmp_path), tmp_path)
    if when == "before":
        assert client.status(spec.id).state is JobState.UNKNOWN
    client.submit(spec)
    assert client.wait([spec.id], PATIENCE) == (spec.id,)
    assert client.status(spec.id).state is JobState.SUCCEEDED
    assert len((tmp_path / "count").read_text().splitlines()) == 1


def test_a_job_outlives_its_submitter_and_is_adopted(head: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    spec = job("wait_for", str(tmp_path / "go"), "outlives-a1")
    command = [sys.executable, "-c", SUBMITTER, "after", head.address, str(head.token)]
    subprocess.run([*command, str(tmp_path), spec.to_json()], check=False, timeout=PATIENCE)
    client = connect(config_of(head), str(tmp_path), tmp_path)
    client.submit(spec)
    until(lambda: "waiting in" in client.logs(spec.id).text, "the job runs")
    (tmp_path / "go").write_text("go on")
    assert client.wait([spec.id], PATIENCE) == (spec.id,)
    assert client.status(spec.id).result == "go on"


# A driver that is killed while it imports.


def test_a_driver_killed_before_its_first_beat_is_lost_and_its_job_begins_no_more(
    head: Any, tmp_path: Path
) -> None:
    client = connect(config_of(head), str(tmp_path), tmp_path)
    spec = job("count", str(tmp_path / "count"), "unborn-a1")
    client.submit(spec)
    until(lambda: drivers(spec.id), "its process is there")
    for pid in drivers(spec.id):
        os.kill(pid, signal.SIGKILL)
    assert not client.has_begun(spec.id)
    assert client.wait([spec.id], PATIENCE) == (spec.id,)
    status = client.status(spec.id)
    assert status.state is JobState.LOST
    assert status.error is not None
    assert "exit code -9" in status.error.message
    client.submit(spec)
    assert client.status(spec.id).state is JobState.LOST
    assert not (tmp_path / "count").exists()


# The head that is killed under its job.


def test_an_orphan_of_a_killed_head_ends_before_its_job_counts_as_lost(
    head: Any, tmp_path: Path
) -> None:
    client = connect(config_of(head), str(tmp_path), tmp_path)
    os.mkfifo(tmp_path / "go")
    spec = job("wait_for", str(tmp_path / "go"), "orphan-a1")
    client.submit(spec)
    until(lambda: client.logs(spec.id).text.endswith("\n"), "the job runs")
    pid = int(client.logs(spec.id).text.split()[-1])
    head.kill()
    seen = [client.status(spec.id).state]
    head.start()
    while not seen[-1].ended:
        alive_before = is_running(pid)
        seen.append(client.status(spec.id).state)
        # It never counts as ended while its process works.
        assert alive_before or seen[-1].ended
        assert not (seen[-1].ended and is_running(pid))
    assert set(seen[:-1]) <= {JobState.RUNNING}
    assert seen[-1] is JobState.LOST
    client.submit(spec)
    assert client.status(spec.id).state is JobState.LOST


# The driver of an embedded Ray that is killed under its job.

DRIVER = """
import sys
from ray_jobs import JobSpec, RayConfig, connect

artifacts, spec = sys.argv[1:]
client = connect(RayConfig(num_cpus=1, object_store_mb=100), artifacts, artifacts)
client.submit(JobSpec.from_json(spec))
client.wait(["nobody"], 3600)
"""


def test_nothing_works_on_after_the_driver_of_an_embedded_ray_was_killed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    spec = job("wait_for", str(tmp_path / "go"), "embedded-a1")
    client = connect(RayConfig(), str(tmp_path), tmp_path)
    with subprocess.Popen([sys.executable, "-c", DRIVER, str(tmp_path), spec.to_json()]) as driver:
        try:
            until(lambda: client.logs(spec.id).text.endswith("\n"), "the job runs")
            pid = int(client.logs(spec.id).text.split()[-1])
            assert client.status(spec.id).state is JobState.RUNNING
            # Ray's two agents do no work, and look for their dead head for a minute.
            left = {p for p in descendants(driver.pid) if "Agent" not in command_line(p)}
            assert pid in left
        finally:
            driver.kill()
    assert client.wait([spec.id], PATIENCE) == (spec.id,)
    # Stopped where the dying Ray's SIGTERM was heard in time; as nobody had asked for it, the
    # attempt is lost either way.
    assert client.status(spec.id).state in (JobState.LOST, JobState.STOPPED)
    assert not is_running(pid)
    until(lambda: not any(map(is_running, left)), "all of Ray has ended")
