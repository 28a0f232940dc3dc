"""The lease of a process that claims work, and how to tell that another one is dead."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta

from flows.core.clock import CorrectedClock
from flows.core.errors import LeaseLost, StoreError
from flows.core.identity import Identity, is_proven_dead
from flows.core.records import Lease
from flows.core.store import Store
from flows.core.store.leases import OF_A_WORKER

LEASE = timedelta(seconds=8)
"""A worker that has not renewed for this long is dead to the others. With the look round that
finds it out, what it had is claimable again within 10 s."""
TURN = timedelta(seconds=6)
"""For so long one worker looks for the dead, and the others need not."""
JUMP = 2.0
"""Seconds. By so much the store's clock may go on faster or slower than our own counter: what is
left of a lease that was renewed in time is more."""


def living_among(store: Store, workers: Iterable[str]) -> set[str]:
    """The workers whose lease has not run out, and whose process is not provably gone."""
    now, leases = store.leases.of(workers)
    return {
        worker
        for worker, lease in leases.items()
        if lease.expires_at > now and not is_proven_dead(worker)
    }


class LeaseKeeper:
    """Holds a worker's lease and renews it from a thread of its own, whatever the engine does.

    Others may take over once the lease has run out, and take it away then. So a worker that is
    late looks first whether it is still its own (`check`), a third of its length before the end.
    Its own clock decides nothing: the store says how late it is, a counter how much has passed.
    """

    def __init__(self, store: Store, clock: CorrectedClock, identity: Identity) -> None:
        self.name = str(identity)
        self._store = store
        self._clock = clock
        self._lease: Lease | None = None
        self._turn: tuple[Lease, float] | None = None  # to look for the dead; since when
        self._renewed_at = self._steady_since = clock.elapsed()
        self._seen: dict[Lease, float] = {}  # others' leases; since when they are as they are
        self._troubled = False  # the last renewal has failed
        self._lost: LeaseLost | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self, serves: str | None = None) -> None:
        """Take the lease and keep it; `serves` as in `Lease`. Raises StoreError."""
        begun, leases = self._clock.elapsed(), self._store.leases
        lease = leases.acquire(f"{OF_A_WORKER}{self.name}", self.name, LEASE, serves=serves)
        self._renewed(lease, begun)
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
        if self._clock.elapsed() - self._renewed_at > LEASE.total_seconds() * 2 / 3:
            self._renew()

    def has_turn(self) -> bool:
        """Whether it is this worker's turn to look for the dead, so that not everybody does.

        The turn is a lease too, of whoever comes first: its holder keeps it while it lives.
        """
        elapsed = self._clock.elapsed()
        if self._turn is None or elapsed - self._turn[1] >= (TURN / 2).total_seconds():
            try:
                self._turn = self._take_turn(), elapsed
            except LeaseLost:
                self._turn = None
        return self._turn is not None

    def _take_turn(self) -> Lease:
        leases = self._store.leases
        if self._turn is not None:
            return leases.renew(self._turn[0], TURN)
        return leases.acquire("takes over", self.name, TURN, is_dead=is_proven_dead)

    def fence_dead(self, workers: Iterable[str]) -> set[str]:
        """Which of these are dead, and can do nothing any more: their leases are taken away.

        Dead is whose process is gone from this machine, who holds no lease, and whose lease has
        run out while this worker could have seen it renewed (`_steady`).
        """
        workers = set(workers)
        if not workers:
            return set()
        now, leases = self._store.leases.of(workers)
        elapsed = self._clock.elapsed()
        self._seen = {lease: self._seen.get(lease, elapsed) for lease in leases.values()}
        steady = self._steady(now)
        late = [
            lease
            for worker, lease in leases.items()
            if is_proven_dead(worker) or (self._has_run_out(lease, now) and steady)
        ]
        fenced = self._store.leases.fence(late) if late else set()
        return (workers - leases.keys()) | fenced

    def close(self) -> None:
        """Stop renewing, and give the lease back so that nobody has to wait for it to expire."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        lease, self._lease = self._lease, None
        turn, self._turn = self._turn, None
        with suppress(StoreError):  # they run out by themselves
            if turn is not None:
                self._store.leases.release(turn[0])
            if lease is not None and self._lost is None:
                self._store.leases.release(lease)

    # ------------------------------------------------------------------ inside

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
        begun = self._clock.elapsed()
        if (lease := self._lease) is not None:
            self._renewed(self._store.leases.renew(lease, LEASE), begun)

    def _renewed(self, lease: Lease, begun: float) -> None:
        now, late = lease.expires_at - LEASE, begun - self._renewed_at >= LEASE.total_seconds()
        if self._troubled or late or self._jumped(now, begun):
            self._steady_since, self._troubled = begun, False
            self._seen.clear()
        self._lease, self._renewed_at = lease, begun
        self._clock.correct(now)

    def _steady(self, now: datetime) -> bool:
        """Whether this worker could renew its lease in time for as long as a lease is.

        Only then may it take an expired lease for a death: after an outage of the database, after
        the machine slept, or when the store's clock was set, everybody's lease has run out, and
        everybody is alive.
        """
        elapsed, long = self._clock.elapsed(), LEASE.total_seconds()
        in_time = not self._troubled and elapsed - self._renewed_at < long
        return in_time and elapsed - self._steady_since >= long and not self._jumped(now, elapsed)

    def _jumped(self, now: datetime, elapsed: float) -> bool:
        """Whether the store's clock was set since the last renewal (or there is none)."""
        if (lease := self._lease) is None:
            return True
        passed = now - (lease.expires_at - LEASE)
        return abs(passed.total_seconds() - (elapsed - self._renewed_at)) > JUMP

    def _has_run_out(self, lease: Lease, now: datetime) -> bool:
        """By its time, or, as the store's clock may have been set back, as nobody renews it."""
        unrenewed = self._clock.elapsed() - self._seen[lease]
        return lease.expires_at <= now or unrenewed >= LEASE.total_seconds()
