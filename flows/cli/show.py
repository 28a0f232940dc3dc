"""`ratchet show`: everything about one run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from flows.bootstrap import Ratchet
from flows.cli.ending import say_ending
from flows.cli.installation import opened
from flows.cli.progress import Row, rows_of
from flows.cli.wording import ago, console, cut, duration, marked, print_json, table
from flows.config import Change, diff
from flows.core.errors import Pruned
from flows.core.records import Attempt, Run, TaskStatus
from flows.core.store import RunDetail
from flows.documents import between, detail_json, mlflow_run, run_json

TRACE_LINES = 6
"""Lines of a traceback's end that are shown; `--json` has all of it."""


def show(
    context: typer.Context,
    reference: Annotated[
        str, typer.Argument(metavar="[RUN]", help="Id, its end, or `last`.")
    ] = "last",
    config: Annotated[bool, typer.Option("--config", help="Show the whole config too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Show a run: its tasks, attempts and errors, and how its config differs from the last."""
    with opened(context) as ratchet:
        try:
            detail = ratchet.service.show(reference)
        except Pruned as pruned:
            _say_pruned(ratchet, reference, pruned, as_json=as_json)
            return
        previous = ratchet.service.previous(detail.run)
        changes = _changes(ratchet, detail, previous)
        if as_json:
            print_json(detail_json(detail, previous, changes))
            return
        say = console()
        _say_run(detail.run, mlflow_run(detail), ratchet, say)
        _say_tasks(detail, ratchet, say)
        _say_attempts(detail.attempts, say)
        _say_errors(detail, say)
        _say_changes(previous, changes, say)
        if config:
            say.print()
            say.print(detail.config_yaml.rstrip(), markup=False, soft_wrap=True)
        say.print()
        if (waits := ratchet.service.why_waiting(detail.run)) is not None:
            say.print(f"waits: {waits}", markup=False, soft_wrap=True)
        say_ending(detail, say, alive=bool(ratchet.service.workers()))


def _changes(ratchet: Ratchet, detail: RunDetail, previous: Run | None) -> list[Change]:
    if previous is None:
        return []
    try:
        return diff(ratchet.service.show(previous.id).config_yaml, detail.config_yaml)
    except Pruned:
        return []


def _say_pruned(ratchet: Ratchet, reference: str, pruned: Pruned, *, as_json: bool) -> None:
    """All that is left of a run is its row, and its events."""
    run = ratchet.service.find(reference)
    if as_json:
        print_json(run_json(run) | {"pruned": True})
        return
    say = console()
    _say_run(run, None, ratchet, say)
    say.print()
    if run.reason:
        say.print(run.reason, markup=False)
    say.print(str(pruned), markup=False)


def _say_run(run: Run, mlflow: str | None, ratchet: Ratchet, say: Console) -> None:
    past = ago(run.created_at, ratchet.clock.now())
    trigger = " ".join(f"{k}={_short(v)}" for k, v in run.trigger.items() if v)
    facts: dict[str, str | Text] = {
        "run": Text(run.id, "bold"),
        "flow": run.flow,
        "status": marked(run.status, say),
        "key": "" if run.key == run.id else run.key,
        "created": f"{run.created_at:%Y-%m-%d %H:%M:%S} UTC, {past}",
        "trigger": trigger,
        "config": run.config_digest[:12],
        "mlflow run": mlflow or "",
    }
    lines = table("", "", give=("",))
    lines.show_header = False
    for name, value in facts.items():
        if value:
            lines.add_row(Text(name, "dim"), value if isinstance(value, Text) else Text(value))
    say.print(lines)


def _say_tasks(detail: RunDetail, ratchet: Ratchet, say: Console) -> None:
    now = ratchet.clock.now()
    lines = table(
        "task", "status", "took", "attempts", "reason", right=("took", "attempts"), give=("reason",)
    )
    for row in rows_of(detail.graph, detail.tasks):
        lines.add_row(
            row.name,
            marked(row.status, say),
            _took(row, now),
            row.done or str(row.attempt or ""),
            cut(row.reason),
        )
    say.print()
    say.print(lines)


def _took(row: Row, now: datetime) -> str:
    if row.status is TaskStatus.PENDING or row.started is None:
        return ""
    return duration(between(row.started, row.ended or now))


def _say_attempts(attempts: Sequence[Attempt], say: Console) -> None:
    """Only where a task needed more than one."""
    again = {attempt.key for attempt in attempts if attempt.number > 1}
    told = [attempt for attempt in attempts if attempt.key in again]
    if not told:
        return
    lines = table(
        "attempt", "status", "took", "executor", "error", right=("took",), give=("error",)
    )
    for attempt in told:
        error = attempt.error
        line = f"{error.type}: {error.message}".partition("\n")[0] if error else ""
        lines.add_row(
            f"{attempt.key} {attempt.number}",
            marked(attempt.status, say),
            duration(between(attempt.started_at, attempt.ended_at)),
            attempt.executor,
            cut(line),
        )
    say.print()
    say.print(lines)


def _say_errors(detail: RunDetail, say: Console) -> None:
    for task in detail.tasks:
        if task.status is not TaskStatus.FAILED or task.error is None or "[" in task.key:
            continue
        say.print()
        say.print(Text(f"{task.key} failed", "bold red"))
        lines = task.error.trace.rstrip().splitlines()
        trace = [line for line in lines if line.strip(" ^~")]
        if not trace:
            trace = [f"{task.error.type}: {task.error.message}"]
        for line in trace[-TRACE_LINES:]:
            say.print(Text(f"  {line}", "dim"), soft_wrap=True)


def _say_changes(previous: Run | None, changes: Sequence[Change], say: Console) -> None:
    if previous is None:
        return
    say.print()
    if not changes:
        say.print(Text(f"same config as run {previous.id} before it", "dim"))
        return
    lines = table("config key", f"was ({previous.id})", "is", give=("is",))
    for change in changes:
        lines.add_row(change.key, Text(_short(change.old)), Text(_short(change.new)))
    say.print(lines)


def _short(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
