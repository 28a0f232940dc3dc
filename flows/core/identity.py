"""Who a worker is: its process, told so that its death can be proved on the same machine.

A host name proves nothing: containers share one (`--network host`, `hostNetwork`), and each sees
only the processes of its own PID namespace. So a process is known by the boot of its kernel, its
PID namespace, its PID and its start time; where one of these differs or cannot be read, nothing
is proved, and its lease decides.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path

LONGEST_HOST = 64
"""Characters of a host name that are kept: a worker's name fits the store's columns."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who a worker is. As text `host/machine:pid:started:nonce`.

    Releases before `machine` take all before the PID for a host name, which never is their own.
    """

    host: str  # for people
    machine: str  # its boot and its PID namespace; empty: nothing can be proved
    pid: int
    started: int  # start time of the process in kernel ticks: process ids are used again
    nonce: str  # one process may be several workers, one after the other

    def __str__(self) -> str:
        return f"{self.host}/{self.machine}:{self.pid}:{self.started}:{self.nonce}"

    @classmethod
    def mine(cls) -> Identity:
        """The identity of a new worker in this process."""
        pid = os.getpid()
        started = start_ticks(pid)
        return cls(
            host=socket.gethostname()[:LONGEST_HOST],
            machine=this_machine() if started is not None else "",
            pid=pid,
            started=started or 0,
            nonce=secrets.token_hex(3),
        )

    @classmethod
    def parse(cls, text: str) -> Identity:
        """From its text. Raises ValueError."""
        place, pid, started, nonce = text.rsplit(":", 3)
        host, slash, machine = place.rpartition("/")
        host, machine = (host, machine) if slash else (place, "")
        return cls(host=host, machine=machine, pid=int(pid), started=int(started), nonce=nonce)

    def is_dead(self) -> bool:
        """True when its process can be seen from here, and is gone; else nothing is known."""
        here = bool(self.machine) and self.machine == this_machine()
        return here and is_gone(self.pid, self.started)


def is_proven_dead(worker: str) -> bool:
    """Whether the process of a worker could be seen from here, and is gone."""
    try:
        return Identity.parse(worker).is_dead()
    except ValueError:  # not a name that we have made
        return False


def this_machine() -> str:
    """Which boot of a kernel and which PID namespace this is; empty where it cannot be told."""
    try:
        if Path("/proc/self").readlink().name != str(os.getpid()):
            return ""  # this /proc shows the processes of another namespace
        namespace = Path("/proc/self/ns/pid").readlink()
        return hashlib.sha256(f"{_boot_id()} {namespace}".encode()).hexdigest()[:12]
    except OSError:
        return ""


def is_gone(pid: int, started: int) -> bool:
    """Whether a process of this PID namespace, known by its start time, is there no more."""
    if fields := stat_fields(pid):
        return _ticks(fields) != started
    try:
        os.kill(pid, 0)  # /proc may hide the processes of other users (hidepid)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def start_ticks(pid: int) -> int | None:
    """When a process was started, in ticks since boot; None when there is none, or a zombie."""
    return _ticks(stat_fields(pid))


def stat_fields(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat after the name; empty when there is no such process."""
    try:
        # The command's name, in parentheses, may hold anything: count after the last ')'.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _ticks(fields: list[str]) -> int | None:
    return None if not fields or fields[0] in "ZX" else int(fields[19])


@cache
def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
