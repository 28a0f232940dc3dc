"""The transitions of runs: each method is one transaction, and appends its events in it.

A `Progress` in memory decides; the store writes what changed, guarded by the run's `seq`:
when another process has moved the run meanwhile, nothing is written, the run is read again
and the decision is taken anew. So any number of processes may drive the same runs.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, and_, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from flows.core import values
from flows.core.errors import NotFound, NotStorable, StoreError
from flows.core.graph import Graph, Node
from flows.core.progress import Changes, Progress
from flows.core.records import (
    Attempt,
    AttemptStatus,
    ErrorInfo,
    Event,
    Outcome,
    Run,
    RunStatus,
    TaskRun,
    TaskStatus,
)
from flows.core.store import rows, schema
from flows.core.store.database import Database

CACHED_RUNS = 256
"""Runs kept in memory; the rest are read again when they move."""


@dataclass(frozen=True, kw_only=True)
class NewRun:
    """A run that is asked for."""

    id: str
    flow: str
    key: str  # unique per flow; asking twice gives the first run
    source: str
    graph: Graph
    config: Any  # JSON data
    config_yaml: str
    config_digest: str
    trigger: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """An attempt that this worker has begun, and what it needs to be run."""

    attempt: Attempt
    node: Node
    flow: str
    arguments: str  # JSON object
    config: str  # JSON


@dataclass(kw_only=True)
class Step:
    """What one transaction did."""

    claims: list[Claim] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    ended: list[Run] = field(default_factory=list)
    late: list[Outcome] = field(default_factory=list)  # of attempts that were not alive here
    to_stop: list[Attempt] = field(default_factory=list)  # ours, of runs that are cancelled


_ENDED = tuple(status for status in RunStatus if status.ended)


class _Moved(Exception):
    """Another process has moved the run since it was read."""


T = TypeVar("T")


class RunStore:
    """Every way in which a run may change."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._cache: OrderedDict[str, Progress] = OrderedDict()
        self._lock = threading.RLock()  # the engine and the service may share this store

    def create(self, new: NewRun, now: datetime) -> Run:
        """Record a run, its tasks, and which of them may start.

        Idempotent by (flow, key): a second call returns the run that the first one made.
        """
        run = Run(
            id=new.id,
            flow=new.flow,
            key=new.key,
            status=RunStatus.QUEUED,
            reason=None,
            source=new.source,
            config_digest=new.config_digest,
            trigger=new.trigger,
            created_at=now,
            started_at=None,
            ended_at=None,
            seq=1,
        )
        tasks = [
            TaskRun(run_id=new.id, key=n.key, status=TaskStatus.PENDING) for n in new.graph.nodes
        ]
        created = Event(
            id=0,
            seq=1,
            at=now,
            kind="run.created",
            run_id=new.id,
            task=None,
            attempt=None,
            data=new.trigger,
        )
        try:
            progress = self._insert(new, run, tasks, created, now)
        except StoreError as error:
            if not isinstance(error.__cause__, IntegrityError):
                raise
            progress = None  # another process was faster with the same key
        if progress is None:
            return self._by_key(new.flow, new.key)
        self._remember(progress)
        return progress.run

    def _insert(
        self, new: NewRun, run: Run, tasks: list[TaskRun], created: Event, now: datetime
    ) -> Progress | None:
        with self._database.write() as connection:
            existing = connection.execute(_BY_KEY, {"flow": new.flow, "key": new.key}).mappings()
            if existing.first() is not None:
                return None
            connection.execute(_INSERT_RUN, rows.run_row(run))
            connection.execute(
                insert(schema.definition),
                {
                    "run_id": new.id,
                    "graph": values.dumps(new.graph),
                    "config": values.dumps(new.config),
                    "config_yaml": new.config_yaml,
                },
            )
            connection.execute(_INSERT_TASK, [rows.task_row(task) for task in tasks])
            connection.execute(_INSERT_EVENT, rows.event_row(created))
            progress = Progress(run, new.graph, new.config, tasks)
            progress.begin(now)
            _write(connection, progress)
            return progress

    def _by_key(self, flow: str, key: str) -> Run:
        with self._database.read() as connection:
            found = connection.execute(_BY_KEY, {"flow": flow, "key": key}).mappings()
            return rows.run_from(found.one())

    def step(
        self,
        outcomes: Sequence[Outcome],
        *,
        worker: str,
        slots: Mapping[str, int],
        default_executor: str,
        runs: Iterable[str],
        now: datetime,
    ) -> Step:
        """Record how attempts ended and claim what can start now, in one commit.

        What may be claimed:
        - a task of one of `runs` that is ready, or retrying and due;
        - whose executor (its own, or `default_executor`) has a free slot in `slots`;
        - of a run that is not being cancelled.
        A claim is durable before this returns; only then may the work start.
        """
        by_run: dict[str, list[Outcome]] = {
            run_id: [] for run_id in runs if self._may_move(run_id, now)
        }
        for outcome in outcomes:
            by_run.setdefault(run_of(outcome.attempt_id), []).append(outcome)
        if not by_run:
            return Step()

        def decide(connection: Connection) -> Step:
            step, free, moved = Step(), dict(slots), []
            for run_id, ended in by_run.items():
                progress = self._load(connection, run_id)
                step.late += [outcome for outcome in ended if not progress.finish(outcome, now)]
                if any(free.values()):
                    self._claim(connection, progress, step, free, worker, default_executor, now)
                moved.append(progress)
            for progress in moved:
                step.events += _write(connection, progress)
                if progress.run.status.ended:
                    step.ended.append(progress.run)
                elif progress.run.status is RunStatus.CANCELLING:
                    live = progress.attempts.values()
                    step.to_stop += [a for a in live if a.worker == worker]
            return step

        return self._transact(by_run, decide)

    def cancel(self, run_id: str, reason: str, now: datetime) -> Run:
        """Ask for a run's end; the tasks that have not started never will. Raises Refused."""
        return self._move(run_id, lambda progress: progress.cancel(reason, now))

    def retry(self, run_id: str, now: datetime) -> Run:
        """Open an ended run again for everything that had not succeeded. Raises Refused."""
        return self._move(run_id, lambda progress: progress.reopen(now))

    def note_stopping(self, attempt_id: str, why: str) -> None:
        """Record that an attempt is about to be told to end, and why."""

        def note(progress: Progress) -> None:
            attempt = progress.live(attempt_id)
            if attempt is not None and attempt.stopping is None:
                progress.stopping(attempt, why)

        self._move(run_of(attempt_id), note)

    def recover(
        self, run_id: str, dead: Iterable[str], *, worker: str, survivors: set[str], now: datetime
    ) -> list[Claim]:
        """Take over what dead workers had claimed in a run; it runs nothing itself.

        Attempts on an executor that outlives its process are handed to `worker` (and returned,
        to be adopted by their id); the others are lost, and claimable again.
        """
        gone = set(dead)
        adopted: list[Claim] = []

        def take_over(progress: Progress) -> None:
            adopted.clear()
            for attempt in list(progress.attempts.values()):
                if attempt.worker not in gone:
                    continue
                if attempt.executor in survivors:
                    taken = progress.adopt(attempt, worker, now)
                    adopted.append(_claim_of(progress, taken, _arguments(progress, taken.key)))
                else:
                    progress.lose(attempt, f"its worker {attempt.worker} died", now)

        self._move(run_id, take_over)
        return adopted

    def live_attempts(self, run_id: str) -> tuple[Attempt, ...]:
        """The attempts of a run that nobody has seen end."""
        with self._database.read() as connection:
            found = connection.execute(_LIVE_ATTEMPTS, {"run": run_id}).mappings()
            return tuple(rows.attempt_from(row) for row in found)

    def refresh(self, run_ids: Iterable[str]) -> None:
        """Notice what other processes did: forget the runs that have moved since they were read."""
        cached = {run_id: self._cache[run_id] for run_id in run_ids if run_id in self._cache}
        if not cached:
            return
        with self._database.read() as connection:
            found = connection.execute(_SEQS, {"ids": list(cached)})
            seqs = {row.id: row.seq for row in found}
        self._forget(key for key, progress in cached.items() if seqs.get(key) != progress.base_seq)

    def due(self, run_id: str) -> datetime | None:
        """When the run's next retry may be claimed; None when none waits."""
        progress = self._cache.get(run_id)
        return progress.next_ready() if progress else None

    # ------------------------------------------------------------------ inside

    def _may_move(self, run_id: str, now: datetime) -> bool:
        """False only when memory says for sure that nothing of the run can be claimed."""
        progress = self._cache.get(run_id)
        if progress is None or progress.run.status in (RunStatus.CANCELLING, *_ENDED):
            return True
        return bool(progress.claimable(now))

    def _move(self, run_id: str, change: Callable[[Progress], object]) -> Run:
        def decide(connection: Connection) -> Run:
            progress = self._load(connection, run_id)
            change(progress)
            _write(connection, progress)
            return progress.run

        return self._transact((run_id,), decide)

    def _transact(self, run_ids: Iterable[str], decide: Callable[[Connection], T]) -> T:
        """Run `decide` in one transaction; again, on fresh state, when a run has moved."""
        with self._lock:
            while True:
                try:
                    with self._database.write() as connection:
                        return decide(connection)
                except _Moved:
                    self._forget(run_ids)
                except BaseException:
                    self._forget(run_ids)  # memory is ahead of what was committed
                    raise

    def _claim(
        self,
        connection: Connection,
        progress: Progress,
        step: Step,
        free: dict[str, int],
        worker: str,
        default_executor: str,
        now: datetime,
    ) -> None:
        again = True
        while again:  # a reused task may make others claimable
            again = False
            for key in progress.claimable(now):
                node = progress.graph.node(key)
                executor = node.executor or default_executor
                if executor not in free:
                    progress.refuse(key, _no_executor(executor, free), now)
                elif free[executor] > 0:
                    try:
                        arguments = _arguments(progress, key)
                    except NotStorable as error:
                        progress.refuse(key, _unreadable(error), now)
                        continue
                    if self._reuse(connection, progress, node, key, arguments, now):
                        again = True
                        continue
                    attempt = progress.start(key, worker=worker, executor=executor, now=now)
                    step.claims.append(_claim_of(progress, attempt, arguments))
                    free[executor] -= 1

    def _reuse(
        self,
        connection: Connection,
        progress: Progress,
        node: Node,
        key: str,
        arguments: str,
        now: datetime,
    ) -> bool:
        """Take over the value of an equal, earlier task, where the task asks for that."""
        if node.cache is None:
            return False
        identity = "\n".join((node.function, node.cache, arguments))
        digest = hashlib.sha256(identity.encode()).hexdigest()
        row = connection.execute(_REUSABLE, {"cache_key": digest}).first()
        progress.tasks[key] = replace(progress.tasks[key], cache_key=digest)
        if row is None:
            return False
        progress.reuse(key, row.value, row.run_id, now)
        return True

    def _load(self, connection: Connection, run_id: str) -> Progress:
        progress = self._cache.get(run_id)
        if progress is None:
            progress = _read(connection, run_id)
            self._remember(progress)
        return progress

    def _remember(self, progress: Progress) -> None:
        self._cache[progress.run.id] = progress
        while len(self._cache) > CACHED_RUNS:
            self._cache.popitem(last=False)

    def _forget(self, run_ids: Iterable[str]) -> None:
        for run_id in run_ids:
            self._cache.pop(run_id, None)


