"""`ratchet up`, `worker`, `scheduler`: what goes on until Ctrl-C."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Annotated, Any

import typer

from flows.bootstrap import Ratchet
from flows.cli.installation import opened
from flows.cli.wording import span
from flows.core.clock import SystemClock
from flows.core.errors import NotFound, Outdated, StoreError
from flows.core.host import Host
from flows.up.loop import Loop
from flows.up.scheduling import scheduling_loops
from flows.up.up import API_PORT, AT_ONCE, STOPPING, TICK, Up, Wanted
from flows.up.worker import worker_of

VERSION_LOOK = 2.0
"""Seconds between two looks at the version of the store."""
LOGGING: dict[str, Any] = {
    "level": logging.WARNING,
    "format": "%(asctime)s %(name)s: %(message)s",
    "datefmt": "%H:%M:%S",
}


class Asked:
    """Counts Ctrl-C and SIGTERM, while the block runs."""

    def __init__(self) -> None:
        self.once = threading.Event()
        self.twice = threading.Event()
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Asked:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._count)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _count(self, number: int, frame: FrameType | None) -> None:
        (self.twice if self.once.is_set() else self.once).set()


@contextmanager
def heeding(ratchet: Ratchet, asked: Asked) -> Iterator[None]:
    """End the block, as Ctrl-C does, once the store needs newer code than this; raises Outdated.

    What runs then is recorded: an upgrade that older code cannot live with is announced before
    it is carried out, and waits for the workers.
    """
    left, outdated = threading.Event(), []

    def look() -> None:
        while not left.wait(VERSION_LOOK):
            try:
                ratchet.service.store.check_version()
            except Outdated as error:
                say(f"{error}; this process drains and ends")
                outdated.append(error)
                asked.once.set()
                return
            except StoreError:
                continue  # cannot be reached just now

    thread = threading.Thread(target=look, name="ratchet-version", daemon=True)
    thread.start()
    try:
        yield
    finally:
        left.set()
        thread.join()
    if outdated:
        raise outdated[0]


def say(line: str) -> None:
    """One line with the time of day, on stdout."""
    sys.stdout.write(f"{SystemClock().now().astimezone():%H:%M:%S} {line}\n")
    sys.stdout.flush()


def serve(loops: Sequence[Loop], asked: Asked, worker: Host | None = None) -> None:
    """Run the loops until the first Ctrl-C, and let them end until the second."""
    for loop in loops:
        loop.start()
    asked.once.wait()
    say("stopping: nothing new is started; Ctrl-C again stops now")
    for loop in loops:
        loop.stop()
    if worker is not None and (running := worker.running()):
        say(f"waiting for {', '.join(running[:5])}")
    while not all(loop.ended(TICK) for loop in loops):
        if asked.twice.is_set():
            break
    if worker is not None:
        worker.hurry()
    for loop in loops:
        loop.ended(STOPPING)
    say("stopped")


def up(
    context: typer.Context,
    ray: Annotated[
        bool, typer.Option("--ray/--no-ray", help="Start a local Ray head with its dashboard.")
    ] = True,
    mlflow: Annotated[
        bool, typer.Option("--mlflow/--no-mlflow", help="Start an MLflow server.")
    ] = True,
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Of the API; a taken one: the next free.")
    ] = API_PORT,
    drain: Annotated[
        str, typer.Option(metavar="TIME", help="What running work is given at the end: 90s, 10m.")
    ] = "60s",
) -> int:
    """Run scheduler, worker, Ray, MLflow and the API, until Ctrl-C or SIGTERM.

    Ctrl-C once: nothing new starts, and running work is given the time of --drain. Twice: stop
    now; what was interrupted is done again by the next `ratchet up`.
    """
    logging.basicConfig(**LOGGING)
    wanted = Wanted(ray=ray, mlflow=mlflow, port=port, grace=span(drain, "--drain"))
    with opened(context) as ratchet, Asked() as asked, heeding(ratchet, asked):
        started, drained = Up(ratchet, wanted, say), True
        try:
            started.start()
            started.serve(asked.once)
            say("stopping: nothing new is started")
            drained = started.drain(asked.twice)
            say("everything has ended" if drained else "stopping now")
        finally:
            started.stop(STOPPING if drained else AT_ONCE)
        say("stopped")
    return 0


def worker(
    context: typer.Context,
    pool: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Take tasks of this pool only; may be repeated."),
    ] = None,
    drain: Annotated[
        str, typer.Option(metavar="TIME", help="What running work is given at the end: 90s, 10m.")
    ] = "60s",
) -> int:
    """Run what the state store has to be run, until Ctrl-C or SIGTERM.

    Any number of workers share one store. Ctrl-C once: nothing new is claimed, and what runs
    here is given the time of --drain; jobs on a Ray cluster are left to the other workers.
    Twice: stop now.
    """
    logging.basicConfig(**LOGGING)
    seconds = span(drain, "--drain").total_seconds()
    with opened(context) as ratchet, Asked() as asked, heeding(ratchet, asked):
        _refuse_unknown(pool or [], ratchet)
        host = worker_of(ratchet, pools=frozenset(pool) if pool else None)
        works = partial(host.serve, drain=seconds)
        loop = Loop("worker", works, say=say, clock=ratchet.clock, wake=host.wake)
        say(f"a worker of {', '.join(pool) if pool else 'all pools'}; stop it with Ctrl-C")
        serve([loop], asked, host)
    return 0


def _refuse_unknown(pools: Sequence[str], ratchet: Ratchet) -> None:
    """Raise NotFound for a pool that no task of the flows here is in: it would wait for ever."""
    graphs = [ratchet.flows.get(name).graph for name in ratchet.flows.names()]
    names = {node.pool for graph in graphs for node in graph.nodes} | set(ratchet.settings.pools)
    for name in pools:
        if name not in names:
            raise NotFound(
                f"no task is in pool {name!r}", hint=f"known: {', '.join(sorted(names))}"
            )


def scheduler(context: typer.Context) -> int:
    """Fire schedules and deliver alerts, until Ctrl-C or SIGTERM. Workers run what it records.

    Any number of schedulers share one store: each fire is recorded once.
    """
    logging.basicConfig(**LOGGING)
    with opened(context) as ratchet, Asked() as asked, heeding(ratchet, asked):
        say("a scheduler and a courier; stop them with Ctrl-C")
        serve(scheduling_loops(ratchet, lambda: None, say), asked)
    return 0
