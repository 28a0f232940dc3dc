"""What the edges look at: runs, their tasks and attempts, and the events."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import Any

from sqlalchemy import Connection, and_, bindparam, func, select, text
from sqlalchemy.sql import Select

from flows.core import values
from flows.core.errors import NotFound, Refused
from flows.core.graph import Graph
from flows.core.records import Attempt, AttemptStatus, Event, Run, RunStatus, TaskRun
from flows.core.store import events, rows, schema, writes
from flows.core.store.database import Database

STREAMED = 500
"""Rows fetched at once of what is read as it comes."""

_run, _attempt, _event = schema.run, schema.attempt, schema.event
_fire = schema.fire


@dataclass(frozen=True, kw_only=True)
class RunDetail:
    """Everything about one run."""

    run: Run
    graph: Graph
    config_yaml: str
    tasks: tuple[TaskRun, ...]  # in the graph's order, mapped children after their parent
    attempts: tuple[Attempt, ...]  # oldest first


class ReadStore:
    """Reads that never wait for a writer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def runs(
        self, *, flow: str | None = None, status: str | None = None, limit: int = 50
    ) -> tuple[Run, ...]:
        """The newest runs first."""
        query: Select[tuple[object, ...]] = select(_run)
        if flow is not None:
            query = query.where(_run.c.flow == flow)
        if status is not None:
            query = query.where(_run.c.status == status)
        query = query.order_by(_run.c.created_at.desc(), _run.c.id.desc()).limit(limit)
        with self._database.read() as connection:
            return rows.runs_from(connection.execute(query))

    def get(self, run_id: str) -> Run:
        """A run by its whole id. Raises NotFound."""
        with self._database.read() as connection:
            row = connection.execute(_RUN, {"run": run_id}).mappings().first()
        if row is None:
            raise NotFound(f"there is no run {run_id}", hint=self._nearest(run_id))
        return rows.run_from(row)

    def find(self, reference: str) -> Run:
        """A run by its id, the end of its id, or `last`. Raises NotFound, Refused.

        For people: an end is looked for in all ids, unless it is a whole one.
        """
        if reference == "last":
            newest = self.runs(limit=1)
            if not newest:
                raise NotFound("there is no run yet", hint="start one: ratchet run retrain")
            return newest[0]
        with self._database.read() as connection:
            row = connection.execute(_RUN, {"run": reference}).mappings().first()
            if row is not None:
                return rows.run_from(row)
            ending = select(_run.c.id).where(_run.c.id.endswith(reference, autoescape=True))
            ids = connection.execute(ending.limit(2)).scalars().all()
        if len(ids) > 1:
            raise Refused(
                f"{reference} is the end of several runs' ids", hint="type more of it: ratchet runs"
            )
        return self.get(ids[0] if ids else reference)

    def _nearest(self, reference: str) -> str:
        """What may have been meant by a reference to no run: an id, or the end of one."""
        ids = [run.id for run in self.runs(limit=200)]
        ends = {end: run_id for run_id in ids for end in (run_id, run_id[-len(reference) :])}
        close = get_close_matches(reference, list(ends), n=1)
        return f"did you mean {ends[close[0]]}?" if close else "see them: ratchet runs"

    def previous(self, run: Run) -> Run | None:
        """The run of the same flow before this one; None for the first."""
        query = (
            select(_run)
            .where(
                _run.c.flow == run.flow, _run.c.created_at <= run.created_at, _run.c.id != run.id
            )
            .order_by(_run.c.created_at.desc(), _run.c.id.desc())
            .limit(1)
        )
        with self._database.read() as connection:
            row = connection.execute(query).mappings().first()
            return None if row is None else rows.run_from(row)

    def detail(self, run_id: str) -> RunDetail:
        """One run with its graph, config, tasks and attempts. Raises NotFound, Pruned."""
        with self._database.read(one_moment=True) as connection:
            run, definition = writes.asked_for(connection, run_id)
            graph = values.loads(definition.graph, Graph)
            attempts = connection.execute(_ATTEMPTS, {"run": run_id}).mappings()
            return RunDetail(
                run=run,
                graph=graph,
                config_yaml=definition.config_yaml,
                tasks=_in_order(graph, writes.tasks_of(connection, run_id)),
                attempts=tuple(rows.attempt_from(row) for row in attempts),
            )

    def durability(self) -> str:
        """How the database keeps what is committed: `sqlite, journal wal`, `postgresql`."""
        with self._database.read() as connection:
            if connection.dialect.name != "sqlite":
                return connection.dialect.name
            mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
            return f"sqlite, journal {mode}"

    def events(
        self, *, run_id: str | None = None, after: int = 0, limit: int = 1000
    ) -> tuple[Event, ...]:
        """Events in order, from the one after `after` on."""
        query: Select[tuple[object, ...]] = select(_event).where(_event.c.id > after)
        if run_id is not None:
            query = query.where(_event.c.run_id == run_id)
        with self._database.read() as connection:
            found = connection.execute(query.order_by(_event.c.id).limit(limit)).mappings()
            return tuple(rows.event_from(row) for row in found)

    def newest_event(self, run_id: str) -> Event | None:
        """What was said of a run last."""
        query = select(_event).where(_event.c.run_id == run_id).order_by(_event.c.id.desc())
        with self._database.read() as connection:
            row = connection.execute(query.limit(1)).mappings().first()
            return rows.event_from(row) if row is not None else None

    def events_by_run(self, kinds: Iterable[str], since: datetime | None) -> Iterator[Event]:
        """Events of some kinds, one run after the other, each in its order; read as they come.

        All events of each run to which something happened since then, the events of no run from
        then on, and the newest of each asset. Costs by what happened since then.
        """
        wanted = _EVENTS.where(_event.c.kind.in_(tuple(kinds)))
        with self._database.read() as connection:
            if since is None:
                yield from _streamed(connection, wanted.order_by(_event.c.run_id, _event.c.seq))
                return
            first = events.first_since(connection, since)
            recent = and_(_event.c.id >= first, _event.c.at >= since)
            runs = sorted(connection.execute(_OF_RUNS.where(recent)).scalars())
            for start in range(0, len(runs), STREAMED):
                some = wanted.where(_event.c.run_id.in_(runs[start : start + STREAMED]))
                yield from _streamed(connection, some.order_by(_event.c.run_id, _event.c.seq))
            yield from _streamed(connection, wanted.where(recent, _event.c.run_id.is_(None)))
            newest = events.newest_of_assets(connection)
            yield from _streamed(connection, _EVENTS.where(_event.c.id.in_(newest)))

    def open_runs(self, flow: str | None = None) -> tuple[Run, ...]:
        """All runs that have not ended, or those of one flow, the oldest first."""
        query = select(_run).where(_run.c.status.in_(_OPEN)).order_by(_run.c.created_at)
        if flow is not None:
            query = query.where(_run.c.flow == flow)
        with self._database.read() as connection:
            return rows.runs_from(connection.execute(query))

    def workers_by_run(self) -> dict[str, set[str]]:
        """The workers of the attempts that nobody has seen end, by run."""
        found: dict[str, set[str]] = {}
        with self._database.read() as connection:
            for run_id, worker in connection.execute(_AT_WORK):
                found.setdefault(run_id, set()).add(worker)
        return found

    def newest_by_flow(self) -> dict[str, datetime]:
        """When each flow last had a run."""
        with self._database.read() as connection:
            return {row.flow: row.newest for row in connection.execute(_NEWEST_BY_FLOW)}

    def results(self, each: int) -> dict[str, tuple[Run, ...]]:
        """The newest runs of each schedule that have ended, at most `each`, the newest first."""
        results: dict[str, tuple[Run, ...]] = {}
        with self._database.read() as connection:
            for name in connection.execute(select(schema.schedule.c.name)).scalars():
                ended = connection.execute(_RESULTS, {"schedule": name, "limit": each}).mappings()
                if runs := tuple(rows.readable(ended, rows.run_from)):
                    results[name] = runs
        return results


