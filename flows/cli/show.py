"""`ratchet show` and `logs`: everything about one run; and how its end is said."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from flows.adapters.attempt_log import AttemptLog
from flows.bootstrap import Ratchet
from flows.cli.installation import opened, recorded_artifacts
from flows.cli.progress import rows_of
from flows.cli.wording import COLOURS, console, cut, mark, marked, print_json, table
from flows.config import Change, diff
from flows.core.errors import NotFound, Pruned, Refused
from flows.core.graph import node_key
from flows.core.records import Attempt, Run, RunStatus, TaskStatus
from flows.core.store import RunDetail
from flows.documents import between, detail_json, mlflow_run, run_json, verdict_of, watch_line
from flows.wording import ago, duration
from registry import Verdict

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
        say_ending(detail, say, alive=bool(ratchet.service.workers()), shown=True)


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
    for row in rows_of(detail, now):
        lines.add_row(
            row.key,
            marked(row.status, say),
            duration(row.seconds),
            row.progress or str(row.attempt or ""),
            cut(row.reason or ""),
        )
    say.print()
    say.print(lines)


def _say_attempts(attempts: Sequence[Attempt], say: Console) -> None:
    """Only where a task needed more than one."""
    again = {attempt.key for attempt in attempts if attempt.number > 1}
    retried = [attempt for attempt in attempts if attempt.key in again]
    if not retried:
        return
    lines = table(
        "attempt", "status", "took", "executor", "error", right=("took",), give=("error",)
    )
    for attempt in retried:
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


def say_ending(
    detail: RunDetail, console: Console, *, alive: bool = False, shown: bool = False
) -> None:
    """Print how a run ended, or stands; `alive`: a worker is at it; `shown`: all else was said."""
    run = detail.run
    took = duration(between(run.started_at, run.ended_at))
    console.print(
        Text.assemble(
            (f"{mark(run.status, console)} {run.status.value}", f"bold {COLOURS[run.status]}"),
            (f" in {took}" if took else "", "dim"),
            f": {' '.join(run.reason.split())}" if run.reason else "",
        ),
        soft_wrap=True,
    )
    verdict = verdict_of(detail)
    if (watch := watch_line(detail)) is not None:
        console.print(f"watch: {watch}", markup=False, soft_wrap=True)
    if verdict is not None:
        console.print(f"verdict: {verdict_line(verdict)}", markup=False, soft_wrap=True)
    if (failed := hint_of(detail)) is not None:
        console.print(f"hint: {failed}", style="yellow", markup=False, soft_wrap=True)
    command = next_command(detail, alive=alive, shown=shown)
    console.print(Text(f"next: {command}", style="dim"), soft_wrap=True)


def verdict_line(verdict: Verdict) -> str:
    """The verdict in one line, with its figures."""
    reason = verdict.reason.rstrip(".")
    if verdict.difference is None or verdict.low is None or verdict.high is None:
        return f"{verdict.decision.value}: {reason}"
    interval = f"{verdict.difference:+.4f} [{verdict.low:+.4f}, {verdict.high:+.4f}]"
    return f"{verdict.decision.value}: {reason} ({verdict.metric} {interval}, {verdict.rows} rows)"


def hint_of(detail: RunDetail) -> str | None:
    """What the first error of a failed run advises."""
    failed = [t.error for t in detail.tasks if t.status is TaskStatus.FAILED and t.error]
    return next((error.hint for error in failed if error.hint), None)


def next_command(detail: RunDetail, *, alive: bool = False, shown: bool = False) -> str:
    """What to type after this ending."""
    run = detail.run
    if alive and not run.status.ended:
        return f"ratchet logs {run.id} -f"
    if run.status is RunStatus.FAILED:
        failed = next((t.key for t in detail.tasks if t.status is TaskStatus.FAILED), "")
        return f"ratchet logs {run.id} {failed}\n  or: ratchet retry {run.id}"
    if run.status is RunStatus.CANCELLED or not run.status.ended:
        return f"ratchet retry {run.id}"
    verdict = verdict_of(detail)
    if run.status is RunStatus.SUCCEEDED and verdict is not None and verdict.promote:
        return f"ratchet champion {verdict.model}"
    halted = next((t.error for t in detail.tasks if t.status is TaskStatus.HALTED), None)
    if halted is not None and halted.hint:
        return halted.hint
    return f"ratchet {'logs' if shown else 'show'} {run.id}"


LONGEST_JSON = 10_000_000
"""Characters of each attempt in the JSON of `logs`: of a longer log, its end."""
POLL = 0.25
"""Seconds between two looks at the logs of a run that goes on."""


def logs(
    context: typer.Context,
    reference: Annotated[
        str, typer.Argument(metavar="[RUN]", help="Id, its end, or `last`.")
    ] = "last",
    task: Annotated[str | None, typer.Argument(help="Only this task, such as `train`.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until the run ends.")] = False,
    tail: Annotated[
        int | None, typer.Option("--tail", "-n", min=1, help="Only the last lines of each attempt.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> int:
    """Print what the tasks of a run printed, by attempt; with --json the end of long logs."""
    if follow and as_json:
        raise Refused("--json prints a whole document", hint="leave out --follow, or --json")
    with opened(context) as ratchet:
        reader = _Reader(ratchet, reference, task, tail, LONGEST_JSON if as_json else None)
        if as_json:
            print_json([_log_json(log) for log in reader.logs()])
            return 0
        return _follow(ratchet, reader) if follow else _print_logs(reader)


class _Reader:
    """The logs of a run's attempts, or of one task's."""

    def __init__(
        self,
        ratchet: Ratchet,
        reference: str,
        task: str | None,
        lines: int | None,
        characters: int | None,
    ) -> None:
        """Of what is there now, the last `lines` of each, and not more than so many characters."""
        self._only = {"lines": lines, "characters": characters}
        self._ratchet = ratchet
        self._task = task
        self._logs: dict[str, AttemptLog] = {}
        self.detail = ratchet.service.show(reference)
        self._artifacts = recorded_artifacts(ratchet, self.detail)
        _refuse_unknown(task, self.detail)

    def look(self) -> None:
        """See how far the run has come."""
        self.detail = self._ratchet.service.show(self.detail.run.id)

    def new(self) -> Iterator[tuple[Attempt, str]]:
        """Each attempt that has printed something since the last call, and what, in pieces."""
        for log in self.logs():
            while text := log.read():
                yield log.attempt, text

    def logs(self) -> Iterable[AttemptLog]:
        """The logs of the attempts that there are now."""
        for attempt in self.detail.attempts:
            if self._wanted(attempt) and attempt.id not in self._logs:
                log = AttemptLog(attempt, self._ratchet.logs, self._artifacts)
                if any(self._only.values()):
                    log.leave_out(**self._only)
                self._logs[attempt.id] = log
        return self._logs.values()

    def _wanted(self, attempt: Attempt) -> bool:
        return self._task is None or self._task in (attempt.key, node_key(attempt.key))


def _refuse_unknown(task: str | None, detail: RunDetail) -> None:
    keys = {key: None for t in detail.tasks for key in (node_key(t.key), t.key)}
    if task is None or task in keys:
        return
    close = get_close_matches(task, list(keys), n=1)
    raise NotFound(
        f"run {detail.run.id} has no task {task}"
        + (f"; did you mean {close[0]}?" if close else ""),
        hint=f"its tasks: {', '.join(n.key for n in detail.graph.nodes)}",
    )


class _Printer:
    """Prints pieces of logs, with a heading where the attempt changes."""

    def __init__(self) -> None:
        self._headings = console()
        self._last: str | None = None
        self._at_line_start = True

    def print(self, attempt: Attempt, text: str) -> None:
        """Print a piece of an attempt's log."""
        if self._last != attempt.id:
            if not self._at_line_start:
                sys.stdout.write("\n")
            again = f", attempt {attempt.number}" if attempt.number > 1 else ""
            heading = f"== {attempt.key}{again} ({attempt.executor})"
            self._headings.print(Text(heading, "bold cyan"))
            self._last = attempt.id
        sys.stdout.write(text)
        sys.stdout.flush()
        self._at_line_start = text.endswith("\n")


def _print_logs(reader: _Reader) -> int:
    printer, printed = _Printer(), False
    for attempt, text in reader.new():
        printer.print(attempt, text)
        printed = True
    if not printed:
        run = reader.detail.run
        console(stderr=True).print(f"run {run.id} is {run.status} and has printed nothing")
    return 0


def _follow(ratchet: Ratchet, reader: _Reader) -> int:
    printer = _Printer()
    while True:
        reader.look()
        over = reader.detail.run.status.ended
        for attempt, text in reader.new():
            printer.print(attempt, text)
        if over:
            return 0
        if not ratchet.service.workers():
            raise Refused(
                f"no worker is at run {reader.detail.run.id}, which is {reader.detail.run.status}",
                hint=f"take it up again: ratchet retry {reader.detail.run.id}",
            )
        ratchet.clock.sleep(POLL)


def _log_json(log: AttemptLog) -> dict[str, object]:
    attempt, text = log.attempt, "".join(iter(log.read, ""))
    return {
        "task": attempt.key,
        "attempt": attempt.number,
        "status": attempt.status.value,
        "executor": attempt.executor,
        "text": text,
    }
