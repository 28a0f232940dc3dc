"""The command line: its global options, and the table of its commands.

A command's module is imported when the command is called, so that `ratchet --help` needs
this table and nothing else.
"""

from __future__ import annotations

import gc
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.lazy_group import Entry, LazyGroup


@dataclass(frozen=True, kw_only=True)
class GlobalOptions:
    """Where a command works, as the global options say: the project and its home."""

    project: Path | None  # None: the current folder
    home: Path | None  # None: what the config says


RUNS, SCHEDULES, MODELS, DATA, HERE = "Runs", "Schedules", "Models", "Data", "Here"
ALWAYS_ON = "Always on"

COMMANDS = (
    Entry("run", RUNS, "runs", "Start a run of a flow and drive it to its end."),
    Entry("runs", RUNS, "runs", "List the newest runs."),
    Entry("show", RUNS, "show", "Show a run: tasks, attempts, errors, config."),
    Entry("logs", RUNS, "show", "Print what the tasks of a run printed."),
    Entry("retry", RUNS, "runs", "Make a run go on from where it was."),
    Entry("cancel", RUNS, "runs", "End a run, and wait until it is gone."),
    Entry("up", ALWAYS_ON, "always_on", "Scheduler, worker, Ray, MLflow, API, till Ctrl-C."),
    Entry("worker", ALWAYS_ON, "always_on", "Run what has to be run, till Ctrl-C."),
    Entry("scheduler", ALWAYS_ON, "always_on", "Fire schedules and deliver alerts, till Ctrl-C."),
    Entry("schedules", SCHEDULES, "schedules", "What runs by itself."),
    Entry("backfill", SCHEDULES, "schedules", "Run what times in the past lack."),
    Entry("champion", MODELS, "models", "Show which version is live."),
    Entry("ledger", MODELS, "models", "Show every change of a model's champion."),
    Entry("verdict", MODELS, "verdict", "What the gate decided, and why."),
    Entry("evidence", MODELS, "verdict", "Challengers not proven yet."),
    Entry("approve", MODELS, "approvals", "Make live what waits for approval."),
    Entry("reject", MODELS, "approvals", "Refuse what waits for approval."),
    Entry("rollback", MODELS, "models", "Make an earlier version live again."),
    Entry("release", MODELS, "models", "Let a version be proposed again."),
    Entry("features", DATA, "features", "The views of the feature store."),
    Entry("demo", HERE, "demo", "Five nights of a real training loop, in a minute."),
    Entry("check", HERE, "examine", "Validate flows and configs without a run."),
    Entry("doctor", HERE, "examine", "Look for what is missing or broken here."),
    Entry("alerts", HERE, "alerts", "Who was told of what went wrong, and how."),
    Entry("kpis", HERE, "kpis", "How well the loop does its job, in ten figures."),
    Entry("audit", HERE, "examine", "Find schedules, runs, alerts nobody looks at."),
    Entry("store", HERE, "store", "The version of the state store; upgrade it."),
    Entry("prune", HERE, "prune", "Remove what old runs left; dry run by default."),
)


class RatchetCommands(LazyGroup):
    """The commands of `ratchet`."""

    entries = COMMANDS


app = typer.Typer(
    cls=RatchetCommands,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@app.callback(invoke_without_command=True)
def ratchet(
    context: typer.Context,
    project: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder of conf/ and your modules. Default: here."),
    ] = None,
    home: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder that Ratchet may write. Default: $RATCHET_HOME, or .ratchet there.",
        ),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.")
    ] = False,
) -> None:
    """Models in production get better or stay, never worse by accident."""
    if show_version:
        typer.echo(f"ratchet {_version()}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit
    if home is not None:  # what every config and every worker process reads
        os.environ["RATCHET_HOME"] = str(home.expanduser().absolute())
    context.obj = GlobalOptions(project=project, home=home)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # reads e-mail headers: slow

    try:
        return version("ratchet-ml")
    except PackageNotFoundError:
        return "(not installed: run from a checkout)"


def main() -> None:
    """Run the command line on `sys.argv` and exit with its code."""
    try:
        app(prog_name="ratchet")
    finally:
        gc.freeze()  # or the interpreter looks for garbage among all modules before it ends
