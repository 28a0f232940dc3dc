"""What of the limited pools is taken: read from the live attempts, never counted beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from sqlalchemy import Connection, bindparam, func, or_, select

from flows.core.pool import Pool, Usage
from flows.core.records import Attempt, AttemptStatus, Run, RunStatus
from flows.core.store import rows, schema
from flows.core.store.database import Database

_run, _attempt = schema.run, schema.attempt
ALIVE = _attempt.c.status == AttemptStatus.RUNNING.value
STARTED = (RunStatus.RUNNING.value, RunStatus.CANCELLING.value)


class PoolStore:
    """Reads of what the pools hold."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def usage(self, pools: Mapping[str, Pool], now: datetime) -> dict[str, Usage]:
        """What is taken of each pool."""
        with self._database.read() as connection:
            return usage(connection, pools.values(), now)

    def holders(self, pool: str) -> tuple[Attempt, ...]:
        """The live attempts that hold slots of a limited pool, the oldest first."""
        query = select(_attempt).where(_attempt.c.pool == pool, ALIVE)
        with self._database.read() as connection:
            alive = connection.execute(query.order_by(_attempt.c.started_at)).mappings()
            return tuple(rows.readable(alive, rows.attempt_from))

    def started(self, flow: str, lane: str | None) -> tuple[Run, ...]:
        """The open runs of a flow, or in a lane, that have started, the oldest first."""
        query = select(_run).where(
            _run.c.status.in_(STARTED), or_(_run.c.flow == flow, _run.c.lane == lane)
        )
        with self._database.read() as connection:
            open_runs = connection.execute(query.order_by(_run.c.created_at)).mappings()
            return tuple(rows.readable(open_runs, rows.run_from))


def usage(connection: Connection, pools: Iterable[Pool], now: datetime) -> dict[str, Usage]:
    """What is taken of pools, read from the live attempts and never counted beside them."""
    named = {pool.name: pool for pool in pools}
    if not named:
        return {}
    weights = connection.execute(_USED, {"names": list(named)})
    used = {name: int(weight) for name, weight in weights}
    taken = {}
    for name, pool in named.items():
        count, first = _starts(connection, pool, now)
        taken[name] = Usage(used=used.get(name, 0), started=count, first=first)
    return taken


def _starts(connection: Connection, pool: Pool, now: datetime) -> tuple[int, datetime | None]:
    """How many attempts have started within the pool's rate's time, and when the first did."""
    if pool.rate is None:
        return 0, None
    since = now - pool.rate.per
    count, first = connection.execute(_STARTS, {"name": pool.name, "since": since}).one()
    return count, first


# Built once: building them costs more than running them.
_USED = (
    select(_attempt.c.pool, func.sum(_attempt.c.weight))
    .where(
        _attempt.c.pool.in_(bindparam("names", expanding=True)),
        _attempt.c.pool.is_not(None),
        ALIVE,
    )
    .group_by(_attempt.c.pool)
)
_STARTS = select(func.count(), func.min(_attempt.c.started_at)).where(
    _attempt.c.pool == bindparam("name"),
    _attempt.c.pool.is_not(None),
    _attempt.c.started_at > bindparam("since"),
)
