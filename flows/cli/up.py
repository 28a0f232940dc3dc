"""`ratchet up`: everything in one terminal, until Ctrl-C."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from flows.cli.installation import opened
from flows.cli.serving import LOGGING, Asked, drain_time, heeding, say
from flows.up.up import API_PORT, AT_ONCE, STOPPING, Up, Wanted


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
    wanted = Wanted(ray=ray, mlflow=mlflow, port=port, grace=drain_time(drain))
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
