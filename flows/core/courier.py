"""Delivers the alerts of the outbox: at least once on every channel, and again until taken.

- An alert has a delivery for each channel that it has to reach. Each is tried by itself: after
  10 s, 20 s, 40 s, ... up to an hour apart, for about a day. An alert with a delivery that was
  given up is dead, which is an event, and can be revived.
- A channel takes so many alerts in a window, and at its end one digest of all that is over.
  Several couriers count together, but may send a few more when they send at the same moment.
- What is for a channel that is in no config is given up once no courier has taken it for a few
  minutes: projects that share a store have couriers and channels of their own.
- Channels are served side by side, each by a thread of its own. One that fails is not tried
  with the other alerts that are due, and one that never answers holds up nobody else's.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol

from flows.core.alert import (
    Alert,
    AlertRecord,
    Delivery,
    DeliveryState,
    Throttle,
    digest_of,
)
from flows.core.clock import Clock
from flows.core.errors import StoreError
from flows.core.retry import Backoff, Retry, wait
from flows.core.store import Store
from flows.core.values import storable

AGAIN = Retry(
    attempts=32, delay=10, backoff=Backoff.EXPONENTIAL, cap=timedelta(hours=1), jitter=0.2
)
"""When a channel is tried again: about a day, all in all."""
ANSWER_TIME = 30.0
"""Seconds after which a channel that has not answered counts as failed."""
LEASE = timedelta(minutes=3)
"""How long a courier has a delivery to itself: longer than it sends without looking again."""
LONGEST = timedelta(seconds=10)
"""A channel is sent nothing more, before the next look, when it has been sent to for so long."""
LEFT_TO_OTHERS = timedelta(minutes=5)
"""So long what is for a channel that is not known here is left to whoever knows it."""
REMOVED = "the channel was removed: it is in no config any more"
BATCH = 5000
"""Deliveries taken at once; more than one digest is made of what is more."""
_LONGEST_PROBLEM = 1000
"""Characters kept of what a channel says."""
LOOK_ROUND = 1.0
"""Seconds between two looks into the outbox when nobody wakes the courier."""

_log = logging.getLogger(__name__)

Answer = tuple[DeliveryState, str | None]
"""How sending went; with FAILED the problem, in one line."""
Due = tuple[Alert, Delivery]


class Channels(Protocol):
    """Who is told of what, and the way there."""

    def channels(self, alert: Alert) -> tuple[str, ...]:
        """The names of the channels that an alert has to reach; unique, without a secret."""

    def has(self, channel: str) -> bool:
        """Whether there is a channel of that name: an alert of long ago may name one that was."""

    def throttle(self, channel: str) -> Throttle | None:
        """How much a channel takes; None: everything."""

    def send(self, alert: Alert, channel: str) -> Answer:
        """Send an alert, and say how that went."""


@dataclass(kw_only=True, eq=False)
class _Sending:
    """What a thread sends one channel."""

    channel: str
    since: datetime
    subject: str | None  # only what is about it
    awaited: bool  # by somebody who hears of its error
    taken: Sequence[Delivery] = ()  # and not settled yet
    alerts: set[str] = field(default_factory=set)  # keys of all that it has taken
    error: Exception | None = None
    ended: threading.Event = field(default_factory=threading.Event)


class Courier:
    """Takes due deliveries from the outbox, sends them, and records what became of each."""

    def __init__(self, store: Store, channels: Channels, *, clock: Clock) -> None:
        self._store = store
        self._channels = channels
        self._clock = clock
        self._awake = threading.Event()
        self._guard = threading.Lock()
        self._sending: dict[str, _Sending] = {}  # by channel; one at a time
        self._is_down = False  # the store, when it was last looked into

    def wake(self) -> None:
        """Look into the outbox now, from any thread."""
        self._awake.set()

    def serve(self, stop: threading.Event) -> None:
        """Deliver what falls due until `stop` is set, and return once nothing is on its way.

        A store that cannot be reached is waited for.
        """
        while not stop.is_set():
            self._awake.clear()
            try:
                due, now = self._store.outbox.due(), self._clock.now()
                self._is_down = False
                if due is not None and due <= now:
                    self._start(now, None, awaited=False)
            except Exception as error:  # it must not stop the loop; what is due stays due
                self._say(error)
            self._clock.wait(self._awake, LOOK_ROUND)
        for sending in [*self._sending.values()]:
            sending.ended.wait(ANSWER_TIME)

    def tick(self, now: datetime, *, subject: str | None = None) -> tuple[AlertRecord, ...]:
        """One pass over what is due (about one run, schedule or model); returns how it stands.

        Raises StoreError; what was sent without being recorded is sent again.
        """
        keys, started = self._start(now, subject, awaited=True)
        for sending in started:
            if not sending.ended.wait(ANSWER_TIME):
                self._record(sending.taken, _failed(f"no answer within {ANSWER_TIME:g} s"))
            if sending.error is not None:
                raise sending.error
            keys |= sending.alerts
        return self._store.outbox.list(keys=keys, limit=len(keys))

    def again(self, now: datetime) -> tuple[AlertRecord, ...]:
        """Try everything at once that some channel has not taken, also what was given up."""
        self._store.outbox.revive(now)
        return self.tick(now)

    # ------------------------------------------------------------------ inside

    def _start(
        self, now: datetime, subject: str | None, *, awaited: bool
    ) -> tuple[set[str], list[_Sending]]:
        """Give each channel on which something is due a thread; the keys of all that is new."""
        outbox, started = self._store.outbox, []
        keys = {*outbox.address(self._channels.channels, now, limit=BATCH, subject=subject)}
        for channel in outbox.due_channels(now, subject=subject):
            if not self._channels.has(channel):
                self._give_up(channel, now)
                continue
            with self._guard:
                busy = self._sending.get(channel)
                if busy is None:
                    sending = _Sending(channel=channel, since=now, subject=subject, awaited=awaited)
                    self._sending[channel] = sending
            if busy is None:
                threading.Thread(
                    target=self._send_due,
                    args=(sending,),
                    name=f"ratchet-alert-{channel}",
                    daemon=True,  # what never answers must not hold up the end of the process
                ).start()
                started.append(sending)
            elif now - busy.since > timedelta(seconds=ANSWER_TIME):
                waiting = [d for _, d in outbox.take(channel, now, limit=BATCH, lease=LEASE)]
                self._record(waiting, _failed("it still has not answered"))
                keys |= {delivery.alert for delivery in waiting}
        return keys, started

    def _give_up(self, channel: str, now: datetime) -> None:
        """Settle what no courier has taken, as none knows its channel."""
        for held in (False, True):
            before = now - LEFT_TO_OTHERS
            due = self._store.outbox.take(channel, before, limit=BATCH, lease=LEASE, held=held)
            moves = [(taken, _given_up(taken, now, REMOVED)) for _, taken in due]
            self._store.outbox.settle(moves, now)

    def _send_due(self, sending: _Sending) -> None:
        """Send a channel what is due there: first a digest, as it tells of what came first."""
        try:
            self._send_digest(sending)
            self._send_singles(sending)
        except Exception as error:  # the next look tries again
            sending.error = error
            if not sending.awaited:
                self._say(error)
        finally:
            with self._guard:
                del self._sending[sending.channel]
            sending.ended.set()

    def _send_digest(self, sending: _Sending) -> None:
        held = self._take(sending, limit=BATCH, held=True)
        if held:
            state, problem = self._send(sending.channel, [alert for alert, _ in held])
            if state is DeliveryState.DELIVERED and len(held) > 1:
                state = DeliveryState.DIGESTED
            self._record(sending.taken, (state, problem))

    def _send_singles(self, sending: _Sending) -> None:
        begun, throttle = self._clock.now(), self._channels.throttle(sending.channel)
        allowed = BATCH if throttle is None else self._allowed(sending.channel, throttle, begun)
        due = self._take(sending, limit=min(allowed, BATCH))
        if throttle is not None and len(due) == allowed:
            until = throttle.end(begun)
            self._store.outbox.hold(sending.channel, begun, until=until, limit=BATCH)
        for number, (alert, delivery) in enumerate(due):
            if self._clock.now() - begun > LONGEST:
                back = [(d, replace(d, next_at=begun)) for d in sending.taken]
                self._store.outbox.settle(back, begun)
                return
            answer = self._send(sending.channel, [alert])
            if answer[0] is DeliveryState.FAILED:
                self._record(sending.taken, answer)
                return
            self._record([delivery], answer)
            sending.taken = [left for _, left in due[number + 1 :]]

    def _allowed(self, channel: str, throttle: Throttle, now: datetime) -> int:
        """How many alerts a channel may still get in this window."""
        return max(
            0, throttle.alerts - self._store.outbox.delivered_since(channel, throttle.begin(now))
        )

    def _take(self, sending: _Sending, *, limit: int, held: bool = False) -> list[Due]:
        due = self._store.outbox.take(
            sending.channel,
            self._clock.now(),
            limit=limit,
            lease=LEASE,
            held=held,
            subject=sending.subject,
        )
        sending.taken = [delivery for _, delivery in due]
        sending.alerts |= {delivery.alert for _, delivery in due}
        return due

    def _send(self, channel: str, alerts: Sequence[Alert]) -> Answer:
        try:
            alert = alerts[0] if len(alerts) == 1 else digest_of(alerts, self._clock.now())
            return self._channels.send(alert, channel)
        except Exception as error:  # a fault of one channel must not stop the others
            return _failed(f"{type(error).__name__}: {error}")

    def _record(self, deliveries: Sequence[Delivery], answer: Answer) -> None:
        now = self._clock.now()
        self._store.outbox.settle([(d, _after(d, answer, now)) for d in deliveries], now)

    def _say(self, error: Exception) -> None:
        if not isinstance(error, StoreError):
            _log.error("a pass over the alerts failed", exc_info=error)
        elif not self._is_down:
            self._is_down = True
            _log.warning("alerts wait for the state store: %s", error)


def _after(delivery: Delivery, answer: Answer, now: datetime) -> Delivery:
    """How a delivery stands after it was tried."""
    state, problem = answer
    if state is not DeliveryState.FAILED:
        return replace(delivery, state=state, next_at=None, at=now, problem=None)
    problem = storable(problem, _LONGEST_PROBLEM)
    tries = delivery.tries + 1
    if tries >= AGAIN.attempts:
        return _given_up(delivery, now, problem)
    is_held = delivery.state is DeliveryState.HELD
    return replace(
        delivery,
        state=DeliveryState.HELD if is_held else DeliveryState.FAILED,
        tries=tries,
        next_at=now + wait(AGAIN, tries, key=f"{delivery.alert}.{tries}"),
        at=now,
        problem=problem,
    )


def _given_up(delivery: Delivery, now: datetime, problem: str) -> Delivery:
    return replace(
        delivery,
        state=DeliveryState.FAILED,
        tries=delivery.tries + 1,
        next_at=None,
        at=now,
        problem=problem,
    )


def _failed(problem: str) -> Answer:
    return DeliveryState.FAILED, problem
