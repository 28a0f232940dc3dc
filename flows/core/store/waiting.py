"""Which runs wait for a worker: the reads behind a claim.

A run's row says when something of it may first be claimed and in which pools (`claimable_at`,
`claimable`); it is written with each of its transitions. Queued runs stand in one order for
each lane, or, without a lane, for each flow: what waits behind a taken lane is not even read.
So looking costs by what may start, not by what exists.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, TextualSelect, bindparam, func, select, text

from flows.core.claiming import (
    PATIENCE,
    Budget,
    Capabilities,
    Need,
    Starts,
    Turns,
    Waiting,
)
from flows.core.records import Attempt, AttemptStatus
from flows.core.store import schema
from flows.core.store.database import UtcTime
from flows.core.store.memory import Memory
from flows.core.store.pools import STARTED, usage

_run, _attempt = schema.run, schema.attempt
MOST = 64
"""Runs that are looked at in one transaction."""
LOOKED_AT = 100
"""Rows that are read to find them while all of them are known to be blocked: so many that come
first, and as many further on, where the look before has stopped."""
FURTHER = timedelta(seconds=0.05)
"""When to look further on, where that was not enough."""


def next_due(connection: Connection, now: datetime) -> datetime | None:
    """When the next retry that waits in a run of nobody may be claimed."""
    due: datetime | None = connection.execute(_NEXT_DUE, {"now": now}).scalar()
    return due


def started(connection: Connection) -> Starts:
    """What runs: how often each flow, and in which lanes."""
    return Starts((row.flow, row.lane) for row in connection.execute(_OF_STARTED))


def live_of_flows(connection: Connection) -> dict[str, int]:
    """How many attempts of each flow are alive."""
    return {row[0]: row[1] for row in connection.execute(_LIVE_OF_FLOWS)}


class Queue:
    """Runs that wait in one order, read a page at a time."""

    def __init__(
        self,
        connection: Connection,
        query: TextualSelect,
        asked: dict[str, Any],
        first: Sequence[Any] = (),
    ) -> None:
        """`asked` are its parameters, `queue` its name among them; `first` was read already."""
        self.name: str = asked["queue"]
        self.unseen = self._offset = len(first)  # rows read and not looked at; the next to read
        self.first = [_waiting(row) for row in first]
        self._connection = connection
        self._query = query
        self._asked = asked
        self._rest = 0  # where its rest begins
        self._ended = False

    def page(self, limit: int) -> list[Waiting]:
        """The next rows; none at the end."""
        if self._ended:
            return []
        asked = {**self._asked, "limit": limit, "offset": self._offset}
        page = self._connection.execute(self._query, asked).all()
        self._ended = len(page) < limit
        self._offset += len(page)
        self.unseen += len(page)
        return [_waiting(row) for row in page]

    def leave_out(self, rows: int) -> None:
        """What was read is what comes first; of the rest, go on after so many."""
        self._rest = self._offset
        self._offset += rows

    @property
    def blocked(self) -> int:
        """Rows of the rest that were left out or looked at."""
        return max(0, self._offset - self.unseen - self._rest)


def queues(
    connection: Connection, now: datetime, *, serves: frozenset[str] | None, full: Collection[str]
) -> Iterator[Queue]:
    """Every queue of runs that a worker may take up.

    - something of it may be claimed now, in a pool of `serves` (None: any) that is not in `full`;
    - nobody has it to itself;
    - it has started, or may: its lane is free and its flow runs less often than it may.
    """
    heads, started_runs, queued, pools = _queries(serves, frozenset(full))
    if connection.dialect.name == "postgresql":
        connection.execute(_IN_ORDER)
    asked = {**pools, "now": now}
    first = connection.execute(started_runs, {**asked, "limit": LOOKED_AT, "offset": 0}).all()
    yield Queue(connection, started_runs, {**asked, "queue": "going on"}, first)
    for head in connection.execute(heads, asked).all():
        yield Queue(connection, queued, {**asked, "queue": head.queue}, [head])


def _waiting(row: Any) -> Waiting:
    return Waiting(
        run_id=row.id,
        flow=row.flow,
        priority=row.priority,
        since=row.claimable_at,
        seq=row.seq,
        lane=row.lane,
        max_runs=row.max_runs,
    )


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a worker may take up next."""

    waiting: Sequence[Waiting] = ()
    reserved: Mapping[str, Need] = field(default_factory=dict)  # see `Budget`
    next_at: datetime | None = None  # when something else that waits may be claimed