def _streamed(connection: Connection, query: Select[Any]) -> Iterator[Event]:
    for number, run_id, seq, at, kind, task, attempt, data in connection.execution_options(
        yield_per=STREAMED
    ).execute(query):
        yield Event(
            id=number,
            run_id=run_id,
            seq=seq,
            at=at,
            kind=kind,
            task=task,
            attempt=attempt,
            data=json.loads(data),
        )


def _in_order(graph: Graph, tasks: list[TaskRun]) -> tuple[TaskRun, ...]:
    place = {node.key: index for index, node in enumerate(graph.nodes)}

    def position(task: TaskRun) -> tuple[int, int]:
        key, bracket, rest = task.key.partition("[")
        return place[key], int(rest[:-1]) if bracket else -1

    return tuple(sorted(tasks, key=position))


_OPEN = tuple(status.value for status in RunStatus if not status.ended)
_EVENTS = select(*_event.columns)
_OF_RUNS = select(_event.c.run_id).where(_event.c.run_id.is_not(None)).distinct()
_AT_WORK = (
    select(_attempt.c.run_id, _attempt.c.worker)
    .where(text(f"status = '{AttemptStatus.RUNNING.value}'"))  # literally, for the partial index
    .distinct()
)
_RUN = select(_run).where(_run.c.id == bindparam("run"))
_ATTEMPTS = (
    select(_attempt)
    .where(_attempt.c.run_id == bindparam("run"))
    .order_by(_attempt.c.started_at, _attempt.c.number)
)
_RESULTS = (
    select(_run)
    .join(_fire, _fire.c.run_id == _run.c.id)
    .where(
        _fire.c.schedule == bindparam("schedule"),
        _fire.c.run_id.is_not(None),
        _run.c.ended_at.is_not(None),
    )
    .order_by(_fire.c.decided_at.desc())
    .limit(bindparam("limit"))
)
_flows = select(func.min(_run.c.flow).label("flow")).cte("flows", recursive=True)
_flows = _flows.union_all(
    select(
        select(func.min(_run.c.flow)).where(_run.c.flow > _flows.c.flow).scalar_subquery()
    ).where(_flows.c.flow.is_not(None))
)
"""The names of all flows: one step of an index for each, however many runs it has."""
_NEWEST_BY_FLOW = select(
    _flows.c.flow,
    select(func.max(_run.c.created_at))
    .where(_run.c.flow == _flows.c.flow)
    .scalar_subquery()
    .label("newest"),
).where(_flows.c.flow.is_not(None))
