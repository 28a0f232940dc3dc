"""`ratchet demo`: five nights of a real training loop."""

from __future__ import annotations

from pathlib import Path

import typer

from flows.cli.app import GlobalOptions
from flows.cli.wording import console
from flows.config import compose
from flows.demo import main


def demo(context: typer.Context) -> None:
    """Five nights of a training loop on real data; 0 only if each ended as it should."""
    options: GlobalOptions = context.find_root().obj
    project = options.project or Path.cwd()
    home = Path(compose(None, None, (), project).settings.home)
    raise typer.Exit(main(project, home, console()))
