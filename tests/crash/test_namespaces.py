"""Workers in namespaces of their own: containers with one host name, and machines with a server."""

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
MACHINE = [*ISOLATED, "--net", "--uts"]  # it reaches nobody but the server of the database
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

    def start(url, how=ISOLATED, host=None):
        named = ["sh", "-c", f'hostname {host}; exec "$@"', "sh"] if host else []
        started.append(subprocess.Popen([*how, *named, sys.executable, "-c", WORKER, url]))
        return started[-1]

    yield start
    for process in started:
        process.kill()  # and with it, all of its namespace
        process.wait()


def begin(store, count):
    service = Service(store, SystemClock())
    asked = {"config": {}, "config_yaml": "", "config_digest": "d", "trigger": {}}
    return [service.start(trained, **asked) for _ in range(count)]


def wait(until):
    deadline = time.monotonic() + 300
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def all_ended(store):
    return not store.reads.open_runs()


def attempts_of(store, runs):
    return [attempt for run in runs for attempt in store.reads.detail(run.id).attempts]


def test_neither_ends_the_work_of_the_other(isolated, tmp_path):
    url = f"sqlite:///{tmp_path}/ratchet.db"
    store = Store.open(url)
    runs = begin(store, 2)
    for _ in range(2):
        isolated(url)
    wait(lambda: all_ended(store))
    attempts = attempts_of(store, runs)
    assert [attempt.status for attempt in attempts] == [AttemptStatus.SUCCEEDED] * 2
    assert len({attempt.worker for attempt in attempts}) == 2
    store.close()


def test_of_two_machines_one_goes_on_when_the_other_is_gone(isolated, new_postgres):
    url = new_postgres()
    store = Store.open(url)
    runs = begin(store, 2)
    machines = {host: isolated(url, MACHINE, host) for host in ("one", "two")}
    wait(lambda: len(attempts_of(store, runs)) == 2)
    machines["one"].kill()  # in the middle of its work
    killed = time.monotonic()
    wait(lambda: len(attempts_of(store, runs)) == 3)
    assert time.monotonic() - killed < 10 + 2 * LOOKS  # ten seconds, and what the other was at
    wait(lambda: all_ended(store))
    assert {store.reads.find(run.id).status for run in runs} == {RunStatus.SUCCEEDED}
    told = {(a.worker.partition("/")[0], a.status) for a in attempts_of(store, runs)}
    assert told == {("one", AttemptStatus.LOST), ("two", AttemptStatus.SUCCEEDED)}
    store.close()
