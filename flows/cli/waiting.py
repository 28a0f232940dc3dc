"""What waits for approval, as other commands mention it."""

from __future__ import annotations

from datetime import datetime

from rich.text import Text

from flows.cli.wording import ahead, console
from registry import Registry
from registry.card.words import moment


def say_waiting(registry: Registry, model: str, now: datetime) -> None:
    """A line for each version of a model that waits, and what to type."""
    say = console()
    for request in registry.waiting(model, now=now):
        until = f"until {moment(request.expires_at)}, {ahead(request.expires_at, now)}"
        say.print(Text(f"version {request.version} waits for approval ({until})", "yellow"))
        say.print(Text(f"next: {request.verdict.next_step}", "dim"))
