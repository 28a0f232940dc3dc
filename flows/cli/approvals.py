"""`ratchet approve`, `reject`: a person's answer to what waits for one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from flows.cli.installation import connected_registry, opened
from flows.cli.models import By, Json, Model, Why, refuse_unknown, require_reason, say_live
from flows.cli.wording import console, print_json, table
from flows.documents import entry_json, rejection_json, request_json
from flows.housekeeping import announced
from flows.wording import ago, ahead, whoami

if TYPE_CHECKING:
    from registry import ApprovalRequest

Version = Annotated[
    str | None, typer.Argument(metavar="VERSION", help="Default: the only one that waits.")
]


def approve(
    context: typer.Context,
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="Default: list what waits.")
    ] = None,
    version: Version = None,
    reason: Why = "",
    by: By = None,
    as_json: Json = False,
) -> None:
    """Make a proven version champion that waits for approval; without a model, list what waits."""
    if model is not None:
        require_reason(reason, "an approval", f"ratchet approve {model} {version or 'VERSION'}")
    with opened(context) as ratchet, connected_registry(ratchet) as registry:
        if model is None:
            now = ratchet.clock.now()
            requests = registry.waiting(now=now)
            if as_json:
                print_json([request_json(request) for request in requests])
            else:
                _say_requests(requests, now)
            return
        refuse_unknown(registry, model)
        with announced(ratchet, registry, model):
            entry = registry.approve(
                model, version, actor=by or whoami(), reason=reason, now=ratchet.clock.now()
            )
        if as_json:
            print_json(entry_json(entry))
        else:
            note = f"approved by {entry.actor}, epoch {entry.epoch}"
            say_live(entry, note, f"ratchet champion {model}")


def reject(
    context: typer.Context,
    model: Model,
    version: Version = None,
    reason: Why = "",
    by: By = None,
    as_json: Json = False,
) -> None:
    """Refuse a version that waits for approval: it is never proposed again."""
    require_reason(reason, "a rejection", f"ratchet reject {model} {version or 'VERSION'}")
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


def _say_requests(requests: Sequence[ApprovalRequest], now: datetime) -> None:
    say = console()
    if not requests:
        say.print("nothing waits for approval; what is live: ratchet champion", markup=False)
        return
    lines = table(
        "model", "version", "instead of", "asked", "expires", "verdict", give=("verdict",)
    )
    for request in requests:
        lines.add_row(
            request.model,
            request.version,
            request.champion or "",
            Text(ago(request.asked_at, now), "dim"),
            Text(ahead(request.expires_at, now), "yellow"),
            Text(request.proof.partition(". ")[0]),
        )
    say.print(lines)
    step = requests[0].verdict.next_step or ""
    also = step.replace("approve", "reject", 1)
    say.print(Text(f"next: {step}, or {also}", "dim"), soft_wrap=True)
