"""Delivers the alerts of the outbox: at least once on every channel, and again until taken.

- A letter is on the way to some channels. What a channel has taken is written down, and only
  the channels that are missing are tried again.
- A channel that does not take a letter is tried again after 10 s, 20 s, 40 s, ... up to an
  hour apart, for about a day. Then the letter is dead, which is an event, and can be revived.
- A channel takes so many letters in a window, and at its end one digest of all that is over.
  Several couriers count together, but may send a few more when they send at the same moment.
- Channels are served in parallel. One that fails is not tried with the other letters of the
  same pass, and one that never answers holds up nobody else's.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol

from flows.core.alert import (
    Alert,
    Delivery,
    DeliveryState,
    Letter,
    LetterStatus,
    Throttle,
    digest_of,
)
from flows.core.clock import Clock
from flows.core.errors import StoreError
from flows.core.retry import Backoff, Retry, wait
from flows.core.store import Store

AGAIN = Retry(
    attempts=32, delay=10, backoff=Backoff.EXPONENTIAL, cap=timedelta(hours=1), jitter=0.2
)
"""When a channel is tried again: about a day, all in all."""
PATIENCE = 30.0
"""Seconds after which a channel that has not answered counts as failed."""
LEASE = timedelta(minutes=3)
"""How long a courier has a letter to itself: longer than any pass takes."""
PASS = timedelta(seconds=20)
"""A channel takes no new letter in a pass that has gone on for so long."""
BATCH = 5000
"""Letters taken in one pass; more than one digest is made of what is more."""
LOOK_ROUND = 1.0
"""Seconds between two looks into the outbox when nobody rings."""
PASSES = 4
"""Passes at the same time: what waits for one slow channel holds up three others at most."""

_log = logging.getLogger(__name__)


class Post(Protocol):
    """Who is told of what, and the way there."""

    @property
    def throttle(self) -> Throttle | None:
        """How much a channel takes; None: everything."""

    def channels(self, alert: Alert) -> tuple[str, ...]:
        """The names of the channels that an alert has to reach; unique, without a secret."""

    def throttled(self, channel: str) -> bool:
        """Whether the throttle holds for a channel."""

    def send(self, alert: Alert, channel: str) -> tuple[DeliveryState, str | None]:
        """Send an alert, and say how that went; with FAILED the problem, in one line."""


@dataclass(kw_only=True, eq=False)
class _Bag:
    """A letter in one pass: the channels that it has to reach, and what became of it there."""

    letter: Letter
    channels: tuple[str, ...]
    waiting: set[str] = field(default_factory=set)  # channels whose answer is awaited
    found: dict[str, Delivery] = field(default_factory=dict)  # in this pass

    def last(self, channel: str) -> Delivery | None:
        """What became of it on a channel, in this pass or before."""
        return self.found.get(channel) or self.letter.on(channel)

    def missing(self) -> list[str]:
        """The channels that are not done with it."""
        last = {channel: self.last(channel) for channel in self.channels}
        return [channel for channel, d in last.items() if d is None or not d.state.done]

    def deliveries(self) -> tuple[Delivery, ...]:
        """The last of each channel that it was tried on."""
        last = (self.last(channel) for channel in self.channels)
        return tuple(delivery for delivery in last if delivery is not None)

    def put(self, channel: str, state: DeliveryState, at: datetime, problem: str | None) -> None:
        """Note what became of it on a channel."""
        self.found[channel] = Delivery(channel=channel, state=state, at=at, problem=problem)

    def take(self, answer: _Answer) -> bool:
        """Note a channel's answer; whether it was the last that was awaited."""
        if answer.channel not in self.waiting:
            return False  # it came too late
        self.waiting.discard(answer.channel)
        if answer.state is not None:
            self.put(answer.channel, answer.state, answer.at, answer.problem)
        return not self.waiting


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """What a channel said to one message."""

    channel: str
    bags: Sequence[_Bag]  # the letters in the message
    state: DeliveryState | None  # None: it was not sent, for want of time
    at: datetime
    problem: str | None


@dataclass(kw_only=True)
class _Parcel:
    """What one channel gets in one pass."""

    singles: list[_Bag] = field(default_factory=list)
    held: list[_Bag] = field(default_factory=list)  # since the window before: for a digest

    @property
    def bags(self) -> list[_Bag]:
        return self.singles + self.held

    def messages(self) -> list[list[_Bag]]:
        """The letters of each message: the digest first, as it tells of what came first."""
        return ([self.held] if self.held else []) + [[bag] for bag in self.singles]