def look(
    connection: Connection, can: Capabilities, memory: Memory, ended: Iterable[Attempt]
) -> Look:
    """The runs that wait for such a worker, in turn, and when others may.

    `ended` are attempts whose end is about to be recorded: their slots count as free.
    """
    used = usage(connection, can.pools.values(), can.now)
    for attempt in ended:
        if attempt.pool in used:
            taken = used[attempt.pool]
            used[attempt.pool] = replace(taken, used=taken.used - attempt.weight)
    budget = Budget(can, lambda pool: used[pool.name])
    full = [name for name in used if budget.is_full(name)]
    times = [
        taken.first + pool.rate.per
        for name, taken in used.items()
        if (pool := can.pools[name]).rate and taken.first and name in full
    ]
    if (due := next_due(connection, can.now)) is not None:
        times.append(due)
    candidates = _Candidates(budget, can.now, memory)
    candidates.find(queues(connection, can.now, serves=can.serves, full=full))
    return Look(
        waiting=candidates.chosen,
        reserved=candidates.reserved,
        next_at=min([*times, *candidates.times], default=None),
    )


class _Candidates:
    """Chooses, of all that wait, what is worth a transaction."""

    def __init__(self, budget: Budget, now: datetime, memory: Memory) -> None:
        self.chosen: list[Waiting] = []
        self.reserved: dict[str, Need] = {}
        self.times: list[datetime] = []  # when more of the blocked ones may be claimed
        self._budget = budget
        self._asked: dict[tuple[object, ...], str | None] = {}
        self._now = now
        self._memory = memory
        self._most = min(MOST, 8 + 4 * budget.free)

    def find(self, queues: Iterable[Queue]) -> None:
        """Go through all queues in turn, as long as there is use in more candidates."""
        turns, looked_at = Turns({}), 0
        queue_of: dict[str, Queue] = {}

        def add(queue: Queue, page: Iterable[Waiting]) -> None:
            for run in page:
                queue_of[run.run_id] = queue
                turns.add(run)

        queues = list(queues)
        for queue in queues:
            add(queue, queue.first)
        while len(self.chosen) < self._most and (run := turns.next()) is not None:
            if self._is_worth_it(run):
                self.chosen.append(run)
                turns.took(run.flow)
            queue = queue_of.pop(run.run_id)
            queue.unseen -= 1
            looked_at += 1
            if looked_at == LOOKED_AT:
                for each in queues:
                    each.leave_out(self._memory.skip.get(each.name, 0))
            elif looked_at == 2 * LOOKED_AT:
                self._memory.skip = {each.name: each.blocked for each in queues}
                self.times.append(self._now + FURTHER)
                return
            if not queue.unseen and len(self.chosen) < self._most:
                all_chosen = len(self.chosen) == looked_at
                add(queue, queue.page(self._most if all_chosen else LOOKED_AT))
        self._memory.skip = {}

    def _is_worth_it(self, run: Waiting) -> bool:
        if self._memory.is_left_alone(run.run_id, self._now):
            return False
        blocked = self._memory.blocked(run.run_id)
        if blocked is None or not blocked.still(run.seq, self._lacks, self._now):
            return True
        if blocked.until is not None:
            self.times.append(blocked.until)
        for need in blocked.needs:
            self._reserve(need)
        return False

    def _lacks(self, need: Need) -> str | None:
        """What the budget is short of, asked once for all that need the same."""
        same = (need.executor, need.pool, need.weight, need.may_queue, need.alone, need.resources)
        if same not in self._asked:
            self._asked[same] = self._budget.short_of(need)
        return self._asked[same]

    def _reserve(self, need: Need) -> None:
        """Keep free what the most urgent, and of those the oldest, has waited for too long."""
        lacks = self._lacks(need) or ""
        if not lacks.startswith(("pool", "cluster")) or self._now - need.since <= PATIENCE:
            return
        first = self.reserved.get(lacks)
        if first is None or (-need.priority, need.since) < (-first.priority, first.since):
            self.reserved[lacks] = need


# Built once: building them costs more than running them.
_NEXT_DUE = select(func.min(_run.c.claimable_at)).where(
    _run.c.claimable_at > bindparam("now"), _run.c.held_by.is_(None)
)
_OF_STARTED = select(_run.c.flow, _run.c.lane).where(_run.c.status.in_(STARTED))
_LIVE_OF_FLOWS = (
    select(_run.c.flow, func.count())
    .join_from(_attempt, _run, _attempt.c.run_id == _run.c.id)
    .where(_attempt.c.status == AttemptStatus.RUNNING.value)
    .group_by(_run.c.flow)
)

