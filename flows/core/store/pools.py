"""What of the limited pools is taken: read from the live attempts, never counted beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from sqlalchemy import Connection, bindparam, func, or_, select, text

from flows.core.admission import Pool, Usage
from flows.core.records import Attempt, AttemptStatus, Run, RunStatus
from flows.core.store import rows, schema
from flows.core.store.database import Database

_run, _attempt = schema.run, schema.attempt
_ALIVE = _attempt.c.status == AttemptStatus.RUNNING.value


class PoolStore:
    """Reads of what the pools hold."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def usage(self, pools: Mapping[str, Pool], now: datetime) -> dict[str, Usage]:
        """What is taken of each limited pool."""
        with self._database.read() as connection:
            return usage(connection, pools, now)

    def holders(self, pool: str) -> tuple[Attempt, ...]:
        """The live attempts that hold slots of a limited pool, the oldest first."""
        query = select(_attempt).where(_attempt.c.pool == pool, _ALIVE)
        with self._database.read() as connection:
            found = connection.execute(query.order_by(_attempt.c.started_at)).mappings()
            return tuple(rows.attempt_from(row) for row in found)

    def started(self, flow: str, lane: str | None) -> tuple[Run, ...]:
        """The open runs of a flow, or in a lane, that have started, the oldest first."""
        query = select(_run).where(
            _run.c.status.in_((RunStatus.RUNNING.value, RunStatus.CANCELLING.value)),
            or_(_run.c.flow == flow, _run.c.lane == lane),
        )
        with self._database.read() as connection:
            found = connection.execute(query.order_by(_run.c.created_at)).mappings()
            return tuple(rows.run_from(row) for row in found)


def usage(connection: Connection, pools: Mapping[str, Pool], now: datetime) -> dict[str, Usage]:
    """What is taken of each limited pool, inside an open transaction."""
    limited = {name: pool for name, pool in pools.items() if pool.limited}
    if not limited:
        return {}
    weights = connection.execute(_USED, {"names": list(limited)})
    used = {name: int(weight) for name, weight in weights}
    found = {}
    for name, pool in limited.items():
        count, first = _starts(connection, pool, now)
        found[name] = Usage(used=used.get(name, 0), started=count, first=first)
    return found


def _starts(connection: Connection, pool: Pool, now: datetime) -> tuple[int, datetime | None]:
    """How many attempts have started within the pool's rate's time, and when the first did."""
    if pool.rate is None:
        return 0, None
    since = now - pool.rate.per
    count, first = connection.execute(_STARTS, {"name": pool.name, "since": since}).one()
    return count, first


def lock(connection: Connection, names: Iterable[str]) -> None:
    """Let one transaction at a time admit to each of these pools, lanes and flows.

    A database with one writer needs no lock. The names are taken in one order by all.
    """
    if connection.dialect.name != "postgresql":
        return
    for name in sorted(set(names)):
        connection.execute(_LOCK, {"name": name})


# Built once: building them costs more than running them.
_USED = (
    select(_attempt.c.pool, func.sum(_attempt.c.weight))
    .where(
        _attempt.c.pool.in_(bindparam("names", expanding=True)),
        _attempt.c.pool.is_not(None),
        _ALIVE,
    )
    .group_by(_attempt.c.pool)
)
_STARTS = select(func.count(), func.min(_attempt.c.started_at)).where(
    _attempt.c.pool == bindparam("name"),
    _attempt.c.pool.is_not(None),
    _attempt.c.started_at > bindparam("since"),
)
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('ratchet:' || :name, 0))")
