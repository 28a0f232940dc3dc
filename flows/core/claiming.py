"""Claiming: what a worker can run, what limits how much runs at once, and whose turn it is. Pure.

Whose turn it is: the highest priority first; among equals the flow that has the fewest live
attempts; of one flow, who has waited longest. For a task that has waited for `PATIENCE` for more
of a pool or a cluster than is free, that much is reserved: what waits behind it for the same no
longer passes it.
"""

from __future__ import annotations

import heapq
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from flows.core.pool import Pool, Usage
from flows.core.records import ErrorInfo, TaskRun
from flows.core.retry import Retry

PATIENCE = timedelta(seconds=30)
"""So long lighter tasks may pass one that needs more of a pool or a cluster than is free."""
ALONE = timedelta(minutes=10)
"""So long a task that has died with its workers waits for one on which nothing else runs."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Amounts of a cluster. Work that a cluster would only queue stays `ready` instead."""

    cpus: float = 0.0  # CPU cores
    gpus: float = 0.0  # GPUs; a share of one is a fraction

    def __add__(self, other: Resources) -> Resources:
        return Resources(cpus=self.cpus + other.cpus, gpus=self.gpus + other.gpus)

    def __sub__(self, other: Resources) -> Resources:
        return Resources(cpus=self.cpus - other.cpus, gpus=self.gpus - other.gpus)

    def within(self, other: Resources) -> bool:
        """Whether these amounts are there among those of `other`."""
        return self.cpus <= other.cpus + _DUST and self.gpus <= other.gpus + _DUST


_DUST = 1e-6  # shares of a GPU do not add up exactly

ONE_CPU = Resources(cpus=1.0)
"""What a task needs that does not say it."""


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """What a cluster has, and what of it is free for more work."""

    total: Resources
    free: Resources

    def takes(self, needs: Resources) -> bool:
        """Whether work with these needs may start now.

        Also when it can never fit: whoever starts it says so, with what there is; waiting for
        ever says nothing.
        """
        return needs.within(self.free) or not needs.within(self.total)

    def less(self, needs: Resources) -> Capacity:
        """What is left once work with these needs has started."""
        return replace(self, free=self.free - needs)


NOTHING_FREE = Capacity(
    total=Resources(cpus=math.inf, gpus=math.inf), free=Resources(cpus=-1, gpus=-1)
)
"""Of a cluster that cannot be asked, or has not answered yet: what needs it waits."""


def needs_of(parameter: str | None, arguments: str) -> Resources:
    """What an attempt needs, as its argument `parameter` says: num_cpus, num_gpus, workers.

    `arguments` is the JSON object of all its arguments. None: one CPU.
    """
    if parameter is None:
        return ONE_CPU
    data: Any = json.loads(arguments).get(parameter)
    if not isinstance(data, dict):
        return ONE_CPU
    workers = _number(data.get("workers"), 1)
    return Resources(
        cpus=workers * _number(data.get("num_cpus"), 1),
        gpus=workers * _number(data.get("num_gpus"), 0),
    )


