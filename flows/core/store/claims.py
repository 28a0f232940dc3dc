"""Claims: attempts that a worker has begun, made in one transaction with the ends of others.

Each run is decided on by itself. What goes wrong in the decisions about one fails the task that
they are about; where even that cannot be, the run is left alone, and all others go on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from flows.core import values
from flows.core.claiming import (
    Blocked,
    Budget,
    Capabilities,
    Need,
    Starts,
    Turns,
    Waiting,
    is_suspect,
    needs_of,
)
from flows.core.errors import NotStorable, Refused
from flows.core.graph import Node, node_key
from flows.core.pool import Pool, Usage
from flows.core.progress import Progress
from flows.core.records import Attempt, ErrorInfo, Event, Outcome, OutcomeKind, Run, RunStatus, Work
from flows.core.rules import undecidable
from flows.core.store import pools, waiting, writes
from flows.core.store.database import one_at_a_time
from flows.core.store.memory import Memory, RunCache


@dataclass(frozen=True, kw_only=True)
class Claim:
    """An attempt that this worker has begun, and what it needs to be run."""

    attempt: Attempt
    work: Work
    timeout: float | None  # seconds
    then: frozenset[str]  # executors that the tasks right after it ask for
    alone: bool = False  # nothing else may run in this process beside it


@dataclass(kw_only=True)
class Step:
    """What one transaction did."""

    claims: list[Claim] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    ended: list[Run] = field(default_factory=list)
    late: list[Outcome] = field(default_factory=list)  # of attempts that are not ours, or not alive
    kept: list[Outcome] = field(default_factory=list)  # of runs left alone: to be recorded later
    to_stop: list[Attempt] = field(default_factory=list)  # ours, of runs that are cancelled
    refused: dict[str, Refused] = field(default_factory=dict)  # runs that cannot be carried on
    passed: bool = False  # something was left out only because another worker was just at it
    next_at: datetime | None = None  # when something that waits may be claimed

    def add(self, other: Step) -> None:
        """Take in what another transaction did."""
        for name in ("claims", "events", "ended", "late", "kept", "to_stop"):
            getattr(self, name).extend(getattr(other, name))
        self.passed |= other.passed


class Stepping:
    """Carries out one step inside an open transaction."""

    def __init__(
        self,
        connection: Connection,
        runs: RunCache,
        memory: Memory,
        can: Capabilities,
        reserved: Mapping[str, Need],
    ) -> None:
        self._connection = connection
        self._runs = runs
        self._memory = memory
        self._can = can
        self._step = Step()
        self._moved: dict[str, Progress] = {}
        self._refused: dict[str, frozenset[Need]] = {}  # of runs that were gone through
        self._freed: dict[str, int] = {}  # slots of pools
        self._limits = _Limits(connection)
        driver_error: type[Exception] = connection.dialect.loaded_dbapi.Error
        self._of_the_store = (writes.Moved, SQLAlchemyError, driver_error)  # of no single run
        self._starts: Starts | None = None
        self._budget = Budget(can, self._usage, reserved)

    def take(self, by_run: Mapping[str, Sequence[Outcome]], runs: Sequence[Waiting]) -> Step:
        """Record the outcomes of runs, claim what may start of them and of those that wait."""
        standing = writes.lock(self._connection, by_run)
        for run_id, outcomes in by_run.items():
            self._apart(run_id, partial(self._finish, run_id, outcomes, standing.get(run_id)))
            if run_id not in self._moved:
                self._step.kept += outcomes
        waiting_runs = [_waiting(p) for p in self._moved.values() if self._may_claim_of(p)]
        waiting_runs += [w for w in runs if w.run_id not in by_run]
        if self._budget.anywhere and waiting_runs:
            self._claim(waiting_runs)
        self._write()
        return self._step

    # ------------------------------------------------------------------ the runs, one by one

    def _apart(self, run_id: str, decide: Callable[[], None]) -> None:
        """Decide about one run; when that cannot be, go on as if it were not there."""
        try:
            decide()
        except self._of_the_store:
            raise
        except Exception as error:
            self._forget(run_id)
            self._memory.leave_alone(run_id, error, self._can.now)

    def _forget(self, run_id: str) -> None:
        self._moved.pop(run_id, None)
        self._runs.forget((run_id,))
        self._step.claims = [c for c in self._step.claims if c.attempt.run_id != run_id]

    def _finish(self, run_id: str, outcomes: Sequence[Outcome], seq: int | None) -> None:
        try:
            self._record(run_id, outcomes, seq)
        except self._of_the_store:
            raise
        except Exception as error:  # what follows from an end cannot be decided: it failed
            self._forget(run_id)
            self._record(run_id, [failed(outcome, error) for outcome in outcomes], seq)

    def _record(self, run_id: str, outcomes: Sequence[Outcome], seq: int | None) -> None:
        if seq is not None:
            progress = self._runs.load_at(self._connection, run_id, seq)
        else:
            progress = self._runs.load(self._connection, run_id)
        late, freed = [], dict[str, int]()
        for outcome in outcomes:
            attempt = progress.live(outcome.attempt_id) if self._can.pools else None
            if not progress.finish(outcome, self._can.now, worker=self._can.worker):
                late.append(outcome)
            elif attempt is not None and attempt.pool is not None:
                freed[attempt.pool] = freed.get(attempt.pool, 0) + attempt.weight
        self._moved[run_id] = progress
        self._step.late += late
        for pool, weight in freed.items():
            self._freed[pool] = self._freed.get(pool, 0) + weight

    def _may_claim_of(self, progress: Progress) -> bool:
        """Whether something of a run is ready, and no other worker has the run to itself."""
        return bool(progress.ready) and progress.run.held_by in (None, self._can.worker)

    def _write(self) -> None:
        step, moved = self._step, [self._moved[run_id] for run_id in sorted(self._moved)]
        step.events = writes.write(self._connection, *moved)
        step.passed |= self._budget.passed
        for progress in moved:
            if progress.run.status.ended:
                step.ended.append(progress.run)
            elif progress.run.status is RunStatus.CANCELLING:
                live = progress.attempts.values()
                step.to_stop += [a for a in live if a.worker == self._can.worker]
            if needs := self._refused.get(progress.run.id):
                blocked = Blocked(seq=progress.stored.seq, needs=needs, until=progress.next_ready())
                self._memory.keep(progress.run.id, blocked)

    # ------------------------------------------------------------------ claiming

    def _claim(self, runs: Sequence[Waiting]) -> None:
        several = len({run.flow for run in runs}) > 1
        turns = Turns(waiting.live_of_flows(self._connection) if several else {})
        for waits in runs:
            turns.add(waits)
        while self._budget.anywhere and (run := turns.next()):
            if not self._may_start(run):
                continue
            progress = self._moved.get(run.run_id) or self._take_up(run)
            if progress is None:
                continue
            queued = progress.run.status is RunStatus.QUEUED
            got = self._claim_of(progress, most=1 if turns.anybody else None)
            for _ in range(got):
                turns.took(run.flow)
            if got and queued and self._starts is not None:
                self._starts.took(run.flow, run.lane)
            if got and progress.ready:
                turns.add(replace(run, lane=None, max_runs=None))

    def _may_start(self, run: Waiting) -> bool:
        """Whether a run that has not started may, in its lane and beside the others of its flow."""
        gates = [f"lane {run.lane}"] if run.lane is not None else []
        gates += [f"flow {run.flow}"] if run.max_runs is not None else []
        if not gates:
            return True
        if not all(self._limits.enter(gate) for gate in gates):
            self._step.passed = True
            return False
        if self._starts is None:
            self._starts = waiting.started(self._connection)
        return self._starts.allows(run)

    def _take_up(self, run: Waiting) -> Progress | None:
        """A run that waits, for this transaction alone; None when another is just at it."""
        seq = writes.lock(self._connection, (run.run_id,), skip=True).get(run.run_id)
        if seq is None:
            self._step.passed = True
            return None

        def load() -> None:
            progress = self._runs.load_at(self._connection, run.run_id, seq)
            free = progress.run.held_by is None and progress.ready
            if free and not self._memory.is_elsewhere(progress.run, self._can.now):
                self._moved[run.run_id] = progress

        self._apart(run.run_id, load)
        return self._moved.get(run.run_id)

    def _claim_of(self, progress: Progress, most: int | None) -> int:
        """Claim tasks of a run, at most so many; returns how many."""
        before, again, refused = len(self._step.claims), True, dict[str, Need]()
        self._refused.pop(progress.run.id, None)
        while again:
            again = False
            refused.clear()
            for key in progress.claimable(self._can.now):
                if node_key(key) in refused:  # like the element before it
                    continue
                again |= self._decided(progress, key, refused)
                got = len(self._step.claims) - before
                if not self._budget.anywhere or got == most:
                    return got
        self._refused[progress.run.id] = frozenset(refused.values())
        return len(self._step.claims) - before

    def _decided(self, progress: Progress, key: str, refused: dict[str, Need]) -> bool:
        try:
            return self._settled(progress, key, refused)
        except self._of_the_store:
            raise
        except Exception as error:
            progress.refuse(key, undecidable(key, error), self._can.now)
            return True

    def _settled(self, progress: Progress, key: str, refused: dict[str, Need]) -> bool:
        """Claim one task if it may start. True when it came to its end: others may follow it."""
        node = progress.graph.node(key)
        if not self._can.serving(node.pool):
            return False
        need = need_of(progress, key, self._can)
        if (error := self._budget.impossible(need, key)) is not None:
            progress.refuse(key, error, self._can.now)
            return True
        if self._budget.short_of(need) is not None:
            refused[key if need.alone else node.key] = need
            return False
        try:
            arguments = arguments_of(progress, key)
            if self._reused(progress, node, key, arguments):
                return True
            if self._budget.has_cluster(need.executor):
                need = replace(need, resources=needs_of(node.resources, arguments))
        except NotStorable as unreadable:
            error = ErrorInfo(
                type="NotStorable", message=str(unreadable), hint=unreadable.hint, permanent=True
            )
            progress.refuse(key, error, self._can.now)
            return True
        if self._budget.short_of(need) is None:
            self._start(progress, key, need, arguments)
        else:
            alike = not need.alone and (node.resources is None or node.resources != node.over)
            refused[node.key if alike else key] = need
        return False

    def _start(self, progress: Progress, key: str, need: Need, arguments: str) -> None:
        pool = need.pool if need.pool in self._can.pools else None
        attempt = progress.start(
            key, worker=self._can.worker, executor=need.executor, now=self._can.now, pool=pool
        )
        self._step.claims.append(claim_of(progress, attempt, arguments, alone=need.alone))
        self._budget.take(need)

    def _reused(self, progress: Progress, node: Node, key: str, arguments: str) -> bool:
        """Take over the value of an equal, earlier task, where the task asks for that."""
        if node.cache is None:
            return False
        config = progress.run.config_digest  # a task may read any of it
        identity = "\n".join((node.function, node.cache, arguments, config))
        digest = hashlib.sha256(identity.encode()).hexdigest()
        progress.tasks[key] = replace(progress.tasks[key], cache_key=digest)
        earlier = writes.reusable(self._connection, digest)
        if earlier is not None:
            progress.reuse(key, *earlier, self._can.now)
        return earlier is not None

    def _usage(self, pool: Pool) -> Usage | None:
        if not self._limits.enter(f"pool {pool.name}"):
            return None
        usage = pools.usage(self._connection, (pool,), self._can.now)[pool.name]
        return replace(usage, used=usage.used - self._freed.get(pool.name, 0))


class _Limits:
    """Lets one transaction at a time admit to each pool, lane and flow.

    The first is waited for, while nothing else is held; the others are taken if they are free:
    no two transactions wait for each other. A database with one writer needs none of this.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._entered: set[str] = set()

    def enter(self, name: str) -> bool:
        """Have a limit to this transaction alone; False when another has it just now."""
        if name in self._entered:
            return True
        free = one_at_a_time(self._connection, name, waits=not self._entered)
        if free:
            self._entered.add(name)
        return free


