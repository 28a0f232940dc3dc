"""`ratchet run`, `retry`, `cancel`, `runs`: start runs, drive them, end them, list them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from flows.bootstrap import Ratchet
from flows.cli.driving import EXIT_CODES, INTERRUPTED, View, driver
from flows.cli.failures import report
from flows.cli.installation import for_overrides, for_recorded, opened
from flows.cli.progress import view_of
from flows.cli.show import say_ending
from flows.cli.wording import console, cut, marked, print_json, table
from flows.config import expand
from flows.core.errors import ConfigError, RatchetError, StoreError
from flows.core.flow import Flow
from flows.core.records import Run, RunStatus
from flows.documents import between, run_json
from flows.settings import ExecutorName
from flows.wording import ago, duration, whoami

Json = Annotated[bool, typer.Option("--json", help="Print the ended run as JSON on stdout.")]
Where = Annotated[
    ExecutorName | None,
    typer.Option("--executor", help="Where tasks run that do not say it themselves."),
]


def run(
    context: typer.Context,
    flow: Annotated[str, typer.Argument(help="Name of a flow, or module:name.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Config values: trainer=xgboost gate.min_effect=0.01")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="What makes the run unique; the same key is the same run.")
    ] = None,
    executor: Where = None,
    multirun: Annotated[
        bool, typer.Option("--multirun", "-m", help="Run every combination: a=1,2 b=range(0,3)")
    ] = False,
    as_json: Json = False,
) -> int:
    """Start a run of a flow and drive it to its end.

    Exit codes: 0 succeeded or skipped, 3 halted, 1 failed, 130 cancelled, 2 cannot be started.
    Ctrl-C cancels the run; a second Ctrl-C leaves it to `ratchet retry`.
    """
    typed = overrides or []
    with opened(context) as ratchet:
        declared = ratchet.flow(flow)
        if not multirun:
            return _one(ratchet, declared, typed, key, executor, as_json)
        if key is not None:
            raise ConfigError("one key cannot name several runs", hint="leave out --key, or -m")
        return _sweep(ratchet, declared, expand(typed, ratchet.project), executor, as_json)


def retry(
    context: typer.Context,
    reference: Annotated[str, typer.Argument(metavar="RUN", help="Id, its end, or `last`.")],
    executor: Where = None,
    as_json: Json = False,
) -> int:
    """Make a run go on from where it was; finished tasks are not run again."""
    with opened(context) as ratchet:
        detail = ratchet.service.show(reference)
        place = for_recorded(ratchet, detail)
        with driver(place, executor) as drives:
            reopened = place.service.retry(detail.run.id, held_by=drives.worker)
            if reopened.status is RunStatus.CANCELLING:  # its worker died before its end was made
                drives.drive(reopened, View())
                reopened = place.service.retry(reopened.id, held_by=drives.worker)
            ended = drives.drive(reopened, _view(place, reopened, as_json))
        return _say_ended(place, ended, as_json)


def _one(
    ratchet: Ratchet,
    flow: Flow,
    overrides: Sequence[str],
    key: str | None,
    executor: str | None,
    as_json: bool,
) -> int:
    with for_overrides(ratchet, flow, overrides) as place:
        with driver(place, executor) as drives:
            started = place.start(
                flow, overrides, trigger=_trigger(), key=key, held_by=drives.worker
            )
            if not started.status.ended:  # an earlier run of the same key may have ended long ago
                started = drives.drive(started, _view(place, started, as_json))
        return _say_ended(place, started, as_json)


def _sweep(
    ratchet: Ratchet, flow: Flow, runs: Sequence[Sequence[str]], executor: str | None, as_json: bool
) -> int:
    """Run after run, and a table at the end; stops at the first one that is cancelled.

    One that cannot be driven to its end is told of, and counts as failed.
    """
    say = console(stderr=as_json)
    ended: list[tuple[Sequence[str], Run]] = []
    for overrides in runs:
        ratchet.compose(flow, overrides)  # a mistake in the last one is told before the first runs
    for number, overrides in enumerate(runs, 1):
        say.print(f"{number} of {len(runs)}: {' '.join(overrides)}", markup=False, style="bold")
        with for_overrides(ratchet, flow, overrides) as place, driver(place, executor) as drives:
            started = place.start(flow, overrides, trigger=_trigger(), held_by=drives.worker)
            try:
                started = drives.drive(started, _view(place, started, as_json))
            except StoreError:
                raise
            except RatchetError as error:  # of this run alone, such as that it cannot be read
                report(error, debug=False)
            ended.append((overrides, started))
            if drives.interrupted:
                break
    if as_json:
        print_json([run_json(run) for _, run in ended])
    else:
        _say_sweep(ended, say)
    codes = [EXIT_CODES.get(run.status, 1) for _, run in ended]
    return next((code for code in (INTERRUPTED, 1, 3) if code in codes), 0)


def _say_sweep(ended: Sequence[tuple[Sequence[str], Run]], say: Console) -> None:
    lines = table("run", "overrides", "status", "took", "reason", right=("took",), give=("reason",))
    for overrides, run in ended:
        took = duration(between(run.started_at, run.ended_at))
        lines.add_row(run.id, " ".join(overrides), marked(run.status, say), took, run.reason or "")
    say.print()
    say.print(lines)


def _view(ratchet: Ratchet, run: Run, as_json: bool) -> View:
    """Progress on stdout; with --json on stderr, and only where somebody looks at it."""
    onto = console(stderr=as_json)
    if as_json and not onto.is_terminal:
        return View()
    return view_of(ratchet.service, ratchet.clock, run, onto)


def _say_ended(ratchet: Ratchet, run: Run, as_json: bool) -> int:
    if as_json:
        print_json(run_json(run))
    else:
        say_ending(ratchet.service.show(run.id), console())
    return EXIT_CODES[run.status]


def _trigger() -> dict[str, str]:
    return {"kind": "cli", "by": whoami()}


POLL = 0.25
"""Seconds between two looks at the run."""


def cancel(
    context: typer.Context,
    reference: Annotated[str, typer.Argument(metavar="RUN", help="Id, its end, or `last`.")],
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Only ask for its end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the run as JSON.")] = False,
) -> int:
    """End a run, and wait until it is gone.

    Its worker ends what is running. When that worker is dead, the end is made from here.
    """
    with opened(context) as ratchet:
        run = ratchet.service.find(reference)
        if run.status is not RunStatus.CANCELLING:  # asked before: finish it
            run = ratchet.service.cancel(run.id, by=whoami())
        if not no_wait:
            run = _wait(ratchet, run)
        if as_json:
            print_json(run_json(run))
        elif run.status.ended:
            say_ending(ratchet.service.show(run.id), console())
        else:
            console().print(f"run {run.id} is {run.status}; next: ratchet show {run.id}")
        return 0


def _wait(ratchet: Ratchet, run: Run) -> Run:
    while not (run := ratchet.service.find(run.id)).status.ended:
        if ratchet.service.living_workers(run.id):
            ratchet.clock.sleep(POLL)
            continue
        place = for_recorded(ratchet, ratchet.service.show(run.id))
        with driver(place) as drives:
            return drives.drive(run, View())
    return run


def runs(
    context: typer.Context,
    flow: Annotated[str | None, typer.Option(help="Only runs of this flow.")] = None,
    status: Annotated[str | None, typer.Option(help="Only runs that stand like this.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """List the newest runs, the newest first."""
    with opened(context) as ratchet:
        newest = ratchet.service.runs(flow=flow, status=status, limit=limit)
        if flow is not None and not newest and not ratchet.service.runs(flow=flow, limit=1):
            ratchet.flow(flow)  # a name that no run has may be a mistake
        if as_json:
            print_json([run_json(run) for run in newest])
        else:
            _say_list(newest, ratchet)


def _say_list(newest: tuple[Run, ...], ratchet: Ratchet) -> None:
    say, now = console(), ratchet.clock.now()
    if not newest:
        say.print("no runs yet; next: ratchet run FLOW, or: ratchet demo", markup=False)
        return
    lines = table(
        "run", "flow", "status", "created", "took", "reason", right=("took",), give=("reason",)
    )
    for run in newest:
        end = run.ended_at or now
        lines.add_row(
            run.id,
            run.flow,
            marked(run.status, say),
            Text(ago(run.created_at, now), "dim"),
            duration(between(run.started_at, end)),
            cut(run.reason or ""),
        )
    say.print(lines)
