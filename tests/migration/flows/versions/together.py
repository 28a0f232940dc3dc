"""A flow that workers of two releases share, and such a worker: run by either's code.

python together.py URL make          an empty store, as this code makes it
python together.py URL start COUNT   so many runs
python together.py URL work          a worker, until SIGTERM
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from flows import flow, task
from flows.core.clock import SystemClock
from flows.core.engine import Engine
from flows.core.executors.inline import InlineExecutor
from flows.core.executors.threads import ThreadExecutor
from flows.core.service import Service
from flows.core.store import Store

EACH = 3


@task
def numbers() -> list[int]:
    return list(range(EACH))


@task
def square(number: int) -> int:
    time.sleep(0.1)
    return number * number


@task(pool="narrow")
def total(squares: list[int]) -> int:
    time.sleep(0.1)
    return sum(squares)


@flow
def together() -> None:
    total(square.map(numbers()))


def main(url: str, verb: str, count: str = "0") -> None:
    store = Store.open(url)
    if verb == "start":
        for _ in range(int(count)):
            Service(store, SystemClock()).start(
                together, config={}, config_yaml="", config_digest="d", trigger={"kind": "manual"}
            )
    if verb == "work":
        work(store)
    store.close()


def work(store: Store) -> None:
    stop = threading.Event()
    executors = {"inline": InlineExecutor(), "threads": ThreadExecutor(2)}
    engine = Engine(
        store, executors, clock=SystemClock(), default_executor="threads", calls=function_of
    )
    signal.signal(signal.SIGTERM, lambda *_: (stop.set(), engine.wake()))
    with engine:
        engine.serve(stop, drain=5)


def function_of(name: str, key: str) -> Callable[..., Any] | None:
    declared = together.tasks.get(key) if name == together.name else None
    return declared.function if declared else None


if __name__ == "__main__":
    main(*sys.argv[1:])
