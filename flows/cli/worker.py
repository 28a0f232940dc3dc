"""`ratchet worker`: the worker of `ratchet up` alone, on this or another machine."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Annotated

import typer

from flows.bootstrap import Ratchet
from flows.cli.installation import opened
from flows.cli.serving import LOGGING, Asked, drain_time, heeding, say, serve
from flows.core.errors import NotFound
from flows.up.part import Part
from flows.up.worker import Worker


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
    seconds = drain_time(drain).total_seconds()
    with opened(context) as ratchet, Asked() as asked, heeding(ratchet, asked):
        _refuse_unknown(pool or [], ratchet)
        works = Worker(ratchet, pools=frozenset(pool) if pool else None, drain=seconds)
        part = Part("worker", works.serve, say=say, clock=ratchet.clock, wake=works.wake)
        say(f"a worker of {', '.join(pool) if pool else 'all pools'}; stop it with Ctrl-C")
        serve([part], asked, works)
    return 0


def _refuse_unknown(pools: Sequence[str], ratchet: Ratchet) -> None:
    """Raise NotFound for a pool that no task of the flows here is in: it would wait for ever."""
    graphs = [ratchet.flows.get(name).graph for name in ratchet.flows.names()]
    known = {node.pool for graph in graphs for node in graph.nodes} | set(ratchet.settings.pools)
    for name in pools:
        if name not in known:
            raise NotFound(
                f"no task is in pool {name!r}", hint=f"known: {', '.join(sorted(known))}"
            )