class Courier:
    """Takes due letters from the outbox, sends them, and records what became of them."""

    def __init__(self, store: Store, post: Post, *, clock: Clock) -> None:
        self._store = store
        self._post = post
        self._clock = clock
        self._awake = threading.Event()
        self._guard = threading.Lock()
        self._busy: dict[str, datetime] = {}  # channels that have been given something: since when
        self._down = False  # the store, when it was last looked into

    def wake(self) -> None:
        """Look into the outbox now, from any thread."""
        self._awake.set()

    def serve(self, stop: threading.Event) -> None:
        """Deliver what falls due until `stop` is set, and return once nothing is on its way.

        A store that cannot be reached is waited for.
        """
        with ThreadPoolExecutor(PASSES, thread_name_prefix="ratchet-courier") as pool:
            passes: set[Future[None]] = set()
            while not stop.is_set():
                self._awake.clear()
                passes = {one for one in passes if not one.done()}
                if len(passes) < PASSES and self._something_is_due():
                    passes.add(pool.submit(self._pass))
                self._clock.wait(self._awake, LOOK_ROUND)

    def tick(self, now: datetime, *, subject: str | None = None) -> list[Letter]:
        """One pass over what is due (about one run, schedule or model); returns it as it is now.

        Raises StoreError; what was sent without being recorded is sent again.
        """
        taken = self._store.outbox.take(now, limit=BATCH, lease=LEASE, subject=subject)
        if not taken:
            return []
        bags = [_Bag(letter=letter, channels=self._post.channels(letter.alert)) for letter in taken]
        parcels = self._sort(bags, now)
        answers: queue.SimpleQueue[_Answer] = queue.SimpleQueue()
        self._dispatch(parcels, answers, now)
        settled = self._settle([bag for bag in bags if not bag.waiting])
        awaited = sum(bool(bag.waiting) for bag in bags)
        while awaited:
            try:
                found = [answers.get(timeout=PATIENCE)]
            except queue.Empty:
                found = [answer for bag in bags for answer in _silence(bag, self._clock.now())]
            ready = [bag for answer in found for bag in answer.bags if bag.take(answer)]
            awaited -= len(ready)
            settled += self._settle(ready)
        return settled

    def letters(
        self, *, limit: int = 50, status: LetterStatus | None = None, subject: str | None = None
    ) -> tuple[Letter, ...]:
        """The newest alerts first, with what became of each."""
        return self._store.outbox.list(limit=limit, status=status, subject=subject)

    def again(self, now: datetime) -> list[Letter]:
        """Try everything at once that some channel has not taken, also what was given up."""
        self._store.outbox.revive(now)
        return self.tick(now)

    # ------------------------------------------------------------------ inside

    def _something_is_due(self) -> bool:
        try:
            due = self._store.outbox.due()
        except StoreError as error:
            self._say_down(error)
            return False
        self._down = False
        return due is not None and due <= self._clock.now()

    def _pass(self) -> None:
        try:
            self.tick(self._clock.now())
        except StoreError as error:
            self._say_down(error)
        except Exception:  # whatever it is must not stop the loop; the letters are due again
            _log.exception("a pass over the alerts failed")

    def _say_down(self, error: StoreError) -> None:
        if not self._down:
            self._down = True
            _log.warning("alerts wait for the state store: %s", error)

    def _sort(self, bags: Iterable[_Bag], now: datetime) -> dict[str, _Parcel]:
        """What each channel gets in this pass; what is over its throttle is held."""
        throttle = self._post.throttle
        told = self._store.outbox.told_since(throttle.begin(now)) if throttle else {}
        parcels: dict[str, _Parcel] = {}
        for bag in bags:
            for channel in bag.missing():
                before = bag.letter.on(channel)
                if throttle is None or not self._post.throttled(channel):
                    parcels.setdefault(channel, _Parcel()).singles.append(bag)
                elif before is not None and before.state is DeliveryState.HELD:
                    if throttle.begin(before.at) < throttle.begin(now):
                        parcels.setdefault(channel, _Parcel()).held.append(bag)
                elif told.get(channel, 0) < throttle.alerts:
                    told[channel] = told.get(channel, 0) + 1
                    parcels.setdefault(channel, _Parcel()).singles.append(bag)
                else:
                    bag.put(channel, DeliveryState.HELD, now, "there were too many in this window")
        return parcels

    def _dispatch(
        self, parcels: Mapping[str, _Parcel], answers: queue.SimpleQueue[_Answer], now: datetime
    ) -> None:
        """Give each channel that is free its parcel, in a thread of its own."""
        with self._guard:
            for channel, parcel in parcels.items():
                if channel in self._busy:
                    if now - self._busy[channel] > timedelta(seconds=PATIENCE):
                        for bag in parcel.bags:
                            bag.put(channel, DeliveryState.FAILED, now, "it still has not answered")
                    continue  # otherwise another pass is at it, and this waits for the next
                self._busy[channel] = now
                for bag in parcel.bags:
                    bag.waiting.add(channel)
                threading.Thread(
                    target=self._carry,
                    args=(channel, parcel, answers),
                    name=f"ratchet-alert-{channel}",
                    daemon=True,  # what never answers must not hold up the end of the process
                ).start()

    def _carry(self, channel: str, parcel: _Parcel, answers: queue.SimpleQueue[_Answer]) -> None:
        """Send a channel its letters, one after the other, until one is not taken."""
        begun = self._clock.now()
        problem: str | None = None
        left = deque(parcel.messages())
        while left:
            bags, now = left.popleft(), self._clock.now()
            state: DeliveryState | None = DeliveryState.FAILED
            if problem is None and now - begun > PASS:
                state = None
            elif problem is None:
                state, problem = self._send(channel, bags, now)
            if not left:  # before the last answer is heard: who hears it may go on at once
                self._busy.pop(channel)
            answers.put(_Answer(channel=channel, bags=bags, state=state, at=now, problem=problem))

    def _send(
        self, channel: str, bags: Sequence[_Bag], now: datetime
    ) -> tuple[DeliveryState, str | None]:
        alerts = tuple(bag.letter.alert for bag in bags)
        try:
            alert = alerts[0] if len(alerts) == 1 else digest_of(alerts, now)
            state, problem = self._post.send(alert, channel)
        except Exception as error:  # a fault of one channel must not stop the others
            return DeliveryState.FAILED, f"{type(error).__name__}: {error}"
        digested = state is DeliveryState.DELIVERED and len(alerts) > 1
        return (DeliveryState.DIGESTED, None) if digested else (state, problem)

    def _settle(self, bags: Sequence[_Bag]) -> list[Letter]:
        if not bags:
            return []
        now = self._clock.now()
        throttle = self._post.throttle
        moves = [(bag.letter, _put_back(bag, throttle, now)) for bag in bags]
        return self._store.outbox.settle(moves, now)


