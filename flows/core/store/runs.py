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

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from flows.core.errors import NotStorable, StoreError
from flows.core.graph import Graph, Node
from flows.core.progress import Progress
from flows.core.records import (
    Attempt,
    Event,
    Outcome,
    Run,
    RunStatus,
    TaskRun,
    TaskStatus,
)
from flows.core.store import writes
from flows.core.store.claim import Claim, arguments_of, claim_of, no_executor, unreadable
from flows.core.store.database import Database
from flows.core.store.room import Room

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


@dataclass(kw_only=True)
class Step:
    """What one transaction did."""

    claims: list[Claim] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    ended: list[Run] = field(default_factory=list)
    late: list[Outcome] = field(default_factory=list)  # of attempts that were not alive here
    to_stop: list[Attempt] = field(default_factory=list)  # ours, of runs that are cancelled


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
            progress = self._insert(new, run, created)
        except StoreError as error:
            if not isinstance(error.__cause__, IntegrityError):
                raise
            progress = None  # another process was faster with the same key
        if progress is None:
            return self._by_key(new.flow, new.key)
        self._remember(progress)
        return progress.run

    def _insert(self, new: NewRun, run: Run, created: Event) -> Progress | None:
        tasks = [
            TaskRun(run_id=new.id, key=n.key, status=TaskStatus.PENDING) for n in new.graph.nodes
        ]
        with self._database.write() as connection:
            if writes.by_key(connection, new.flow, new.key) is not None:
                return None
            progress = Progress(run, new.graph, new.config, tasks, config_yaml=new.config_yaml)
            writes.insert_run(connection, progress, created)
            progress.begin(created.at)
            writes.write(connection, progress)
            return progress

    def _by_key(self, flow: str, key: str) -> Run:
        with self._database.read() as connection:
            run = writes.by_key(connection, flow, key)
        assert run is not None
        return run

    def step(
        self,
        outcomes: Sequence[Outcome],
        *,
        worker: str,
        slots: Mapping[str, int],
        default_executor: str,
        runs: Iterable[str],
        now: datetime,
        ahead: Mapping[str, int] | None = None,
    ) -> Step:
        """Record how attempts ended and claim what can start now, in one commit.

        What may be claimed:
        - a task of one of `runs` that is ready, or retrying and due;
        - whose executor (its own, or `default_executor`) has a free slot in `slots`, or, for a
          task without a timeout, has room for one of `ahead` more in its queue;
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
            step, moved = Step(), []
            room = Room(slots, ahead or {})
            for run_id, ended in by_run.items():
                progress = self._load(connection, run_id)
                step.late += [outcome for outcome in ended if not progress.finish(outcome, now)]
                if room.anywhere:
                    self._claim(connection, progress, step, room, worker, default_executor, now)
                moved.append(progress)
            for progress in moved:
                step.events += writes.write(connection, progress)
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
                    adopted.append(claim_of(progress, taken, arguments_of(progress, taken.key)))
                else:
                    progress.lose(attempt, f"its worker {attempt.worker} died", now)

        self._move(run_id, take_over)
        return adopted

    def live_attempts(self, run_id: str) -> tuple[Attempt, ...]:
        """The attempts of a run that nobody has seen end."""
        with self._database.read() as connection:
            return writes.live_attempts(connection, run_id)

    def refresh(self, run_ids: Iterable[str]) -> None:
        """Notice what other processes did: forget the runs that have moved since they were read."""
        cached = {run_id: self._cache[run_id] for run_id in run_ids if run_id in self._cache}
        if not cached:
            return
        with self._database.read() as connection:
            seqs = writes.seqs(connection, list(cached))
        self._forget(key for key, progress in cached.items() if seqs.get(key) != progress.base_seq)

    def due(self, run_id: str) -> datetime | None:
        """When the run's next retry may be claimed; None when none waits."""
        progress = self._cache.get(run_id)
        return progress.next_ready() if progress else None

    # ------------------------------------------------------------------ inside

    def _may_move(self, run_id: str, now: datetime) -> bool:
        """False only when memory says for sure that nothing of the run can be claimed."""
        progress = self._cache.get(run_id)
        if progress is None:
            return True
        if progress.run.status is RunStatus.CANCELLING or progress.run.status.ended:
            return True
        return next(progress.claimable(now), None) is not None

    def _move(self, run_id: str, change: Callable[[Progress], object]) -> Run:
        def decide(connection: Connection) -> Run:
            progress = self._load(connection, run_id)
            change(progress)
            writes.write(connection, progress)
            return progress.run

        return self._transact((run_id,), decide)

    def _transact(self, run_ids: Iterable[str], decide: Callable[[Connection], T]) -> T:
        """Run `decide` in one transaction; again, on fresh state, when a run has moved."""
        with self._lock:
            while True:
                try:
                    with self._database.write() as connection:
                        return decide(connection)
                except writes.Moved:
                    self._forget(run_ids)
                except BaseException:
                    self._forget(run_ids)  # memory is ahead of what was committed
                    raise

    def _claim(
        self,
        connection: Connection,
        progress: Progress,
        step: Step,
        room: Room,
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
                if executor not in room.slots:
                    progress.refuse(key, no_executor(executor, room.slots), now)
                elif room.has(executor, waits=node.timeout is None):
                    try:
                        arguments = arguments_of(progress, key)
                    except NotStorable as error:
                        progress.refuse(key, unreadable(error), now)
                        continue
                    if self._reuse(connection, progress, node, key, arguments, now):
                        again = True
                        continue
                    attempt = progress.start(key, worker=worker, executor=executor, now=now)
                    step.claims.append(claim_of(progress, attempt, arguments))
                    room.slots[executor] -= 1
                if not room.anywhere:
                    return

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
        progress.tasks[key] = replace(progress.tasks[key], cache_key=digest)
        found = writes.reusable(connection, digest)
        if found is not None:
            progress.reuse(key, *found, now)
        return found is not None

    def _load(self, connection: Connection, run_id: str) -> Progress:
        progress = self._cache.get(run_id)
        if progress is None:
            progress = writes.read(connection, run_id)
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
