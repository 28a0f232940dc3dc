"""One step of a worker: how attempts ended, and what it claims next, in one commit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection

from flows.core.admission import PATIENCE, Admission, Head, Pool, Starts, Turns, Waiting
from flows.core.progress import Progress
from flows.core.records import Attempt, Event, Outcome, Run, RunStatus
from flows.core.resources import Capacity
from flows.core.store import discovery, pools, writes
from flows.core.store.cache import RunCache
from flows.core.store.claim import Claim, Claiming
from flows.core.store.room import Room


@dataclass(kw_only=True)
class Step:
    """What one transaction did."""

    claims: list[Claim] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    ended: list[Run] = field(default_factory=list)
    late: list[Outcome] = field(default_factory=list)  # of attempts that are not ours, or not alive
    to_stop: list[Attempt] = field(default_factory=list)  # ours, of runs that are cancelled
    passed: bool = False  # a run was left out only because another worker was just at it
    next_at: datetime | None = None  # when something that waits may be claimed


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What a worker can do, and may, in one step."""

    worker: str  # its name
    slots: Mapping[str, int]  # free ones of each executor
    ahead: Mapping[str, int]  # how much more each executor's queue may take
    capacity: Mapping[str, Capacity]  # what the executors with a cluster have free
    default_executor: str  # of tasks that do not say
    pools: Mapping[str, Pool]  # the limited ones, by name
    serves: frozenset[str] | None  # pools whose tasks it runs; None: all
    now: datetime

    def room(self) -> Room:
        """Its room, to be counted down."""
        return Room(self.slots, self.ahead, self.capacity)


def look(
    connection: Connection, offer: Offer, ended: Iterable[Attempt]
) -> tuple[list[Waiting], datetime | None]:
    """The runs that wait for such a worker, and, without any, when one may.

    `ended` are attempts whose end is about to be recorded: their slots count as free.
    """
    found = pools.usage(connection, offer.pools, offer.now)
    freed = Admission(offer.pools, found, {})
    for attempt in ended:
        if attempt.pool is not None:
            freed.give(attempt.pool, attempt.weight)
    full = [name for name in found if freed.is_full(name)]
    most = min(discovery.MOST, 8 + 4 * offer.room().free)
    waiting = discovery.waiting(connection, offer.now, serves=offer.serves, full=full, limit=most)
    if waiting:
        return waiting, None
    opens = [
        usage.first + pool.rate.per
        for name, usage in found.items()
        if (pool := offer.pools[name]).rate and usage.first and name in full
    ]
    due = discovery.next_due(connection, offer.now)
    return [], min([*opens, *([due] if due else [])], default=None)


