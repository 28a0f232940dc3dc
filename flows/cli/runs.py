"""`ratchet runs`: the newest runs."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from flows.bootstrap import Ratchet
from flows.cli.installation import flow_named, opened
from flows.cli.wording import ago, console, cut, duration, marked, print_json, table
from flows.core.records import Run
from flows.documents import between, run_json


def runs(
    context: typer.Context,
    flow: Annotated[str | None, typer.Option(help="Only runs of this flow.")] = None,
    status: Annotated[str | None, typer.Option(help="Only runs that stand like this.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """List the newest runs, the newest first."""
    with opened(context) as ratchet:
        found = ratchet.service.runs(flow=flow, status=status, limit=limit)
        if flow is not None and not found and not ratchet.service.runs(flow=flow, limit=1):
            flow_named(ratchet, flow)  # a name that no run has may be a mistake
        if as_json:
            print_json([run_json(run) for run in found])
        else:
            _say(found, ratchet)


def _say(found: tuple[Run, ...], ratchet: Ratchet) -> None:
    say, now = console(), ratchet.clock.now()
    if not found:
        say.print("no runs yet; next: ratchet run FLOW, or: ratchet demo", markup=False)
        return
    lines = table(
        "run", "flow", "status", "created", "took", "reason", right=("took",), give=("reason",)
    )
    for run in found:
        end = run.ended_at or now
        lines.add_row(
            run.id,
            run.flow,
            marked(run.status, say),
            Text(ago(run.created_at, now), "dim"),
            duration(between(run.started_at, end)),
            cut(run.reason or ""),
        )
    say.print(lines)
