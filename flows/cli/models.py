"""`ratchet champion`, `ledger`, `rollback`, `release`: which model is live, and why."""

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
from flows.documents import champion_json, entry_json, rejection_json
from flows.housekeeping import announced
from flows.wording import ago, ahead, whoami
from registry import Action, Answer, AnswerKind, LedgerBroken, LedgerEntry, check_model_name
from registry.card.words import moment
from registry.champion import way_out

if TYPE_CHECKING:
    from registry import ChampionStatus, Reader, Watched

Model = Annotated[str, typer.Argument(metavar="MODEL", help="Name of a registered model.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Why = Annotated[str, typer.Option("--reason", help="Why, for the record.")]
DONE = {
    Action.PROMOTE: "promoted",
    Action.ROLLBACK: "put back",
    Action.ADOPT: "adopted",
    Action.RESTORE: "restored",
    Action.RETIRE: "retired",
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
    retire: Annotated[
        bool, typer.Option("--retire", help="Let no version be live, whatever state it is in.")
    ] = False,
    export: Annotated[
        bool, typer.Option("--export", help="Complete what a crash left: alias and export.")
    ] = False,
    untie: Annotated[
        bool, typer.Option("--untie", help="Let the next run tie it to its own view and label.")
    ] = False,
    reason: Why = "",
    by: By = None,
    as_json: Json = False,
) -> None:
    """Show which version of a model is live, since when, and whether MLflow agrees."""
    wanted = {
        "--adopt": adopt,
        "--restore": restore,
        "--retire": retire,
        "--export": export,
        "--untie": untie,
    }
    asked = [name for name, wants in wanted.items() if wants]
    if asked and model is None:
        raise Refused(f"{asked[0]} needs a model", hint=f"ratchet champion MODEL {asked[0]}")
    if len(asked) > 1:
        said = " and ".join(asked)
        raise Refused(f"{said} cannot be said at once", hint="choose one of them")
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
        if asked:
            _change(ratchet, model, asked[0], actor=by or whoami(), reason=reason)
        status = registry.champion_seen(model)
        if as_json:
            print_json(champion_json(status, registry.watches.latest(model)))
        else:
            _say_champion(status, _lost(registry, model), now)
            _say_watch(registry.watches.latest(model))
            say_waiting(registry, model, now)


def _change(ratchet: Ratchet, model: str, option: str, *, actor: str, reason: str) -> None:
    """Do what an option of `ratchet champion` says."""
    with connected_registry(ratchet) as registry:
        if option == "--export":
            registry.reconcile((model,), now=ratchet.clock.now())
            place = registry.export(model)
            said = f"exported: {place}" if place else "registry.export_uri is not set"
            console(stderr=True).print(Text(said, "dim"), soft_wrap=True)
        elif option == "--untie":
            registry.untie(model)
        else:
            change = {
                "--adopt": registry.adopt,
                "--restore": registry.restore,
                "--retire": registry.retire,
            }[option]
            why = reason or f"{option[2:]} on the command line"
            with announced(ratchet, registry, model):
                change(model, actor=actor, reason=why, now=ratchet.clock.now())


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
    force: Annotated[
        bool, typer.Option("--force", help="Also to a version that never was champion.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would do, and do nothing.")
    ] = False,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Make an earlier version of a model live again; repeated, it does nothing more.

    The version that it leaves is not proposed again until: ratchet release MODEL VERSION
    """
    if dry_run:
        _say_plan(context, model, to)
        return
    require_reason(reason, "a rollback", f"ratchet rollback {model}{f' --to {to}' if to else ''}")
    with opened(context) as ratchet, connected_registry(ratchet) as registry:
        refuse_unknown(registry, model)
        with announced(ratchet, registry, model):
            entry = registry.rollback(
                model, to, actor=by or whoami(), reason=reason, now=ratchet.clock.now(), force=force
            )
        if as_json:
            print_json(entry_json(entry))
        else:
            back = f"ratchet rollback {model} --to VERSION goes further back"
            say_live(entry, f"epoch {entry.epoch}, since {moment(entry.at)}", back)


def _say_plan(context: typer.Context, model: str, to: str | None) -> None:
    """What a rollback would do."""
    with opened(context) as ratchet, connected_registry(ratchet) as registry:
        refuse_unknown(registry, model)
        target, now = registry.rollback_target(model, to), registry.champion(model).version
        if target is None or target == now:
            console().print(f"{model}: nothing would change, version {now or 'none'} is live")
        else:
            console().print(f"{model}: version {target} would be live instead of {now or 'none'}")


def release(
    context: typer.Context,
    model: Model,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="That was rolled back from.")],
    reason: Why = "",
    by: By = None,
) -> None:
    """Let the gate propose a version again that was rolled back from."""
    require_reason(reason, "a release", f"ratchet release {model} {version}")
    with opened(context) as ratchet, connected_registry(ratchet) as registry:
        refuse_unknown(registry, model)
        done = registry.release(
            model, version, actor=by or whoami(), reason=reason, now=ratchet.clock.now()
        )
        said = "may be proposed again" if done else "was not set aside, or is released already"
        console().print(f"{model}: version {version} {said}")


def say_live(entry: LedgerEntry, note: str, following: str) -> None:
    """Which version a rollback or an approval has made live."""
    say = console()
    before = f" instead of {entry.previous_version}" if entry.previous_version else ""
    say.print(f"{entry.model}: version {entry.version} is live{before} ({note})")
    say.print(Text(f"next: {following}", "dim"))


def require_reason(reason: str, what: str, command: str) -> None:
    if not reason.strip():
        raise Refused(f"{what} needs a reason, for the record", hint=f"{command} --reason TEXT")


def refuse_unknown(registry: Reader, model: str) -> None:
    """A model without a history is unknown unless it is registered."""
    check_model_name(model)
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
    if status.version is None and status.epoch:
        say.print(f"{status.model} has no champion, {ago(status.at, now)}: {status.reason}")
    elif status.version is None:
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
    elif not status.sound:
        says, out = way_out(status)
        say.print(Text(says, "yellow"), soft_wrap=True)
        say.print(Text(f"next: {out}", "dim"), soft_wrap=True)
    elif not status.settled:
        say.print(Text("pending: MLflow's alias was not seen to match yet", "yellow"))
        say.print(Text(f"next: ratchet champion {status.model} --export", "dim"))


def _say_champions(champions: Sequence[ChampionStatus], now: datetime) -> None:
    say = console()
    if not champions:
        say.print("no model has a champion yet; next: ratchet run retrain")
        return
    lines = table("model", "version", "epoch", "since", "state", "reason", give=("reason",))
    for status in champions:
        state = "" if status.sound else f"{status.gone or 'outsider'}: {status.outsider}"
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
    """The entries, and rejections and releases between them; an approval is an entry already."""
    said = [one for one in answers if one.answer is not AnswerKind.APPROVE]
    return sorted([*entries, *said], key=lambda one: one.at)


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
