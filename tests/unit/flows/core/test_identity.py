"""A process is known by its boot, its PID namespace, its PID and its start: never by its host."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import replace

import pytest

from flows.core import identity
from flows.core.identity import Identity, is_gone, is_proven_dead, start_ticks, this_machine

NOBODY = 2**22 + 1  # beyond the process ids of the kernel


@pytest.fixture
def child():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()
    process.stdin.close()


def identity_of(process):
    return replace(Identity.mine(), pid=process.pid, started=start_ticks(process.pid))


def test_an_identity_is_read_back_from_its_text():
    mine = Identity.mine()
    assert Identity.parse(str(mine)) == mine


def test_a_living_process_is_not_dead_and_a_killed_one_is_even_before_it_is_waited_for(child):
    worker = identity_of(child)
    assert not worker.is_dead()
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie now
    assert worker.is_dead()
    child.wait()
    assert is_proven_dead(str(worker))


def test_a_process_that_has_the_pid_of_a_dead_one_does_not_keep_it_alive(child):
    worker = identity_of(child)
    assert replace(worker, started=worker.started - 1).is_dead()


@pytest.mark.parametrize("machine", ["", "another-boot"])
def test_nothing_is_proved_of_a_process_of_another_machine_with_this_host_name(machine):
    worker = Identity(
        host=socket.gethostname(), machine=machine, pid=NOBODY, started=1, nonce="abcdef"
    )
    assert not worker.is_dead()


@pytest.mark.parametrize("name", ["", "w1", "a:b:c:d", f"{socket.gethostname()}:{NOBODY}:1:abcdef"])
def test_nothing_is_proved_of_a_name_that_tells_no_machine(name):
    assert not is_proven_dead(name)


def test_where_the_system_does_not_tell_the_boot_nothing_is_proved(monkeypatch):
    def unknown():
        raise FileNotFoundError

    monkeypatch.setattr(identity, "_boot_id", unknown)
    worker = replace(Identity.mine(), pid=NOBODY)
    assert worker.machine == ""
    assert not worker.is_dead()


def test_where_proc_shows_another_namespace_nothing_is_proved(monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: NOBODY)  # /proc/self says something else
    assert this_machine() == ""


def test_a_process_that_proc_hides_from_us_is_not_gone(monkeypatch, child):
    monkeypatch.setattr(identity, "stat_fields", lambda pid: [])
    assert not is_gone(child.pid, 1)
    assert is_gone(NOBODY, 1)


def test_the_longest_name_fits_the_columns_of_the_store(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "h" * 253)
    worker = replace(Identity.mine(), pid=2**22, started=10**12)
    assert len(f"worker:{worker}") <= 120


def test_a_release_that_knows_only_host_names_never_proves_the_death_of_a_newer_worker():
    host, pid, started, _ = str(Identity.mine()).rsplit(":", 3)
    assert host != socket.gethostname()
    assert (int(pid), int(started)) == (os.getpid(), start_ticks(os.getpid()))
