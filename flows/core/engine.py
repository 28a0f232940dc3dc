"""Drives runs: records what has ended, claims what can start, and gives it to executors.

`tick` does one pass: everything that has ended since the last one and everything that can
start now go into one commit, and only then does work start. The loop around it waits for the
next outcome, retry, timeout, or change by another process, whichever comes first.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from flows.core.clock import Clock
from flows.core.errors import RatchetError
from flows.core.executors.perform import describe
from flows.core.executors.protocol import Executor, Outcome, OutcomeKind, Work
from flows.core.records import Attempt, Event, Run
from flows.core.store import Claim, Step, Store
from flows.core.worker import Identity, LeaseKeeper, dead_among

LOOK_ROUND = timedelta(seconds=0.25)
"""How often the engine looks for what other processes did to its runs."""

QUICK = 0.05
"""Seconds. While an executor's work takes less, as much again is claimed ahead of its workers,
so that they do not wait for a commit between two pieces of work; never work with a timeout,
which would pass in the queue."""

OnEvent = Callable[[Event], None]
Calls = Callable[[str, str], Callable[..., Any] | None]
"""(flow, task) -> the function, for flows that live in this process only (notebooks)."""


@dataclass(kw_only=True)
class _Live:
    """An attempt that this engine has given to an executor."""

    executor: Executor
    begun: datetime
    deadline: datetime | None
    told: bool = False  # to end


class Engine:
    """One worker: its executors, and the runs that it drives."""

    def __init__(
        self,
        store: Store,
        executors: Mapping[str, Executor],
        *,
        clock: Clock,
        default_executor: str = "threads",
        logs: Path | None = None,
        grace: float = 5.0,
        calls: Calls | None = None,
        on_event: OnEvent | None = None,
    ) -> None:
        self.store = store
        self.executors = executors
        self.clock = clock
        self.default_executor = default_executor
        self.logs = logs
        self.grace = grace
        self.calls = calls
        self.on_event = on_event
        self.runs: dict[str, None] = {}
        self._lease = LeaseKeeper(store, clock, Identity.mine())
        self._outcomes: queue.SimpleQueue[Outcome | None] = queue.SimpleQueue()
        self._live: dict[str, _Live] = {}
        self._claimed: deque[Claim] = deque()
        self._unrecorded: list[Outcome] = []
        self._warmed: set[str] = set()
        self._pace: dict[str, float] = {}  # seconds that an executor's work took of late
        self._looked = clock.now()

    # ------------------------------------------------------------------ life

    def open(self) -> None:
        """Take the worker's lease and make the executors ready."""
        self._lease.open()
        for executor in self.executors.values():
            executor.open(self._outcomes.put)

    def close(self) -> None:
        """End everything that was started here, and give back the lease.

        Attempts on executors that outlive this process go on, and can be adopted.
        """
        for executor in self.executors.values():
            executor.close()
        self._lease.close()

    def __enter__(self) -> Engine:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------------ driving

    def drive(self, run_id: str) -> None:
        """Take a run on, and take over what dead workers left of it."""
        self.runs[run_id] = None
        self._take_over(run_id)

    def run_until_ended(self, run_ids: Iterable[str], stop: threading.Event | None = None) -> None:
        """Drive runs until each has ended, or until `stop` is set."""
        open_runs = set(run_ids)
        for run_id in open_runs:
            self.drive(run_id)
        while open_runs and not (stop and stop.is_set()):
            open_runs -= {run.id for run in self.tick(self.clock.now())}
            if open_runs:
                self._wait()

    def wake(self) -> None:
        """End the current wait, from any thread."""
        self._outcomes.put(None)

    def tick(self, now: datetime) -> list[Run]:
        """One pass; returns the runs that have ended.

        Raises:
            StoreError: the store could not be written; outcomes are kept for the next tick.
            LeaseLost: this worker was taken for dead; nothing more is recorded by it.
        """
        self._lease.check()
        self._look_round(now)
        self._unrecorded += self._drain()
        step = self.store.runs.step(
            self._unrecorded,
            worker=self._lease.name,
            slots=self._free_slots(),
            ahead=self._ahead(),
            default_executor=self.default_executor,
            runs=self.runs,
            now=now,
        )
        for outcome in self._unrecorded:
            self._forget(outcome.attempt_id, now)
        self._unrecorded = []
        self._after(step, now)
        self._end_overdue(now)
        return step.ended

    # ------------------------------------------------------------------ inside

    def _after(self, step: Step, now: datetime) -> None:
        for run in step.ended:
            self.runs.pop(run.id, None)
        if self.on_event:
            for event in step.events:
                self.on_event(event)
        for attempt in step.to_stop:
            self._tell_to_end(attempt.id)
        self._claimed.extend(step.claims)
        while self._claimed:  # kept over a Ctrl-C in the middle of inline work
            self._start(self._claimed.popleft())

    def _start(self, claim: Claim) -> None:
        attempt, node = claim.attempt, claim.node
        executor = self.executors[attempt.executor]
        deadline = attempt.started_at + timedelta(seconds=node.timeout) if node.timeout else None
        self._live[attempt.id] = _Live(executor=executor, begun=self.clock.now(), deadline=deadline)
        work = Work(
            attempt_id=attempt.id,
            run_id=attempt.run_id,
            flow=claim.flow,
            task=attempt.key,
            number=attempt.number,
            function=node.function,
            arguments=claim.arguments,
            config=claim.config,
            config_yaml=claim.config_yaml,
            config_digest=claim.config_digest,
            log=self._log(attempt),
            call=self.calls(claim.flow, node.key) if self.calls else None,
        )
        for name in claim.then - self._warmed:  # a Ray that starts now is up when it is needed
            self._warmed.add(name)
            if name in self.executors:
                self.executors[name].warm()
        try:
            executor.start(work)
        except RatchetError as error:
            failed = Outcome(attempt_id=attempt.id, kind=OutcomeKind.FAILED, error=describe(error))
            self._outcomes.put(failed)

    def _log(self, attempt: Attempt) -> str | None:
        if self.logs is None:
            return None
        return str(self.logs / attempt.run_id / f"{attempt.key}.{attempt.number}.log")

    def _forget(self, attempt_id: str, now: datetime) -> None:
        live = self._live.pop(attempt_id, None)
        if live is not None:
            took, name = (now - live.begun).total_seconds(), live.executor.name
            self._pace[name] = 0.8 * self._pace.get(name, 2 * QUICK) + 0.2 * took

    def _ahead(self) -> dict[str, int]:
        """How many attempts may wait in each executor's own queue."""
        quick = {name for name, pace in self._pace.items() if pace < QUICK}
        return {name: e.slots for name, e in self.executors.items() if e.queues and name in quick}

    def _free_slots(self) -> dict[str, int]:
        free = {name: executor.slots for name, executor in self.executors.items()}
        for live in self._live.values():
            free[live.executor.name] -= 1
        for outcome in self._unrecorded:
            if (ended := self._live.get(outcome.attempt_id)) is not None:
                free[ended.executor.name] += 1
        return free

    def _drain(self) -> list[Outcome]:
        found: list[Outcome] = []
        while True:
            try:
                outcome = self._outcomes.get_nowait()
            except queue.Empty:
                return found
            if outcome is not None:
                found.append(outcome)

    def _wait(self) -> None:
        """Until something has ended, or something is due."""
        if not self._outcomes.empty():
            return
        now = self.clock.now()
        times = [now + LOOK_ROUND]
        times += [live.deadline for live in self._live.values() if live.deadline and not live.told]
        times += [due for run_id in self.runs if (due := self.store.runs.due(run_id))]
        seconds = max(0.0, (min(times) - now).total_seconds())
        try:
            outcome = self._outcomes.get(timeout=seconds)
        except queue.Empty:
            return
        if outcome is not None:
            self._unrecorded.append(outcome)

    def _look_round(self, now: datetime) -> None:
        """Notice cancellations and other workers' deaths, a few times a second."""
        if now - self._looked < LOOK_ROUND:
            return
        self._looked = now
        self.store.runs.refresh(self.runs)

    def _end_overdue(self, now: datetime) -> None:
        for attempt_id, live in list(self._live.items()):
            if live.deadline is not None and live.deadline <= now and not live.told:
                self.store.runs.note_stopping(attempt_id, "timeout")
                self._tell_to_end(attempt_id)

    def _tell_to_end(self, attempt_id: str) -> None:
        live = self._live.get(attempt_id)
        if live is None:  # claimed, but never given to its executor
            self._claimed = deque(c for c in self._claimed if c.attempt.id != attempt_id)
            self._outcomes.put(Outcome(attempt_id=attempt_id, kind=OutcomeKind.STOPPED))
        elif not live.told:
            live.told = True
            live.executor.stop(attempt_id, self.grace)

    def _take_over(self, run_id: str) -> None:
        others = {a.worker for a in self.store.runs.live_attempts(run_id)} - {self._lease.name}
        if not others:
            return
        now = self.clock.now()
        dead = dead_among(others, self.store.leases.holders(now))
        survivors = {name for name, executor in self.executors.items() if executor.survives}
        adopted = self.store.runs.recover(
            run_id, dead, worker=self._lease.name, survivors=survivors, now=now
        )
        for claim in adopted:
            self._start(claim)
