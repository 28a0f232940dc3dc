"""`ratchet scheduler`: the scheduler and the courier of `ratchet up` alone."""

from __future__ import annotations

import logging

import typer

from flows.adapters.champions import ChampionWatch
from flows.cli.installation import opened
from flows.cli.serving import LOGGING, Asked, heeding, say, serve
from flows.up.part import Part
from flows.up.scheduling import Scheduling


def scheduler(context: typer.Context) -> int:
    """Fire schedules and deliver alerts, until Ctrl-C or SIGTERM. Workers run what it records.

    Any number of schedulers share one store: each fire is recorded once.
    """
    logging.basicConfig(**LOGGING)
    with opened(context) as ratchet, Asked() as asked, heeding(ratchet, asked):
        scheduling = Scheduling(ratchet, lambda: None, say)
        courier = ratchet.courier()
        clock = ratchet.clock
        champions = ChampionWatch(ratchet.settings, ratchet.service.store, clock=clock)
        parts = [
            Part("scheduler", scheduling.serve, say=say, clock=clock, wake=scheduling.wake),
            Part("config", scheduling.follow, say=say, clock=clock),
            Part("courier", courier.serve, say=say, clock=clock, wake=courier.wake),
            Part("champions", champions.serve, say=say, clock=clock),
        ]
        say("a scheduler and a courier; stop them with Ctrl-C")
        serve(parts, asked)
    return 0
