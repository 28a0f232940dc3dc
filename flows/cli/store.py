"""`ratchet store`: which version the state store has, and bringing it to a newer one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Annotated

import typer

from flows.cli.installation import settings_of
from flows.cli.wording import console, print_json, span
from flows.core.clock import SystemClock
from flows.core.errors import Refused
from flows.core.store import migrate
from flows.core.store.database import Database
from flows.core.store.leases import LeaseStore
from flows.settings import reveal

store = typer.Typer(add_completion=False, rich_markup_mode=None)

LOOK = 1.0
"""Seconds between two looks whether workers have ended."""


@store.callback(invoke_without_command=True)
def show(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Show the version of the state store, and what an upgrade would do."""
    if context.invoked_subcommand is None:
        with _opened(context) as database:
            tell = _print_plan if as_json else _say_plan
            tell(*_planned(database), _workers(database))


@store.command("upgrade")
def upgrade(
    context: typer.Context,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what would be done.")] = False,
    wait: Annotated[
        str, typer.Option(metavar="TIME", help="How long to wait for workers to end.")
    ] = "10m",
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Bring the state store's tables to what this Ratchet knows.

    Steps that only add are carried out beside running workers. Before one that older workers
    cannot live with, they are told: they drain, end, and cannot be started any more.
    """
    with _opened(context) as database:
        version, steps = _planned(database)
        if as_json and plan:
            _print_plan(version, steps, _workers(database))
        elif not as_json:
            _say_plan(version, steps, _workers(database))
        if plan or not steps:
            return
        if version is not None and (needs := _needs(steps)) > version.needs:
            migrate.announce(database, needs)
            _wait_for_workers(database, span(wait, "--wait"))
        reached = migrate.upgrade(database)
        if as_json:
            print_json({"schema": reached.schema, "needs": reached.needs})
        else:
            console().print(f"the store is at schema {reached.schema} now")


@contextmanager
def _opened(context: typer.Context) -> Iterator[Database]:
    """The store's database as it is: a Ratchet that is opened may not live with its version."""
    settings = settings_of(context)
    database = Database(reveal(settings.store.url))
    try:
        yield database
    finally:
        database.close()


def _planned(database: Database) -> tuple[migrate.Version | None, Sequence[migrate.Migration]]:
    version = migrate.version_of(database)
    return version, migrate.migrations(None if version is None else version.schema)


def _needs(steps: Sequence[migrate.Migration]) -> str:
    return max(step.needs for step in steps)


def _workers(database: Database) -> list[str]:
    """The workers that are alive."""
    if migrate.version_of(database) is None:
        return []
    held = LeaseStore(database).holders()
    return sorted(lease.holder for lease in held)


def _wait_for_workers(database: Database, longest: timedelta) -> None:
    clock = SystemClock()
    until = clock.now() + longest
    while workers := _workers(database):
        if clock.now() >= until:
            raise Refused(
                f"workers are alive still: {', '.join(workers[:3])}",
                hint="stop them, then: ratchet store upgrade",
            )
        clock.sleep(LOOK)


def _print_plan(
    version: migrate.Version | None, steps: Sequence[migrate.Migration], workers: list[str]
) -> None:
    print_json(
        {
            "schema": version.schema if version else None,
            "needs": version.needs if version else None,
            "newest": migrate.HEAD,
            "steps": [{"schema": s.number, "summary": s.summary, "needs": s.needs} for s in steps],
            "workers": workers,
            "workers_may_go_on": version is None or not steps or _needs(steps) <= version.needs,
        }
    )


def _say_plan(
    version: migrate.Version | None, steps: Sequence[migrate.Migration], workers: list[str]
) -> None:
    out = console()
    at = f"schema {version.schema}" if version else "new"
    out.print(f"the store is {at}; this Ratchet knows {migrate.HEAD}")
    for step in steps:
        out.print(f"  {step.number}  {step.summary}", markup=False)
        out.print(f"        code that knows {step.needs} or newer works on it")
    if version is not None and steps:
        goes_on = _needs(steps) <= version.needs
        told = "go on meanwhile" if goes_on else "are told to drain, and are waited for"
        out.print(f"workers alive: {len(workers)}; they {told}")
