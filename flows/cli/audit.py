"""`ratchet audit`: what is wrong here, and nobody has noticed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.text import Text

from flows.cli.installation import opened
from flows.cli.wording import console, print_json, table
from flows.core.audit import Finding
from flows.housekeeping import audit as audited


def audit(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> int:
    """Look for schedules, flows, runs and alerts that have been forgotten; 1 when there are any."""
    with opened(context) as ratchet:
        found = audited(ratchet)
    if as_json:
        print_json([vars(finding) for finding in found])
    else:
        _say(found)
    return 1 if found else 0


def _say(found: Sequence[Finding]) -> None:
    say = console()
    if not found:
        say.print("nothing is stale, failing, orphaned or waiting in vain")
        return
    lines = table("finding", "what", "next", give=("what",))
    for finding in found:
        kind = finding.kind.value.replace("_", " ")
        lines.add_row(Text(kind, "yellow"), Text(finding.sentence), Text(finding.next, "dim"))
    say.print(lines)
