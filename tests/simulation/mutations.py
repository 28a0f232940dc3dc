"""Faults in Ratchet itself, made on purpose: the simulation has to find each of them.

Each takes away one of the things that keep the store right. They are as small as the mistake
that somebody might make one day.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

from sqlalchemy import Connection

from flows.core import (
    courier,
    due,
    identity,
    lease_keeper,
    retry,
    scheduler,
)
from flows.core.alert import AlertStatus, Delivery, DeliveryState
from flows.core.claiming import Budget, Capabilities, Starts
from flows.core.clock import CorrectedClock
from flows.core.engine import Engine
from flows.core.errors import StoreError
from flows.core.firing import Firing
from flows.core.identity import Identity
from flows.core.lease_keeper import LeaseKeeper
from flows.core.lifecycle import TaskEvent
from flows.core.progress import Progress
from flows.core.records import AttemptStatus, OutcomeKind
from flows.core.running import Running
from flows.core.service import Service
from flows.core.store import assets, fires, outbox, pools, runs, writes
from flows.core.store.claims import Step, Stepping
from flows.core.store.database import Database
from flows.core.store.leases import LeaseStore
from flows.core.store.outbox import Outbox
from flows.core.store.requests import RequestStore
from flows.core.store.runs import RunStore
from flows.core.store.schedules import ScheduleStore
from tests.simulation.database import Disk
from tests.simulation.story import tell

Mutation = Callable[[], AbstractContextManager[Any]]
WITHIN = 400
"""Seeds within which each has to be found."""


def run_guard_off() -> AbstractContextManager[Any]:
    """A run is written although another process has moved it since it was read."""
    return _both(
        patch.object(writes, "_UPDATE_RUN", writes._UPDATE_RUN.replace(" AND seq = :base", "")),
        patch.object(writes, "lock", lambda connection, run_ids, *, skip=False: {}),
    )


def schedule_guard_off() -> AbstractContextManager[Any]:
    """A schedule is moved although another scheduler was faster, and its keys are not unique."""

    def any_key(connection: Connection, flow: str, key: str) -> None:
        return None

    return _both(
        patch.object(fires, "_MOVE", fires._MOVE.replace(" AND seq = :base", "")),
        patch.object(writes, "by_key", any_key),
    )


def everybody_is_dead() -> AbstractContextManager[Any]:
    """Living workers are recovered, and nothing tells them."""
    return patch.object(LeaseKeeper, "fence_dead", lambda self, workers: set(workers))


def nobody_is_dead() -> AbstractContextManager[Any]:
    """What dead workers had is never taken over."""
    return patch.object(LeaseKeeper, "fence_dead", lambda self, workers: set())


def any_worker_may_record() -> AbstractContextManager[Any]:
    """The end of an attempt is recorded whoever says it, and whichever attempt is meant."""
    real = Progress.finish

    def finish(self: Progress, outcome: Any, now: Any, *, worker: str) -> bool:
        key = outcome.attempt_id[len(self.run.id) + 1 :].rpartition(".")[0]
        attempt = self.attempts.get(key)
        if attempt is None:
            return False
        return real(self, replace(outcome, attempt_id=attempt.id), now, worker=attempt.worker)

    return patch.object(Progress, "finish", finish)


def claims_in_doubt_are_forgotten() -> AbstractContextManager[Any]:
    """What was committed although nobody heard so is never started."""
    return patch.object(Engine, "_compare", lambda self, now: None)


def jobs_are_not_adopted() -> AbstractContextManager[Any]:
    """A cluster's job is started anew when the worker that had started it dies."""
    return patch.object(Running, "survivors", lambda self: set())


def pools_are_not_counted() -> AbstractContextManager[Any]:
    """A pool admits whatever comes."""
    return patch.object(Budget, "_pool_admits", lambda self, need: True)


def lanes_are_not_kept() -> AbstractContextManager[Any]:
    """A run starts beside the others of its lane."""
    return patch.object(Starts, "allows", lambda self, run: True)


def nobody_is_told() -> AbstractContextManager[Any]:
    """A run ends badly, and its alert is not in the same commit."""
    return patch.object(writes.outbox, "insert", lambda connection, alerts: [])


