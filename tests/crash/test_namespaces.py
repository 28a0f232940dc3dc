"""Two healthy workers in PID namespaces of their own, with one host name, as containers have it."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from flows.core.clock import SystemClock
from flows.core.flow import flow, task
from flows.core.records import AttemptStatus, RunStatus
from flows.core.service import Service
from flows.core.store import Store

ISOLATED = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
WORKER = """
import sys, threading
from flows.core.clock import SystemClock
from flows.core.engine import Engine
from flows.core.executors.threads import ThreadExecutor
from flows.core.store import Store

store = Store.open(sys.argv[1])
with Engine(
    store, {"threads": ThreadExecutor(1)}, clock=SystemClock(), default_executor="threads"
) as engine:
    engine.serve(threading.Event())
"""
LOOKS = 3.0  # seconds of work, so that each looks round for the dead several times meanwhile


@task
def train() -> int:
    time.sleep(LOOKS)
    return 1


@flow
def trained() -> None:
    train()


@pytest.fixture
def isolated():
    """Starts Python in a PID namespace of its own; skips where the system refuses that."""
    probe = subprocess.run([*ISOLATED, "true"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip(f"no PID namespace: {probe.stderr.decode()}")
    started = []

    def start(*arguments):
        command = [*ISOLATED, sys.executable, "-c", WORKER, *arguments]
        started.append(subprocess.Popen(command))

    yield start
    for process in started:
        process.kill()  # and with it, all of its namespace
        process.wait()


def test_neither_ends_the_work_of_the_other(isolated, tmp_path):
    url = f"sqlite:///{tmp_path}/ratchet.db"
    store = Store.open(url)
    service = Service(store, SystemClock())
    runs = [
        service.start(trained, config={}, config_yaml="", config_digest="d", trigger={})
        for _ in range(2)
    ]
    for _ in range(2):
        isolated(url)
    deadline = time.monotonic() + 60
    while any(not store.reads.find(run.id).status.ended for run in runs):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    details = [store.reads.detail(run.id) for run in runs]
    assert [detail.run.status for detail in details] == [RunStatus.SUCCEEDED] * 2
    attempts = [attempt for detail in details for attempt in detail.attempts]
    assert [attempt.status for attempt in attempts] == [AttemptStatus.SUCCEEDED] * 2
    assert len({attempt.worker for attempt in attempts}) == 2
    store.close()
