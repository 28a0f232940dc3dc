"""`ratchet champion`, `ledger`, `rollback`, `approve`, `reject`: which model is live, and why."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from flows.bootstrap import Ratchet
from flows.cli.installation import connected_registry, opened, read_registry
from flows.cli.wording import console, cut, print_json, table
from flows.core.errors import NotFound, Refused
from flows.documents import champion_json, entry_json, rejection_json, request_json
from flows.housekeeping import announced
from flows.wording import ago, ahead, whoami
from registry import Action, Answer, AnswerKind, LedgerBroken, LedgerEntry
from registry.card.words import moment

if TYPE_CHECKING:
    from registry import ApprovalRequest, ChampionStatus, Reader, Watched

Model = Annotated[str, typer.Argument(metavar="MODEL", help="Name of a registered model.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Why = Annotated[str, typer.Option("--reason", help="Why, for the record.")]
DONE = {
    Action.PROMOTE: "promoted",
    Action.ROLLBACK: "put back",
    Action.ADOPT: "adopted",
    Action.RESTORE: "restored",
}
"""What was done to a version that is live."""
By = Annotated[str | None, typer.Option(help="Who does it, for the record. Default: you.")]


def champion(
    context: typer.Context,
    model: Annotated[str | None, typer.Argument(help="Default: every model.")] = None,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Accept what somebody else set, or a history cut short.")
    ] = False,
    restore: Annotated[
        bool, typer.Option("--restore", help="Undo what somebody else set.")
    ] = False,
    reason: Why = "",
    by: By = None,
    as_json: Json = False,
) -> None:
    """Show which version of a model is live, since when, and whether MLflow agrees."""
    if (adopt or restore) and model is None:
        raise Refused("--adopt and --restore need a model", hint="ratchet champion MODEL --adopt")
    if adopt and restore:
        raise Refused("--adopt and --restore contradict each other", hint="choose one of them")
    with opened(context) as ratchet, read_registry(ratchet) as registry:
        now = ratchet.clock.now()
        if model is None:
            statuses = [registry.champion_seen(name) for name in registry.ledger_models()]
            if as_json:
                watches = registry.watches
                print_json([champion_json(one, watches.latest(one.model)) for one in statuses])
            else:
                _say_champions(statuses, now)
            return
        refuse_unknown(registry, model)
        if adopt or restore:
            _resolve(ratchet, model, adopt=adopt, actor=by or whoami(), reason=reason)
        status = registry.champion_seen(model)
        if as_json:
            print_json(champion_json(status, registry.watches.latest(model)))
        else:
            _say_champion(status, _lost(registry, model), now)
            _say_watch(registry.watches.latest(model))
            say_waiting(registry, model, now)


def _resolve(ratchet: Ratchet, model: str, *, adopt: bool, actor: str, reason: str) -> None:
    """Accept or undo what somebody else did."""
    with connected_registry(ratchet) as registry, announced(ratchet, registry, model):
        resolve = registry.adopt if adopt else registry.restore
        done = "accepted" if adopt else "restored"
        why = reason or f"{done} on the command line"
        resolve(model, actor=actor, reason=why, now=ratchet.clock.now())


def ledger(
    context: typer.Context,
    model: Model,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check that no entry was altered or removed.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Show every change of a model's champion, and every rejection: who, when, and why."""
    with opened(context) as ratchet, read_registry(ratchet) as registry:
        refuse_unknown(registry, model)
        entries = registry.entries(model)
        if as_json:
            print_json(
                [
                    entry_json(one) if isinstance(one, LedgerEntry) else rejection_json(one)
                    for one in _history(entries, registry.answers(model))
                ]
            )
        else:
            _say_history(_history(entries, registry.answers(model)), ratchet.clock.now())
        return _verified(registry, model, len(entries)) if verify else 0


def rollback(
    context: typer.Context,
    model: Model,
    reason: Why = "",
    to: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Default: the champion before.")
    ] = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Make an earlier version of a model live again."""
    _require_reason(reason, "a rollback", f"ratchet rollback {model}{f' --to {to}' if to else ''}")
    with opened(context) as ratchet, connected_registry(ratchet) as registry:
        refuse_unknown(registry, model)
        with announced(ratchet, registry, model):
            entry = registry.rollback(
                model, to, actor=by or whoami(), reason=reason, now=ratchet.clock.now()
            )
        if as_json:
            print_json(entry_json(entry))
        else:
            _say_live(entry, f"epoch {entry.epoch}", f"ratchet ledger {model}")


def _say_live(entry: LedgerEntry, note: str, following: str) -> None:
    """Which version a rollback or an approval has made live."""
    say = console()
    before = f" instead of {entry.previous_version}" if entry.previous_version else ""
    say.print(f"{entry.model}: version {entry.version} is live{before} ({note})")
    say.print(Text(f"next: {following}", "dim"))


def _require_reason(reason: str, what: str, command: str) -> None:
    if not reason.strip():
        raise Refused(f"{what} needs a reason, for the record", hint=f"{command} --reason TEXT")


def refuse_unknown(registry: Reader, model: str) -> None:
    """A model without a history is unknown unless it is registered."""
    if registry.knows(model):
        return
    names = registry.ledger_models()
    close = get_close_matches(model, names, n=1)
    raise NotFound(
        f"there is no model {model}" + (f"; did you mean {close[0]}?" if close else ""),
        hint="see them: ratchet champion" if names else "train one: ratchet run retrain",
    )


def _verified(registry: Reader, model: str, entries: int) -> int:
    broken = registry.verify(model)
    say = console(stderr=True)
    if broken is None:
        say.print(f"the ledger of {model} is whole: {entries} entries, every hash fits")
        return 0
    say.print(f"error: the ledger of {model} is broken at epoch {broken.epoch}: {broken.reason}")
    lost = _lost(registry, model)
    restore = "restore the ledger's database from a backup"
    say.print(f"  next: {lost.hint if lost else restore}; and find out who wrote to it")
    return 1


def _lost(registry: Reader, model: str) -> LedgerBroken | None:
    """What is missing at the end of the model's history."""
    try:
        registry.check(model)
    except LedgerBroken as lost:
        return lost
    return None


