"""A cluster that cannot be reached or used is one clear sentence, within seconds."""

from __future__ import annotations

import shlex
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from ray_jobs import ClusterRay, JobSpec, RayConfig, RayJobError, RayUnreachable, connect
from ray_jobs.shipping import shipped
from ray_jobs.witnesses import RayState

SPEC = JobSpec(id="j1", name="n", entrypoint="m:f", payload="")


@pytest.fixture(autouse=True)
def _no_other_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Accepts connections and never answers: a head that hangs."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def client(folder: Path, address: str | None, **given: object) -> ClusterRay:
    found = connect(RayConfig(mode="cluster", address=address, **given), str(folder), folder)
    assert isinstance(found, ClusterRay)
    return found


def test_an_address_where_nothing_listens_is_one_clear_error(
    tmp_path: Path, free_port: int
) -> None:
    url = f"http://127.0.0.1:{free_port}"
    with pytest.raises(RayUnreachable, match=f"^No Ray answers at {url}") as info:
        client(tmp_path, url).submit(SPEC)
    assert not info.value.permanent
    assert "ray.address" in (info.value.hint or "")


def test_a_head_that_accepts_and_hangs_is_given_up(
    tmp_path: Path, silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray_jobs.dashboard_http._TIMEOUT_S", (0.2, 0.2))
    with pytest.raises(RayUnreachable, match="No Ray answers"):
        client(tmp_path, f"http://127.0.0.1:{silent_port}").submit(SPEC)


def test_asking_and_stopping_on_a_dead_cluster_leaves_the_markers_to_decide(
    tmp_path: Path, free_port: int
) -> None:
    ray = client(tmp_path, f"http://127.0.0.1:{free_port}")
    with pytest.raises(RayUnreachable):
        ray.status("j1")
    ray.stop("j1")
    assert ray._markers("j1").stop_request() is not None
    ray._markers("j1").intend(SPEC)
    assert ray.wait(["j1"], timeout=0) == ()


def test_a_head_whose_agent_is_not_up_yet_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_there(job_id: str) -> None:
        raise RuntimeError("Request failed with status code 404: Job does not exist")

    def refuse(**job: object) -> None:
        raise RuntimeError("Request failed with status code 500: No available agent to submit job")

    ray = client(tmp_path, "http://127.0.0.1:9", elastic=True)
    monkeypatch.setattr(ray, "_http", SimpleNamespace(get_job_info=not_there, submit_job=refuse))
    with pytest.raises(RayUnreachable, match="No available agent") as info:
        ray.submit(SPEC)
    assert not info.value.permanent


@pytest.mark.parametrize("address", [None, "", "localhost:6379", "ray://head:10001"])
def test_an_address_that_is_no_url_is_refused_with_an_example(
    tmp_path: Path, address: str | None
) -> None:
    with pytest.raises(RayJobError, match=r"ray\.address must be the URL") as info:
        client(tmp_path, address).submit(SPEC)
    assert info.value.permanent
    assert info.value.hint == "ray.address=http://HEAD:8265"


def test_an_environment_that_would_lead_elsewhere_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://other:8265")
    with pytest.raises(RayJobError, match="RAY_ADDRESS=http://other:8265 is set") as info:
        client(tmp_path, "http://head:8265").submit(SPEC)
    assert info.value.hint == "unset RAY_ADDRESS"


def test_a_token_file_that_is_missing_is_named(tmp_path: Path) -> None:
    ray = client(tmp_path, "http://head:8265", token_path=str(tmp_path / "no-token"))
    with pytest.raises(RayJobError, match="token of the Ray cluster cannot be read") as info:
        ray.submit(SPEC)
    assert info.value.permanent


def test_the_command_replaces_the_shell_and_names_the_store_absolutely(tmp_path: Path) -> None:
    command = client(tmp_path / "with space", "http://head:8265")._command("j1")
    store = str(tmp_path / "with space")
    assert shlex.split(command) == [
        "exec", sys.executable, "-u", "-m", "ray_jobs.entry", store, "j1",
    ]  # fmt: skip


def test_several_project_folders_are_sent_as_one_and_the_first_wins(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name / ".git").mkdir(parents=True)
        (tmp_path / name / "mine.py").write_text(name)
        (tmp_path / name / f"{name}.py").write_text("")
    paths = (str(tmp_path / "first"), str(tmp_path / "second"))
    with shipped(paths) as folder:
        assert folder is not None
        assert sorted(p.name for p in folder.iterdir()) == ["first.py", "mine.py", "second.py"]
        assert (folder / "mine.py").read_text() == "first"
    assert not folder.exists()
    with shipped(()) as nothing:
        assert nothing is None


@pytest.mark.parametrize(
    ("code", "error", "state"),
    [
        (1, "JOB_ENTRYPOINT_COMMAND_ERROR", RayState.FAILED),
        (-9, "JOB_ENTRYPOINT_COMMAND_ERROR", RayState.KILLED),
        (None, "JOB_SUPERVISOR_ACTOR_DIED", RayState.KILLED),
        (None, "RUNTIME_ENV_SETUP_FAILURE", RayState.FAILED),
    ],
)
def test_a_driver_that_was_killed_is_told_from_one_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int | None, error: str, state: RayState
) -> None:
    row = SimpleNamespace(status="FAILED", driver_exit_code=code, error_type=error, message=None)
    ray = client(tmp_path, "http://head:8265")
    monkeypatch.setattr(ray, "_http", SimpleNamespace(get_job_info=lambda job_id: row))
    assert ray._ask_ray("j1", 0).state is state


def test_jobs_on_a_cluster_survive_this_process(tmp_path: Path) -> None:
    ray = client(tmp_path, "http://head:8265")
    assert ray.survives
    assert ray.dashboard_url == "http://head:8265"
    ray._markers("j1").intend(SPEC)
    ray.close()
