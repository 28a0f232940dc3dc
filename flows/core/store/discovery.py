"""Which runs wait for a worker: those of which something may be claimed now.

A run's row says when something of it may first be claimed and in which pools (`claimable_at`,
`claimable`); it is written with each of its transitions, so that looking costs by what waits,
not by what exists.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, bindparam, false, func, or_, select
from sqlalchemy.sql import Select

from flows.core.admission import Starts, Waiting
from flows.core.records import AttemptStatus, RunStatus
from flows.core.store import schema

MOST = 64
"""Runs that are looked at in one transaction."""

_run, _attempt = schema.run, schema.attempt
_STARTED = (RunStatus.RUNNING.value, RunStatus.CANCELLING.value)


def waiting(
    connection: Connection,
    now: datetime,
    *,
    serves: frozenset[str] | None = None,
    full: Collection[str] = (),
    limit: int = MOST,
) -> list[Waiting]:
    """The runs that a worker may take up, in their order: urgent ones first, flows in turn.

    - something of it may be claimed now, in a pool of `serves` (None: any) that is not in `full`;
    - nobody has it to itself;
    - it has started, or may: its lane is free and its flow runs less often than it may.
    """
    query = _waiting(serves, frozenset(full))
    found = connection.execute(query, {"before": now, "limit": limit})
    return [
        Waiting(
            run_id=row.id,
            flow=row.flow,
            priority=row.priority,
            since=row.claimable_at,
            pools=frozenset(row.claimable.split()),
            lane=row.lane if row.status == RunStatus.QUEUED.value else None,
            max_runs=row.max_runs if row.status == RunStatus.QUEUED.value else None,
        )
        for row in found
    ]


def longest(connection: Connection, pool: str, before: datetime) -> Row[Any] | None:
    """The `id`, `priority` and `seq` of the run that has waited longest in a pool."""
    return connection.execute(_longest(pool), {"before": before}).first()


def next_due(connection: Connection, now: datetime) -> datetime | None:
    """When the next retry that waits in a run of nobody may be claimed."""
    due: datetime | None = connection.execute(_NEXT_DUE, {"now": now}).scalar()
    return due


def started(connection: Connection) -> Starts:
    """What runs: how often each flow, and in which lanes."""
    return Starts((row.flow, row.lane) for row in connection.execute(_OF_STARTED))


def live_of_flows(connection: Connection) -> dict[str, int]:
    """How many attempts of each flow are alive."""
    return {row[0]: row[1] for row in connection.execute(_LIVE_OF_FLOWS)}


@lru_cache(maxsize=64)  # building the statement costs more than running it
def _waiting(serves: frozenset[str] | None, full: frozenset[str]) -> Select[Any]:
    place = func.row_number().over(
        partition_by=_run.c.flow, order_by=(_run.c.priority.desc(), _run.c.claimable_at, _run.c.id)
    )
    found = _startable(place.label("place")).where(_in_pools(serves, full)).subquery()
    return (
        select(found)
        .order_by(found.c.priority.desc(), found.c.place, found.c.claimable_at, found.c.id)
        .limit(bindparam("limit"))
    )


@lru_cache(maxsize=64)
def _longest(pool: str) -> Select[Any]:
    order = (_run.c.priority.desc(), _run.c.claimable_at, _run.c.id)
    return _startable().where(_names(pool)).order_by(*order).limit(1)


def _startable(*more: ColumnElement[int]) -> Select[Any]:
    """Runs of nobody of which something may be claimed `before`, and that have or may start."""
    often = (
        select(_run.c.flow, func.count().label("runs"))
        .where(_run.c.status.in_(_STARTED))
        .group_by(_run.c.flow)
        .subquery()
    )
    taken = select(_run.c.lane).where(_run.c.status.in_(_STARTED), _run.c.lane.is_not(None))
    may_start = and_(
        or_(_run.c.lane.is_(None), _run.c.lane.not_in(taken)),
        or_(_run.c.max_runs.is_(None), _run.c.max_runs > func.coalesce(often.c.runs, 0)),
    )
    return (
        select(
            _run.c.id,
            _run.c.seq,
            _run.c.flow,
            _run.c.priority,
            _run.c.claimable_at,
            _run.c.claimable,
            _run.c.status,
            _run.c.lane,
            _run.c.max_runs,
            *more,
        )
        .join_from(_run, often, often.c.flow == _run.c.flow, isouter=True)
        .where(
            _run.c.claimable_at <= bindparam("before"),
            _run.c.held_by.is_(None),
            or_(_run.c.status != RunStatus.QUEUED.value, may_start),
        )
    )


def _in_pools(serves: Collection[str] | None, full: Collection[str]) -> ColumnElement[bool]:
    if serves is not None:
        return or_(false(), *(_names(pool) for pool in sorted(set(serves) - set(full))))
    left: ColumnElement[str] = _run.c.claimable
    for pool in sorted(full):
        left = func.replace(left, f" {pool} ", " ")
    return func.trim(left) != ""


def _names(pool: str) -> ColumnElement[bool]:
    return _run.c.claimable.contains(f" {pool} ", autoescape=True)


_NEXT_DUE = select(func.min(_run.c.claimable_at)).where(
    _run.c.claimable_at > bindparam("now"), _run.c.held_by.is_(None)
)
_OF_STARTED = select(_run.c.flow, _run.c.lane).where(_run.c.status.in_(_STARTED))
_LIVE_OF_FLOWS = (
    select(_run.c.flow, func.count())
    .join_from(_attempt, _run, _attempt.c.run_id == _run.c.id)
    .where(_attempt.c.status == AttemptStatus.RUNNING.value)
    .group_by(_run.c.flow)
)
