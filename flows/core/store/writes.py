"""A run's working copy, read from the tables and written back: the SQL of the transitions."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, select

from flows.core import values
from flows.core.alert import TOLD_OF, Alert, alert_of_run
from flows.core.errors import NotFound, Pruned
from flows.core.graph import Graph
from flows.core.lifecycle import RunEvent, TaskEvent
from flows.core.progress import Progress
from flows.core.records import AttemptStatus, Event, Run, RunStatus, TaskRun, TaskStatus
from flows.core.state import Changes
from flows.core.store import assets, events, outbox, rows, schema
from flows.core.store.batch import change, execute, insertion
from flows.core.store.notifications import notify

_run, _task, _attempt = schema.run, schema.task_run, schema.attempt
LONGEST_KEY = 200
"""Characters of a run's key; a longer one is kept as far as it fits, with its digest."""


class Moved(Exception):
    """Another process has moved the run since it was read."""


def read(connection: Connection, run_id: str) -> Progress:
    """A run with all that a transition may need. Raises NotFound, Pruned."""
    run, definition = asked_for(connection, run_id)
    attempts = connection.execute(_LIVE_ATTEMPTS, {"run": run_id}).mappings()
    return Progress(
        run,
        values.loads(definition.graph, Graph),
        values.loads(definition.config),
        tasks_of(connection, run_id),
        [rows.attempt_from(r) for r in attempts],
        definition.config_yaml,
    )


def asked_for(connection: Connection, run_id: str) -> tuple[Run, Row[Any]]:
    """A run and the row of its definition. Raises NotFound, Pruned."""
    run = connection.execute(_BY_ID, {"id": run_id}).mappings().first()
    if run is None:
        raise NotFound(f"there is no run {run_id}", hint="see them: ratchet runs")
    definition = connection.execute(_DEFINITION, {"id": run_id}).first()
    if definition is None:
        raise Pruned(run_id)
    return rows.run_from(run), definition


def tasks_of(connection: Connection, run_id: str) -> list[TaskRun]:
    """The task runs of a run, in no order."""
    tasks = connection.execute(_TASKS, {"run": run_id}).mappings()
    return [rows.task_from(row) for row in tasks]


def write(connection: Connection, *moved: Progress) -> list[Event]:
    """Write what changed of runs, if each still is where it was read. Raises Moved."""
    all_changes = [_guarded(connection, progress) for progress in moved]
    _write_rows(connection, all_changes)
    appended = _in_order([changes.events for changes in all_changes])
    events.append(connection, appended)
    assets.insert_fires(connection, assets.updated(connection, appended))
    changed = list(zip(moved, all_changes, strict=True))
    alerts = (alert for progress, changes in changed for alert in _alerts(progress, changes.events))
    outbox.insert(connection, alerts)
    _wake_others(connection, changed)
    return appended


def _guarded(connection: Connection, progress: Progress) -> Changes:
    """What changed of a run, once its row is written."""
    changes = progress.take()
    run, before = changes.run, changes.before
    if run is not None and before is None:
        _insert(connection, progress)
    elif run is not None and before is not None:
        row, statement = vars(run), _MOVE_RUN
        if _standing(run) != _standing(before):
            row, statement = rows.run_row(run), _UPDATE_RUN
        if execute(connection, statement, [{**row, "base": before.seq}]) != 1:
            raise Moved
    elif changes.attempts:  # a note on an attempt, which is no transition
        here = {"id": progress.run.id, "seq": progress.stored.seq, "base": progress.stored.seq}
        if execute(connection, _STILL_HERE, [here]) != 1:
            raise Moved
    return changes


def _in_order(by_run: list[list[Event]]) -> list[Event]:
    """The events of one commit: of all runs what ended before what started with its slots."""
    if len(by_run) == 1:
        return by_run[0]
    before, after = [], []
    for of_run in by_run:
        starts = (i for i, event in enumerate(of_run) if event.kind == TaskEvent.STARTED)
        first = next(starts, len(of_run))
        before += of_run[:first]
        after += of_run[first:]
    return before + after


def _wake_others(connection: Connection, moved: list[tuple[Progress, Changes]]) -> None:
    """Wake the workers that may wait for what has changed, and no others."""
    if connection.dialect.name == "sqlite":  # they watch the file
        return
    stops = any(c.run and c.run.status is RunStatus.CANCELLING for _, c in moved)
    if stops:
        notify(connection, (), everybody=True)
    notify(connection, set().union(*(_awaited(progress, changes) for progress, changes in moved)))


def _awaited(progress: Progress, changes: Changes) -> set[str]:
    """The pools in which something has become claimable, or may be started now."""
    run = changes.run
    if run is None:
        return set()
    pools = {a.pool for a in changes.attempts.values() if a.pool is not None}
    if run.held_by is None and any(event.kind in _MAKES_CLAIMABLE for event in changes.events):
        pools |= set((run.claimable or "").split())
    if run.status.ended and (run.lane is not None or run.max_runs is not None):
        pools |= progress.graph.pools  # the next of its lane or flow may start
    return pools


