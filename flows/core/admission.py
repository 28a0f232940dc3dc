"""Admission: what limits how much runs at once, and whose turn it is. Pure.

Slots are live attempts: a pool has used what the attempts that are alive in it weigh, so there
is no counter that a crash could leave wrong. Once an attempt is known to be lost, its slots are
free.

Whose turn it is: the highest priority first; among equals the flow that has the fewest live
attempts; of one flow, who has waited longest. A heavy task that has waited for `PATIENCE` is
kept room for: what waits behind it in its pool no longer passes it.
"""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from flows.core.errors import ConfigError
from flows.core.records import Run

PATIENCE = timedelta(seconds=30)
"""So long lighter tasks may pass one that needs more slots than are free."""

_POOL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True, kw_only=True)
class Rate:
    """As many starts within any time of this length."""

    count: int
    per: timedelta

    def __str__(self) -> str:
        return f"{self.count}/{self.per.total_seconds():g}s"

    @classmethod
    def parse(cls, text: str) -> Rate:
        """From `10/1m`: ten a minute; units s, m, h and d. Raises ConfigError."""
        found = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+(?:\.\d+)?)?\s*([smhd])\s*", text)
        if found is None or not int(found[1]) or float(found[2] or 1) == 0:
            raise ConfigError(f"{text!r} is no rate", hint="write it as 10/1m: ten a minute")
        length = timedelta(**{_UNITS[found[3]]: float(found[2] or 1)})
        return cls(count=int(found[1]), per=length)


@dataclass(frozen=True, kw_only=True)
class Pool:
    """What tasks share that name it: so many slots, so many starts in a time."""

    name: str
    slots: int | None = None  # what all live attempts in it may weigh together; None: no limit
    rate: Rate | None = None  # of starts; None: no limit

    @property
    def limited(self) -> bool:
        """Whether it limits anything."""
        return self.slots is not None or self.rate is not None


def check_pool_name(name: str) -> None:
    """Raise ConfigError when a pool cannot be called so: columns hold several names in a row."""
    if not isinstance(name, str) or not _POOL_NAME.fullmatch(name):
        raise ConfigError(
            f"{str(name)[:80]!r} is no name for a pool",
            hint="use letters, digits, - _ and . (at most 100, a letter or digit first)",
        )


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What of a pool is taken now."""

    used: int = 0  # what its live attempts weigh together
    started: int = 0  # starts within its rate's time
    first: datetime | None = None  # the oldest of these starts


@dataclass(frozen=True, kw_only=True)
class Head:
    """The task that has waited longest in a pool, and longer than `PATIENCE`."""

    run_id: str
    priority: int
    weight: int


class Admission:
    """What limited pools still admit, while one transaction claims."""

    def __init__(
        self, pools: Mapping[str, Pool], usage: Mapping[str, Usage], heads: Mapping[str, Head]
    ) -> None:
        self._pools = pools
        self._heads = heads
        self._used = {name: found.used for name, found in usage.items()}
        self._started = {name: found.started for name, found in usage.items()}

    def limits(self, pool: str) -> bool:
        """Whether the pool limits anything."""
        return pool in self._pools

    def impossible(self, pool: str, weight: int) -> str | None:
        """Why a task of this weight can never be admitted; None when it can."""
        limit = self._pools[pool].slots if pool in self._pools else None
        if limit is None or weight <= limit:
            return None
        return f"it weighs {weight}, and pool {pool} has {limit} slots"

    def admits(self, pool: str, weight: int, *, run_id: str, priority: int) -> bool:
        """Whether a task of this weight may start now."""
        if pool not in self._pools:
            return True
        if self.is_full(pool):
            return False
        slots, head = self._pools[pool].slots, self._heads.get(pool)
        if slots is None:
            return True
        kept = head.weight if head and head.run_id != run_id and head.priority >= priority else 0
        return self._used.get(pool, 0) + weight <= slots - kept

    def is_full(self, pool: str) -> bool:
        """Whether not even a task of weight 1 may start."""
        limits = self._pools[pool]
        if limits.rate is not None and self._started.get(pool, 0) >= limits.rate.count:
            return True
        return limits.slots is not None and self._used.get(pool, 0) >= limits.slots

    def take(self, pool: str, weight: int) -> None:
        """Count a task that starts."""
        if pool in self._pools:
            self._used[pool] = self._used.get(pool, 0) + weight
            self._started[pool] = self._started.get(pool, 0) + 1

    def give(self, pool: str, weight: int) -> None:
        """Count a task that has ended."""
        if pool in self._pools:
            self._used[pool] = self._used.get(pool, 0) - weight


class Starts:
    """Whether runs that have not started may: by what has started, a (flow, lane) for each run."""

    def __init__(self, started: Iterable[tuple[str, str | None]]) -> None:
        self._runs: Counter[str] = Counter()
        self._lanes: set[str] = set()
        for flow, lane in started:
            self.took(flow, lane)

    def allows(self, run: Run) -> bool:
        """Whether its lane is free, and its flow runs less often than it may."""
        within = run.max_runs is None or self._runs[run.flow] < run.max_runs
        return within and run.lane not in self._lanes

    def took(self, flow: str, lane: str | None) -> None:
        """Count a run that starts."""
        self._runs[flow] += 1
        if lane is not None:
            self._lanes.add(lane)


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A run of which something may be claimed."""

    run_id: str
    flow: str
    priority: int
    since: datetime  # when it became so
    pools: frozenset[str] = frozenset()  # of what may be claimed
    lane: str | None = None  # if it has not started: the lane that must be free
    max_runs: int | None = None  # if it has not started: as many of its flow may run


class Turns:
    """In which order runs that wait are looked at: one claim each time, then it is decided anew."""

    def __init__(self, live: Mapping[str, int]) -> None:
        self._live = Counter(live)  # live attempts of each flow
        self._queue: list[tuple[int, int, datetime, str, Waiting]] = []

    def add(self, waiting: Waiting) -> None:
        """Let a run wait for its turn."""
        live = self._live[waiting.flow]
        key = (-waiting.priority, live, waiting.since, waiting.run_id, waiting)
        heapq.heappush(self._queue, key)

    def next(self) -> Waiting | None:
        """The run whose turn it is; it waits no more. None: nobody waits."""
        while self._queue:
            _, live, *_, waiting = heapq.heappop(self._queue)
            if live == self._live[waiting.flow]:
                return waiting
            self.add(waiting)  # its flow has got something since it was added
        return None

    @property
    def anybody(self) -> bool:
        """Whether anybody waits."""
        return bool(self._queue)

    def took(self, flow: str) -> None:
        """Count something that a flow has got."""
        self._live[flow] += 1
