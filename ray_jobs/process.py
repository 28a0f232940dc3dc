"""Which process a job runs in, told so that its death can be proved on the same machine."""

from __future__ import annotations

import os
import signal
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class ProcessIdentity:
    """A process that no later one is mistaken for, although its pid may come back."""

    host: str  # for people
    machine: str | None  # boot id and pid namespace; None where the system does not tell
    pid: int
    started: int | None  # start time in clock ticks since boot


def this_process() -> ProcessIdentity:
    """The identity of the running process."""
    return ProcessIdentity(
        host=socket.gethostname(),
        machine=_machine(),
        pid=os.getpid(),
        started=_start_ticks(os.getpid()),
    )


def proved_alive(process: ProcessIdentity) -> bool | None:
    """Whether the process lives; None when it cannot be known from here."""
    if process.machine is None or process.machine != _machine():
        return None
    started = _start_ticks(process.pid)
    return None if started is None and _is_hidden(process.pid) else started == process.started


def kill_own_processes() -> None:
    """Ends this process at once, and its process group when it leads one."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def _machine() -> str | None:
    try:
        if Path("/proc/self").readlink().name != str(os.getpid()):
            return None  # this /proc shows the processes of another namespace
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return None


def _is_hidden(pid: int) -> bool:
    """Whether a process is there that /proc does not show, as it is another user's (hidepid)."""
    if Path(f"/proc/{pid}").exists():
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except ProcessLookupError:
        return False
    return True


def _start_ticks(pid: int) -> int | None:
    """Start time of a process that runs; None when there is none, or only a zombie."""
    try:
        # The command name, in parentheses, may hold anything: count fields after the last ')'.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])