def told_before_it_is_sent() -> AbstractContextManager[Any]:
    """A delivery counts as done although its channel has not taken it."""

    def after(delivery: Delivery, answer: Any, now: Any) -> Delivery:
        return replace(delivery, state=DeliveryState.DELIVERED, next_at=None, at=now)

    return patch.object(courier, "_after", after)


def missed_fires_leave_no_trace() -> AbstractContextManager[Any]:
    """The cursor moves over what nobody was there for."""
    real = Firing.record

    def record(self: Firing, stored: Any, decision: Any, now: Any) -> Any:
        return real(self, stored, replace(decision, missed=()), now)

    return patch.object(Firing, "record", record)


def deliveries_are_not_leased() -> AbstractContextManager[Any]:
    """Deliveries that were taken are lost with the courier that took them."""
    real = Outbox.take

    def take(self: Outbox, channel: str, now: Any, *, lease: timedelta, **more: Any) -> Any:
        return real(self, channel, now, lease=timedelta(days=900), **more)

    return patch.object(Outbox, "take", take)


def leases_last_for_ever() -> AbstractContextManager[Any]:
    """Whoever has died without saying so counts as alive."""
    real = LeaseStore.acquire

    def acquire(self: Any, name: str, holder: str, ttl: timedelta, **more: Any) -> Any:
        return real(self, name, holder, timedelta(days=900), **more)

    return _both(
        patch.object(LeaseStore, "acquire", acquire),
        patch.object(LeaseStore, "renew", lambda self, lease, ttl: lease),
        patch.object(lease_keeper, "is_proven_dead", lambda name: False),
    )


def timeouts_are_not_noticed() -> AbstractContextManager[Any]:
    """What takes too long goes on."""
    return patch.object(Running, "overdue", lambda self: [])


def nothing_is_told_to_end() -> AbstractContextManager[Any]:
    """What is cancelled goes on until it has ended by itself."""
    return patch.object(Running, "tell_to_end", lambda self, attempt_id: True)


def losses_are_failures() -> AbstractContextManager[Any]:
    """A task fails because its worker died."""
    return patch.object(retry, "decide_lost", lambda *_: retry.GiveUp(reason="its worker died"))


def retries_give_up() -> AbstractContextManager[Any]:
    """A lost attempt is never tried again, nor said to have failed."""

    def decide_lost(policy: Any, lost: int, now: datetime) -> retry.RetryAt:
        return retry.RetryAt(at=now + timedelta(days=900))

    return patch.object(retry, "decide_lost", decide_lost)


def children_are_mixed_up() -> AbstractContextManager[Any]:
    """A mapped child is given the first item, whichever is its own."""
    real = Running._work

    def work(self: Running, claim: Any) -> Any:
        work = claim.work
        changed = work.arguments.replace("1", "0") if "[" in work.task else work.arguments
        return real(self, replace(claim, work=replace(work, arguments=changed)))

    return patch.object(Running, "_work", work)


def conditions_are_ignored() -> AbstractContextManager[Any]:
    """A model that is not better is promoted."""
    real = Progress._why_not
    return patch.object(
        Progress, "_why_not", lambda self, node: real(self, replace(node, condition=None))
    )


def an_event_is_not_written() -> AbstractContextManager[Any]:
    """Something happens to a task, and the record does not say so."""
    real = Progress._append

    def append(self: Progress, kind: str, *data: Any) -> None:
        real(self, kind, *data)
        if kind == TaskEvent.RETRY:
            self._changes.events.pop()

    return patch.object(Progress, "_append", append)


def flows_run_without_limit() -> AbstractContextManager[Any]:
    """A flow runs more often at once than it may."""
    real = Starts.allows
    return patch.object(Starts, "allows", lambda self, run: real(self, replace(run, max_runs=None)))


def what_is_new_is_forgotten() -> AbstractContextManager[Any]:
    """Rows that are too few to run on do not count the next time either."""
    real = due.decide_data

    def decide_data(stored: Any, state: Any, now: datetime) -> Any:
        decision = real(stored, state, now)
        return replace(decision, cursor={**decision.cursor, "version": state.version})

    return patch.object(due, "decide_data", decide_data)


def the_grace_is_ignored() -> AbstractContextManager[Any]:
    """A fire that is too late to be of use is run all the same."""
    real = due._sorted_out
    return patch.object(
        due,
        "_sorted_out",
        lambda schedule, *more: real(replace(schedule, grace=timedelta(days=9)), *more),
    )


