"""Who is alive: a worker's lease, renewed while it lives; what it claimed is free once it ends.

Leases are stamped and compared with the time of the store alone (`Database.now`): whatever the
clock of a worker shows, it can take nothing from the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import and_, bindparam, delete, select, text

from flows.core.errors import LeaseLost
from flows.core.records import Lease
from flows.core.store import rows, schema
from flows.core.store.batch import change, execute, insertion
from flows.core.store.database import Database

_lease = schema.lease
OF_A_WORKER = "worker:"
"""How the name of a lease begins that says that a worker is alive."""


class LeaseStore:
    """Leases by name, each with a token that grows with every holder."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def acquire(
        self,
        name: str,
        holder: str,
        ttl: timedelta,
        *,
        serves: str | None = None,
        is_dead: Callable[[str], bool] = lambda holder: False,
    ) -> Lease:
        """Take a lease that is free: nobody's, run out, or of a holder that is dead or ourselves.

        Raises LeaseLost when it is not; that only reads.
        """
        with self._database.read() as connection:
            row = connection.execute(_NAMED, {"names": [name]}).mappings().first()
            before = rows.lease_from(row) if row is not None else None
            now = self._database.now(connection)
        taken = before is not None and before.holder != holder and before.expires_at > now
        if before and taken and not is_dead(before.holder):
            raise LeaseLost(f"{name} is held by {before.holder}")
        lease = Lease(
            name=name,
            holder=holder,
            token=before.token + 1 if before else 1,
            expires_at=now + ttl,
            serves=serves,
        )
        if not self._write(lease, before):
            raise LeaseLost(f"{name} was taken by another at the same moment")
        return lease

    def _write(self, lease: Lease, before: Lease | None) -> bool:
        """Write a lease in the place of what was there; False when that is not there any more."""
        with self._database.write() as connection:
            if before is None:
                return execute(connection, _INSERT, [{**vars(lease)}]) == 1
            return execute(connection, _TAKE, [{**vars(lease), "before": before.token}]) == 1

    def renew(self, lease: Lease, ttl: timedelta) -> Lease:
        """Say that the holder is alive. Raises LeaseLost when the lease is not its any more."""
        with self._database.write() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(_NEED_NOT_LAST)
            renewed = replace(lease, expires_at=self._database.now(connection) + ttl)
            if execute(connection, _TAKE, [{**vars(renewed), "before": lease.token}]) != 1:
                raise LeaseLost(f"{lease.name} was taken from {lease.holder}; it had expired")
        return renewed

    def release(self, lease: Lease) -> None:
        """Give the lease back; without effect when it is not held any more."""
        with self._database.write() as connection:
            connection.execute(_DROP, {"of": lease.name, "before": lease.token})

    def fence(self, leases: Iterable[Lease]) -> set[str]:
        """Take leases away, each if it was not renewed since it was read; the former holders.

        From now on these cannot renew: a worker that only slept finds out before it claims again.
        """
        fenced = set()
        with self._database.write() as connection:
            for lease in sorted(leases, key=lambda lease: lease.name):
                seen = {"of": lease.name, "before": lease.token, "until": lease.expires_at}
                if connection.execute(_FENCE, seen).rowcount:
                    fenced.add(lease.holder)
        return fenced

    def of(self, workers: Iterable[str]) -> tuple[datetime, dict[str, Lease]]:
        """The store's time, and by their holder the leases of these workers, also if run out."""
        names = [f"{OF_A_WORKER}{worker}" for worker in workers]
        with self._database.read() as connection:
            found = connection.execute(_NAMED, {"names": names}).mappings()
            leases = [rows.lease_from(row) for row in found]
            return self._database.now(connection), {lease.holder: lease for lease in leases}

    def holders(self) -> tuple[Lease, ...]:
        """The leases of workers that have not run out."""
        with self._database.read() as connection:
            alive = {"now": self._database.now(connection)}
            return tuple(rows.lease_from(r) for r in connection.execute(_ALIVE, alive).mappings())


_INSERT = f"{insertion(_lease)} ON CONFLICT DO NOTHING"
_NAMED = select(_lease).where(_lease.c.name.in_(bindparam("names", expanding=True)))
_ALIVE = select(_lease).where(
    _lease.c.expires_at > bindparam("now"), _lease.c.name.startswith(OF_A_WORKER)
)
_TAKE = change(_lease, ("holder", "token", "expires_at"), where="name = :name AND token = :before")
_DROP = delete(_lease).where(
    and_(_lease.c.name == bindparam("of"), _lease.c.token == bindparam("before"))
)
_FENCE = _DROP.where(_lease.c.expires_at == bindparam("until", type_=_lease.c.expires_at.type))
_NEED_NOT_LAST = text("SET LOCAL synchronous_commit = off")
"""A renewal that the server loses when it dies costs nothing: the next one comes soon. So no
worker waits for a disk to say that it lives."""
