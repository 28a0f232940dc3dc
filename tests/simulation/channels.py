"""A courier of the world, the channels that it sends to, and what they have received."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from flows.core.alert import Alert, AlertKind, DeliveryState, Throttle
from flows.core.courier import Courier
from flows.core.errors import StoreError
from tests.simulation.process import Process
from tests.simulation.world import World

THROTTLE = Throttle(alerts=2, window=timedelta(minutes=2))


class Channels:
    """Two channels: one takes most of what it is sent, the other fails now and then."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.received: Counter[tuple[str, str]] = Counter()  # by channel and key
        self.digested: Counter[str] = Counter()  # alerts within digests, by channel

    def channels(self, alert: Alert) -> tuple[str, ...]:
        return ("pager", "mail")

    def has(self, channel: str) -> bool:
        return True

    def throttle(self, channel: str) -> Throttle | None:
        return THROTTLE if channel == "pager" else None

    def send(self, alert: Alert, channel: str) -> tuple[DeliveryState, str | None]:
        if channel == "mail" and self._world.happens(0.3):
            return DeliveryState.FAILED, "the server is full"
        self.received[channel, alert.key] += 1
        if alert.kind is AlertKind.DIGEST:
            self.digested[channel] += int(alert.subject.split()[0])
        self._world.note(channel, f"receives {alert.key}")
        return DeliveryState.DELIVERED, None


class OneAfterTheOther:
    """A thread whose work is done when it starts: the world has one."""

    def __init__(self, target: Callable[..., None], args: tuple[Any, ...] = (), **_: Any) -> None:
        self._do = lambda: target(*args)

    def start(self) -> None:
        self._do()

    def is_alive(self) -> bool:
        return False


class CourierProcess(Process):
    """Runs a real courier, pass after pass."""

    def __init__(self, *args: Any, channels: Channels) -> None:
        super().__init__(*args)
        self._channels = channels

    def boot(self) -> None:
        assert self.store is not None
        self._courier = Courier(self.store, self._channels, clock=self.clock)

    def turn(self) -> float:
        try:
            self._courier.tick(self.clock.now())
        except StoreError as error:
            self.world.note(self.name, f"tries again: {error}")
        return self.world.chance.choice((10.0, 30.0))
