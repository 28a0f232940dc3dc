"""`ratchet cancel`: ask for a run's end, and wait until nothing of it is alive."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.bootstrap import Ratchet
from flows.cli.driving import driver
from flows.cli.ending import say_ending
from flows.cli.installation import for_recorded, opened, whoami
from flows.cli.progress import SilentView
from flows.cli.wording import console, print_json
from flows.core.records import Run, RunStatus
from flows.documents import run_json

LOOK = 0.25
"""Seconds between two looks at the run."""


def cancel(
    context: typer.Context,
    reference: Annotated[str, typer.Argument(metavar="RUN", help="Id, its end, or `last`.")],
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Only ask for its end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the run as JSON.")] = False,
) -> int:
    """End a run, and wait until it is gone.

    Its worker ends what is running. When that worker is dead, the end is made from here.
    """
    with opened(context) as ratchet:
        run = ratchet.service.find(reference)
        if run.status is not RunStatus.CANCELLING:  # asked before: finish it
            run = ratchet.service.cancel(run.id, by=whoami())
        if not no_wait:
            run = _wait(ratchet, run)
        if as_json:
            print_json(run_json(run))
        elif run.status.ended:
            say_ending(ratchet.service.show(run.id), console())
        else:
            console().print(f"run {run.id} is {run.status}; next: ratchet show {run.id}")
        return 0


def _wait(ratchet: Ratchet, run: Run) -> Run:
    while not (run := ratchet.service.find(run.id)).status.ended:
        if ratchet.service.living_workers(run.id):
            ratchet.clock.sleep(LOOK)
            continue
        place = for_recorded(ratchet, ratchet.service.show(run.id))
        with driver(place) as drives:
            return drives.drive(run, SilentView())
    return run
