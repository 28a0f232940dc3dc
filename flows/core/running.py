"""What a worker has given to its executors, and what of it has to be told to end."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from flows.core.claiming import NOTHING_FREE, Capabilities, Capacity
from flows.core.clock import Clock
from flows.core.executors.perform import describe
from flows.core.executors.protocol import Deliver, Executor, Outcome, OutcomeKind, Work
from flows.core.graph import node_key
from flows.core.records import Attempt, changed
from flows.core.store import Claim

QUICK = 0.05
"""Seconds. While an executor's work takes less, as much again is claimed ahead of its workers,
so that they do not wait for a commit between two pieces of work; never work with a timeout,
which would pass in the queue."""

Calls = Callable[[str, str], Callable[..., Any] | None]
"""(flow, task) -> the function, for flows that live in this process only (notebooks)."""

T = TypeVar("T")
_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Live:
    """An attempt that this worker has given to an executor."""

    executor: Executor
    given: float  # when, by the counter that nobody sets (`Clock.elapsed`)
    timeout: float | None  # seconds
    times_out: float | None = None  # when, by the same; set once its work has really begun
    alone: bool = False  # nothing else may start in this process
    told: bool = False  # to end


class Running:
    """The live attempts of one worker, by their id."""

    def __init__(
        self,
        executors: Mapping[str, Executor],
        deliver: Deliver,
        *,
        clock: Clock,
        logs: Path | None,
        grace: float,
        calls: Calls | None,
    ) -> None:
        self.live: dict[str, Live] = {}
        self.executors = executors
        self._deliver = deliver
        self._clock = clock
        self._logs = logs
        self._grace = grace
        self._calls = calls
        self._warmed: set[str] = set()
        self._said: set[tuple[str, str]] = set()  # of executors that cannot be used
        self._pace: dict[str, float] = {}  # seconds that an executor's work took of late

    def start(self, claim: Claim) -> None:
        """Give an attempt to its executor; one that cannot take it delivers its failure."""
        attempt = claim.attempt
        executor = self.executors[attempt.executor]
        live = self.live[attempt.id] = Live(
            executor=executor,
            given=self._clock.elapsed(),
            timeout=claim.timeout,
            alone=claim.alone,
        )
        for name in claim.then - self._warmed:  # a Ray that starts now is up when it is needed
            self._warmed.add(name)
            if (next_executor := self.executors.get(name)) is not None:
                self._ask(next_executor, next_executor.warm, None)
        try:
            executor.start(self._work(claim))
            if live.timeout and self._began(live, attempt.id):
                worked = self._clock.now() - attempt.started_at  # long, where it was adopted
                live.times_out = live.given + live.timeout - worked.total_seconds()
        except (Exception, SystemExit) as error:  # also of the module that has the task
            failed = Outcome(attempt_id=attempt.id, kind=OutcomeKind.FAILED, error=describe(error))
            self._deliver(failed)

    def tell_to_end(self, attempt_id: str) -> bool:
        """Tell an attempt to end, once. False when it was never given to an executor."""
        live = self.live.get(attempt_id)
        if live is None:
            return False
        if not live.told:
            live.told = True
            self._ask(live.executor, lambda: live.executor.stop(attempt_id, self._grace), None)
        return True

    def let_go(self, attempt_id: str) -> None:
        """Another worker has it now: what runs in this process is ended, a Ray job goes on."""
        if self.survives(self.live[attempt_id].executor) is not False:
            del self.live[attempt_id]
        else:
            self.tell_to_end(attempt_id)

    def ended(self, attempt_id: str) -> None:
        """Forget an attempt whose end is recorded."""
        live = self.live.pop(attempt_id, None)
        if live is not None:
            took, name = self._clock.elapsed() - live.given, live.executor.name
            self._pace[name] = 0.8 * self._pace.get(name, 2 * QUICK) + 0.2 * took

    def overdue(self) -> list[str]:
        """The attempts whose timeout has passed since their work began, and that were not told."""
        elapsed, overdue = self._clock.elapsed(), []
        for attempt_id, live in self.live.items():
            if live.timeout is None or live.told:
                continue
            if live.times_out is None:
                if not self._began(live, attempt_id):
                    continue
                live.times_out = elapsed + live.timeout
            if live.times_out <= elapsed:
                overdue.append(attempt_id)
        return overdue

    def next_timeout(self) -> float:
        """Seconds until the next timeout passes of what was not told to end."""
        times = (live.times_out for live in self.live.values() if not live.told)
        return min((at for at in times if at), default=math.inf) - self._clock.elapsed()

    def here(self) -> list[str]:
        """The attempts that end with this process."""
        return [i for i, live in self.live.items() if self.survives(live.executor) is False]

    def capabilities(
        self, able: Capabilities, worker: str, now: datetime, ending: Collection[str]
    ) -> Capabilities:
        """`able`, with what is free now: what attempts that are `ending` take is."""
        return changed(
            able,
            worker=worker,
            now=now,
            slots=self._free_slots(ending),
            ahead=self._ahead(),
            capacity_of=self._capacity_of,
            is_shared=self._is_shared,
            is_busy=lambda: any(i not in ending for i in self.here()),
        )

    def _free_slots(self, ending: Collection[str]) -> dict[str, int]:
        free = {name: executor.slots for name, executor in self.executors.items()}
        alone = False
        for attempt_id, live in self.live.items():
            if attempt_id not in ending:
                free[live.executor.name] -= 1
                alone |= live.alone
        return {n: 0 if alone and self._is_shared(n) else slots for n, slots in free.items()}

    def _ahead(self) -> dict[str, int]:
        """How many attempts may wait in each executor's own queue."""
        if any(live.alone for live in self.live.values()):
            return {}
        quick = {name for name, pace in self._pace.items() if pace < QUICK}
        return {n: e.slots for n, e in self.executors.items() if e.queues and n in quick}

    def _is_shared(self, name: str) -> bool:
        executor = self.executors.get(name)
        return executor is not None and self.survives(executor) is False

    def _capacity_of(self, name: str) -> Capacity | None:
        """What the executor's cluster has free; nothing, when it cannot be asked here."""
        executor = self.executors[name]
        answer: Capacity | None = NOTHING_FREE
        return self._ask(executor, lambda: executor.capacity, answer)

    def survivors(self) -> set[str]:
        """The executors whose work goes on when this process dies."""
        return {name for name, e in self.executors.items() if self.survives(e) is True}

    def unusable(self) -> set[str]:
        """The executors that cannot be asked on this machine: others adopt what runs there."""
        return {name for name, e in self.executors.items() if self.survives(e) is None}

    def survives(self, executor: Executor) -> bool | None:
        """Whether its work goes on when this process dies; None: it cannot be asked."""
        return self._ask(executor, lambda: executor.survives, None)

    def _began(self, live: Live, attempt_id: str) -> bool:
        return self._ask(live.executor, lambda: live.executor.began(attempt_id), False)

    def _ask(self, executor: Executor, question: Callable[[], T], otherwise: T) -> T:
        """An answer; `otherwise`, once said why, from one that cannot be asked on this machine."""
        try:
            return question()
        except Exception as error:  # a secret that is not here, a library that fails
            if (executor.name, repr(error)) not in self._said:
                self._said.add((executor.name, repr(error)))
                _log.warning("executor %s cannot be used here: %s", executor.name, error)
            return otherwise

    def _work(self, claim: Claim) -> Work:
        """With what this process adds: where the log is, and the function of a notebook."""
        flow, task = claim.work.flow, node_key(claim.work.task)
        call = self._calls(flow, task) if self._calls else None
        return changed(claim.work, log=self._log(claim.attempt), call=call)

    def _log(self, attempt: Attempt) -> str | None:
        if self._logs is None:
            return None
        return str(self._logs / attempt.run_id / f"{attempt.key}.{attempt.number}.log")
