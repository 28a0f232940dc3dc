"""Alerts and a courier of two releases over one store: run by either's code.

python couriers.py URL FOLDER post FIRST COUNT   so many alerts
python couriers.py URL FOLDER serve              a courier, until SIGTERM

A channel is a file of FOLDER, into which the courier writes the keys of what it sends.
"""

from __future__ import annotations

import random
import signal
import sys
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from flows.core import courier
from flows.core.alert import Alert, AlertKind, DeliveryState, Severity
from flows.core.clock import SystemClock
from flows.core.store import Store

CHANNELS = ("mail", "chat")


class Files:
    """Channels as either release asks for them; one of them fails now and then."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def channels(self, alert: Alert) -> tuple[str, ...]:
        return CHANNELS

    def has(self, channel: str) -> bool:
        return channel in CHANNELS

    @property
    def throttle(self) -> Any:
        is_before = hasattr(courier, "Post")  # as the protocol was called
        return None if is_before else lambda channel: None

    def throttled(self, channel: str) -> bool:
        return False

    def send(self, alert: Alert, channel: str) -> tuple[DeliveryState, str | None]:
        if channel == "chat" and random.random() < 0.1:
            return DeliveryState.FAILED, "it is full"
        with (self._folder / channel).open("a") as file:
            file.write(f"{alert.key}\n")
        return DeliveryState.DELIVERED, None


def main(url: str, folder: str, verb: str, first: str = "0", count: str = "0") -> None:
    store = Store.open(url)
    if verb == "post":
        now = SystemClock().now()
        keys = (f"failed:run-{int(first) + n}:1" for n in range(int(count)))
        store.outbox.post([alert(key, now) for key in keys], now)
    if verb == "serve":
        stop = threading.Event()
        courier.LEASE = timedelta(seconds=2)  # a test does not wait for minutes
        courier.AGAIN = replace(courier.AGAIN, attempts=999, delay=0.2, cap=timedelta(seconds=1))
        serves = courier.Courier(store, Files(Path(folder)), clock=SystemClock())
        signal.signal(signal.SIGTERM, lambda *_: (stop.set(), serves.wake()))
        serves.serve(stop)
    store.close()


def alert(key: str, now: Any) -> Alert:
    return Alert(
        key=key,
        kind=AlertKind.FAILED,
        severity=Severity.CRITICAL,
        flow="together",
        subject=key,
        title="together failed",
        reason="no luck",
        since=now,
        at=now,
        next="ratchet retry",
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