def _say_watch(watched: Watched | None) -> None:
    """How a new champion does beside the one before it."""
    if watched is not None and watched.broken_off:
        console().print(Text(watched.reason, "yellow"), soft_wrap=True)
    elif watched is not None:
        proven = f"worse than version {watched.previous}" if watched.harm else "no harm"
        night = f"night {watched.nights} of {watched.planned}"
        console().print(f"watched: {night}, {proven}")


def _say_champion(status: ChampionStatus, lost: LedgerBroken | None, now: datetime) -> None:
    say = console()
    if status.version is None:
        say.print(f"{status.model} has no champion yet; next: ratchet run retrain")
    else:
        done = DONE[Action(status.action)] if status.action else ""
        cause = f"{done} by run {status.run_id}" if status.run_id else done
        say.print(
            Text.assemble(
                (status.model, "bold"),
                f" version {status.version} is live: {cause}, {ago(status.at, now)}",
                (f"  epoch {status.epoch}", "dim"),
            )
        )
        if status.reason:
            say.print(Text(status.reason, "dim"), soft_wrap=True)
    if lost is not None:
        say.print(Text(str(lost), "yellow"), soft_wrap=True)
        say.print(Text(f"next: {lost.hint}", "dim"), soft_wrap=True)
    elif status.outsider is not None:
        took = "removed the alias" if status.outsider == "none" else f"set it to {status.outsider}"
        say.print(Text(f"somebody else changed the alias in MLflow: {took}", "yellow"))
        say.print(Text(f"next: ratchet champion {status.model} --adopt, or --restore", "dim"))
    elif not status.settled and status.version is not None:
        say.print(Text("pending: MLflow's alias was not seen to match yet", "yellow"))
        say.print(Text(f"next: ratchet ledger {status.model}", "dim"))


def _say_champions(champions: Sequence[ChampionStatus], now: datetime) -> None:
    say = console()
    if not champions:
        say.print("no model has a champion yet; next: ratchet run retrain")
        return
    lines = table("model", "version", "epoch", "since", "state", "reason", give=("reason",))
    for status in champions:
        state = f"outsider: {status.outsider}" if status.outsider else ""
        lines.add_row(
            status.model,
            status.version or "",
            str(status.epoch),
            Text(ago(status.at, now), "dim"),
            Text(state or ("settled" if status.settled else "pending"), "yellow" if state else ""),
            cut(status.reason or ""),
        )
    say.print(lines)


def _history(
    entries: Sequence[LedgerEntry], answers: Sequence[Answer]
) -> Sequence[LedgerEntry | Answer]:
    """The entries, and the rejections between them; an approval is an entry already."""
    rejections = [one for one in answers if one.answer is AnswerKind.REJECT]
    return sorted([*entries, *rejections], key=lambda one: one.at)


def _say_history(history: Sequence[LedgerEntry | Answer], now: datetime) -> None:
    say = console()
    lines = table("epoch", "version", "action", "when", "by", "hash", "reason", give=("reason",))
    for entry in history:
        if isinstance(entry, LedgerEntry):
            epoch = str(entry.epoch)
            action = f"{entry.action.value}{'' if entry.settled_at else ' (pending)'}"
        else:
            epoch, action = "", entry.answer.value
        lines.add_row(
            epoch,
            entry.version,
            action,
            Text(ago(entry.at, now), "dim"),
            entry.actor,
            Text(entry.hash[:10], "dim"),
            Text(entry.reason),
        )
    say.print(lines)


def say_waiting(registry: Reader, model: str, now: datetime) -> None:
    """A line for each version of a model that waits, and what to type."""
    say = console()
    for request in registry.waiting(model, now=now):
        until = f"until {moment(request.expires_at)}, {ahead(request.expires_at, now)}"
        say.print(Text(f"version {request.version} waits for approval ({until})", "yellow"))
        say.print(Text(f"next: {request.verdict.next_step}", "dim"))


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
        _require_reason(reason, "an approval", f"ratchet approve {model} {version or 'VERSION'}")
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
            _say_live(entry, note, f"ratchet champion {model}")


def reject(
    context: typer.Context,
    model: Model,
    version: Version = None,
    reason: Why = "",
    by: By = None,
    as_json: Json = False,
) -> None:
    """Refuse a version that waits for approval: it is never proposed again."""
    _require_reason(reason, "a rejection", f"ratchet reject {model} {version or 'VERSION'}")
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
