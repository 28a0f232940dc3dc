"""The command line: its global options, and the table of its commands.

A command's module is imported when the command is called, so that `ratchet --help` needs
this table and nothing else.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.lazy_group import Entry, LazyGroup
from flows.cli.place import Place

RUNS, SCHEDULES, MODELS, DATA, HERE = "Runs", "Schedules", "Models", "Data", "Here"
ALWAYS_ON = "Always on"

COMMANDS = (
    Entry("run", RUNS, "flows.cli.run:run", "Start a run of a flow and drive it to its end."),
    Entry("runs", RUNS, "flows.cli.runs:runs", "List the newest runs."),
    Entry("show", RUNS, "flows.cli.show:show", "Show a run: tasks, attempts, errors, config."),
    Entry("logs", RUNS, "flows.cli.logs:logs", "Print what the tasks of a run printed."),
    Entry("retry", RUNS, "flows.cli.run:retry", "Make a run go on from where it was."),
    Entry("cancel", RUNS, "flows.cli.cancel:cancel", "End a run, and wait until it is gone."),
    Entry("up", ALWAYS_ON, "flows.cli.up:up", "Scheduler, worker, Ray, MLflow, API, till Ctrl-C."),
    Entry("worker", ALWAYS_ON, "flows.cli.worker:worker", "Run what has to be run, till Ctrl-C."),
    Entry(
        "scheduler",
        ALWAYS_ON,
        "flows.cli.scheduler:scheduler",
        "Fire schedules and deliver alerts, till Ctrl-C.",
    ),
    Entry("schedules", SCHEDULES, "flows.cli.schedules:schedules", "What runs by itself."),
    Entry("backfill", SCHEDULES, "flows.cli.backfill:backfill", "Run what times in the past lack."),
    Entry("champion", MODELS, "flows.cli.models:champion", "Show which version is live."),
    Entry("ledger", MODELS, "flows.cli.models:ledger", "Show every change of a model's champion."),
    Entry("verdict", MODELS, "flows.cli.verdict:verdict", "What the gate decided, and why."),
    Entry("evidence", MODELS, "flows.cli.evidence:evidence", "Challengers not proven yet."),
    Entry("approve", MODELS, "flows.cli.approvals:approve", "Make live what waits for approval."),
    Entry("reject", MODELS, "flows.cli.approvals:reject", "Refuse what waits for approval."),
    Entry("rollback", MODELS, "flows.cli.models:rollback", "Make an earlier version live again."),
    Entry("features", DATA, "flows.cli.features:features", "The views of the feature store."),
    Entry("demo", HERE, "flows.cli.demo:demo", "Five nights of a real training loop, in a minute."),
    Entry("check", HERE, "flows.cli.examine:check", "Validate flows and configs without a run."),
    Entry("doctor", HERE, "flows.cli.examine:doctor", "Look for what is missing or broken here."),
    Entry("alerts", HERE, "flows.cli.alerts:alerts", "Who was told of what went wrong, and how."),
    Entry("kpis", HERE, "flows.cli.kpis:kpis", "How well the loop does its job, in ten figures."),
    Entry(
        "audit", HERE, "flows.cli.examine:audit", "Find schedules, runs, alerts nobody looks at."
    ),
    Entry("store", HERE, "flows.cli.store:store", "The version of the state store; upgrade it."),
    Entry("prune", HERE, "flows.cli.prune:prune", "Remove what old runs left; dry run by default."),
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
    context.obj = Place(project=project, home=home)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # reads e-mail headers: slow

    try:
        return version("ratchet-ml")
    except PackageNotFoundError:
        return "(not installed: run from a checkout)"


def main() -> None:
    """Run the command line on `sys.argv` and exit with its code."""
    app(prog_name="ratchet")