def _number(value: Any, default: float) -> float:
    return max(0.0, float(value)) if isinstance(value, int | float) else default


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What one worker can run now, and may."""

    worker: str  # its name
    now: datetime
    slots: Mapping[str, int]  # free ones of each executor
    default_executor: str  # of tasks that do not say
    ahead: Mapping[str, int] = field(default_factory=dict)  # places in each executor's own queue
    capacity_of: Callable[[str], Capacity | None] = lambda executor: None  # what its cluster has
    pools: Mapping[str, Pool] = field(default_factory=dict)  # the limited ones, by name
    serves: frozenset[str] | None = None  # pools whose tasks it runs; None: all
    is_shared: Callable[[str], bool] = lambda executor: False  # its work dies with this process
    is_busy: Callable[[], bool] = lambda: False  # whether anything runs on such executors

    def after(self, started: Iterable[str]) -> Capabilities:
        """What is left once something has started on these executors."""
        slots = Counter(self.slots)
        slots.subtract(started)
        return replace(self, slots=slots)

    def without_slots(self) -> Capabilities:
        """Of a worker that only records how things ended."""
        return replace(self, slots=dict.fromkeys(self.slots, 0), ahead={})

    def serving(self, pool: str) -> bool:
        """Whether it runs tasks of this pool."""
        return self.serves is None or pool in self.serves


@dataclass(frozen=True, kw_only=True)
class Need:
    """What it takes to start one task of a run."""

    run_id: str
    priority: int
    since: datetime  # when it became claimable
    executor: str
    pool: str
    weight: int  # slots of the pool
    may_queue: bool  # it has no timeout, which would pass in the executor's own queue
    alone: bool  # nothing else may run in the process: see `is_suspect`
    resources: Resources | None = None  # of the executor's cluster; None: not read yet


def is_suspect(task: TaskRun, policy: Retry, now: datetime) -> bool:
    """Whether a task is to run alone: once more lost with its worker, it fails for good.

    What dies with a worker may only have been beside what killed it. A worker that never comes
    to rest is waited for no longer than `ALONE`.
    """
    waited = now - task.ready_at if task.ready_at else timedelta(0)
    return 0 < policy.lost <= task.losses and waited < ALONE


class Budget:
    """What is left of slots, pools and clusters while one transaction claims.

    Every task is asked for by itself, and whatever it needs is looked up then: what becomes
    claimable in the middle of a transaction is limited like everything else.
    """

    def __init__(
        self,
        can: Capabilities,
        usage: Callable[[Pool], Usage | None],
        reserved: Mapping[str, Need] | None = None,
    ) -> None:
        """`usage` says what of a pool is taken; None: somebody else is at it just now.

        `reserved`: who has waited too long for a pool or a cluster, by its name as `short_of`
        has it.
        """
        self.slots = dict(can.slots)
        self.passed = False  # somebody else was at a pool
        self._can = can
        self._usage = usage
        self._pools: dict[str, Usage | None] = {}  # as they are now, of those asked for
        self._clusters: dict[str, Capacity | None] = {}
        self._reserved = reserved or {}
        self._taken: set[str] = set()  # executors on which something starts
        self._alone = False  # whether what starts on them is to run alone

    @property
    def anywhere(self) -> bool:
        """Whether any executor can take anything."""
        ahead = self._can.ahead
        return any(free > 0 or free > -ahead.get(name, 0) for name, free in self.slots.items())

    @property
    def free(self) -> int:
        """How much all executors can take together."""
        return sum(max(0, n + self._can.ahead.get(name, 0)) for name, n in self.slots.items())

    def impossible(self, need: Need, key: str) -> ErrorInfo | None:
        """Why the task can never start on such a worker; None when it can."""
        if need.executor not in self.slots:
            return ErrorInfo(
                type="NoExecutor",
                message=f"there is no executor {need.executor!r}",
                hint=f"choose one of {', '.join(self.slots)}",
                permanent=True,
            )
        pool = self._can.pools.get(need.pool)
        if pool is not None and pool.slots is not None and need.weight > pool.slots:
            return ErrorInfo(
                type="TooHeavy",
                message=f"{key} can never start: it weighs {need.weight}, and pool {pool.name} "
                f"has {pool.slots} slots",
                hint="give it less weight, or the pool more slots",
                permanent=True,
            )
        return None

    def short_of(self, need: Need) -> str | None:
        """What keeps a task from starting now: `executor E`, `pool P`, `cluster E`; None: nothing.

        As long as its `resources` are not read, its cluster is not asked.
        """
        least = -self._can.ahead.get(need.executor, 0) if need.may_queue else 0
        if self.slots.get(need.executor, 0) <= least:
            return f"executor {need.executor}"
        occupied = self._alone or (need.alone and self._has_company())
        if occupied and self._can.is_shared(need.executor):
            return f"executor {need.executor}"
        if not self._pool_admits(need):
            return f"pool {need.pool}"
        if need.resources is not None and not self._cluster_admits(need, need.resources):
            return f"cluster {need.executor}"
        return None

    def has_cluster(self, executor: str) -> bool:
        """Whether what a task needs of the executor's cluster has to be read."""
        return self._cluster(executor) is not None

    def is_full(self, name: str) -> bool:
        """Whether not even a task of weight 1 may start in a pool."""
        pool, usage = self._can.pools.get(name), self._pool(name)
        return pool is not None and (usage is None or pool.is_full(usage))

    def take(self, need: Need) -> None:
        """Count a task that starts."""
        self.slots[need.executor] -= 1
        self._taken.add(need.executor)
        self._alone = self._alone or (need.alone and self._can.is_shared(need.executor))
        if (usage := self._pool(need.pool)) is not None:
            self._pools[need.pool] = replace(
                usage, used=usage.used + need.weight, started=usage.started + 1
            )
        if need.resources is not None and (capacity := self._cluster(need.executor)) is not None:
            self._clusters[need.executor] = capacity.less(need.resources)

    def _has_company(self) -> bool:
        """Whether anything runs in this process, or is about to."""
        return any(map(self._can.is_shared, self._taken)) or self._can.is_busy()

    def _pool_admits(self, need: Need) -> bool:
        pool = self._can.pools.get(need.pool)
        if pool is None:
            return True
        if self.is_full(pool.name):
            return False
        usage = self._pool(pool.name)
        if pool.slots is None or usage is None:
            return True
        first = self._before(f"pool {pool.name}", need)
        return usage.used + need.weight <= pool.slots - (first.weight if first else 0)

    def _cluster_admits(self, need: Need, resources: Resources) -> bool:
        capacity = self._cluster(need.executor)
        if capacity is None:
            return True
        first = self._before(f"cluster {need.executor}", need)
        if first is not None and first.resources is not None:
            capacity = capacity.less(first.resources)
        return capacity.takes(resources)

    def _before(self, what: str, need: Need) -> Need | None:
        """The other task that has waited too long for the same, and is no less urgent."""
        first = self._reserved.get(what)
        if first is None or first.run_id == need.run_id or first.priority < need.priority:
            return None
        return first

    def _pool(self, name: str) -> Usage | None:
        if name not in self._pools:
            pool = self._can.pools.get(name)
            self._pools[name] = self._usage(pool) if pool is not None else None
            self.passed |= pool is not None and self._pools[name] is None
        return self._pools[name]

    def _cluster(self, executor: str) -> Capacity | None:
        if executor not in self._clusters:
            self._clusters[executor] = self._can.capacity_of(executor)
        return self._clusters[executor]


