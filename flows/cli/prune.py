"""`ratchet prune`: old runs and what they left, by retention."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from flows.bootstrap import Ratchet
from flows.cli.installation import opened
from flows.cli.wording import console, cut, marked, print_json, span, table
from flows.core.errors import Refused
from flows.documents import iso
from flows.housekeeping.prune import Plan, carry_out, plan
from flows.wording import ago

SHOWN = 20
"""Runs that are listed; `--json` has all."""


def prune(
    context: typer.Context,
    older_than: Annotated[
        str, typer.Option(metavar="TIME", help="Only runs that ended longer ago than this.")
    ] = "30d",
    keep: Annotated[int, typer.Option(min=0, help="Newest runs of each flow that stay.")] = 20,
    history: Annotated[
        str, typer.Option(metavar="TIME", help="Events, fires, alerts older than this go, too.")
    ] = "400d",
    yes: Annotated[bool, typer.Option("--yes", help="Do it. Default: only say what.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what: the default.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Remove the logs, artifacts and details of old runs, and what happened long ago.

    Rows of runs stay, and their events until they are older than --history.

    Never what a champion, the ledger or a run that stays refers to, and never an open run.
    """
    age, long_ago = span(older_than, "--older-than"), span(history, "--history")
    if yes and dry_run:
        raise Refused("--yes and --dry-run contradict each other", hint="choose one of them")
    with opened(context) as ratchet:
        planned = plan(ratchet, older_than=age, keep=keep, history=long_ago)
        if not as_json:
            _say(planned, ratchet, console())
        done: tuple[str, ...] = ()
        if yes:
            done = carry_out(ratchet, planned)
        if as_json:
            print_json(_plan_json(planned, done))
        elif yes and planned.runs:
            console().print(f"pruned {len(done)} runs; freed {size(planned.bytes)}")
        elif not yes and (planned.runs or planned.history):
            kept = f"--older-than {older_than} --keep {keep} --history {history}"
            again = f"ratchet prune {kept} --yes"
            console().print(f"nothing was removed; to remove it: {again}", markup=False)


def _plan_json(planned: Plan, done: tuple[str, ...]) -> dict[str, Any]:
    return {
        "runs": [
            {"id": d.run.id, "flow": d.run.flow, "files": d.files, "bytes": d.bytes}
            for d in planned.runs
        ],
        "datasets": [{"uri": d.uri, "files": d.files, "bytes": d.bytes} for d in planned.datasets],
        "kept_for_champions": [run.id for run in planned.live],
        "waiting_for_open_runs": [run.id for run in planned.busy],
        "history": {"before": iso(planned.until), "rows": planned.history},
        "files": planned.files,
        "bytes": planned.bytes,
        "pruned": list(done),
    }


def _say(planned: Plan, ratchet: Ratchet, say: Console) -> None:
    now = ratchet.clock.now()
    if not (planned.runs or planned.history):
        say.print("there is nothing to prune")
    elif not planned.runs:
        say.print("no run is old enough")
    else:
        lines = table("run", "flow", "status", "ended", "files", "size", right=("files", "size"))
        for doomed in planned.runs[:SHOWN]:
            run = doomed.run
            ended = Text(ago(run.ended_at, now), "dim")
            numbers = (str(doomed.files), size(doomed.bytes))
            lines.add_row(run.id, run.flow, marked(run.status, say), ended, *numbers)
        say.print(lines)
        if len(planned.runs) > SHOWN:
            say.print(Text(f"and {len(planned.runs) - SHOWN} more runs", "dim"))
        for dataset in planned.datasets:
            what = f"dataset {dataset.uri}: {dataset.files} files, {size(dataset.bytes)}"
            say.print(cut(what, "dim"))
        total = f"{len(planned.runs)} runs, {planned.files} files, {size(planned.bytes)}"
        say.print(Text(total, "bold"))
    if planned.history:
        rows = ", ".join(f"{count} of {name}" for name, count in planned.history.items())
        say.print(f"rows from before {planned.until:%Y-%m-%d}: {rows}")
    if planned.live:
        say.print(Text(f"{len(planned.live)} old runs stay: champions come from them", "dim"))
    if planned.busy:
        waits = f"{len(planned.busy)} wait: an open run of their flow may need their data"
        say.print(Text(waits, "dim"))


def size(count: float) -> str:
    """`812 B`, `1.4 MB`: bytes, in thousands."""
    units = ["TB", "GB", "MB", "kB", "B"]
    while round(count) >= 1000 and len(units) > 1:
        count /= 1000
        units.pop()
    return f"{count:.0f} {units[-1]}" if count >= 100 else f"{count:.3g} {units[-1]}"