def _put_back(bag: _Bag, throttle: Throttle | None, now: datetime) -> Letter:
    """How a letter goes back into the outbox after a pass."""
    letter = bag.letter
    deliveries = bag.deliveries()
    tries = letter.tries + any(d.state is DeliveryState.FAILED for d in bag.found.values())
    told = min((d.at for d in deliveries if d.state.told), default=None)
    due = [_due(bag, channel, tries, throttle, now) for channel in bag.missing()]
    if not due:
        status = LetterStatus.DELIVERED
    elif tries >= AGAIN.attempts and all(d.state is not DeliveryState.HELD for d in deliveries):
        status = LetterStatus.DEAD
    else:
        status = LetterStatus.PENDING
    return replace(
        letter,
        status=status,
        tries=tries,
        next_at=min(due, default=now),
        delivered_at=letter.delivered_at or told,
        deliveries=deliveries,
    )


def _silence(bag: _Bag, now: datetime) -> list[_Answer]:
    """What stands for the answers that have not come."""
    problem = f"no answer within {PATIENCE:g} s"
    failed = DeliveryState.FAILED
    return [
        _Answer(channel=channel, bags=[bag], state=failed, at=now, problem=problem)
        for channel in bag.waiting
    ]


def _due(bag: _Bag, channel: str, tries: int, throttle: Throttle | None, now: datetime) -> datetime:
    """When a channel that is still missing is to be tried."""
    last, soon = bag.last(channel), now + timedelta(seconds=LOOK_ROUND)
    if last is not None and last.state is DeliveryState.HELD and throttle is not None:
        return max(soon, throttle.begin(last.at) + throttle.window)
    if last is not None and last.state is DeliveryState.FAILED:
        return now + wait(AGAIN, max(1, tries), key=f"{bag.letter.alert.key}.{tries}")
    return soon
