"""One contract, two Rays: inside this process, and a cluster of its own."""

from __future__ import annotations

import importlib
import itertools
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ray_jobs import JobSpec, JobStatus, RayClient, RayConfig, RayUnreachable, connect

HERE = Path(__file__).parent
PATIENCE = 180.0
_NUMBERS = itertools.count()


class Jobs:
    """A client, and short ways to use it in a test."""

    def __init__(self, client: RayClient, connect_again: Callable[..., RayClient]) -> None:
        self.client = client
        self.connect_again = connect_again

    def spec(self, function: str, payload: str = "", **given: Any) -> JobSpec:
        number = next(_NUMBERS)
        fields: dict[str, Any] = {
            "id": f"retrain-r{number}-{function}-a1",
            "name": f"retrain · {function} · run r{number}",
            "entrypoint": f"ray_samples:{function}",
            "payload": payload,
            "metadata": (("flow", "retrain"), ("run", f"r{number}")),
            "import_paths": (str(HERE),),
            "heartbeat_s": 0.5,
        }
        return JobSpec(**fields | given)

    def submit(self, function: str, payload: str = "", **given: Any) -> str:
        spec = self.spec(function, payload, **given)
        until = time.monotonic() + PATIENCE
        while True:
            try:
                self.client.submit(spec)
            except RayUnreachable:  # a slow machine: the head's agent is not up yet
                assert time.monotonic() < until
                time.sleep(0.2)
            else:
                return spec.id

    def end_of(self, job_id: str) -> JobStatus:
        """The status once the job has ended."""
        assert self.client.wait([job_id], PATIENCE) == (job_id,), self.client.status(job_id)
        return self.client.status(job_id)

    def run(self, function: str, payload: str = "", **given: Any) -> JobStatus:
        return self.end_of(self.submit(function, payload, **given))

    def pid_of(self, job_id: str) -> int:
        """The process of a sample that says `waiting in PID`, once it has said so."""
        for _ in range(int(PATIENCE / 0.1)):
            text = self.client.logs(job_id).text
            if "waiting in" in text and text.endswith("\n"):
                return int(text.split()[-1])
            assert self.client.wait([job_id], 0.1) == (), self.client.status(job_id)
        raise AssertionError("the job does not begin")


@pytest.fixture(scope="package", params=["embedded", "cluster"])
def jobs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Jobs]:
    """A client of each kind, over a Ray that only these tests use."""
    home = tmp_path_factory.mktemp("home")
    config, end = RayConfig(num_cpus=2, object_store_mb=100, dashboard=True, stop_grace_s=1.0), None
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("RAY_")]:
            patch.delenv(name)
        if request.param == "cluster":
            patch.syspath_prepend(str(HERE))
            head = importlib.import_module("ray_head").Head()
            end = head.remove
            head.start()
            config = RayConfig(
                mode="cluster",
                address=head.address,
                token_path=str(head.token),
                stop_grace_s=1.0,
            )

        def again(**other: Any) -> RayClient:
            return connect(replace(config, **other), str(home / "artifacts"), home)

        client = again()
        try:
            yield Jobs(client, again)
        finally:
            client.close()
            if end is not None:
                end()


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """A job reads it; the test lets the job go on by writing."""
    os.mkfifo(tmp_path / "go")
    return tmp_path / "go"
