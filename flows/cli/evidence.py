"""`ratchet evidence`: which challengers are compared, how far they are, and the error budget."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Annotated

import typer
from rich.text import Text

from flows.cli.documents import evidence_json
from flows.cli.installation import connected_registry, opened
from flows.cli.models import refuse_unknown
from flows.cli.waiting import say_waiting
from flows.cli.wording import ago, console, print_json, table
from registry import NightEntry
from registry.nights.accumulated import figure


def evidence(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of a registered model.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the challengers that are not proven yet, and what is left of the error budget."""
    with opened(context) as ratchet, connected_registry(ratchet) as registry:
        refuse_unknown(registry, model)
        night = registry.docket(model)
        if as_json:
            print_json(evidence_json(model, night))
        elif night is None:
            console().print(f"the gate has not judged a challenger of {model} yet")
            console().print(Text("next: ratchet run retrain", "dim"))
        else:
            _say(night, ratchet.clock.now())
            say_waiting(registry, model, ratchet.clock.now())


def _say(night: NightEntry, now: datetime) -> None:
    say, docket = console(), night.docket
    say.print(
        Text.assemble(
            (night.model, "bold"),
            f" night {night.night}, {ago(night.at, now)}",
            (f"  champion of epoch {docket.epoch}", "dim"),
        )
    )
    say.print(Text(night.verdict.reason), soft_wrap=True)
    if docket.cases:
        lines = table("challenger", "evidence", "needed", "rows", "nights", "age", "rows until")
        for case in sorted(docket.cases, key=lambda case: -case.log_value):
            needed = figure(case.log_needed) if math.isfinite(case.log_needed) else "no budget"
            until = f"{case.judged_until:%Y-%m-%d %H:%M}" if case.judged_until else ""
            counts = (f"{case.rows:,}", str(case.nights), str(case.age))
            lines.add_row(f"v{case.challenger}", figure(case.log_value), needed, *counts, until)
        say.print(lines)
    else:
        say.print("no comparison is open")
    year = docket.year
    say.print(
        f"error budget of {year.number}: {year.wealth:.4f} of {year.alpha:g} left; "
        f"{year.opened} challengers and {year.reopened} others took a share"
    )
    say.print(Text(f"next: ratchet ledger {night.model} --verify", "dim"))
