"""`ratchet demo`: five nights of a real training loop."""

from __future__ import annotations

from pathlib import Path

import typer

from flows.cli.installation import settings_of
from flows.cli.wording import console
from flows.demo import main


def demo(context: typer.Context) -> None:
    """Five nights of a training loop on real data; 0 only if each ended as it should."""
    settings = settings_of(context)
    raise typer.Exit(main(Path(settings.project), Path(settings.home), console()))
