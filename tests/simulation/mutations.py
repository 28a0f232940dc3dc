"""Faults in Ratchet itself, made on purpose: the simulation has to find each of them.

Each takes away one of the things that keep the store right. They are as small as the mistake
that somebody might make one day.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest.mock import patch

from sqlalchemy import Connection

from flows.core import courier, engine, lease_keeper
from flows.core.admission import Admission, Starts
from flows.core.alert import LetterStatus
from flows.core.engine import Engine
from flows.core.firing import Firing
from flows.core.progress import Progress
from flows.core.running import Running
from flows.core.store import schedules, writes
from flows.core.store.leases import LeaseStore
from flows.core.store.outbox import Outbox


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
        patch.object(schedules, "_MOVE", schedules._MOVE.replace(" AND seq = :base", "")),
        patch.object(writes, "by_key", any_key),
    )


def everybody_is_dead() -> AbstractContextManager[Any]:
    """Living workers are recovered, and nothing tells them."""
    return patch.object(engine, "find_dead", lambda store, workers, now, *, expired: set(workers))


def nobody_is_dead() -> AbstractContextManager[Any]:
    """What dead workers had is never taken over."""
    return patch.object(engine, "find_dead", lambda store, workers, now, *, expired: set())


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
    return patch.object(Engine, "_compare", lambda self: None)


def jobs_are_not_adopted() -> AbstractContextManager[Any]:
    """A cluster's job is started anew when the worker that had started it dies."""
    return patch.object(Running, "survivors", lambda self: set())


def pools_are_not_counted() -> AbstractContextManager[Any]:
    """A pool admits whatever comes."""
    return patch.object(Admission, "admits", lambda self, pool, weight, **_: True)


def lanes_are_not_kept() -> AbstractContextManager[Any]:
    """A run starts beside the others of its lane."""
    return patch.object(Starts, "allows", lambda self, run: True)


def nobody_is_told() -> AbstractContextManager[Any]:
    """A run ends badly, and its alert is not in the same commit."""
    return patch.object(writes.outbox, "insert", lambda connection, alerts: [])


def told_before_it_is_sent() -> AbstractContextManager[Any]:
    """A letter counts as delivered although a channel has not taken it."""
    real = courier._put_back

    def put_back(*given: Any) -> Any:
        return replace(real(*given), status=LetterStatus.DELIVERED)

    return patch.object(courier, "_put_back", put_back)


def missed_fires_leave_no_trace() -> AbstractContextManager[Any]:
    """The cursor moves over what nobody was there for."""
    real = Firing.record

    def record(self: Firing, stored: Any, decision: Any, now: Any) -> Any:
        return real(self, stored, replace(decision, missed=()), now)

    return patch.object(Firing, "record", record)


def letters_are_not_leased() -> AbstractContextManager[Any]:
    """Letters that were taken are lost with the courier that took them."""
    real = Outbox.take

    def take(self: Outbox, now: Any, *, limit: int, lease: timedelta, subject: Any = None) -> Any:
        return real(self, now, limit=limit, lease=timedelta(days=900), subject=subject)

    return patch.object(Outbox, "take", take)


def leases_last_for_ever() -> AbstractContextManager[Any]:
    """Whoever has died without saying so counts as alive."""
    real = LeaseStore.acquire

    def acquire(self: Any, name: str, holder: str, ttl: timedelta, now: Any, **more: Any) -> Any:
        return real(self, name, holder, timedelta(days=900), now, **more)

    return _both(
        patch.object(LeaseStore, "acquire", acquire),
        patch.object(LeaseStore, "renew", lambda self, lease, ttl, now: lease),
        patch.object(lease_keeper, "is_proven_dead", lambda name: False),
    )


MUTATIONS: tuple[Callable[[], AbstractContextManager[Any]], ...] = (
    run_guard_off,
    schedule_guard_off,
    everybody_is_dead,
    nobody_is_dead,
    any_worker_may_record,
    claims_in_doubt_are_forgotten,
    jobs_are_not_adopted,
    pools_are_not_counted,
    lanes_are_not_kept,
    nobody_is_told,
    told_before_it_is_sent,
    missed_fires_leave_no_trace,
    letters_are_not_leased,
    leases_last_for_ever,
)


@contextmanager
def _both(*patches: AbstractContextManager[Any]) -> Iterator[None]:
    with ExitStack() as stack:
        for one in patches:
            stack.enter_context(one)
        yield