_MAKES_CLAIMABLE = frozenset(
    {
        TaskEvent.READY,
        TaskEvent.EXPANDED,
        TaskEvent.RETRY,
        TaskEvent.LOST,
        RunEvent.REOPENED,
        RunEvent.HANDED_OVER,
    }
)


def _alerts(progress: Progress, events: list[Event]) -> Iterator[Alert]:
    """What people have to be told of; posted in the transaction of the events themselves."""
    to_tell = [event for event in events if event.kind in TOLD_OF]
    if to_tell:
        tasks = (progress.tasks[node.key] for node in progress.graph.nodes)
        cause = next((task for task in tasks if task.status == progress.run.status.value), None)
        alerts = (alert_of_run(progress.run, event, cause) for event in to_tell)
        yield from (alert for alert in alerts if alert is not None)


def _write_rows(connection: Connection, all_changes: list[Changes]) -> None:
    for statement, written in (
        (_INSERT_TASK, [rows.task_row(t) for c in all_changes for t in c.new_tasks.values()]),
        (_UPDATE_TASK, [rows.task_row(t) for c in all_changes for t in c.tasks.values()]),
        (_UPDATE_ATTEMPT, [rows.attempt_row(a) for c in all_changes for a in c.attempts.values()]),
        (
            _INSERT_ATTEMPT,
            [rows.attempt_row(a) for c in all_changes for a in c.new_attempts.values()],
        ),
    ):
        execute(connection, statement, written)


def _insert(connection: Connection, progress: Progress) -> None:
    """A new run with its definition; its tasks and events follow as those of any other."""
    execute(connection, _INSERT_RUN, [rows.run_row(progress.run)])
    definition = {
        "run_id": progress.run.id,
        "graph": progress.graph.text,
        "config": progress.config_text,
        "config_yaml": progress.config_yaml,
    }
    execute(connection, _INSERT_DEFINITION, [definition])


def by_key(connection: Connection, flow: str, key: str) -> Run | None:
    """The run of a flow that was made under `key`."""
    key = values.fitted(key, LONGEST_KEY)
    row = connection.execute(_BY_KEY, {"flow": flow, "key": key}).mappings().first()
    return rows.run_from(row) if row is not None else None


def seqs(connection: Connection, run_ids: Collection[str]) -> dict[str, int]:
    """Where each run stands now."""
    return {row.id: row.seq for row in connection.execute(_SEQS, {"ids": list(run_ids)})}


def lock(connection: Connection, run_ids: Collection[str], *, skip: bool = False) -> dict[str, int]:
    """Have runs to this transaction alone, and say where each stands.

    In one order, so that no two transactions wait for each other. With `skip`, what another
    transaction has is left out. A database with one writer has its lock already: there, runs
    that are not skipped are not even read.
    """
    if connection.dialect.name == "sqlite":
        return seqs(connection, run_ids) if skip else {}
    statement = _LOCKED_UNLESS_TAKEN if skip else _LOCKED
    return {row.id: row.seq for row in connection.execute(statement, {"ids": list(run_ids)})}


def reusable(connection: Connection, cache_key: str) -> tuple[str, str] | None:
    """(value, run id) of the newest task run that succeeded under `cache_key`."""
    row = connection.execute(_REUSABLE, {"cache_key": cache_key}).first()
    return (row.value, row.run_id) if row is not None else None


_BY_ID = select(_run).where(_run.c.id == bindparam("id"))
_BY_KEY = select(_run).where(and_(_run.c.flow == bindparam("flow"), _run.c.key == bindparam("key")))
_SEQS = select(_run.c.id, _run.c.seq).where(_run.c.id.in_(bindparam("ids", expanding=True)))
_LOCKED = _SEQS.order_by(_run.c.id).with_for_update()
_LOCKED_UNLESS_TAKEN = _SEQS.with_for_update(skip_locked=True)
_DEFINITION = select(schema.definition).where(schema.definition.c.run_id == bindparam("id"))
_TASKS = select(_task).where(_task.c.run_id == bindparam("run"))
_LIVE_ATTEMPTS = select(_attempt).where(
    and_(_attempt.c.run_id == bindparam("run"), _attempt.c.status == AttemptStatus.RUNNING.value)
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
_INSERT_RUN = insertion(_run)
_INSERT_DEFINITION = insertion(schema.definition)
_INSERT_TASK = insertion(_task)
_INSERT_ATTEMPT = insertion(_attempt)
_MOVES = ("seq", "claimable_at", "claimable")  # with each transition
_CHANGES = ("status", "reason", "started_at", "ended_at", "held_by")  # with few: they have indexes
_standing = attrgetter(*_CHANGES)
_MOVE_RUN = change(_run, _MOVES, where="id = :id AND seq = :base")
_UPDATE_RUN = change(_run, (*_MOVES, *_CHANGES), where="id = :id AND seq = :base")
_STILL_HERE = change(_run, ("seq",), where="id = :id AND seq = :base")
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
