"""Admission: at no event did a pool hold more than its slots, or a lane more than one run."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from datetime import datetime
from itertools import groupby

from flows.core.lifecycle import RunEvent, TaskEvent
from flows.core.pool import Pool
from flows.core.records import Attempt, AttemptStatus, Event
from tests.simulation.findings import Findings, Record

ATTEMPT_ENDS = frozenset(
    {
        TaskEvent.SUCCEEDED,
        TaskEvent.HALTED,
        TaskEvent.SKIPPED,
        TaskEvent.FAILED,
        TaskEvent.RETRY,
        TaskEvent.LOST,
        TaskEvent.CANCELLED,
    }
)
RUN_ENDS = frozenset(
    {
        RunEvent.SUCCEEDED,
        RunEvent.HALTED,
        RunEvent.FAILED,
        RunEvent.CANCELLED,
        RunEvent.SKIPPED,
    }
)


def check_slots(found: Findings, record: Record, pools: Mapping[str, Pool]) -> None:
    """Replay the event table and count what was alive after each event."""
    attempts = {
        (a.run_id, a.key, a.number): a for detail in record.details for a in detail.attempts
    }
    alive: dict[tuple[str, str], Attempt] = {}
    running: set[str] = set()
    # What one commit did is one instant: a slot that it frees, it may give away again.
    for _, together in groupby(record.events, key=lambda event: event.at):
        commit = [event for event in together if event.run_id is not None]
        for event in commit:
            _end(event, alive, running)
        # A machine that slept may do several commits in one instant: one begins, the next ends.
        over = {_attempt(event) for event in commit if event.kind in ATTEMPT_ENDS}
        for event in commit:
            if event.kind == TaskEvent.STARTED:
                _start(found, event, attempts, alive)
                if _attempt(event) in over:
                    del alive[event.run_id or "", event.task or ""]
            elif event.kind in (RunEvent.STARTED, RunEvent.REOPENED):
                _check_lane(found, record, event, running)
                running.add(event.run_id or "")
        used: Counter[str] = Counter()
        for attempt in alive.values():
            used[attempt.pool or ""] += attempt.weight
        for name, pool in pools.items():
            found.states["pool full"] += pool.slots is not None and used[name] == pool.slots
            found.check(
                pool.slots is None or used[name] <= pool.slots,
                f"pool {name} held {used[name]} of {pool.slots}, event {commit and commit[-1].id}",
            )
    found.check(not alive, f"never ended: {sorted(a.id for a in alive.values())}")
    leaked = [a for a in attempts.values() if a.status is AttemptStatus.RUNNING and a.pool]
    found.check(not leaked, f"slots are leaked: {[a.id for a in leaked]}")


def check_served(
    found: Findings, record: Record, serves: Mapping[str, frozenset[str] | None]
) -> None:
    """No worker started what is in a pool that it does not serve."""
    for detail in record.details:
        for event in record.chains[detail.run.id]:
            if event.kind == TaskEvent.STARTED:
                worker, pool = event.data["worker"], detail.graph.node(event.task or "").pool
                served = serves[worker]
                found.check(
                    served is None or pool in served,
                    f"{worker} started {event.run_id}.{event.task}, and serves no pool {pool}",
                )


def check_rates(found: Findings, record: Record, pools: Mapping[str, Pool]) -> None:
    """No pool started more within its rate's time than it may; only where all clocks agree."""
    for name, pool in pools.items():
        if pool.rate is None:
            continue
        started = sorted(
            attempt.started_at
            for detail in record.details
            for attempt in detail.attempts
            if attempt.pool == name
        )
        within: deque[datetime] = deque()
        for at in started:
            within.append(at)
            while at - within[0] >= pool.rate.per:
                within.popleft()
            found.states["rate used up"] += len(within) == pool.rate.count
            found.check(
                len(within) <= pool.rate.count,
                f"pool {name} started {len(within)} within {pool.rate.per}, until {at}",
            )


def _attempt(event: Event) -> tuple[str, str, int]:
    return event.run_id or "", event.task or "", event.attempt or 0


def _end(event: Event, alive: dict[tuple[str, str], Attempt], running: set[str]) -> None:
    if event.task is None and event.kind in RUN_ENDS:
        running.discard(event.run_id or "")
    elif event.kind in ATTEMPT_ENDS:
        alive.pop((event.run_id or "", event.task or ""), None)


def _start(
    found: Findings,
    event: Event,
    attempts: Mapping[tuple[str, str, int], Attempt],
    alive: dict[tuple[str, str], Attempt],
) -> None:
    key, attempt = _attempt(event)[:2], attempts.get(_attempt(event))
    if attempt is None:
        found.check(False, f"event {event.id} starts an attempt that is not there")
        return
    found.check(key not in alive, f"{attempt.id} began beside another, event {event.id}")
    alive[key] = attempt


def _check_lane(found: Findings, record: Record, event: Event, running: set[str]) -> None:
    """Nobody but a person lets two runs of one lane, or too many of a flow, run at once."""
    if event.kind == RunEvent.REOPENED:
        return  # somebody has asked for just this run
    by_id = {detail.run.id: detail.run for detail in record.details}
    run = by_id[event.run_id or ""]
    reopened = {
        run_id
        for run_id in running
        if any(e.kind == RunEvent.REOPENED for e in record.chains[run_id])
    }
    beside: dict[str, list[str]] = defaultdict(list)
    for other in running - {run.id} - reopened:
        if run.lane is not None and by_id[other].lane == run.lane:
            beside["lane"].append(other)
        if by_id[other].flow == run.flow:
            beside["flow"].append(other)
    found.check(not beside["lane"], f"{run.id} began in lane {run.lane} beside {beside['lane']}")
    found.check(
        run.max_runs is None or len(beside["flow"]) < run.max_runs,
        f"{run.id} began as one of {len(beside['flow']) + 1} runs, and {run.max_runs} may run",
    )
