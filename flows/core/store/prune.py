"""What old runs leave behind, and the transaction that removes it from the tables.

A pruned run keeps its row and its events, so that lists and KPIs stay as they are. Its
definition, task runs and attempts go; whoever asks for them is told so.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import BindParameter, and_, bindparam, delete, select

from flows.core.records import Event, Run, RunStatus
from flows.core.store import events, rows, schema
from flows.core.store.batch import change, execute
from flows.core.store.database import Database

_run, _task, _attempt = schema.run, schema.task_run, schema.attempt
_definition = schema.definition

MANY = 500
"""Runs asked for at once; databases limit the variables of a statement."""


@dataclass(frozen=True, kw_only=True)
class Belongings:
    """What of a run points at files."""

    run: Run
    config: dict[str, Any]  # its resolved config, JSON data
    attempts: tuple[tuple[str, str], ...]  # (id, executor)
    values: tuple[str, ...]  # JSON texts that its tasks returned


class PruneStore:
    """Which runs are old enough to go, and their end."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def candidates(self, before: datetime, *, keep: int) -> tuple[Run, ...]:
        """The runs that ended before then and are not pruned yet, the oldest first.

        Never an open run, and never one of the newest `keep` of its flow.
        """
        newest: dict[str, frozenset[str]] = {}
        candidates: list[Run] = []
        with self._database.read() as connection:
            for row in connection.execute(_OLD, {"before": before}).mappings():
                if (flow := row["flow"]) not in newest:
                    ids = connection.execute(_NEWEST, {"flow": flow, "keep": keep}).scalars()
                    newest[flow] = frozenset(ids)
                if row["id"] not in newest[flow]:
                    candidates += rows.readable([row], rows.run_from)
        return tuple(candidates)

    def belongings(self, runs: Sequence[Run]) -> Iterator[Belongings]:
        """What the runs point at, run by run in their order."""
        for start in range(0, len(runs), MANY):
            yield from self._belongings(runs[start : start + MANY])

    def _belongings(self, runs: Sequence[Run]) -> list[Belongings]:
        ids = {"ids": [run.id for run in runs]}
        configs: dict[str, str] = {}
        attempts: dict[str, list[tuple[str, str]]] = {}
        returned: dict[str, list[str]] = {}
        with self._database.read() as connection:
            for run_id, config in connection.execute(_CONFIGS, ids):
                configs[run_id] = config
            for run_id, attempt_id, executor in connection.execute(_ATTEMPTS, ids):
                attempts.setdefault(run_id, []).append((attempt_id, executor))
            for run_id, value in connection.execute(_VALUES, ids):
                returned.setdefault(run_id, []).append(value)
        return [
            Belongings(
                run=run,
                config=json.loads(configs.get(run.id, "{}")),
                attempts=tuple(attempts.get(run.id, ())),
                values=tuple(returned.get(run.id, ())),
            )
            for run in runs
        ]

    def mentions(self, text: str, *, but: Collection[str]) -> Iterator[str]:
        """What tasks returned that holds `text`, of all runs but these, as JSON texts."""
        query = select(_task.c.run_id, _task.c.value).where(_task.c.value.contains(text))
        with self._database.read() as connection:
            for run_id, value in connection.execution_options(yield_per=MANY).execute(query):
                if run_id not in but:
                    yield value

    def forget(self, removed: Mapping[str, dict[str, Any]], now: datetime) -> tuple[str, ...]:
        """Remove all but the rows and events of ended runs, and append `run.pruned` to each.

        Args:
            removed: by run id, what the event says: files and bytes that went before.

        Returns the ids of those that are forgotten: not of a run that was opened again
        meanwhile, nor of one that another process has pruned.
        """
        done = []
        with self._database.write() as connection:
            ended = select(_run).where(
                _run.c.id.in_(removed),
                _run.c.status.in_(_ENDED),
                select(_definition.c.run_id).where(_definition.c.run_id == _run.c.id).exists(),
            )
            rows_of = connection.execute(ended.order_by(_run.c.id)).mappings()
            runs = [*rows.readable(rows_of, rows.run_from)]
            for run in runs:
                moved = {"id": run.id, "base": run.seq, "seq": run.seq + 1}
                if execute(connection, _MOVE, [moved]) == 1:  # PostgreSQL: nobody was faster
                    done.append(replace(run, seq=run.seq + 1))
            ids = {"ids": [run.id for run in done]}
            if done:
                for statement in _FORGET:
                    connection.execute(statement, ids)
                events.append(
                    connection,
                    (
                        Event(run_id=r.id, seq=r.seq, at=now, kind="run.pruned", data=removed[r.id])
                        for r in done
                    ),
                )
        return tuple(run.id for run in done)


_ENDED = tuple(status.value for status in RunStatus if status.ended)
_IDS: BindParameter[Any] = bindparam("ids", expanding=True)
_CONFIGS = select(_definition.c.run_id, _definition.c.config).where(_definition.c.run_id.in_(_IDS))
_ATTEMPTS = select(_attempt.c.run_id, _attempt.c.id, _attempt.c.executor).where(
    _attempt.c.run_id.in_(_IDS)
)
_VALUES = select(_task.c.run_id, _task.c.value).where(
    and_(_task.c.run_id.in_(_IDS), _task.c.value.is_not(None))
)
_OLD = (
    select(_run)
    .join_from(_definition, _run, _definition.c.run_id == _run.c.id)
    .where(_run.c.ended_at < bindparam("before"), _run.c.status.in_(_ENDED))
    .order_by(_run.c.created_at, _run.c.id)
)
_NEWEST = (
    select(_run.c.id)
    .where(_run.c.flow == bindparam("flow"))
    .order_by(_run.c.created_at.desc(), _run.c.id.desc())
    .limit(bindparam("keep"))
)
_MOVE = change(_run, ("seq",), where="id = :id AND seq = :base")
_FORGET = tuple(
    delete(table).where(table.c.run_id.in_(_IDS))
    for table in (_definition, _task, _attempt, schema.deadline)
)
