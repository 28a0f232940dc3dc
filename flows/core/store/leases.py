"""Who is alive: a worker's lease, renewed while it lives; what it claimed is free once it ends."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import and_, bindparam, delete, select, update

from flows.core.errors import LeaseLost
from flows.core.records import Lease
from flows.core.store import rows, schema
from flows.core.store.batch import execute, insertion
from flows.core.store.database import Database

_lease = schema.lease


class LeaseStore:
    """Leases by name, each with a token that grows with every holder."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def acquire(
        self, name: str, holder: str, ttl: timedelta, now: datetime, *, serves: str | None = None
    ) -> Lease:
        """Take a lease that nobody holds, or whose holder let it expire. Raises LeaseLost."""
        with self._database.write() as connection:
            row = connection.execute(select(_lease).where(_lease.c.name == name)).mappings().first()
            if row is None:
                lease = Lease(
                    name=name, holder=holder, token=1, expires_at=now + ttl, serves=serves
                )
                execute(connection, _INSERT, [vars(lease)])
                return lease
            if row["expires_at"] > now and row["holder"] != holder:
                raise LeaseLost(f"{name} is held by {row['holder']}")
            lease = Lease(name=name, holder=holder, token=row["token"] + 1, expires_at=now + ttl)
            connection.execute(_TAKE, {"of": name, "before": row["token"], **_new(lease)})
            return lease

    def renew(self, lease: Lease, ttl: timedelta, now: datetime) -> Lease:
        """Say that the holder is alive. Raises LeaseLost when the lease is not its any more."""
        renewed = replace(lease, expires_at=now + ttl)
        with self._database.write() as connection:
            done = connection.execute(
                _TAKE, {"of": lease.name, "before": lease.token, **_new(renewed)}
            )
            if done.rowcount != 1:
                raise LeaseLost(f"{lease.name} was taken from {lease.holder}; it had expired")
        return renewed

    def release(self, lease: Lease) -> None:
        """Give the lease back; without effect when it is not held any more."""
        with self._database.write() as connection:
            connection.execute(_DROP, {"of": lease.name, "before": lease.token})

    def fence(
        self, workers: Iterable[str], now: datetime, *, proven: Collection[str], expired: bool
    ) -> set[str]:
        """Take the leases of workers that are dead; those of `workers` that hold none any more.

        Dead are those in `proven`, and with `expired` those whose lease has run out. From now
        on they cannot renew it: a worker that only slept finds out before it claims again.
        """
        names = {f"worker:{worker}": worker for worker in workers}
        with self._database.write() as connection:
            found = connection.execute(_EXPIRIES, {"names": list(names)}).all()
            dead = [
                row.name
                for row in found
                if names[row.name] in proven or (expired and row.expires_at <= now)
            ]
            if dead:
                connection.execute(delete(_lease).where(_lease.c.name.in_(dead)))
        alive = {row.name for row in found} - set(dead)
        return {worker for name, worker in names.items() if name not in alive}

    def holders(self, now: datetime) -> tuple[Lease, ...]:
        """The leases that have not expired."""
        with self._database.read() as connection:
            alive = select(_lease).where(_lease.c.expires_at > now)
            return tuple(rows.lease_from(r) for r in connection.execute(alive).mappings())


def _new(lease: Lease) -> dict[str, object]:
    return {
        "new_holder": lease.holder,
        "new_token": lease.token,
        "new_expires_at": lease.expires_at,
    }


_INSERT = insertion(_lease)
_TAKE = (
    update(_lease)
    .where(and_(_lease.c.name == bindparam("of"), _lease.c.token == bindparam("before")))
    .values(
        holder=bindparam("new_holder"),
        token=bindparam("new_token"),
        expires_at=bindparam("new_expires_at", type_=_lease.c.expires_at.type),
    )
)
_EXPIRIES = (
    select(_lease.c.name, _lease.c.expires_at)
    .where(_lease.c.name.in_(bindparam("names", expanding=True)))
    .order_by(_lease.c.name)
    .with_for_update()
)
_DROP = delete(_lease).where(
    and_(_lease.c.name == bindparam("of"), _lease.c.token == bindparam("before"))
)