@dataclass(frozen=True, kw_only=True)
class Blocked:
    """A run of which nothing could start when this worker last looked at it."""

    seq: int  # where the run stood
    needs: frozenset[Need]  # of what may be claimed of it
    until: datetime | None  # when more of it may be

    def still(self, seq: int, lacks: Callable[[Need], str | None], now: datetime) -> bool:
        """Whether there is no use in looking at it again; `lacks` as `Budget.short_of`."""
        later = self.until is None or now < self.until
        return seq == self.seq and later and all(map(lacks, self.needs))


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A run of which something may be claimed."""

    run_id: str
    flow: str
    priority: int
    since: datetime  # when it became so
    seq: int = 0  # where it stood when it was looked at
    lane: str | None = None  # if it has not started: the lane that must be free
    max_runs: int | None = None  # if it has not started: as many of its flow may run


class Starts:
    """Whether runs that have not started may: by what has started, a (flow, lane) for each run."""

    def __init__(self, started: Iterable[tuple[str, str | None]]) -> None:
        self._runs: Counter[str] = Counter()
        self._lanes: set[str] = set()
        for flow, lane in started:
            self.took(flow, lane)

    def allows(self, run: Waiting) -> bool:
        """Whether its lane is free, and its flow runs less often than it may."""
        within = run.max_runs is None or self._runs[run.flow] < run.max_runs
        return within and run.lane not in self._lanes

    def took(self, flow: str, lane: str | None) -> None:
        """Count a run that starts."""
        self._runs[flow] += 1
        if lane is not None:
            self._lanes.add(lane)


class Turns:
    """In which order runs that wait are looked at: one claim each time, then it is decided anew."""

    def __init__(self, live: Mapping[str, int]) -> None:
        self._live = dict(live)  # live attempts of each flow
        self._queue: list[tuple[int, int, datetime, str, Waiting]] = []

    def add(self, waiting: Waiting) -> None:
        """Let a run wait for its turn."""
        live = self._live.get(waiting.flow, 0)
        key = (-waiting.priority, live, waiting.since, waiting.run_id, waiting)
        heapq.heappush(self._queue, key)

    def next(self) -> Waiting | None:
        """The run whose turn it is; it waits no more. None: nobody waits."""
        while self._queue:
            _, live, *_, waiting = heapq.heappop(self._queue)
            if live == self._live.get(waiting.flow, 0):
                return waiting
            self.add(waiting)  # its flow has got something since it was added
        return None

    @property
    def anybody(self) -> bool:
        """Whether anybody waits."""
        return bool(self._queue)

    def took(self, flow: str) -> None:
        """Count something that a flow has got."""
        self._live[flow] = self._live.get(flow, 0) + 1
