"""`ratchet up` from the outside: it fires, adopts what runs, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

from flows.up.process import Process, family

pytestmark = [pytest.mark.ray, pytest.mark.slow]

PATIENCE = 240.0
BIN = Path(sys.executable).parent
CONFIG = """
defaults: [ratchet, _self_]
flows: [flows.retrain, up_flows]
ray: {num_cpus: 2, num_gpus: 1, object_store_mb: 100}
schedules:
  digits:
    flow: retrain
    new_data: digits
    overrides:
      - features=digits
      - trainer=logistic
      - features.holdout.fraction=0.3
      - features.holdout.min_rows=40
      - gate.min_rows=40
      - "gate.floors={accuracy: 0.7}"
"""
FLOWS = """
import os
from dataclasses import dataclass, field
from pathlib import Path
from flows import current, flow, task

@dataclass(frozen=True, kw_only=True)
class Size:
    num_gpus: float = 1

@dataclass(frozen=True, kw_only=True)
class Trains:
    go: str
    size: Size = field(default_factory=Size)

@task(executor="ray", resources="size", timeout=600)
def train(size: Size, go: str) -> int:
    import ray

    @ray.remote(num_gpus=size.num_gpus)
    def fit():
        with open(go) as fifo:  # until the test writes
            return len(fifo.read())

    with Path(go + ".begun").open("a") as begun:
        begun.write(current().attempt_id + "\\n")
    return ray.get(fit.remote())

@flow
def trains(cfg: Trains) -> None:
    train(cfg.size, cfg.go)
"""
FEED = """
import sys
import feature_store
from flows.bootstrap import open_project
from flows.demo import VIEW, nights
from flows.settings import revealed

store = feature_store.connect(revealed(open_project().settings.feature_store))
if sys.argv[1] == "create":
    store.create(VIEW)
else:
    store.append(VIEW.name, nights()[0].batch())
"""


class Up:
    """A project folder, and the `ratchet up` in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / ".ratchet"
        self.process: subprocess.Popen[bytes] | None = None
        (folder / "conf").mkdir()
        (folder / "conf" / "config.yaml").write_text(CONFIG)
        (folder / "up_flows.py").write_text(FLOWS)
        (folder / "feed.py").write_text(FEED)
        self.run(sys.executable, "feed.py", "create")

    @property
    def environment(self) -> dict[str, str]:
        dropped = ("RATCHET_", "RAY_")
        return {name: v for name, v in os.environ.items() if not name.startswith(dropped)}

    def run(self, *command: str, code: int = 0) -> str:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def ratchet(self, *words: str, code: int = 0) -> str:
        return self.run(str(BIN / "ratchet"), *words, code=code)

    def start(self, *words: str) -> None:
        with (self.folder / "up.log").open("ab") as log:
            command = [str(BIN / "ratchet"), "up", "--port", "43000", *words]
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=log, stderr=log
            )
        self.until(lambda: self.health().get("ok"), "everything is up")

    def signal(self, number: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    @property
    def log(self) -> str:
        return (self.folder / "up.log").read_text()

    def until(self, happened: Callable[[], Any], what: str) -> Any:
        limit = time.monotonic() + PATIENCE
        while not (found := happened()):
            assert time.monotonic() < limit, f"never: {what}\n{self.log}"
            time.sleep(0.2)
        return found

    def call(self, path: str, body: object | None = None) -> dict[str, Any]:
        """Ask the API, at the address that was printed."""
        words = next(line for line in reversed(self.log.splitlines()) if " API " in line).split()
        address = next(word for word in words if word.startswith("http")).rstrip(",")
        token = (self.home / "up" / "api-token").read_text()
        data = None if body is None else json.dumps(body).encode()
        request = Request(f"{address}{path}", data, {"Authorization": f"Bearer {token}"})
        with urlopen(request, timeout=30) as answer:
            found: dict[str, Any] = json.loads(answer.read())
            return found

    def health(self) -> dict[str, Any]:
        try:
            return self.call("/health")
        except (URLError, OSError, StopIteration):
            return {}

    def status(self, run: str) -> str:
        return str(self.call(f"/api/runs/{run}")["status"])

    def servers(self) -> list[Process]:
        return [p for name in ("ray", "mlflow") for p in family(f"{name}:{self.home}", -1)]

    def record(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.home / "up" / f"{name}.json").read_text())
        return found


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    up = Up(tmp_path)
    yield up
    if up.process is not None and up.process.poll() is None:
        up.process.kill()
        up.process.wait()
    for process in up.servers():
        process.signal(signal.SIGKILL)


