"""Two workers on one database: durable task transitions a second, on SQLite and PostgreSQL."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from multiprocessing.synchronize import Event

from benchmarks import postgres
from benchmarks.measure import Sample, Setting, seconds
from benchmarks.noop_flows import SHORT, short
from benchmarks.report import Aim, Figure, Kind
from flows.core.clock import SystemClock
from flows.core.engine import Engine
from flows.core.executors.threads import ThreadExecutor
from flows.core.records import RunStatus
from flows.core.service import Service
from flows.core.store import Store

WORKERS = 2
AIM = Aim(kind=Kind.AT_LEAST, bound=500)


def figures(setting: Setting) -> Iterator[Figure]:
    """Both databases, each with the same runs; a transition is the start or the end of a task."""
    with ExitStack() as stack:
        urls = {"SQLite": f"sqlite:///{setting.folder / 'ratchet.db'}"}
        if postgres.programs() is not None:
            urls["PostgreSQL"] = stack.enter_context(postgres.Server()).url
        for name, url in urls.items():
            rates = list(_rates(url, runs=setting.of(150, 40), repeats=setting.of(5, 2)))
            yield Figure(
                name=f"{WORKERS} workers on one {name}, task transitions",
                unit="/s",
                own=Sample(values=tuple(rates)),
                aim=AIM if name == "PostgreSQL" else None,
            )


def _rates(url: str, *, runs: int, repeats: int) -> Iterator[float]:
    store, clock = Store.open(url), SystemClock()
    service = Service(store, clock)
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    workers = [context.Process(target=_work, args=(url, stop)) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    try:
        for number in range(repeats + 1):
            took = seconds(lambda: _finish(service, runs))
            if number:  # the first warms up
                yield 2 * SHORT * runs / took
    finally:
        stop.set()
        for worker in workers:
            worker.join()
        store.close()


def _finish(service: Service, runs: int) -> None:
    """Record runs, and return when the workers have brought each to its end."""
    made = [
        service.start(
            short, config={}, config_yaml="", config_digest="", trigger={"kind": "benchmark"}
        ).id
        for _ in range(runs)
    ]
    while service.runs(status=RunStatus.QUEUED, limit=1) or service.runs(
        status=RunStatus.RUNNING, limit=1
    ):
        service.clock.sleep(0.01)
    done = {run.id for run in service.runs(status=RunStatus.SUCCEEDED, limit=runs)}
    assert done >= set(made), "a run has not succeeded"


def _work(url: str, stop: Event) -> None:
    store = Store.open(url)
    told = threading.Event()
    threading.Thread(target=_pass_on, args=(stop, told), daemon=True).start()
    executors = {"threads": ThreadExecutor(4)}
    with Engine(store, executors, clock=SystemClock(), default_executor="threads") as engine:
        engine.serve(told)
    store.close()


def _pass_on(stop: Event, told: threading.Event) -> None:
    stop.wait()
    told.set()
