"""`ratchet alerts`: who is told when a run ends badly."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from flows.adapters.alerts import Alerts
from flows.cli.installation import opened
from flows.cli.wording import COLOURS, console, mark, print_json

alerts = typer.Typer(add_completion=False, rich_markup_mode=None)


@alerts.callback(invoke_without_command=True)
def channels(context: typer.Context) -> None:
    """Who is told when a run ends badly."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@alerts.command("test")
def send_test(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> int:
    """Send a test alert to every channel of the config."""
    with opened(context) as ratchet:
        sent = Alerts(ratchet.settings.alerts, ratchet.home).test(ratchet.clock.now())
    if as_json:
        print_json([asdict(delivery) for delivery in sent])
        return 0 if all(delivery.delivered for delivery in sent) else 1
    say = console()
    for delivery in sent:
        status = "succeeded" if delivery.delivered else "failed"
        line = Text(f"{mark(status, say)} ", COLOURS[status]) + Text(delivery.channel)
        say.print(line + Text(f": {delivery.problem}" if delivery.problem else "", "red"))
    if len(sent) == 1:
        say.print(Text("no URL is configured; next: conf/alerts, and alerts=apprise", "dim"))
    return 0 if all(delivery.delivered for delivery in sent) else 1