def test_new_data_from_another_terminal_starts_a_run_that_promotes(up: Up) -> None:
    up.start()
    assert up.servers()
    refused = up.ratchet("up", code=2)
    assert "runs on this home already" in refused
    up.run(sys.executable, "feed.py", "append")
    ended = up.until(
        lambda: [run for run in json.loads(up.ratchet("runs", "--json")) if run["ended"]],
        "a run has ended",
    )
    assert [(run["status"], run["key"]) for run in ended] == [("succeeded", "digits:digits@1")]
    assert json.loads(up.ratchet("champion", "digits", "--json"))["version"] == "1"
    with urlopen(f"{up.record('mlflow')['address']}/health", timeout=30) as answer:
        assert answer.status == 200
    with pytest.raises(URLError):
        urlopen(f"{up.record('ray')['address']}/api/jobs/", timeout=30)
    everything = up.servers()
    assert up.signal(signal.SIGTERM) == 0
    assert [process for process in everything if process.alive] == []
    assert up.servers() == []


def test_a_ray_job_is_adopted_after_a_kill_and_never_submitted_twice(up: Up) -> None:
    up.start("--no-mlflow")
    first, second = up.folder / "first", up.folder / "second"
    runs = []
    for go in (first, second):
        os.mkfifo(go)
        runs.append(up.call("/api/flows/trains/runs", {"overrides": [f"go={go}"]})["run"])
        up.until(lambda: Path(f"{first}.begun").exists(), "the first job has begun")
    head = up.record("ray")
    assert up.status(runs[1]) == "queued"  # there is one GPU: it waits here, not in Ray
    assert up.signal(signal.SIGKILL) == -signal.SIGKILL
    up.start("--no-mlflow")
    assert "found running" in up.log
    same = ("pid", "started", "address")
    assert [up.record("ray")[key] for key in same] == [head[key] for key in same]
    for run, go in zip(runs, (first, second), strict=True):
        up.until(lambda go=go: Path(f"{go}.begun").exists(), "the job has begun")  # type: ignore[misc]
        go.write_text("go on")
        up.until(lambda run=run: up.status(run) == "succeeded", "the run has succeeded")  # type: ignore[misc]
        assert Path(f"{go}.begun").read_text() == f"{run}.train.1\n"
    assert up.signal(signal.SIGINT) == 0
    assert up.servers() == []


def test_a_lost_head_is_replaced_and_its_job_done_again_once_it_is_gone(up: Up) -> None:
    up.start("--no-mlflow")
    go = up.folder / "go"
    os.mkfifo(go)
    run = up.call("/api/flows/trains/runs", {"overrides": [f"go={go}"]})["run"]
    begun = Path(f"{go}.begun")
    up.until(begun.exists, "the job has begun")
    os.kill(int(up.record("ray")["pid"]), signal.SIGKILL)
    up.until(lambda: "ray died" in up.log, "its death was noticed")
    up.until(lambda: len(begun.read_text().split()) == 2, "the job is done again")
    go.write_text("go on")
    up.until(lambda: up.status(run) == "succeeded", "the run has succeeded")
    assert begun.read_text().split() == [f"{run}.train.1", f"{run}.train.2"]
    assert up.signal(signal.SIGTERM) == 0
    assert up.servers() == []