def asking_twice_makes_two() -> AbstractContextManager[Any]:
    """A caller that has heard no answer and asks again gets another run."""
    real = Service.start
    return patch.object(
        Service, "start", lambda self, flow, *, key=None, **more: real(self, flow, **more)
    )


def a_key_stands_for_anything() -> AbstractContextManager[Any]:
    """Another request under the same key is taken for the first."""
    return patch.object(RequestStore, "bind", lambda self, scopes, key, request, now: None)


def ends_are_told_wrongly() -> AbstractContextManager[Any]:
    """A run that halted counts as done."""
    real = Progress.finish

    def finish(self: Progress, outcome: Any, now: datetime, *, worker: str) -> bool:
        if outcome.kind is OutcomeKind.HALTED:
            outcome = replace(outcome, kind=OutcomeKind.SUCCEEDED)
        return real(self, outcome, now, worker=worker)

    return patch.object(Progress, "finish", finish)


def schedules_stay_postponed() -> AbstractContextManager[Any]:
    """Data that could not be reached once is never looked at again."""
    real = ScheduleStore.postpone
    return patch.object(
        ScheduleStore,
        "postpone",
        lambda self, stored, reason, next_at, now: real(self, stored, reason, None, now),
    )


def slots_are_held_for_ever() -> AbstractContextManager[Any]:
    """What a lost attempt held of a pool stays taken."""
    real = Progress.lose

    def lose(self: Progress, attempt: Any, *args: Any) -> None:
        real(self, attempt, *args)
        kept = replace(self._changes.attempts[attempt.id], status=AttemptStatus.RUNNING)
        self._changes.attempts[attempt.id] = kept

    return patch.object(Progress, "lose", lose)


def assets_fire_nothing() -> AbstractContextManager[Any]:
    """An asset changes, and its event tells no schedule."""
    return patch.object(assets, "insert_fires", lambda connection, updates, **_: None)


def passing_faults_disable() -> AbstractContextManager[Any]:
    """A file that an editor is just renaming disables a schedule."""
    return _both(
        patch.object(scheduler, "passes", lambda error: False),
        patch.object(scheduler, "SETTLED", timedelta(0)),
    )


def open_runs_are_not_seen() -> AbstractContextManager[Any]:
    """A fire does not mind the run before it."""
    return _both(
        patch.object(ScheduleStore, "open_runs", lambda self, stored: ()),
        patch.object(fires, "open_in_lane", lambda connection, lane: ()),
    )


def containers_are_one_machine() -> AbstractContextManager[Any]:
    """A process that cannot be seen from here counts as gone."""
    return patch.object(Identity, "is_dead", lambda self: identity.is_gone(self.pid, self.started))


def one_channel_stands_for_all() -> AbstractContextManager[Any]:
    """An alert that one channel has taken is done."""
    real = outbox.status_of

    def status_of(deliveries: Any) -> AlertStatus:
        done = any(delivery.state.done for delivery in deliveries)
        return AlertStatus.DELIVERED if done else real(deliveries)

    return patch.object(outbox, "status_of", status_of)


def held_alerts_are_forgotten() -> AbstractContextManager[Any]:
    """What is over a channel's throttle never comes in a digest."""
    real = Outbox.hold
    return patch.object(
        Outbox,
        "hold",
        lambda self, channel, now, *, until, limit: real(
            self, channel, now, until=until + timedelta(days=900), limit=limit
        ),
    )


def workers_trust_their_clocks() -> AbstractContextManager[Any]:
    """Leases are stamped and compared with the clocks of workers."""
    return _both(
        patch.object(Database, "now", lambda self, connection: self._process.clock.now()),
        patch.object(CorrectedClock, "correct", lambda self, now: None),
    )


def runs_are_decided_together() -> AbstractContextManager[Any]:
    """What goes wrong in the decisions about one run goes wrong for all, also the second time."""

    def apart(self: Stepping, run_id: str, decide: Callable[[], None]) -> None:
        decide()

    def together(self: RunStore, can: Any, by_run: Any, waiting: Any) -> Step:
        return self._stepped(can, by_run, waiting)

    return _both(
        patch.object(Stepping, "_apart", apart),
        patch.object(RunStore, "_one_by_one", together),
    )


