"""Alerts reach every channel at least once, are tried again, throttled, and never lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.core import courier as module
from flows.core.alert import (
    Alert,
    AlertKind,
    AlertRecord,
    AlertStatus,
    Delivery,
    DeliveryState,
    Severity,
    Throttle,
)
from flows.core.clock import SystemClock
from flows.core.courier import AGAIN, LEASE, Courier
from flows.core.errors import StoreError
from flows.core.store import Store
from tests.manual_clock import ManualClock

Answer = tuple[DeliveryState, str | None]
TAKEN: Answer = (DeliveryState.DELIVERED, None)
REFUSED: Answer = (DeliveryState.FAILED, "it says 500")
HOUR = timedelta(hours=1)


class Channels:
    """Channels that do as they are told, and keep what they got."""

    def __init__(self, *names: str, throttle: Throttle | None = None) -> None:
        self.names = names
        self.limit = throttle
        self.got: list[tuple[str, Alert]] = []
        self.answers: dict[str, Callable[[Alert], Answer]] = {}

    def channels(self, alert: Alert) -> tuple[str, ...]:
        return self.names

    def has(self, channel: str) -> bool:
        return channel in self.names

    def throttle(self, channel: str) -> Throttle | None:
        return self.limit if channel != "file" else None

    def send(self, alert: Alert, channel: str) -> Answer:
        answer = self.answers.get(channel, lambda _: TAKEN)(alert)
        if answer[0] is not DeliveryState.FAILED:
            self.got.append((channel, alert))
        return answer

    def keys(self, channel: str) -> list[str]:
        return [alert.key for name, alert in self.got if name == channel]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(f"sqlite:///{tmp_path}/ratchet.db")
    yield opened
    opened.close()


def alert(number: int, at: datetime) -> Alert:
    return Alert(
        key=f"failed:run-{number}:1",
        kind=AlertKind.FAILED,
        severity=Severity.CRITICAL,
        flow="retrain",
        subject=f"run-{number}",
        title="retrain failed",
        reason="no luck",
        since=at,
        at=at,
        next="ratchet retry",
    )


def post(store: Store, clock: ManualClock, *numbers: int) -> None:
    store.outbox.post([alert(n, clock.now()) for n in numbers], clock.now())


def stands(store: Store, number: int = 1) -> AlertRecord:
    (record,) = store.outbox.list(keys=[f"failed:run-{number}:1"])
    return record


def on(channel: str, record: AlertRecord) -> Delivery:
    """How an alert stands on a channel."""
    return next(delivery for delivery in record.deliveries if delivery.channel == channel)


def test_every_channel_gets_an_alert_once(store: Store, clock: ManualClock) -> None:
    channels = Channels("file", "mail", "chat")
    courier = Courier(store, channels, clock=clock)
    post(store, clock, 1)
    (record,) = courier.tick(clock.now())
    assert record.status is AlertStatus.DELIVERED
    assert sorted(name for name, _ in channels.got) == ["chat", "file", "mail"]
    clock.advance(HOUR)
    assert courier.tick(clock.now()) == ()
    assert stands(store) == record


def test_a_retry_goes_only_to_the_channels_that_have_not_got_it(
    store: Store, clock: ManualClock
) -> None:
    channels = Channels("mail", "chat")
    channels.answers["chat"] = lambda _: REFUSED
    courier = Courier(store, channels, clock=clock)
    post(store, clock, 1)
    (record,) = courier.tick(clock.now())
    assert (record.status, record.tries) == (AlertStatus.PENDING, 1)
    assert record.delivered_at == clock.now()  # somebody knows
    assert courier.tick(clock.now()) == ()
    channels.answers.clear()
    clock.advance(10)
    (record,) = courier.tick(clock.now())
    assert record.status is AlertStatus.DELIVERED
    assert (channels.keys("mail"), channels.keys("chat")) == (["failed:run-1:1"],) * 2


def test_a_channel_is_tried_for_about_a_day_further_and_further_apart(
    store: Store, clock: ManualClock
) -> None:
    channels = Channels("chat")
    channels.answers["chat"] = lambda _: REFUSED
    courier = Courier(store, channels, clock=clock)
    post(store, clock, 1)
    begun, waits = clock.now(), []
    while (record := courier.tick(clock.now())[0]).status is AlertStatus.PENDING:
        waits.append(record.next_at - clock.now())
        clock.advance(waits[-1])
    assert (record.status, record.tries) == (AlertStatus.DEAD, AGAIN.attempts)
    assert timedelta(hours=18) < clock.now() - begun < timedelta(hours=26)
    assert timedelta(seconds=8) <= waits[0] <= timedelta(seconds=10)
    assert all(wait <= HOUR for wait in waits)
    assert store.reads.events()[-1].kind == "alert.dead"


def test_what_was_given_up_is_delivered_when_somebody_asks(
    store: Store, clock: ManualClock
) -> None:
    channels = Channels("chat")
    channels.answers["chat"] = lambda _: REFUSED
    courier = Courier(store, channels, clock=clock)
    post(store, clock, 1)
    while courier.tick(clock.now()):
        clock.advance(HOUR)
    assert stands(store).status is AlertStatus.DEAD
    channels.answers.clear()
    (record,) = courier.again(clock.now())
    assert record.status is AlertStatus.DELIVERED
    assert channels.keys("chat") == ["failed:run-1:1"]


def test_what_is_for_a_removed_channel_is_given_up_soon_and_goes_to_the_others_when_asked(
    store: Store, clock: ManualClock
) -> None:
    channels = Channels("file", "chat")
    channels.answers["chat"] = lambda _: REFUSED
    post(store, clock, 1)
    Courier(store, channels, clock=clock).tick(clock.now())
    restarted = Courier(store, Channels("file", "mail"), clock=clock)
    clock.advance(HOUR)
    restarted.tick(clock.now())
    record = stands(store)
    assert record.status is AlertStatus.DEAD
    assert on("chat", record).problem == module.REMOVED
    (record,) = restarted.again(clock.now())
    assert record.status is AlertStatus.DELIVERED
    assert {d.channel for d in record.deliveries} == {"file", "mail"}


def test_a_channel_that_is_not_known_here_is_left_to_a_courier_that_knows_it(
    store: Store, clock: ManualClock
) -> None:
    theirs = Channels("chat")
    theirs.answers["chat"] = lambda _: REFUSED
    post(store, clock, 1)
    Courier(store, theirs, clock=clock).tick(clock.now())
    clock.advance(timedelta(minutes=1))
    Courier(store, Channels("mail"), clock=clock).tick(clock.now())
    assert stands(store).status is AlertStatus.PENDING
    theirs.answers.clear()
    Courier(store, theirs, clock=clock).tick(clock.now())
    assert stands(store).status is AlertStatus.DELIVERED


def test_a_channel_that_raises_is_a_failed_delivery(store: Store, clock: ManualClock) -> None:
    def breaks(_: Alert) -> Answer:
        raise ZeroDivisionError("a broken plugin")

    channels = Channels("chat", "mail")
    channels.answers["chat"] = breaks
    post(store, clock, 1)
    (record,) = Courier(store, channels, clock=clock).tick(clock.now())
    broken = on("chat", record)
    assert broken.problem == "ZeroDivisionError: a broken plugin"
    assert channels.keys("mail") == ["failed:run-1:1"]


def test_a_channel_that_fails_is_not_tried_with_every_alert_of_the_pass(
    store: Store, clock: ManualClock
) -> None:
    tried = []
    channels = Channels("chat")
    channels.answers["chat"] = lambda alert: (tried.append(alert.key), REFUSED)[1]
    post(store, clock, *range(30))
    records = Courier(store, channels, clock=clock).tick(clock.now())
    assert len(tried) == 1
    assert {record.tries for record in records} == {1}


def test_what_is_over_the_throttle_is_one_digest_at_the_end_of_the_window(
    store: Store, clock: ManualClock
) -> None:
    channels = Channels("file", "chat", throttle=Throttle(alerts=3, window=HOUR))
    courier = Courier(store, channels, clock=clock)
    post(store, clock, *range(10))
    courier.tick(clock.now())
    assert len(channels.keys("file")) == 10  # no throttle holds for it
    assert len(channels.keys("chat")) == 3
    clock.advance(timedelta(minutes=59))
    post(store, clock, *range(10, 20))
    courier.tick(clock.now())
    assert len(channels.keys("chat")) == 3
    clock.advance(timedelta(minutes=1))
    records = courier.tick(clock.now())
    assert len(records) == 17
    name, digest = channels.got[-1]
    assert (name, digest.kind, digest.title) == (
        "chat", AlertKind.DIGEST, "17 more alerts: 17 failed",
    )  # fmt: skip
    assert all(record.status is AlertStatus.DELIVERED for record in store.outbox.list(limit=50))
    delivered = [e for e in store.reads.events() if e.kind == "alert.delivered"]
    assert sorted(e.data["key"] for e in delivered) == sorted(
        alert(n, clock.now()).key for n in range(20)
    )


def test_a_digest_that_is_not_taken_is_tried_again(store: Store, clock: ManualClock) -> None:
    channels = Channels("chat", throttle=Throttle(alerts=1, window=HOUR))
    courier = Courier(store, channels, clock=clock)
    post(store, clock, 1, 2, 3)
    courier.tick(clock.now())
    clock.advance(HOUR)
    channels.answers["chat"] = lambda _: REFUSED
    courier.tick(clock.now())
    channels.answers.clear()
    for _ in range(3):
        clock.advance(HOUR)
        courier.tick(clock.now())
    assert {record.status for record in store.outbox.list()} == {AlertStatus.DELIVERED}


def test_a_single_alert_over_the_throttle_is_told_as_itself(
    store: Store, clock: ManualClock
) -> None:
    channels = Channels("chat", throttle=Throttle(alerts=1, window=HOUR))
    courier = Courier(store, channels, clock=clock)
    post(store, clock, 1, 2)
    courier.tick(clock.now())
    clock.advance(HOUR)
    courier.tick(clock.now())
    assert channels.keys("chat") == ["failed:run-1:1", "failed:run-2:1"]


def test_the_throttle_counts_over_restarts(store: Store, clock: ManualClock) -> None:
    channels = Channels("chat", throttle=Throttle(alerts=2, window=HOUR))
    for number in range(5):
        post(store, clock, number)
        Courier(store, channels, clock=clock).tick(clock.now())
    assert len(channels.keys("chat")) == 2


def test_only_what_is_about_a_run_is_delivered_when_asked_so(
    store: Store, clock: ManualClock
) -> None:
    channels = Channels("chat")
    post(store, clock, 1, 2)
    Courier(store, channels, clock=clock).tick(clock.now(), subject="run-2")
    assert channels.keys("chat") == ["failed:run-2:1"]


def test_two_couriers_at_once_tell_each_channel_once(tmp_path: Path) -> None:
    url, clock = f"sqlite:///{tmp_path}/ratchet.db", SystemClock()
    stores = [Store.open(url) for _ in range(3)]
    stores[0].outbox.post([alert(n, clock.now()) for n in range(60)], clock.now())
    channels = Channels("file", "mail", "chat")
    couriers = [Courier(store, channels, clock=clock) for store in stores]
    threads = [threading.Thread(target=c.tick, args=(clock.now(),)) for c in couriers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in channels.names:
        assert sorted(channels.keys(name)) == sorted(alert(n, clock.now()).key for n in range(60))
    for store in stores:
        store.close()


def test_a_channel_that_never_answers_holds_up_no_other(
    store: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_TIME", 0.05)
    ever = threading.Event()
    channels = Channels("mail", "hung")
    channels.answers["hung"] = lambda _: (ever.wait(), TAKEN)[1]
    courier = Courier(store, channels, clock=clock)
    post(store, clock, 1)
    (record,) = courier.tick(clock.now())
    hung = on("hung", record)
    assert (hung.state, hung.problem) == (DeliveryState.FAILED, "no answer within 0.05 s")
    assert channels.keys("mail") == ["failed:run-1:1"]
    clock.advance(HOUR)
    post(store, clock, 2)
    later = {x.alert.key: on("hung", x) for x in courier.tick(clock.now())}
    assert {d.problem for d in later.values()} == {"it still has not answered"}
    assert channels.keys("mail") == ["failed:run-1:1", "failed:run-2:1"]
    ever.set()


class AtOnce:
    """A thread whose work is done when it starts: what ends it ends its courier too."""

    def __init__(self, target: Callable[..., None], args: tuple[Any, ...], **_: Any) -> None:
        self.start = lambda: target(*args)


class Crash(BaseException):
    """The process is gone."""


class Crashing:
    """An outbox that dies before or after its n-th transition."""

    def __init__(self, real: Any, at: int, after: bool) -> None:
        self._real, self._at, self._after, self.calls = real, at, after, 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._real, name)
        if name not in ("address", "take", "hold", "settle"):
            return method

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            if self.calls == self._at and not self._after:
                raise Crash
            result = method(*args, **kwargs)
            if self.calls == self._at:
                raise Crash
            return result

        return call


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, 12))
def test_a_crash_at_any_transition_loses_no_alert(
    store: Store, clock: ManualClock, at: int, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.threading, "Thread", AtOnce)
    channels = Channels("mail", "chat")
    post(store, clock, 1, 2, 3)
    real = store.outbox
    store.outbox = Crashing(real, at, after)  # type: ignore[assignment]
    try:
        Courier(store, channels, clock=clock).tick(clock.now())
    except Crash:
        clock.advance(LEASE)
    store.outbox = real
    Courier(store, channels, clock=clock).tick(clock.now())
    wanted = {alert(n, clock.now()).key for n in (1, 2, 3)}
    for name in channels.names:
        assert set(channels.keys(name)) == wanted
        assert len(channels.keys(name)) <= 6  # at least once, and twice at most after one crash
    assert {record.status for record in store.outbox.list()} == {AlertStatus.DELIVERED}
    delivered = [e.data["key"] for e in store.reads.events() if e.kind == "alert.delivered"]
    assert sorted(delivered) == sorted(wanted)


def test_a_serving_courier_delivers_what_comes_and_ends_when_told(store: Store) -> None:
    clock, stop, arrived = SystemClock(), threading.Event(), threading.Event()
    channels = Channels("chat")
    channels.answers["chat"] = lambda _: (arrived.set(), TAKEN)[1]
    courier = Courier(store, channels, clock=clock)
    serving = threading.Thread(target=courier.serve, args=(stop,))
    serving.start()
    store.outbox.post([alert(1, clock.now())], clock.now())
    courier.wake()
    assert arrived.wait(60)
    stop.set()
    courier.wake()
    serving.join(60)
    assert not serving.is_alive()
    assert stands(store).status is AlertStatus.DELIVERED


def test_a_serving_courier_waits_for_a_store_that_is_away(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock, stop = ManualClock(), threading.Event()
    looks = iter(range(5))

    def away() -> datetime | None:
        if next(looks, None) is None:
            stop.set()
            return None
        raise StoreError("the database is starting up")

    monkeypatch.setattr(store.outbox, "due", away)
    Courier(store, Channels("chat"), clock=clock).serve(stop)
    assert [record.getMessage() for record in caplog.records] == [
        "alerts wait for the state store: the database is starting up"
    ]
