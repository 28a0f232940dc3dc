"""A server is found again after a crash, and ended with all that it started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from flows.up.child import Child, ChildState, Launch, clean_environment
from flows.up.process import MARK, Process, family

# Starts one that leads a session of its own and one that is orphaned, and says that it is up.
SERVER = """
import os, pathlib, subprocess, sys, time
far = [sys.executable, "-c", "import time; time.sleep(600)"]
one = subprocess.Popen(far, start_new_session=True)
if os.fork() == 0:
    two = subprocess.Popen(far)
    pathlib.Path(sys.argv[1]).write_text(f"{one.pid} {two.pid}")
    os._exit(0)
os.wait()
time.sleep(600)
"""
PATIENCE = 60.0


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A server that answers once it has written its file."""

    file: Path
    name: str = "sample"

    def launch(self, before: Mapping[str, str]) -> Launch:
        return Launch(
            command=[sys.executable, "-c", SERVER, str(self.file)],
            environment=clean_environment(),
            address="http://127.0.0.1:1",
        )

    def answers(self, address: str) -> bool:
        return self.file.exists() and len(self.file.read_text().split()) == 2


def until_up(child: Child) -> tuple[Process, Process]:
    limit = time.monotonic() + PATIENCE
    while child.look() is not ChildState.UP:
        assert time.monotonic() < limit, child.log.read_text()
    one, two = (Process.of(int(pid)) for pid in child.kind.file.read_text().split())  # type: ignore[attr-defined]
    assert one is not None
    assert two is not None
    return one, two


def until_gone(*processes: Process) -> None:
    limit = time.monotonic() + PATIENCE
    while any(process.alive for process in processes):
        assert time.monotonic() < limit


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    child = Child(Sample(file=tmp_path / "up-and-running"), tmp_path)
    yield child
    child.stop(0.1)
    assert family(f"sample:{tmp_path}", -1) == []


def test_all_that_it_started_is_ended_however_detached(child: Child) -> None:
    child.start()
    others = until_up(child)
    server = Process.of(child.pid or 0)
    assert server is not None
    child.stop(1.0)
    until_gone(server, *others)
    assert child.state is ChildState.STOPPED
    child.stop(1.0)


def test_the_next_one_adopts_it_instead_of_starting_a_second(child: Child, tmp_path: Path) -> None:
    child.start()
    until_up(child)
    again = Child(child.kind, tmp_path)
    again.start()
    assert (again.adopted, again.pid, again.address) == (True, child.pid, child.address)
    assert again.look() is ChildState.UP


def test_a_record_of_a_dead_process_is_not_believed_although_its_pid_is_used_again(
    child: Child, tmp_path: Path
) -> None:
    child.start()
    until_up(child)
    record = tmp_path / "up" / "sample.json"
    text = record.read_text()
    child.stop(0.1)
    own = text.replace(str(child.pid), str(os.getpid()))  # a pid that is alive, and not its own
    record.write_text(own)
    child.start()
    assert not child.adopted
    assert child.pid != os.getpid()


def test_what_a_killed_server_left_in_its_session_goes_before_the_next_start(
    child: Child, tmp_path: Path
) -> None:
    child.start()
    apart, within = until_up(child)
    server = Process.of(child.pid or 0)
    assert server is not None
    server.signal(signal.SIGKILL)
    until_gone(server)
    assert child.look() is ChildState.DEAD
    child.kind.file.unlink()  # type: ignore[attr-defined]
    child.start()
    until_gone(within)
    assert apart.alive  # a job of Ray leads a session of its own, and ends by its markers
    until_up(child)


def test_what_was_started_and_not_written_down_is_ended(child: Child, tmp_path: Path) -> None:
    mark = {**os.environ, MARK: f"sample:{tmp_path}"}
    command = [sys.executable, "-c", "import time; print(flush=True); time.sleep(600)"]
    with subprocess.Popen(command, env=mark, stdout=subprocess.PIPE) as lost:
        assert lost.stdout is not None
        lost.stdout.readline()  # its environment is there once it runs
        child.start()
        assert lost.wait(PATIENCE) == -signal.SIGKILL
    until_up(child)


def test_a_log_that_has_grown_is_kept_aside_while_its_server_goes_on(tmp_path: Path) -> None:
    child = Child(Sample(file=tmp_path / "pids"), tmp_path)
    child.start()
    try:
        until_up(child)
        with child.log.open("ab") as server:  # as it writes: at the end, wherever that is by now
            server.write(b"a" * (1 << 20) + b"b\n")
            server.flush()
            child.look()
            server.write(b"and on\n")
        assert child.log.read_bytes() == b"and on\n"
        assert child.log.with_suffix(".log.1").read_bytes().endswith(b"ab\n")
    finally:
        child.stop(1.0)
