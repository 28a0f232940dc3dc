"""kill -9 of the process that drives a run, for real, at random moments; then another goes on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from flows.core.records import AttemptStatus, RunStatus
from flows.core.store import Store

FLOW = """
import os, sys
from flows.core.clock import SystemClock
from flows.core.engine import Engine
from flows.core.executors.processes import ProcessExecutor
from flows.core.flow import flow, task
from flows.core.retry import Retry
from flows.core.service import Service
from flows.core.store import Store

@task(retry=Retry(lost=50))
def parts() -> list[int]:
    return list(range(8))

@task(retry=Retry(lost=50))
def work(x: int) -> int:
    with open(os.environ["LOG"], "a") as log:
        log.write(f"{x}\\n")
    deadline = 20_000
    while deadline:
        deadline -= 1
    return x

@task(retry=Retry(lost=50))
def total(xs: list[int]) -> int:
    return sum(xs)

@flow
def loop() -> None:
    total(work.map(parts()))

def main(url: str) -> None:
    store = Store.open(url)
    service = Service(store, SystemClock())
    run = service.start(loop, config={}, config_yaml="", config_digest="d", trigger={}, key="one")
    pool = {"processes": ProcessExecutor(2)}
    with Engine(store, pool, clock=SystemClock(), default_executor="processes") as engine:
        engine.run_until_ended([run.id])

"""


@pytest.mark.slow
def test_a_run_survives_its_driver_being_killed_over_and_over(tmp_path: Path):
    (tmp_path / "killed_flow.py").write_text(textwrap.dedent(FLOW))
    url = f"sqlite:///{tmp_path}/ratchet.db"
    log = tmp_path / "log"
    command = [sys.executable, "-c", f"import killed_flow; killed_flow.main({url!r})"]
    seed = random.randrange(10_000)
    chance = random.Random(seed)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "LOG": str(log)}
    kills = 0
    for _ in range(12):
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        try:
            process.wait(timeout=chance.uniform(0.4, 1.0))
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
    else:
        subprocess.run(command, env=environment, check=True, timeout=300)
    store = Store.open(url)
    (run,) = store.reads.runs()
    detail = store.reads.detail(run.id)
    store.close()
    assert run.status is RunStatus.SUCCEEDED, f"seed {seed}, {kills} kills: {run.reason}"
    succeeded = [a.key for a in detail.attempts if a.status is AttemptStatus.SUCCEEDED]
    assert len(succeeded) == len(set(succeeded)) == 10, f"seed {seed}"
    executed = log.read_text().split()
    begun = sum(a.key.startswith("work[") for a in detail.attempts)
    assert len(executed) <= begun, f"seed {seed}: something ran without a durable attempt"
