"""`ratchet approve` and `reject`: answers to verdicts that wait for a person."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import typer
from rich.text import Text

from flows.cli.installation import connected_registry, opened, whoami
from flows.cli.models import By, Json, Model, refuse_unknown
from flows.cli.wording import ago, ahead, console, print_json, table
from flows.core.errors import Refused
from flows.documents import entry_json, rejection_json, request_json
from flows.housekeeping import approve as approved
from registry import ApprovalRequest

Version = Annotated[
    str | None,
    typer.Argument(metavar="VERSION", help="Default: the only one that waits."),
]


def approve(
    context: typer.Context,
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="Default: list what waits.")
    ] = None,
    version: Version = None,
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
    by: By = None,
    as_json: Json = False,
) -> None:
    """Make a proven version champion that waits for approval; without a model, list what waits."""
    if model is not None and not reason.strip():
        raise Refused(
            "an approval needs a reason, for the record",
            hint=f"ratchet approve {model} {version or 'VERSION'} --reason TEXT",
        )
    with opened(context) as ratchet, connected_registry(ratchet) as registry:
        if model is None:
            now = ratchet.clock.now()
            found = registry.waiting(now=now)
            if as_json:
                print_json([request_json(request) for request in found])
            else:
                _say_requests(found, now)
            return
        refuse_unknown(registry, model)
        entry = approved(ratchet, registry, model, version, actor=by or whoami(), reason=reason)
        if as_json:
            print_json(entry_json(entry))
            return
        say = console()
        before = f" instead of {entry.previous_version}" if entry.previous_version else ""
        said = f"approved by {entry.actor}, epoch {entry.epoch}"
        say.print(f"{model}: version {entry.version} is live{before} ({said})")
        say.print(Text(f"next: ratchet champion {model}", "dim"))


def reject(
    context: typer.Context,
    model: Model,
    reason: Annotated[str, typer.Option(help="Why, for the record.")],
    version: Version = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Refuse a version that waits for approval: it is never proposed again."""
    with opened(context) as ratchet, connected_registry(ratchet) as registry:
        refuse_unknown(registry, model)
        answer = registry.reject(
            model, version, actor=by or whoami(), reason=reason, now=ratchet.clock.now()
        )
        if as_json:
            print_json(rejection_json(answer))
            return
        say = console()
        say.print(
            f"{model}: version {answer.version} is rejected by {answer.actor}, and is not proposed "
            "again",
            soft_wrap=True,
        )
        say.print(Text(f"next: ratchet champion {model}", "dim"))


def _say_requests(found: Sequence[ApprovalRequest], now: datetime) -> None:
    say = console()
    if not found:
        say.print("nothing waits for approval; what is live: ratchet champion", markup=False)
        return
    lines = table(
        "model", "version", "instead of", "asked", "expires", "verdict", give=("verdict",)
    )
    for request in found:
        lines.add_row(
            request.model,
            request.version,
            request.champion or "",
            Text(ago(request.asked_at, now), "dim"),
            Text(ahead(request.expires_at, now), "yellow"),
            Text(request.proof.partition(". ")[0]),
        )
    say.print(lines)
    step = found[0].verdict.next_step or ""
    also = step.replace("approve", "reject", 1)
    say.print(Text(f"next: {step}, or {also}", "dim"), soft_wrap=True)
