"""`ratchet evidence`: which challengers are compared, how far they are, and the error budget."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer
from rich.text import Text

from flows.cli.installation import connected_registry, opened
from flows.cli.models import refuse_unknown
from flows.cli.waiting import say_waiting
from flows.cli.wording import ago, console, print_json, table
from flows.documents import evidence_json
from registry import ModelEvidence, NightEntry
from registry.card.budget_meter import budget_words
from registry.card.comparisons_table import case_words, needed_words
from registry.card.words import evidence as said_evidence
from registry.card.words import when


def evidence(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of a registered model.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the challengers that are not proven yet, and what is left of the error budget."""
    with opened(context) as ratchet, connected_registry(ratchet) as registry:
        refuse_unknown(registry, model)
        now = ratchet.clock.now()
        found = registry.evidence(model, now=now)
        if as_json:
            print_json(evidence_json(found))
        elif found.night is None:
            console().print(f"the gate has not judged a challenger of {model} yet")
            console().print(Text("next: ratchet run retrain", "dim"))
        else:
            _say(found, found.night, now)
            say_waiting(registry, model, now)
            console().print(Text(f"next: ratchet ledger {model} --verify", "dim"))


def _say(found: ModelEvidence, night: NightEntry, now: datetime) -> None:
    say, docket = console(), night.docket
    say.print(
        Text.assemble(
            (night.model, "bold"),
            f" night {night.night}, {ago(night.at, now)}",
            (f"  champion of epoch {docket.epoch}", "dim"),
        )
    )
    say.print(Text(night.verdict.proof), soft_wrap=True)
    if found.open:
        lines = table(
            "challenger", "evidence", "needed", "rows", "nights", "rows until", "tonight",
            right=("evidence", "needed", "rows", "nights"), give=("tonight",),
        )  # fmt: skip
        for note in sorted(found.open, key=lambda note: -note.log_evidence):
            case = docket.case(note.challenger)
            until = when(case.judged_until) if case and case.judged_until else ""
            figures = (said_evidence(note.log_evidence), needed_words(note), f"{note.rows:,}")
            words = Text(case_words(note))
            lines.add_row(f"v{note.challenger}", *figures, str(note.nights), until, words)
        say.print(lines)
    else:
        say.print("no comparison is open")
    year = docket.year
    say.print(f"error budget of {year.number}: {budget_words(year)}", soft_wrap=True)
