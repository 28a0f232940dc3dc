"""`ratchet alerts`: who was told of what, and what did not get through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import typer
from rich.text import Text

from flows.adapters.alerts import Alerts, masked, undelivered
from flows.bootstrap import Ratchet
from flows.cli.failures import say
from flows.cli.installation import opened
from flows.cli.wording import console, cut, marked, outcome, print_json, table
from flows.core import values
from flows.core.alert import AlertRecord, AlertStatus, Severity
from flows.wording import ago

alerts = typer.Typer(add_completion=False, rich_markup_mode=None)

AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON array.")]
_COLOUR_OF = {Severity.INFO: "dim", Severity.WARNING: "yellow", Severity.CRITICAL: "red"}


@alerts.callback(invoke_without_command=True)
def latest(
    context: typer.Context,
    status: Annotated[AlertStatus | None, typer.Option(help="Only alerts that stand so.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many.")] = 20,
    as_json: AsJson = False,
) -> int:
    """Who was told of what: the latest alerts, the newest first."""
    if context.invoked_subcommand is not None:
        return 0
    with opened(context) as ratchet:
        records = ratchet.service.store.outbox.list(limit=limit, status=status)
        if as_json:
            print_json([_json(record) for record in records])
        else:
            _say(records, ratchet)
    return 0


@alerts.command("test")
def send_test(context: typer.Context, as_json: AsJson = False) -> int:
    """Send a test alert to every channel of the config."""
    with opened(context) as ratchet:
        post = Alerts(ratchet.settings.alerts, ratchet.home)
        sent = post.test(ratchet.clock.now())
    if as_json:
        print_json([values.to_json(delivery) for delivery in sent])
    else:
        into = console()
        for tried in sent:
            into.print(outcome(tried.channel, tried.state.done, tried.problem, into))
        if len(sent) == 1:
            into.print(Text("no URL is configured; next: conf/alerts, and alerts=apprise", "dim"))
    return 0 if all(delivery.state.done for delivery in sent) else 1


@alerts.command("retry")
def try_again(context: typer.Context, as_json: AsJson = False) -> int:
    """Deliver at once what some channel has not taken, also what was given up."""
    with opened(context) as ratchet:
        sent = ratchet.courier().again(ratchet.clock.now())
    if as_json:
        print_json([_json(record) for record in sent])
    elif not sent:
        console().print("nothing to deliver: every channel has everything", markup=False)
    else:
        done = sum(record.status is AlertStatus.DELIVERED for record in sent)
        console().print(f"{done} of {len(sent)} delivered", markup=False)
    if warning := undelivered(sent):
        say(f"warning: {warning}")
        return 1
    return 0


def _say(records: Sequence[AlertRecord], ratchet: Ratchet) -> None:
    into, now = console(), ratchet.clock.now()
    if not records:
        into.print("no alerts; whom they go to: ratchet alerts test", markup=False)
        return
    lines = table("alert", "when", "about", "reason", "status", "channels", give=("reason",))
    for record in records:
        alert = masked(record.alert)
        lines.add_row(
            Text(alert.title, _COLOUR_OF[alert.severity]),
            Text(ago(alert.at, now), "dim"),
            alert.subject,
            cut(alert.reason),
            marked(record.status, into),
            _channels(record),
        )
    into.print(lines)
    for problem in dict.fromkeys(p for record in records if (p := undelivered([record]))):
        into.print(Text(f"{problem}; next: ratchet alerts retry", "red"))


def _channels(record: AlertRecord) -> str:
    return ", ".join(
        d.channel if d.state.done else f"{d.channel} ({d.state})" for d in record.deliveries
    )


def _json(record: AlertRecord) -> dict[str, Any]:
    """What `--json` shows of an alert; the keys are stable."""
    document: dict[str, Any] = values.to_json(replace(record, alert=masked(record.alert)))
    alert: dict[str, Any] = document.pop("alert")
    for delivery in document["deliveries"]:
        del delivery["alert"]
    return alert | document | {"tries": record.tries, "next_at": values.to_json(record.next_at)}