def run_of(attempt_id: str) -> str:
    """The run's id in an attempt's id, `<run>.<task>.<number>`."""
    return attempt_id.partition(".")[0]


def _arguments(progress: Progress, key: str) -> str:
    try:
        return values.dumps(progress.arguments(key))
    except (LookupError, TypeError) as error:
        raise NotStorable(f"the inputs of {key} cannot be read: {error!r}") from error


def _claim_of(progress: Progress, attempt: Attempt, arguments: str) -> Claim:
    return Claim(
        attempt=attempt,
        node=progress.graph.node(attempt.key),
        flow=progress.run.flow,
        arguments=arguments,
        config=progress.config_text,
    )


def _unreadable(error: NotStorable) -> ErrorInfo:
    return ErrorInfo(type="NotStorable", message=str(error), hint=error.hint, permanent=True)


def _no_executor(name: str, known: Iterable[str]) -> ErrorInfo:
    return ErrorInfo(
        type="NoExecutor",
        message=f"there is no executor {name!r}",
        hint=f"choose one of {', '.join(known)}",
        permanent=True,
    )


def _read(connection: Connection, run_id: str) -> Progress:
    row = connection.execute(_BY_ID, {"id": run_id}).mappings().first()
    if row is None:
        raise NotFound(f"there is no run {run_id}", hint="see them: ratchet runs")
    definition = connection.execute(_DEFINITION, {"id": run_id}).one()
    tasks = connection.execute(_TASKS, {"run": run_id}).mappings()
    attempts = connection.execute(_LIVE_ATTEMPTS, {"run": run_id}).mappings()
    return Progress(
        rows.run_from(row),
        values.loads(definition.graph, Graph),
        values.loads(definition.config),
        [rows.task_from(r) for r in tasks],
        [rows.attempt_from(r) for r in attempts],
    )


