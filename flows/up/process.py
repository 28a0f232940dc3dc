"""Processes that nobody is mistaken for: a pid with its start time, and how to find a family.

Everything that `ratchet up` starts leads a session and finds RATCHET_UP in its environment, and
so does what it starts in turn. A process belongs to the family by any of these: its session,
the mark (Ray's jobs lead sessions of their own), or its parent (Ray's workers write their title
over their environment). Linux only.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from flows.core.identity import start_ticks, stat_fields

MARK = "RATCHET_UP"
"""Environment variable that says which child of which home a process belongs to."""

_PROC = Path("/proc")


@dataclass(frozen=True, kw_only=True)
class Process:
    """One process, also after its pid was given to another."""

    pid: int
    started: int  # start time in clock ticks since boot

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """The process that has this pid now; None when there is none, or only a zombie."""
        started = start_ticks(pid)
        return None if started is None else cls(pid=pid, started=started)

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return start_ticks(self.pid) == self.started

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; nothing happens when it is gone."""
        with suppress(ProcessLookupError, PermissionError):
            handle = os.pidfd_open(self.pid)  # from here on the pid cannot mean another
            try:
                if self.alive:
                    signal.pidfd_send_signal(handle, number)
            finally:
                os.close(handle)


def family(mark: str, leader: int) -> list[Process]:
    """Every process that carries the mark or is of the leader's session, and their descendants."""
    parents, found = _parents(), set()
    for pid in parents:
        if _session(pid) == leader or _carries(pid, mark):
            found.add(pid)
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        found |= more
        grown = bool(more)
    return [process for pid in sorted(found) if (process := Process.of(pid))]


def session_members(leader: int) -> list[Process]:
    """Every process of the session that `leader` led, be it dead by now."""
    return [p for pid in _parents() if _session(pid) == leader and (p := Process.of(pid))]


def _parents() -> dict[int, int]:
    """Pid -> pid of its parent, of everything that runs."""
    pids = [int(folder.name) for folder in _PROC.iterdir() if folder.name.isdigit()]
    return {pid: int(fields[1]) for pid in pids if (fields := stat_fields(pid))}


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _carries(pid: int, mark: str) -> bool:
    try:
        environment = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return False  # gone, or another user's
    return f"{MARK}={mark}".encode() in environment.split(b"\0")