def _waiting(progress: Progress) -> Waiting:
    """A run that this worker is at already: the older it is, the sooner it goes on."""
    run, queued = progress.run, progress.run.status is RunStatus.QUEUED
    return Waiting(
        run_id=run.id,
        flow=run.flow,
        priority=run.priority,
        since=run.created_at,
        lane=run.lane if queued else None,
        max_runs=run.max_runs if queued else None,
    )


def need_of(progress: Progress, key: str, can: Capabilities) -> Need:
    """What it takes to start a task, but for its cluster's resources, which its inputs say."""
    node, task, run = progress.graph.node(key), progress.tasks[key], progress.run
    executor = node.executor or can.default_executor
    return Need(
        run_id=run.id,
        priority=run.priority,
        since=task.ready_at or run.created_at,
        executor=executor,
        pool=node.pool,
        weight=node.weight,
        may_queue=node.timeout is None,
        alone=is_suspect(task, node.retry, can.now) and can.is_shared(executor),
    )


def arguments_of(progress: Progress, key: str) -> str:
    """The inputs of a task run as JSON text. Raises NotStorable."""
    try:
        return values.dumps(progress.arguments(key))
    except NotStorable:
        raise
    except Exception as error:  # a key that is not there, a value that is no mapping: their data
        reason = values.message(f"{type(error).__name__}: {error}")
        raise NotStorable(f"the inputs of {key} cannot be read: {reason}") from error


def claim_of(progress: Progress, attempt: Attempt, arguments: str, *, alone: bool = False) -> Claim:
    """What the worker that has begun `attempt` needs to run it."""
    node, run = progress.graph.node(attempt.key), progress.run
    work = Work(
        attempt_id=attempt.id,
        run_id=run.id,
        flow=run.flow,
        task=attempt.key,
        number=attempt.number,
        function=node.function,
        arguments=arguments,
        config=progress.config_text,
        config_yaml=progress.config_yaml,
        config_digest=run.config_digest,
        resources=node.resources,
    )
    then = progress.graph.next_executors[node.key]
    return Claim(attempt=attempt, work=work, timeout=node.timeout, then=then, alone=alone)


def failed(outcome: Outcome, error: BaseException) -> Outcome:
    """An outcome that cannot be recorded, as a failure for good."""
    key = outcome.attempt_id.partition(".")[2].rpartition(".")[0]
    return Outcome(
        attempt_id=outcome.attempt_id,
        kind=OutcomeKind.FAILED,
        error=ErrorInfo(
            type="Unrecordable",
            message=f"how {key} ended cannot be recorded: {values.message(error)}",
            permanent=True,
        ),
    )
