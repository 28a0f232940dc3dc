"""Drives runs: records what has ended, claims what can start, and gives it to executors.

`tick` does one pass: everything that has ended since the last one and everything that can
start now go into one commit, and only then does work start. The loop around it waits for the
next outcome, retry, timeout, or change by another process, whichever comes first.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, suppress
from datetime import datetime, timedelta
from pathlib import Path

from flows.core.claiming import Capabilities
from flows.core.clock import Clock, CorrectedClock
from flows.core.errors import LeaseLost, Refused, StoreError, is_outage
from flows.core.executors.inline import InlineExecutor
from flows.core.executors.protocol import Executor, Outcome, OutcomeKind
from flows.core.executors.threads import ThreadExecutor
from flows.core.identity import Identity
from flows.core.lease_keeper import LEASE, LeaseKeeper
from flows.core.pool import Pool
from flows.core.records import Event, Run
from flows.core.running import Calls, Running
from flows.core.state import between_spaces
from flows.core.store import Claim, Step, Store

LOOK_ROUND = timedelta(seconds=0.25)
"""How often an engine that is not notified looks for what other processes did."""
NOTIFIED_ROUND = timedelta(seconds=1)
"""How often one that is notified looks round by itself, and for workers that have died."""
NOTICE_ROUND = timedelta(seconds=0.1)
"""How soon after a look round a notification makes it look again for what to stop."""
PASSED = timedelta(seconds=0.005)
"""When to try again for a run that another worker was just at."""
OUTAGE = 2.0
"""Seconds. The longest pause between two tries while the store cannot be reached."""

OnEvent = Callable[[Event], None]
_log = logging.getLogger(__name__)


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
        pools: Mapping[str, Pool] | None = None,
        serves: frozenset[str] | None = None,
        discovers: bool = False,
        identity: Identity | None = None,
    ) -> None:
        self.store = store
        self.executors = dict(executors)
        self.clock = clock = CorrectedClock(clock)  # by the store, with each renewed lease
        self.on_event = on_event
        self._able = Capabilities(
            worker="",
            now=clock.now(),
            slots={},
            default_executor=default_executor,
            pools={name: pool for name, pool in (pools or {}).items() if pool.limited},
            serves=serves,
        )
        self.discovers = discovers  # whether it takes up runs that nobody has to itself
        self.runs: dict[str, None] = {}
        self.refused: dict[str, Refused] = {}  # of these, what cannot be carried on here
        self._outcomes: queue.SimpleQueue[Outcome | None] = queue.SimpleQueue()
        self._unrecorded: list[Outcome] = []
        self._claimed: deque[Claim] = deque()
        self.running = Running(
            self.executors, self._outcomes.put, clock=clock, logs=logs, grace=grace, calls=calls
        )
        self._grace = grace
        self._lease = LeaseKeeper(store, clock, identity or Identity.mine())
        self._round = LOOK_ROUND
        self._looked = self._recovered = clock.now() - NOTIFIED_ROUND  # round, and for the dead
        self._notified = threading.Event()
        self._next_at: datetime | None = None
        self._draining = False
        self._hurried = False
        self._in_doubt = False  # whether the last step was committed
        self._failures = 0  # passes, since one has succeeded
        self._outage: bool | None = None  # whether the store has failed them; None: nothing has
        self.looked = threading.Event()  # set once it has looked for work

    @property
    def worker(self) -> str:
        """The name under which it claims."""
        return self._lease.name

    # ------------------------------------------------------------------ life

    def open(self) -> None:
        """Take the worker's lease and make the executors ready."""
        self._take_lease()
        for executor in self.executors.values():
            executor.open(self._outcomes.put)

    def close(self) -> None:
        """End everything that was started here, and give back the lease.

        Attempts on executors that outlive this process go on, and can be adopted. Work that
        cannot be ended is waited for: until then it is this worker's, and its result counts.
        """
        if endless := [i for i in self.running.here() if not self.running.live[i].executor.kills]:
            _log.warning("work that cannot be ended is waited for: %s", ", ".join(endless))
        for executor in self.executors.values():
            executor.close()
        self._unrecorded += self._arrived()
        no_result = (OutcomeKind.STOPPED, OutcomeKind.LOST)
        results = [o for o in self._unrecorded if o.kind not in no_result]
        self._draining = True
        if results:
            with suppress(StoreError):  # then it is found lost, as if this process had died
                self.store.runs.step(results, self._capabilities(self.clock.now()), runs=())
        self._lease.close()

    def __enter__(self) -> Engine:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------------ driving

    def drive(self, run_id: str) -> None:
        """Take a run on, and take over what dead workers left of it.

        What a living worker has to itself is only followed, until that worker is dead.
        """
        self.runs[run_id] = None
        self._recover([run_id], self.clock.now())

    def run_until_ended(
        self, run_ids: Iterable[str], stop: threading.Event | None = None, *, patience: int = 0
    ) -> None:
        """Drive runs until each has ended, or until `stop` is set.

        It takes over what dead workers left of them, and goes on as a new worker when it was
        taken for dead. Raises StoreError when the store has failed more than `patience` times in
        a row, Refused when one of the runs cannot be carried on (`refused`), and whatever else
        has ended a pass. It may be called again for the others.
        """
        wanted = dict.fromkeys(run_ids)
        self.runs |= wanted
        self.refused.clear()
        self._looked = self._recovered = self.clock.now() - NOTIFIED_ROUND  # look round at once
        with self.store.database.first():
            self._go_on(lambda: wanted.keys() & self.runs and not self.refused, stop, patience)
        for error in self.refused.values():
            raise error

    def serve(self, stop: threading.Event, *, drain: float = 30.0, leaves: bool = True) -> None:
        """Drive every run that nobody has to itself, until `stop` is set (and `wake` called).

        It takes over what dead workers had, outlives an outage of the store, and goes on as a
        new worker when it was taken for dead. At the end nothing new is claimed, and what runs
        in this process has `drain` seconds to end by itself, or until `hurry`. Work on executors
        that outlive it is left to the other workers at once, or with `leaves=False` after that.
        """
        self.discovers = True
        self._round = NOTIFIED_ROUND
        self._let_inline_work_run_beside()
        able, store = self._able, self.store
        self.executors[able.default_executor].warm()  # beside the first look at what there is
        with store.database.first(), closing(store.listen(self._notice, able.serves)):
            self._go_on(lambda: True, stop)
            self._drain(self.clock.now() + timedelta(seconds=drain), leaves)

    def _go_on(
        self,
        unfinished: Callable[[], object],
        stop: threading.Event | None = None,
        patience: int | None = None,
    ) -> None:
        """Pass after pass, as long as something is unfinished and `stop` is not set."""
        stop, self._failures = stop or threading.Event(), 0
        while unfinished() and not stop.is_set():
            survived = self._survived(patience)
            if not self.looked.is_set():
                self.looked.set()
            if not survived:
                self.clock.wait(stop, OUTAGE / 2 ** max(0, 5 - self._failures))
            elif unfinished():
                self._wait()

    def _let_inline_work_run_beside(self) -> None:
        """Who serves everybody does nobody's work in the thread that attends to all of it."""
        for name, executor in list(self.executors.items()):
            if isinstance(executor, InlineExecutor):
                executor.close()
                self.executors[name] = ThreadExecutor(executor.slots, name=name)
                self.executors[name].open(self._outcomes.put)

    def hurry(self) -> None:
        """End a drain that goes on now, from any thread."""
        self._hurried = True
        self.wake()

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
        self._unrecorded += self._arrived()
        try:
            step = self.store.runs.step(
                self._unrecorded,
                self._capabilities(now),
                runs=self.runs,
                discover=self.discovers and not self._draining,
            )
        except BaseException:
            self._in_doubt = True  # until `_compare` has found what was committed all the same
            raise
        for outcome in self._unrecorded:
            self.running.ended(outcome.attempt_id)
        self._unrecorded = step.kept
        self._after(step, now)
        for attempt_id in self.running.overdue():
            self.store.runs.note_stopping(attempt_id, "timeout", now)
            self._tell_to_end(attempt_id)
        return step.ended

    # ------------------------------------------------------------------ inside

    def _after(self, step: Step, now: datetime) -> None:
        self._next_at = now + PASSED if step.passed else step.next_at
        if self.discovers and (step.claims or step.ended):  # others may wait for the same
            self._next_at = now
        self.refused |= step.refused
        for run_id in (*step.refused, *(run.id for run in step.ended)):
            self.runs.pop(run_id, None)
        if self.on_event:
            for event in step.events:
                self.on_event(event)
        for attempt in step.to_stop:
            self._tell_to_end(attempt.id)
        self._claimed.extend(step.claims)
        while self._claimed:  # kept over a Ctrl-C in the middle of inline work
            self.running.start(self._claimed.popleft())

    def _capabilities(self, now: datetime) -> Capabilities:
        """What it can run now; nothing more while it drains."""
        ending = {outcome.attempt_id for outcome in self._unrecorded}
        can = self.running.capabilities(self._able, self.worker, now, ending)
        return can.without_slots() if self._draining else can

    def _arrived(self) -> list[Outcome]:
        arrived = []
        while not self._outcomes.empty():  # nobody else takes from it
            if (outcome := self._outcomes.get()) is not None:
                arrived.append(outcome)
        return arrived

    def _wait(self) -> None:
        """Until something has ended, or something is due."""
        if not self._outcomes.empty():
            return
        now = self.clock.now()
        times = [now + self._round]
        times += [due for run_id in self.runs if (due := self.store.runs.due(run_id))]
        if self._notified.is_set():
            times.append(self._looked + NOTICE_ROUND)
        if self._next_at is not None:
            times.append(self._next_at)
        seconds = min((min(times) - now).total_seconds(), self.running.next_timeout())
        with suppress(queue.Empty):
            if (outcome := self._outcomes.get(timeout=max(0.0, seconds))) is not None:
                self._unrecorded.append(outcome)

    def _tell_to_end(self, attempt_id: str) -> None:
        if not self.running.tell_to_end(attempt_id):  # claimed, but never given to its executor
            self._claimed = deque(c for c in self._claimed if c.attempt.id != attempt_id)
            self._outcomes.put(Outcome(attempt_id=attempt_id, kind=OutcomeKind.STOPPED))

    # ------------------------------------------------------------------ the others

    def _notice(self) -> None:
        self._notified.set()
        self.wake()

    def _look_round(self, now: datetime) -> None:
        """Notice cancellations, what others took over, and other workers' deaths."""
        round_ = NOTICE_ROUND if self._notified.is_set() else self._round
        if timedelta(0) <= now - self._looked < round_:  # less: the clock was set back
            return
        self._notified.clear()
        self.store.runs.refresh(self.runs)
        if self.running.live or self._in_doubt:
            self._compare(now)
        if not timedelta(0) <= now - self._recovered < NOTIFIED_ROUND:
            self._recover(self.runs, now)
            if self.discovers and self._lease.has_turn():
                self._recover_all(now)
            self._recovered = now
        self._looked = now

    def _compare(self, now: datetime) -> None:
        """Make what runs here and what the store says this worker has the same."""
        stored = self.store.owners.attempts_of(self.worker)
        for attempt_id in [i for i in self.running.live if i not in stored]:
            self.running.let_go(attempt_id)
        waiting = {c.attempt.id for c in self._claimed} | {o.attempt_id for o in self._unrecorded}
        for attempt_id, stopping in stored.items():
            if attempt_id in self.running.live:
                if stopping == "cancel":
                    self._tell_to_end(attempt_id)
            elif attempt_id not in waiting:  # we never heard that its claim was committed
                claim = self.store.runs.resume(attempt_id, self.worker, now)
                if claim is not None:
                    self._claimed.append(claim)
        self._in_doubt = False

    def _recover(self, run_ids: Iterable[str], now: datetime) -> None:
        """Take over what dead workers had of our own runs."""
        workers_of = {run_id: self.store.owners.workers_of(run_id) for run_id in run_ids}
        dead = self._lease.fence_dead(set().union(*workers_of.values()) - {self.worker})
        for run_id, workers in workers_of.items():
            if workers & dead:
                self._take_over(run_id, dead, now)

    def _recover_all(self, now: datetime) -> None:
        others = self.store.owners.workers(held_before=now - LEASE) - {self.worker}
        dead = self._lease.fence_dead(others)
        for run_id in self.store.owners.runs_of(dead) if dead else ():
            self._take_over(run_id, dead, now)

    def _take_over(self, run_id: str, dead: set[str], now: datetime) -> None:
        self._in_doubt = True  # what is adopted is ours with the commit, heard of or not
        adopted = self.store.runs.recover(
            run_id,
            dead,
            worker=self.worker,
            survivors=self.running.survivors(),
            unusable=self.running.unusable(),
            now=now,
            hold=run_id in self.runs,
        )
        for claim in adopted:
            self.running.start(claim)

    # ------------------------------------------------------------------ serving

    def _survived(self, patience: int | None = None) -> bool:
        """One tick of a worker that goes on; False when it has failed.

        It fails as often as it may: None: for ever; else only by the store, `patience` times.
        """
        try:
            try:
                self.tick(self.clock.now())
            except LeaseLost as lost:
                _log.warning("%s; it goes on as a new worker", lost)
                self._begin_anew()
        except Exception as error:
            outage = is_outage(error)
            if patience is not None and not (outage and self._failures < patience):
                raise
            if outage is not self._outage:  # said once; what runs here goes on all the same
                if outage:
                    _log.warning("%s; what has ended is kept until it is back", error)
                else:
                    _log.exception("a pass of this worker failed; it is tried again")
            self._failures, self._outage = self._failures + 1, outage
            return False
        if self._outage:
            _log.warning("the store can be reached again")
        self._failures, self._outage = 0, None
        return True

    def _begin_anew(self) -> None:
        """Others have what this worker had: end what of it runs here, and be somebody else."""
        for attempt_id in list(self.running.live):
            self.running.let_go(attempt_id)
        self._claimed.clear()
        self._lease.close()
        self._lease = LeaseKeeper(self.store, self.clock, Identity.mine())
        self._take_lease()

    def _take_lease(self) -> None:
        """It says which pools are served by a worker that serves everybody."""
        pools = self._able.serves
        serves = "*" if pools is None else between_spaces(pools)
        self._lease.open(serves if self.discovers else None)

    def _drain(self, until: datetime, leaves: bool) -> None:
        """Wait for what runs here, tell the rest to end, and record how it did."""
        self._draining, running = True, self.running
        waited_for = running.here if leaves else lambda: list(running.live)
        self._go_on(lambda: waited_for() and self.clock.now() < until and not self._hurried)
        for attempt_id in running.here():
            running.tell_to_end(attempt_id)
        ends = {i for i in running.here() if running.live[i].executor.kills}
        by_force = self.clock.now() + timedelta(seconds=self._grace + 1)
        self._go_on(lambda: ends & running.live.keys() and self.clock.now() < by_force)
