"""A run's working copy, read from the tables and written back: the SQL of the transitions."""

from __future__ import annotations

from sqlalchemy import Connection, and_, bindparam, insert, select

from flows.core import values
from flows.core.errors import NotFound
from flows.core.graph import Graph
from flows.core.progress import Progress
from flows.core.records import Attempt, AttemptStatus, Event, Run, TaskStatus
from flows.core.state import Changes
from flows.core.store import rows, schema
from flows.core.store.batch import change, execute, insertion

_run, _task, _attempt = schema.run, schema.task_run, schema.attempt


class Moved(Exception):
    """Another process has moved the run since it was read."""


def read(connection: Connection, run_id: str) -> Progress:
    row = connection.execute(_BY_ID, {"id": run_id}).mappings().first()
    if row is None:
        raise NotFound(f"there is no run {run_id}", hint="see them: ratchet runs")
    definition = connection.execute(_DEFINITION, {"id": run_id}).one()
    tasks = connection.execute(_TASKS, {"run": run_id}).mappings()
    return Progress(
        rows.run_from(row),
        values.loads(definition.graph, Graph),
        values.loads(definition.config),
        [rows.task_from(r) for r in tasks],
        live_attempts(connection, run_id),
        definition.config_yaml,
    )


def write(connection: Connection, progress: Progress) -> list[Event]:
    """Write what changed, if the run still is where it was read. Raises Moved."""
    changes = progress.take()
    if changes.run is not None:
        guarded = {**rows.run_row(changes.run), "base": progress.base_seq}
        if execute(connection, _UPDATE_RUN, [guarded]) != 1:
            raise Moved
        progress.base_seq = changes.run.seq
    _write_rows(connection, changes)
    return changes.events


def _write_rows(connection: Connection, changes: Changes) -> None:
    if changes.new_tasks:
        execute(connection, _INSERT_TASK, [rows.task_row(t) for t in changes.new_tasks.values()])
    if changes.tasks:
        execute(connection, _UPDATE_TASK, [rows.task_row(t) for t in changes.tasks.values()])
    if changes.attempts:
        ended = [rows.attempt_row(a) for a in changes.attempts.values()]
        execute(connection, _UPDATE_ATTEMPT, ended)
    if changes.new_attempts:
        begun = [rows.attempt_row(a) for a in changes.new_attempts.values()]
        execute(connection, _INSERT_ATTEMPT, begun)
    if changes.events:
        execute(connection, _INSERT_EVENT, [rows.event_row(e) for e in changes.events])


def insert_run(connection: Connection, progress: Progress, created: Event) -> None:
    """A new run with its definition, its tasks and its first event."""
    run = progress.run
    connection.execute(insert(_run), rows.run_row(run))
    connection.execute(
        insert(schema.definition),
        {
            "run_id": run.id,
            "graph": progress.graph.text,
            "config": progress.config_text,
            "config_yaml": progress.config_yaml,
        },
    )
    execute(connection, _INSERT_TASK, [rows.task_row(task) for task in progress.tasks.values()])
    execute(connection, _INSERT_EVENT, [rows.event_row(created)])


def by_key(connection: Connection, flow: str, key: str) -> Run | None:
    """The run of a flow that was made under `key`."""
    row = connection.execute(_BY_KEY, {"flow": flow, "key": key}).mappings().first()
    return rows.run_from(row) if row is not None else None


def live_attempts(connection: Connection, run_id: str) -> tuple[Attempt, ...]:
    """The attempts of a run that nobody has seen end."""
    found = connection.execute(_LIVE_ATTEMPTS, {"run": run_id}).mappings()
    return tuple(rows.attempt_from(row) for row in found)


def seqs(connection: Connection, run_ids: list[str]) -> dict[str, int]:
    """Where each run stands now."""
    return {row.id: row.seq for row in connection.execute(_SEQS, {"ids": run_ids})}


def reusable(connection: Connection, cache_key: str) -> tuple[str, str] | None:
    """(value, run id) of the newest task run that succeeded under `cache_key`."""
    row = connection.execute(_REUSABLE, {"cache_key": cache_key}).first()
    return (row.value, row.run_id) if row is not None else None


_BY_ID = select(_run).where(_run.c.id == bindparam("id"))
_BY_KEY = select(_run).where(and_(_run.c.flow == bindparam("flow"), _run.c.key == bindparam("key")))
_SEQS = select(_run.c.id, _run.c.seq).where(_run.c.id.in_(bindparam("ids", expanding=True)))
_DEFINITION = select(schema.definition).where(schema.definition.c.run_id == bindparam("id"))
_TASKS = select(_task).where(_task.c.run_id == bindparam("run"))
_LIVE_ATTEMPTS = select(_attempt).where(
    and_(
        _attempt.c.run_id == bindparam("run"),
        _attempt.c.status == AttemptStatus.RUNNING.value,
    )
)
_REUSABLE = (
    select(_task.c.value, _task.c.run_id)
    .where(
        and_(
            _task.c.cache_key == bindparam("cache_key"),
            _task.c.status == TaskStatus.SUCCEEDED.value,
        )
    )
    .order_by(_task.c.ended_at.desc())
    .limit(1)
)
_INSERT_TASK = insertion(_task)
_INSERT_ATTEMPT = insertion(_attempt)
_INSERT_EVENT = insertion(schema.event, without=("id",))
_UPDATE_RUN = change(
    _run,
    ("status", "reason", "started_at", "ended_at", "seq", "held_by", "claimable_at", "claimable"),
    where="id = :id AND seq = :base",
)
_UPDATE_TASK = change(
    _task,
    (
        "status",
        "attempt",
        "failures",
        "losses",
        "ready_at",
        "started_at",
        "ended_at",
        "reason",
        "value",
        "error",
        "cache_key",
    ),
    where="run_id = :run_id AND key = :key",
)
_UPDATE_ATTEMPT = change(
    _attempt, ("status", "worker", "ended_at", "stopping", "error"), where="id = :id"
)
