"""The lease of a process that claims work, and how to tell that another one is dead."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta

from flows.core.clock import Clock
from flows.core.errors import LeaseLost, StoreError
from flows.core.identity import Identity, is_proven_dead
from flows.core.records import Lease
from flows.core.store import Store

LEASE = timedelta(seconds=8)
"""A worker that has not renewed for this long is dead to the others. With the look round that
finds it out, what it had is claimable again within 10 s."""


def dead_among(workers: Iterable[str], alive: Iterable[Lease]) -> set[str]:
    """The workers whose lease has run out, or whose process is provably gone."""
    holders = {lease.holder for lease in alive}
    return {name for name in workers if name not in holders or is_proven_dead(name)}


def find_dead(store: Store, workers: Iterable[str], now: datetime, *, expired: bool) -> set[str]:
    """Which of these workers are dead, and can do nothing any more: their leases are taken away.

    Dead is whose process is gone from this machine or who holds no lease, and with `expired`
    whose lease has run out.
    """
    workers = set(workers)
    suspects = dead_among(workers, store.leases.holders(now)) if workers else set()
    if not suspects:
        return set()
    proven = {worker for worker in suspects if is_proven_dead(worker)}
    return store.leases.fence(suspects, now, proven=proven, expired=expired)


class LeaseKeeper:
    """Holds a worker's lease and renews it from a thread of its own, whatever the engine does.

    Others may take over once the lease has run out, and take it away then. So a worker that is
    late looks first whether it is still its own (`check`), a third of its length before the end.
    """

    def __init__(self, store: Store, clock: Clock, identity: Identity) -> None:
        self.name = str(identity)
        self._store = store
        self._clock = clock
        self._lease: Lease | None = None
        self._steady_since = clock.now()
        self._troubled = False  # the last renewal has failed
        self._lost: LeaseLost | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self, serves: str | None = None) -> None:
        """Take the lease and keep it; `serves` as in `Lease`. Raises StoreError."""
        now = self._clock.now()
        self._lease = self._store.leases.acquire(
            f"worker:{self.name}", self.name, LEASE, now, serves=serves
        )
        self._steady_since = now
        self._thread = threading.Thread(target=self._keep, name="ratchet-lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Renew a lease that has run out, or nearly (the machine slept, or was too busy).

        Raises LeaseLost when it is gone: others have taken over what this worker had.
        """
        if self._lost is not None:
            raise self._lost
        if self._lease is None:
            raise LeaseLost(f"worker {self.name} holds no lease")
        if self._lease.expires_at - self._clock.now() < LEASE / 3:
            self._renew()

    def steady(self, now: datetime) -> bool:
        """Whether this worker could renew its lease in time for as long as a lease is.

        Only then may it take an expired lease for a death: after an outage of the database, or
        after the machine slept, everybody's lease has run out, and everybody is alive.
        """
        return now - self._steady_since >= LEASE

    def close(self) -> None:
        """Stop renewing, and give the lease back so that nobody has to wait for it to expire."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        lease, self._lease = self._lease, None
        if lease is not None and self._lost is None:
            with suppress(StoreError):  # it runs out by itself
                self._store.leases.release(lease)

    def _keep(self) -> None:
        with self._store.database.first():
            self._renew_until_closed()

    def _renew_until_closed(self) -> None:
        while not self._stop.wait((LEASE / 4).total_seconds()):
            try:
                self._renew()
            except LeaseLost as lost:
                self._lost = lost
                return
            except StoreError:
                self._troubled = True  # a full disk, a busy database: tried again until it works

    def _renew(self) -> None:
        lease = self._lease
        if lease is None:
            return
        now = self._clock.now()
        self._lease = self._store.leases.renew(lease, LEASE, now)
        if self._troubled or lease.expires_at <= now:
            self._steady_since, self._troubled = now, False
