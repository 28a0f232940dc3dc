"""A process that claims work: its identity, its lease, and how to tell that it is dead."""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from flows.core.clock import Clock
from flows.core.errors import LeaseLost, StoreError
from flows.core.records import Lease
from flows.core.store import Store

LEASE = timedelta(seconds=10)
"""A worker that has not renewed for this long is dead to the others."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who a worker is; enough to prove its death from another process of the same machine."""

    host: str
    pid: int
    started: int  # start time of the process in kernel ticks: process ids are used again
    nonce: str

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}:{self.started}:{self.nonce}"

    @classmethod
    def mine(cls) -> Identity:
        """The identity of a new worker in this process."""
        pid = os.getpid()
        return cls(
            host=socket.gethostname(),
            pid=pid,
            started=_start_ticks(pid) or 0,
            nonce=secrets.token_hex(3),
        )

    @classmethod
    def parse(cls, text: str) -> Identity:
        """From its text."""
        host, pid, started, nonce = text.rsplit(":", 3)
        return cls(host=host, pid=int(pid), started=int(started), nonce=nonce)

    def is_dead(self) -> bool:
        """True when it ran on this machine and its process is gone; else nothing is known."""
        if self.host != socket.gethostname():
            return False
        return _start_ticks(self.pid) != self.started


def dead_among(workers: Iterable[str], alive: Iterable[Lease]) -> set[str]:
    """The workers whose lease has run out, or whose process is provably gone."""
    holders = {lease.holder for lease in alive}
    return {name for name in workers if name not in holders or Identity.parse(name).is_dead()}


class LeaseKeeper:
    """Holds a worker's lease and renews it from a thread of its own, whatever the engine does."""

    def __init__(self, store: Store, clock: Clock, identity: Identity) -> None:
        self.name = str(identity)
        self._store = store
        self._clock = clock
        self._lease: Lease | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Take the lease and keep it. Raises StoreError."""
        name = f"worker:{self.name}"
        self._lease = self._store.leases.acquire(name, self.name, LEASE, self._clock.now())
        self._thread = threading.Thread(target=self._renew, name="ratchet-lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Renew a lease that has run out (the machine slept, or was too busy to renew it).

        What others took over meanwhile is theirs: attempts that they have marked lost are
        refused when they are recorded. Raises LeaseLost when the lease itself is gone.
        """
        if self._lease is None:
            raise LeaseLost(f"worker {self.name} holds no lease")
        if self._lease.expires_at <= self._clock.now():
            self._lease = self._store.leases.renew(self._lease, LEASE, self._clock.now())

    def close(self) -> None:
        """Stop renewing, and give the lease back so that nobody has to wait for it to expire."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._lease is not None:
            self._store.leases.release(self._lease)
            self._lease = None

    def _renew(self) -> None:
        while not self._stop.wait(LEASE.total_seconds() / 4):
            try:
                assert self._lease is not None
                self._lease = self._store.leases.renew(self._lease, LEASE, self._clock.now())
            except LeaseLost:
                return
            except StoreError:
                continue  # a full disk or a busy database: try again until the lease is over


def _start_ticks(pid: int) -> int | None:
    """When the process was started, from /proc; None when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None if Path("/proc/self").exists() or not _exists(pid) else 0
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[19])


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