class Stepping:
    """Carries out one step inside an open transaction."""

    def __init__(self, connection: Connection, runs: RunCache, offer: Offer) -> None:
        self._connection = connection
        self._runs = runs
        self._offer = offer
        self._step = Step()
        self._moved: dict[str, Progress] = {}
        self._freed: list[Attempt] = []
        self._starts: Starts | None = None

    def take(self, by_run: Mapping[str, Sequence[Outcome]], waiting: Sequence[Waiting]) -> Step:
        """Record the outcomes of runs, claim what may start of them and of those that wait."""
        self._finish(by_run)
        waiting = [w for w in waiting if w.run_id not in self._moved]
        own = [_waiting(p) for p in self._moved.values() if p.ready]
        room = self._offer.room()
        if room.anywhere and (own or waiting):
            self._claim([*own, *waiting], room)
        step = self._step
        moved = [self._moved[run_id] for run_id in sorted(self._moved)]
        step.events = writes.write(self._connection, *moved)
        for progress in moved:
            if progress.run.status.ended:
                step.ended.append(progress.run)
            elif progress.run.status is RunStatus.CANCELLING:
                live = progress.attempts.values()
                step.to_stop += [a for a in live if a.worker == self._offer.worker]
        return step

    def _finish(self, by_run: Mapping[str, Sequence[Outcome]]) -> None:
        standing = writes.lock(self._connection, by_run)
        for run_id, outcomes in by_run.items():
            if run_id in standing:
                progress = self._runs.load_at(self._connection, run_id, standing[run_id])
            else:
                progress = self._runs.load(self._connection, run_id)
            self._moved[run_id] = progress
            for outcome in outcomes:
                attempt = progress.live(outcome.attempt_id)
                if not progress.finish(outcome, self._offer.now, worker=self._offer.worker):
                    self._step.late.append(outcome)
                elif attempt is not None and attempt.pool is not None:
                    self._freed.append(attempt)

    def _claim(self, waiting: Sequence[Waiting], room: Room) -> None:
        offer = self._offer
        claiming = Claiming(
            self._connection,
            worker=offer.worker,
            room=room,
            admission=self._admission(waiting),
            serves=offer.serves,
            default_executor=offer.default_executor,
            now=offer.now,
        )
        turns = self._turns(waiting)
        while room.anywhere and (next_up := turns.next()) is not None:
            progress = self._moved.get(next_up.run_id) or self._take_up(next_up)
            if progress is None or not self._may_start(progress.run):
                continue
            queued = progress.run.status is RunStatus.QUEUED
            got = claiming.claim(progress, most=1 if turns.anybody else None)
            for _ in range(got):
                turns.took(next_up.flow)
            if got and queued and self._starts is not None:
                self._starts.took(next_up.flow, next_up.lane)
            if got and progress.ready:
                turns.add(next_up)
        self._step.claims = claiming.claims

    def _turns(self, waiting: Sequence[Waiting]) -> Turns:
        several = len({w.flow for w in waiting}) > 1
        turns = Turns(discovery.live_of_flows(self._connection) if several else {})
        for each in waiting:
            turns.add(each)
        return turns

    def _take_up(self, waiting: Waiting) -> Progress | None:
        """A run that waits, for this transaction alone; None when another is just at it."""
        seq = writes.lock(self._connection, (waiting.run_id,), skip=True).get(waiting.run_id)
        if seq is None:
            self._step.passed = True
            return None
        progress = self._runs.load_at(self._connection, waiting.run_id, seq)
        if progress.run.held_by is not None or not progress.ready:
            return None
        self._moved[waiting.run_id] = progress
        return progress

    def _may_start(self, run: Run) -> bool:
        if run.status is not RunStatus.QUEUED or (run.lane is None and run.max_runs is None):
            return True
        if self._starts is None:
            self._starts = discovery.started(self._connection)
        return self._starts.allows(run)

    def _admission(self, waiting: Sequence[Waiting]) -> Admission:
        limited = {
            name: pool
            for name, pool in self._offer.pools.items()
            if pool.limited and any(name in each.pools for each in waiting)
        }
        gates = {f"pool {name}" for name in limited}
        gates |= {f"lane {each.lane}" for each in waiting if each.lane is not None}
        gates |= {f"flow {each.flow}" for each in waiting if each.max_runs is not None}
        pools.lock(self._connection, gates)
        if not limited:
            return Admission({}, {}, {})
        usage = pools.usage(self._connection, limited, self._offer.now)
        heads = {name: head for name, pool in limited.items() if (head := self._head(pool))}
        admission = Admission(limited, usage, heads)
        for attempt in self._freed:
            admission.give(attempt.pool or "", attempt.weight)
        return admission

    def _head(self, pool: Pool) -> Head | None:
        """The task that has waited longest in a pool of several slots, and too long."""
        if pool.slots is None or pool.slots < 2:
            return None
        before = self._offer.now - PATIENCE
        found = discovery.longest(self._connection, pool.name, before)
        if found is None:
            return None
        progress = self._runs.load_at(self._connection, found.id, found.seq)
        for key in progress.claimable(before):
            node = progress.graph.node(key)
            if node.pool == pool.name:
                return Head(run_id=found.id, priority=found.priority, weight=node.weight)
        return None


def _waiting(progress: Progress) -> Waiting:
    """A run that this worker is at already: the older it is, the sooner it goes on."""
    run, queued = progress.run, progress.run.status is RunStatus.QUEUED
    return Waiting(
        run_id=run.id,
        flow=run.flow,
        priority=run.priority,
        since=run.created_at,
        pools=progress.graph.pools,
        lane=run.lane if queued else None,
        max_runs=run.max_runs if queued else None,
    )