def _write(connection: Connection, progress: Progress) -> list[Event]:
    """Write what changed, if the run still is where it was read. Raises _Moved."""
    changes = progress.take()
    if changes.run is not None:
        guard = {**rows.run_row(changes.run), "run_id": changes.run.id, "base": progress.base_seq}
        if connection.execute(_UPDATE_RUN, guard).rowcount != 1:
            raise _Moved
        progress.base_seq = changes.run.seq
    _write_rows(connection, changes)
    return changes.events


def _write_rows(connection: Connection, changes: Changes) -> None:
    if changes.new_tasks:
        connection.execute(_INSERT_TASK, [rows.task_row(t) for t in changes.new_tasks.values()])
    if changes.tasks:
        connection.execute(_UPDATE_TASK, [_keyed(t) for t in changes.tasks.values()])
    if changes.attempts:
        connection.execute(_UPDATE_ATTEMPT, [_ended(a) for a in changes.attempts.values()])
    if changes.new_attempts:
        connection.execute(
            _INSERT_ATTEMPT, [rows.attempt_row(a) for a in changes.new_attempts.values()]
        )
    if changes.events:
        connection.execute(_INSERT_EVENT, [rows.event_row(e) for e in changes.events])


def _keyed(task: TaskRun) -> dict[str, Any]:
    row = rows.task_row(task)
    return {**row, "of_run": row.pop("run_id"), "of_key": row.pop("key")}


