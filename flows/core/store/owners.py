"""Which worker has what: its live attempts, and the runs that it has to itself."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, bindparam, func, select, union

from flows.core.records import AttemptStatus
from flows.core.store import schema
from flows.core.store.database import Database

_run, _attempt = schema.run, schema.attempt
IN_A_SESSION = "__main__:"
"""How the source of a flow begins that only the process which has written it can run."""


class OwnerStore:
    """Reads of which worker has what."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def workers(self, *, held_before: datetime) -> set[str]:
        """The workers that have a live attempt, or a run to themselves that others could drive.

        Runs made after `held_before` do not count: their worker may be about to take its lease.
        """
        with self._database.read() as connection:
            return set(connection.execute(_WORKERS, {"before": held_before}).scalars())

    def workers_of(self, run_id: str) -> set[str]:
        """The workers that have a live attempt of a run, or the run to themselves."""
        with self._database.read() as connection:
            return set(connection.execute(_WORKERS_OF, {"run": run_id}).scalars()) - {None}

    def runs_of(self, workers: Iterable[str]) -> list[str]:
        """The runs of which these workers have something, the oldest first."""
        with self._database.read() as connection:
            return sorted(connection.execute(_RUNS, {"names": list(workers)}).scalars())

    def attempts_of(self, worker: str) -> dict[str, str | None]:
        """The live attempts of a worker by their id, and why each was told to end, if it was."""
        with self._database.read() as connection:
            attempts = connection.execute(_ATTEMPTS, {"worker": worker})
            return {row.id: row.stopping for row in attempts}


def _held() -> ColumnElement[bool]:
    return (
        _run.c.held_by.is_not(None)
        & _run.c.ended_at.is_(None)
        & _run.c.source.not_like(f"{IN_A_SESSION.replace('_', '/_')}%", escape="/")
    )


_BEFORE = bindparam("before", type_=_run.c.created_at.type)
_ALIVE = _attempt.c.status == AttemptStatus.RUNNING.value
_WORKERS = union(
    select(_attempt.c.worker).where(_ALIVE),
    # Not a plain comparison: SQLite would look through all runs by when they were made.
    select(_run.c.held_by).where(_held(), func.coalesce(_run.c.created_at <= _BEFORE, False)),
)
_WORKERS_OF = union(
    select(_attempt.c.worker).where(_ALIVE, _attempt.c.run_id == bindparam("run")),
    select(_run.c.held_by).where(_run.c.id == bindparam("run")),
)
_NAMES: BindParameter[Any] = bindparam("names", expanding=True)
_RUNS = union(
    select(_attempt.c.run_id).where(_ALIVE, _attempt.c.worker.in_(_NAMES)),
    select(_run.c.id).where(_held(), _run.c.held_by.in_(_NAMES)),
)
_ATTEMPTS = select(_attempt.c.id, _attempt.c.stopping).where(
    _ALIVE, _attempt.c.worker == bindparam("worker")
)
