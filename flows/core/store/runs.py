"""The transitions of runs: each method is one transaction, and appends its events in it.

A `Progress` in memory decides; the store writes what changed, guarded by the run's `seq`:
when another process has moved the run meanwhile, nothing is written, the run is read again
and the decision is taken anew. So any number of processes may drive the same runs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection

from flows.core import values
from flows.core.claiming import Budget, Capabilities, Need, Waiting
from flows.core.errors import RowRefused, StoreError, is_outage
from flows.core.graph import Graph
from flows.core.progress import Progress
from flows.core.records import Event, Outcome, Run, RunStatus, TaskRun, TaskStatus
from flows.core.store import events, writes
from flows.core.store.claims import Claim, Step, Stepping, arguments_of, claim_of, failed
from flows.core.store.database import Database
from flows.core.store.memory import Memory, RunCache
from flows.core.store.owners import IN_A_SESSION
from flows.core.store.waiting import Look, look


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
    priority: int = 0  # of several that wait, the highest goes first
    lane: str | None = None  # of the runs in one lane, one runs at a time
    max_runs: int | None = None  # as many runs of the flow may run at once
    held_by: str | None = None  # the worker that has it to itself


T = TypeVar("T")


class RunStore:
    """Every way in which a run may change."""

    def __init__(self, database: Database, knows: Callable[[str], bool] | None = None) -> None:
        """`knows` says whether a flow, by its dotted path, may be found here; None: any may."""
        self._database = database
        self._cache = RunCache()
        self._memory = Memory(knows)
        self._lock = threading.Lock()  # over steps, which share what is kept in memory

    def create(self, new: NewRun, now: datetime) -> Run:
        """Record a run, its tasks, and which of them may start.

        Idempotent by (flow, key): a second call returns the run that the first one made.
        """
        try:
            with self._database.write() as connection:
                progress = insert_new(connection, new, now)
        except RowRefused:  # perhaps another process was faster with the same key
            if (made := self._by_key(new.flow, new.key)) is None:
                raise
            return made
        if progress is None:
            made = self._by_key(new.flow, new.key)
            assert made is not None
            return made
        self._cache.remember(progress)
        return progress.run

    def _by_key(self, flow: str, key: str) -> Run | None:
        with self._database.read() as connection:
            return writes.by_key(connection, flow, key)

    def step(
        self,
        outcomes: Sequence[Outcome],
        can: Capabilities,
        *,
        runs: Iterable[str],
        discover: bool = False,
    ) -> Step:
        """Record how attempts ended and claim what can start now, in one commit.

        What may be claimed:
        - a task of one of `runs`, or with `discover` of any run that nobody has to itself, that
          is ready, or retrying and due;
        - in a pool that the worker serves, whose limits admit it;
        - whose executor (its own, or the worker's default) has a free slot, or, for a task
          without a timeout, a place in its own queue; and has free what the task needs of its
          cluster;
        - of a run that is not being cancelled, and that, if it has not started, finds its lane
          free and its flow running less often than it may.
        Urgent runs come first, flows of equal priority take turns (`flows.core.claiming`).
        A claim is durable before this returns; only then may the work start.

        A run that cannot be read, decided on or stored is left alone for a while, and how its
        attempts ended is kept for then.

        Raises StoreError when the store cannot be written; nothing was.
        """
        by_run: dict[str, list[Outcome]] = {
            run_id: [] for run_id in runs if self._may_move(run_id, can.now)
        }
        kept = [o for o in outcomes if self._memory.is_left_alone(run_of(o.attempt_id), can.now)]
        for outcome in outcomes:
            if outcome not in kept:
                by_run.setdefault(run_of(outcome.attempt_id), []).append(outcome)
        seen = self._look(can, outcomes) if discover else Look()
        try:
            idle = not (by_run or seen.waiting)
            step = Step() if idle else self._stepped(can, by_run, seen.waiting, seen.reserved)
        except Exception as error:
            if is_outage(error):
                raise
            step = self._one_by_one(can, by_run, seen.waiting)
        step.kept += kept
        step.next_at = seen.next_at
        self._record_left_alone(can)
        if not discover:
            step.refused = self._memory.refusals(runs, can.now)
        return step

    def _look(self, can: Capabilities, outcomes: Iterable[Outcome]) -> Look:
        if not Budget(can, lambda pool: None).anywhere:
            return Look()
        known = [(self._cache.get(run_of(o.attempt_id)), o) for o in outcomes]
        ended = [a for progress, o in known if progress and (a := progress.live(o.attempt_id))]
        with self._database.read() as connection:
            return look(connection, can, self._memory, ended)

    def _stepped(
        self,
        can: Capabilities,
        by_run: Mapping[str, Sequence[Outcome]],
        waiting: Sequence[Waiting] = (),
        reserved: Mapping[str, Need] | None = None,
    ) -> Step:
        return self._transact(
            lambda connection: Stepping(
                connection, self._cache, self._memory, can, reserved or {}
            ).take(by_run, waiting)
        )

    def _one_by_one(
        self, can: Capabilities, by_run: Mapping[str, Sequence[Outcome]], waiting: Sequence[Waiting]
    ) -> Step:
        """A step in a transaction for each run, as the store would not have all of it.

        How an attempt ended that cannot be stored is stored as a failure.
        """
        whole = Step(passed=True)  # what has moved is looked at again at once
        for run_id, outcomes in by_run.items():
            record = partial(self._recorded, can.without_slots(), run_id, outcomes)
            step = self._or_left_alone(run_id, can.now, record)
            whole.add(step or Step(kept=[*outcomes]))
        for run in waiting:
            claim = partial(self._stepped, can, {}, [run])
            if step := self._or_left_alone(run.run_id, can.now, claim):
                whole.add(step)
                can = can.after([each.attempt.executor for each in step.claims])
        return whole

    def _recorded(self, can: Capabilities, run_id: str, outcomes: Sequence[Outcome]) -> Step:
        try:
            return self._stepped(can, {run_id: outcomes})
        except Exception as error:
            if is_outage(error) or not outcomes:
                raise
            failures = [failed(outcome, error) for outcome in outcomes]
            return self._stepped(can, {run_id: failures})

    def _or_left_alone(self, run_id: str, now: datetime, act: Callable[[], T]) -> T | None:
        """What comes of a transaction about one run; None: it cannot be carried on."""
        try:
            return act()
        except Exception as error:
            if is_outage(error):
                raise
            self._memory.leave_alone(run_id, error, now)
            return None

    def _record_left_alone(self, can: Capabilities) -> None:
        """Say once, where people look, which runs this worker leaves alone; its log says it too."""
        if unrecorded := self._memory.unrecorded:
            self._memory.unrecorded = {}
            with suppress(StoreError), self._database.write() as connection:
                for run_id, why in unrecorded.items():
                    data = {"worker": can.worker, "reason": why}
                    events.note(
                        connection,
                        Event(at=can.now, kind=events.LEFT_ALONE, run_id=run_id, data=data),
                    )

    def cancel(self, run_id: str, reason: str, now: datetime) -> Run:
        """Ask for a run's end; the tasks that have not started never will. Raises Refused."""
        return self._move(run_id, lambda progress: progress.cancel(reason, now))

    def retry(self, run_id: str, now: datetime, *, holder: str | None = None) -> Run:
        """Open an ended run again for everything that had not succeeded. Raises Refused.

        Its lane and its flow's limit hold it up no more: somebody has asked for just this run.
        """
        return self._move(run_id, lambda progress: progress.reopen(now, holder))

    def note_stopping(self, attempt_id: str, why: str, now: datetime) -> None:
        """Record that an attempt is about to be told to end, and why."""

        def note(progress: Progress) -> None:
            attempt = progress.live(attempt_id)
            if attempt is not None and attempt.stopping is None:
                progress.stopping(attempt, why)

        run_id = run_of(attempt_id)
        self._or_left_alone(run_id, now, lambda: self._move(run_id, note))

    def recover(
        self,
        run_id: str,
        dead: Iterable[str],
        *,
        worker: str,
        survivors: Collection[str],
        unusable: Collection[str] = (),
        now: datetime,
        hold: bool = False,
    ) -> list[Claim]:
        """Take over what dead workers had of a run; it runs nothing itself.

        Attempts on an executor that outlives its process are handed to `worker` (and returned,
        to be adopted by their id), those on one that is `unusable` here are left to others; the
        rest is lost, and claimable again. A run that a dead
        worker had to itself is `worker`'s with `hold`, and else anybody's, unless only the
        session in which it was written can run it.
        """
        gone = set(dead)
        adopted: list[Claim] = []

        def take_over(progress: Progress) -> None:
            adopted.clear()
            for attempt in list(progress.attempts.values()):
                if attempt.worker not in gone or attempt.executor in unusable:
                    continue
                if attempt.executor in survivors:
                    taken = progress.adopt(attempt, worker, now)
                    adopted.append(claim_of(progress, taken, arguments_of(progress, taken.key)))
                else:
                    progress.lose(attempt, f"its worker {attempt.worker} died", now)
            run = progress.run
            if run.held_by in gone and not run.status.ended:
                if hold:
                    progress.hand_over(worker, now)
                elif not run.source.startswith(IN_A_SESSION):
                    progress.hand_over(None, now)

        self.forget((run_id,))
        moved = self._or_left_alone(run_id, now, lambda: self._move(run_id, take_over))
        return adopted if moved else []

    def resume(self, attempt_id: str, worker: str, now: datetime) -> Claim | None:
        """A live attempt of `worker` as a claim; None when it is not.

        For a worker that did not hear whether its claim was committed, as the connection broke.
        """
        run_id = run_of(attempt_id)

        def claim() -> Claim | None:
            with self._database.read(one_moment=True) as connection:
                progress = writes.read(connection, run_id)
            attempt = progress.live(attempt_id)
            if attempt is None or attempt.worker != worker:
                return None
            return claim_of(progress, attempt, arguments_of(progress, attempt.key))

        if self._memory.is_left_alone(run_id, now):
            return None
        return self._or_left_alone(run_id, now, claim)

    def refresh(self, run_ids: Iterable[str]) -> None:
        """Notice what other processes did: forget the runs that have moved since they were read."""
        cached = {i: progress for i in run_ids if (progress := self._cache.get(i)) is not None}
        if not cached:
            return
        with self._database.read() as connection:
            seqs = writes.seqs(connection, cached)
        self.forget(key for key, progress in cached.items() if seqs.get(key) != progress.stored.seq)

    def forget(self, run_ids: Iterable[str]) -> None:
        """Read these runs again when they are needed."""
        self._cache.forget(run_ids)

    def due(self, run_id: str) -> datetime | None:
        """When the run's next retry may be claimed; None when none waits."""
        progress = self._cache.get(run_id)
        return progress.next_ready() if progress else None

    # ------------------------------------------------------------------ inside

    def _may_move(self, run_id: str, now: datetime) -> bool:
        """False only when memory says for sure that nothing of the run can be claimed."""
        if self._memory.is_left_alone(run_id, now):
            return False
        progress = self._cache.get(run_id)
        if progress is None:
            return True
        if progress.run.status is RunStatus.CANCELLING or progress.run.status.ended:
            return True
        return next(progress.claimable(now), None) is not None

    def _move(self, run_id: str, change: Callable[[Progress], object]) -> Run:
        """Change one run as another process would: nobody waits for an engine's long commit."""
        while True:
            try:
                with self._database.write() as connection:
                    writes.lock(connection, (run_id,))  # its rows are of one moment then
                    progress = writes.read(connection, run_id)
                    change(progress)
                    writes.write(connection, progress)
            except writes.Moved:
                continue
            self.forget((run_id,))
            return progress.run

    def _transact(self, decide: Callable[[Connection], T]) -> T:
        """Run `decide` in one transaction; again, on fresh state, when a run has moved."""
        with self._lock:
            while True:
                self._cache.begin()
                try:
                    with self._database.write() as connection:
                        return decide(connection)
                except writes.Moved:
                    self._cache.undo()
                except BaseException:
                    self._cache.undo()
                    raise


def insert_new(connection: Connection, new: NewRun, now: datetime) -> Progress | None:
    """Insert a run with its tasks in an open transaction; None when its key is taken.

    Schedules use it as well: a fire and its run are one commit.
    """
    if writes.by_key(connection, new.flow, new.key) is not None:
        return None
    run = Run(
        id=new.id,
        flow=new.flow,
        key=values.fitted(new.key, writes.LONGEST_KEY),
        status=RunStatus.QUEUED,
        reason=None,
        source=new.source,
        config_digest=new.config_digest,
        trigger=new.trigger,
        created_at=now,
        started_at=None,
        ended_at=None,
        seq=0,
        priority=new.priority,
        lane=new.lane,
        max_runs=new.max_runs,
        held_by=new.held_by,
    )
    tasks = [TaskRun(run_id=new.id, key=n.key, status=TaskStatus.PENDING) for n in new.graph.nodes]
    progress = Progress(run, new.graph, new.config, tasks, config_yaml=new.config_yaml)
    progress.begin(now)
    writes.write(connection, progress)
    return progress


def run_of(attempt_id: str) -> str:
    """The run's id in an attempt's id, `<run>.<task>.<number>`."""
    return attempt_id.partition(".")[0]