_IN_ORDER = text(
    "SELECT set_config(name, 'off', true) FROM unnest("
    "ARRAY['enable_bitmapscan', 'enable_sort', 'enable_hashjoin', 'enable_mergejoin', 'jit']"
    ") AS name"
)
"""Has this transaction read the first rows of an order, whatever the server thinks there is: its
statistics know nothing of the few rows in a partial index, and it would sort all of them."""

# As the index `run_queued` has it; the last for stores of the release before, without it.
_QUEUED = "claimable IS NOT NULL AND status <> 'running' AND claimable_at IS NOT NULL"
_QUEUE = "coalesce('lane ' || lane, 'flow ' || flow)"  # its first column
_ORDER = "priority DESC, claimable_at, id"  # its others
_COLUMNS = "id, seq, flow, priority, claimable_at"
_MAY_BE = "held_by IS NULL AND {pools}"
_DUE = "coalesce(claimable_at <= :now, false)"  # so that no planner thinks of `run_claimable`

_HEADS = f"""
WITH RECURSIVE queues (queue) AS (
    SELECT (SELECT {_QUEUE} FROM run WHERE {_QUEUED} ORDER BY {_QUEUE} LIMIT 1)
    UNION ALL
    SELECT (
        SELECT {_QUEUE} FROM run WHERE {_QUEUED} AND {_QUEUE} > queues.queue
        ORDER BY {_QUEUE} LIMIT 1
    )
    FROM queues WHERE queues.queue IS NOT NULL
),
often (flow, runs) AS (
    SELECT flow, count(*) FROM run WHERE status IN ('running', 'cancelling') GROUP BY flow
)
SELECT r.id, r.seq, r.flow, r.priority, r.claimable_at, r.lane,
    r.max_runs, queues.queue
FROM queues
JOIN run AS r ON r.id = (
    SELECT id FROM run WHERE {_QUEUED} AND {_QUEUE} = queues.queue AND {_DUE} AND {_MAY_BE}
    ORDER BY {_ORDER} LIMIT 1
)
LEFT JOIN often ON often.flow = r.flow
WHERE queues.queue NOT IN (
    SELECT 'lane ' || lane FROM run
    WHERE status IN ('running', 'cancelling') AND lane IS NOT NULL
)
AND (r.max_runs IS NULL OR r.max_runs > coalesce(often.runs, 0))
"""
_OF_QUEUE = f"""
SELECT {_COLUMNS}, lane, max_runs FROM run
WHERE {_QUEUED} AND {_QUEUE} = :queue AND {_DUE} AND {_MAY_BE}
ORDER BY {_ORDER} LIMIT :limit OFFSET :offset
"""
_GOING_ON = f"""
WITH going_on AS MATERIALIZED (
    SELECT {_COLUMNS} FROM run WHERE status = 'running' AND claimable_at <= :now AND {_MAY_BE}
)
SELECT {_COLUMNS}, NULL AS lane, NULL AS max_runs,
    row_number() OVER (PARTITION BY flow ORDER BY {_ORDER}) AS turn
FROM going_on ORDER BY priority DESC, turn, claimable_at, id LIMIT :limit OFFSET :offset
"""


@lru_cache(maxsize=64)
def _queries(
    serves: frozenset[str] | None, full: frozenset[str]
) -> tuple[TextualSelect, TextualSelect, TextualSelect, dict[str, str]]:
    condition, names = _in_pools(serves, sorted(full))
    heads, going_on, queued = (
        text(query.replace("{pools}", condition))
        .bindparams(bindparam("now", type_=UtcTime))
        .columns(claimable_at=UtcTime)
        for query in (_HEADS, _GOING_ON, _OF_QUEUE)
    )
    return heads, going_on, queued, names


def _in_pools(serves: frozenset[str] | None, full: Sequence[str]) -> tuple[str, dict[str, str]]:
    """Whether something waits in a pool that is served and not full; each name has spaces round."""
    if serves is not None:
        names = {f"pool{i}": f" {pool} " for i, pool in enumerate(sorted(serves.difference(full)))}
        one_of = (f"replace(claimable, :{name}, '') <> claimable" for name in names)
        return f"({' OR '.join(one_of) or '1 = 0'})", names
    names = {f"pool{i}": f" {pool} " for i, pool in enumerate(full)}
    left = "claimable"
    for name in names:
        left = f"replace({left}, :{name}, ' ')"
    return f"trim({left}) <> ''", names