def _ended(attempt: Attempt) -> dict[str, Any]:
    row = rows.attempt_row(attempt)
    return {name: row[name] for name in ("status", "worker", "ended_at", "stopping", "error")} | {
        "of_id": attempt.id
    }


def _binds(table: Any, *names: str) -> dict[str, Any]:
    return {name: bindparam(name, type_=table.c[name].type) for name in names}


_run, _task, _attempt = schema.run, schema.task_run, schema.attempt
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
_INSERT_RUN = insert(_run)
_INSERT_TASK = insert(_task)
_INSERT_ATTEMPT = insert(_attempt)
_INSERT_EVENT = insert(schema.event)
_UPDATE_RUN = (
    update(_run)
    .where(and_(_run.c.id == bindparam("run_id"), _run.c.seq == bindparam("base")))
    .values(_binds(_run, "status", "reason", "started_at", "ended_at", "seq"))
)
_UPDATE_TASK = (
    update(_task)
    .where(and_(_task.c.run_id == bindparam("of_run"), _task.c.key == bindparam("of_key")))
    .values(
        _binds(
            _task,
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
        )
    )
)
_UPDATE_ATTEMPT = (
    update(_attempt)
    .where(_attempt.c.id == bindparam("of_id"))
    .values(_binds(_attempt, "status", "worker", "ended_at", "stopping", "error"))
)