def a_refused_row_is_an_outage() -> AbstractContextManager[Any]:
    """The database refuses what one run holds, and everybody waits for it."""
    return patch.object(runs, "is_outage", lambda error: isinstance(error, StoreError))


def claims_of_one_step_are_not_counted() -> AbstractContextManager[Any]:
    """What a step has claimed already takes nothing from its pool."""
    real = Budget.take
    return patch.object(Budget, "take", lambda self, need: real(self, replace(need, pool="other")))


def what_follows_a_reused_value_is_not_limited() -> AbstractContextManager[Any]:
    """What becomes claimable inside a step, as a value is taken over, asks no pool."""
    real = Stepping._reused

    def reused(self: Stepping, *task: Any) -> bool:
        taken = real(self, *task)
        if taken:
            self._budget._pool_admits = lambda need: True  # type: ignore[method-assign]
        return taken

    return patch.object(Stepping, "_reused", reused)


def what_follows_in_a_step_is_not_limited() -> AbstractContextManager[Any]:
    """What becomes claimable as the task before it ends asks no pool."""
    real = Budget._pool_admits
    return patch.object(
        Budget,
        "_pool_admits",
        lambda self, need: need.since == self._can.now or real(self, need),
    )


def every_pool_is_served() -> AbstractContextManager[Any]:
    """A worker starts what is in a pool of others."""
    return patch.object(Capabilities, "serving", lambda self, pool: True)


def rates_are_not_kept() -> AbstractContextManager[Any]:
    """A pool forgets what has started in it a moment ago."""
    return patch.object(pools, "_starts", lambda connection, pool, now: (0, None))


MUTATIONS: Mapping[Mutation, int] = {
    run_guard_off: 0,
    schedule_guard_off: 15,
    everybody_is_dead: 1,
    nobody_is_dead: 3,
    any_worker_may_record: 245,
    claims_in_doubt_are_forgotten: 47,
    jobs_are_not_adopted: 52,
    pools_are_not_counted: 1,
    lanes_are_not_kept: 4,
    nobody_is_told: 0,
    told_before_it_is_sent: 3,
    missed_fires_leave_no_trace: 3,
    deliveries_are_not_leased: 4,
    leases_last_for_ever: 0,
    timeouts_are_not_noticed: 5,
    nothing_is_told_to_end: 26,
    losses_are_failures: 3,
    retries_give_up: 3,
    children_are_mixed_up: 5,
    conditions_are_ignored: 0,
    an_event_is_not_written: 0,
    flows_run_without_limit: 10,
    what_is_new_is_forgotten: 5,
    the_grace_is_ignored: 3,
    asking_twice_makes_two: 2,
    a_key_stands_for_anything: 7,
    ends_are_told_wrongly: 0,
    schedules_stay_postponed: 6,
    slots_are_held_for_ever: 0,
    assets_fire_nothing: 0,
    passing_faults_disable: 3,
    open_runs_are_not_seen: 1,
    containers_are_one_machine: 0,
    one_channel_stands_for_all: 0,
    held_alerts_are_forgotten: 0,
    workers_trust_their_clocks: 0,
    runs_are_decided_together: 1,
    a_refused_row_is_an_outage: 50,
    claims_of_one_step_are_not_counted: 1,
    what_follows_a_reused_value_is_not_limited: 15,
    what_follows_in_a_step_is_not_limited: 1,
    every_pool_is_served: 1,
    rates_are_not_kept: 26,
}
"""Each with a seed that finds it, to be tried first: `python -m tests.simulation --mutations`."""


def found_by(mutation: Mutation, disk: Disk, *, first: int = 0) -> tuple[int, str] | None:
    """The first seed that finds it and what is wrong there; None: none of so many does."""
    with mutation():
        for seed in dict.fromkeys((first, *range(WITHIN))):
            if problems := tell(seed, disk).problems:
                assert "<locals>" not in problems[0], f"it does not fit the code: {problems[0]}"
                return seed, problems[0]
    return None


@contextmanager
def _both(*patches: AbstractContextManager[Any]) -> Iterator[None]:
    with ExitStack() as stack:
        for one in patches:
            stack.enter_context(one)
        yield
