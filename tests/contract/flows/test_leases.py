"""A wrong clock takes nothing from anybody: leases are the store's, by the store's time."""

from __future__ import annotations

import secrets
from datetime import timedelta

import pytest

from flows.core.clock import CorrectedClock, SystemClock
from flows.core.errors import LeaseLost, StoreError
from flows.core.identity import Identity
from flows.core.lease_keeper import LEASE, TURN, LeaseKeeper, living_among
from flows.core.store import Store
from tests.manual_clock import ManualClock


class Off:
    """The clock of a machine that is wrong by so much; what passes, it counts as everybody."""

    def __init__(self, clock, seconds):
        self.by, self._clock = timedelta(seconds=seconds), clock
        self.elapsed, self.sleep, self.wait = clock.elapsed, clock.sleep, clock.wait

    def now(self):
        return self._clock.now() + self.by


class Settable(ManualClock):
    """The clock of the store, which somebody may set; what passes, is not touched by that."""

    def __init__(self):
        super().__init__()
        self.by = timedelta(0)

    def now(self):
        return super().now() + self.by


@pytest.fixture
def clock():
    return Settable()


@pytest.fixture
def keep(store, clock):
    """Opens keepers of leases whose processes are on machines of their own; no thread renews."""
    opened = []

    def opening(by=0.0):
        identity = Identity(
            host="elsewhere", machine="", pid=1, started=1, nonce=secrets.token_hex(3)
        )
        keeper = LeaseKeeper(store, CorrectedClock(Off(clock, by)), identity)
        keeper.open()
        keeper._stop.set()
        keeper._thread.join()
        opened.append(keeper)
        return keeper

    yield opening
    for keeper in opened:
        keeper.close()


def go_on(clock, seconds, *keepers):
    """Time passes; these renew their leases as they should."""
    for _ in range(seconds):
        clock.advance(1)
        for keeper in keepers:
            keeper._renew()


@pytest.mark.parametrize("by", [12, 3600, -12, -3600])
def test_a_worker_whose_clock_is_wrong_takes_nothing_from_the_living_nor_loses_anything(
    keep, store, clock, by
):
    wrong, right = keep(by), keep()
    for _ in range(30):
        go_on(clock, 1, wrong, right)
        assert wrong.fence_dead([right.name]) == right.fence_dead([wrong.name]) == set()
    assert {lease.holder for lease in store.leases.holders()} == {wrong.name, right.name}


@pytest.mark.parametrize("by", [3600, -3600])
def test_a_worker_whose_clock_is_wrong_finds_the_dead_as_soon_as_others(keep, clock, by):
    dead, wrong = keep(), keep(by)
    go_on(clock, 7, wrong)
    assert wrong.fence_dead([dead.name]) == set()
    go_on(clock, 2, wrong)
    assert wrong.fence_dead([dead.name]) == {dead.name}
    with pytest.raises(LeaseLost):
        dead._renew()


@pytest.mark.parametrize("by", [5, 60, 3600, -5, -60, -3600])
def test_nobody_is_dead_when_the_clock_of_the_store_is_set(keep, clock, by):
    his, mine = keep(), keep()
    go_on(clock, 20, his, mine)
    clock.advance(1.9)  # just before both would renew
    clock.by = timedelta(seconds=by)
    for _ in range(20):
        assert mine.fence_dead([his.name]) == his.fence_dead([mine.name]) == set()
        go_on(clock, 1, his, mine)


@pytest.mark.parametrize("by", [3600, -3600])
def test_the_dead_are_found_although_the_clock_of_the_store_was_set(keep, clock, by):
    dead, mine = keep(), keep()
    go_on(clock, 20, dead, mine)
    clock.by = timedelta(seconds=by)
    found = set()
    for _ in range(20):  # more than the usual ten seconds: a clock that was set earns no trust
        go_on(clock, 1, mine)
        found |= mine.fence_dead([dead.name])
    assert found == {dead.name}


def test_nobody_is_dead_when_the_store_was_away(keep, store, clock, monkeypatch):
    his, mine = keep(), keep()
    go_on(clock, 20, his, mine)

    def away(*_):
        raise StoreError("it is away")

    with monkeypatch.context() as outage:
        outage.setattr(store.leases, "renew", away)
        for _ in range(12):
            clock.advance(1)
            with pytest.raises(StoreError):
                mine._renew()
    mine._troubled = True  # as its thread has noticed
    assert mine.fence_dead([his.name]) == set()
    go_on(clock, 1, mine)
    assert mine.fence_dead([his.name]) == set()
    go_on(clock, 20, his, mine)
    assert mine.fence_dead([his.name]) == set()


def test_a_machine_that_slept_finds_out_that_it_is_dead_before_it_goes_on(keep, clock):
    slept, mine = keep(), keep()
    go_on(clock, 9, mine)
    assert mine.fence_dead([slept.name]) == {slept.name}
    with pytest.raises(LeaseLost):
        slept.check()


def test_one_worker_looks_for_the_dead_and_another_when_it_is_gone(keep, clock):
    first, second = keep(), keep()
    assert first.has_turn()
    for _ in range(20):
        go_on(clock, 1, first, second)
        assert first.has_turn()
        assert not second.has_turn()
    seconds = 0
    while not second.has_turn():  # the first is dead
        go_on(clock, 1, second)
        seconds += 1
    assert seconds <= TURN.total_seconds() < LEASE.total_seconds()
    assert not first.has_turn()


def test_the_turn_of_a_worker_that_ends_is_free_at_once(keep):
    first, second = keep(), keep()
    assert first.has_turn()
    first.close()
    assert second.has_turn()


def test_a_turn_counts_as_no_worker(keep, store):
    first = keep()
    assert first.has_turn()
    assert [lease.holder for lease in store.leases.holders()] == [first.name]


def test_of_workers_those_are_living_whose_lease_has_not_run_out(keep, store, clock):
    dead, living = keep(), keep(3600)
    go_on(clock, 9, living)
    assert living_among(store, [dead.name, living.name, "nobody"]) == {living.name}


def test_the_time_of_a_store_with_a_server_is_the_servers(store_url, monkeypatch):
    real = SystemClock.now
    monkeypatch.setattr(SystemClock, "now", lambda self: real(self) + timedelta(seconds=90))
    store = Store.open(store_url)
    ahead = store.clock.now() - real(SystemClock())
    lease = store.leases.acquire("worker:a", "a", LEASE)
    store.close()
    expected = timedelta(0) if store_url.startswith("postgresql") else timedelta(seconds=90)
    assert abs(ahead - expected) < timedelta(seconds=30)
    assert abs(lease.expires_at - LEASE - real(SystemClock()) - expected) < timedelta(seconds=30)
