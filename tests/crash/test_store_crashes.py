"""The crash matrix: every transition of the store, crash before it and after it, restart.

Because each transition is one store method, a crash at any instruction looks to the rest of
the world like a crash just before or just after one of them.
"""

from __future__ import annotations

import secrets
from collections import Counter
from datetime import timedelta

import pytest

from flows.core.engine import Engine
from flows.core.executors.inline import InlineExecutor
from flows.core.flow import flow, task, when
from flows.core.identity import Identity, this_machine
from flows.core.lease_keeper import LEASE
from flows.core.records import AttemptStatus, RunStatus, TaskStatus
from flows.core.retry import Retry
from flows.core.service import Service
from flows.core.store import Store
from tests.manual_clock import ManualClock

executions: Counter[str] = Counter()


@task(retry=Retry(lost=50))
def parts() -> list[int]:
    executions["parts"] += 1
    return [1, 2, 3]


@task(retry=Retry(lost=50))
def square(x: int) -> int:
    executions[f"square{x}"] += 1
    return x * x


@task(retry=Retry(attempts=2, lost=50))
def flaky(xs: list[int]) -> bool:
    executions["flaky"] += 1
    if executions["flaky"] == 1:
        raise OSError("the first time always fails")
    return sum(xs) == 14


@task(retry=Retry(lost=50))
def publish(good: bool) -> str:
    executions["publish"] += 1
    return "published"


@task(retry=Retry(lost=50))
def refuse(good: bool) -> str:
    executions["refuse"] += 1
    return "refused"


@flow
def loop() -> None:
    good = flaky(square.map(parts()))
    when(good).then(publish(good))
    when(~good).then(refuse(good))


class Crash(BaseException):
    """The process is gone."""


READS = ("due", "refresh", "workers_of", "attempts_of", "workers", "runs_of")


class Crashing:
    """Calls through to a store's aggregate until the n-th call, and dies before or after it."""

    def __init__(self, real, at, after):
        self._real, self._at, self._after = real, at, after
        self.calls = 0

    def __getattr__(self, name):
        method = getattr(self._real, name)
        if name in READS or not callable(method):
            return method

        def call(*args, **kwargs):
            self.calls += 1
            if self.calls == self._at and not self._after:
                raise Crash(f"before {name}")
            result = method(*args, **kwargs)
            if self.calls == self._at:
                raise Crash(f"after {name}")
            return result

        return call


def seen_to_be_dead():
    """A process of this machine: when the next life begins, it can be seen that it is gone."""
    nonce = secrets.token_hex(3)
    return Identity(host="here", machine=this_machine(), pid=2**22 + 1, started=1, nonce=nonce)


def drive(url, clock, at=0, after=False):
    """One life of the process: start the run (or find it), drive it; True when it lived."""
    store = Store.open(url, clock)
    store.runs = crashing = Crashing(store.runs, at, after)
    store.leases = Crashing(store.leases, 0, False)
    service = Service(store, clock)
    driver = Engine(
        store, {"inline": InlineExecutor()}, clock=clock, default_executor="inline",
        calls=lambda _, key: loop.tasks[key].function, identity=seen_to_be_dead(),
    )  # fmt: skip
    try:
        driver.open()
        made = service.start(
            loop, config={}, config_yaml="", config_digest="d", trigger={}, key="night-1"
        )
        driver.drive(made.id)
        for _ in range(60):
            if driver.tick(clock.now()):
                break
        driver.close()
    except Crash:
        driver._lease._stop.set()  # what a dead process does not do any more: renew, release
        return False, crashing.calls
    finally:
        store.close()
    return True, crashing.calls


def how_many_transitions(tmp_path):
    executions.clear()
    lived, calls = drive(f"sqlite:///{tmp_path}/count.db", ManualClock())
    assert lived
    return calls


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_at_any_transition_loses_nothing_and_repeats_nothing_finished(tmp_path, after):
    transitions = how_many_transitions(tmp_path)
    assert transitions > 8
    for at in range(1, transitions + 1):
        executions.clear()
        clock = ManualClock()
        url = f"sqlite:///{tmp_path}/{after}-{at}.db"
        lived, _ = drive(url, clock, at, after)
        assert not lived
        clock.advance(LEASE + timedelta(seconds=1))
        lived, _ = drive(url, clock)
        assert lived
        check(url, f"crash {'after' if after else 'before'} transition {at}")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_process_that_crashes_again_and_again_still_comes_to_the_same_end(tmp_path, after):
    executions.clear()
    clock = ManualClock()
    url = f"sqlite:///{tmp_path}/ratchet.db"
    for life in range(60):
        lived, _ = drive(url, clock, at=3 + life % 2, after=after)
        if lived:
            break
        clock.advance(LEASE + timedelta(seconds=1))
    else:
        pytest.fail("it never came to its end")
    check(url, "crashing again and again")


def check(url, when_it_crashed):
    store = Store.open(url)
    (run,) = store.reads.runs()
    detail = store.reads.detail(run.id)
    store.close()
    assert run.status is RunStatus.SUCCEEDED, when_it_crashed
    tasks = {t.key: t for t in detail.tasks}
    assert tasks["publish"].value == '"published"'
    assert tasks["refuse"].status is TaskStatus.SKIPPED
    succeeded = Counter(a.key for a in detail.attempts if a.status is AttemptStatus.SUCCEEDED)
    assert set(succeeded.values()) == {1}, f"{when_it_crashed}: a finished task was run again"
    assert not [a for a in detail.attempts if a.status is AttemptStatus.RUNNING]
    assert executions["refuse"] == 0
    # What ran is what was claimed: no work without its durable attempt.
    assert sum(executions.values()) <= len(detail.attempts), when_it_crashed
