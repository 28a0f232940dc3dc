"""`ratchet logs`: what the tasks of a run printed, so far or as it comes."""

from __future__ import annotations

import sys
from difflib import get_close_matches
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from flows.adapters.attempt_log import AttemptLog
from flows.bootstrap import Ratchet
from flows.cli.installation import opened, recorded_artifacts
from flows.cli.wording import console, print_json
from flows.core.errors import NotFound, Refused
from flows.core.graph import node_key
from flows.core.records import Attempt
from flows.core.store import RunDetail

LOOK = 0.25
"""Seconds between two looks at the logs of a run that goes on."""


def logs(
    context: typer.Context,
    reference: Annotated[
        str, typer.Argument(metavar="[RUN]", help="Id, its end, or `last`.")
    ] = "last",
    task: Annotated[str | None, typer.Argument(help="Only this task, such as `train`.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until the run ends.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> int:
    """Print what the tasks of a run printed, attempt by attempt."""
    if follow and as_json:
        raise Refused("--json prints a whole document", hint="leave out --follow, or --json")
    with opened(context) as ratchet:
        reader = _Reader(ratchet, reference, task)
        if as_json:
            print_json([_json(attempt, text) for attempt, text in reader.new()])
            return 0
        return _follow(ratchet, reader) if follow else _print(reader)


class _Reader:
    """The logs of a run's attempts, or of one task's."""

    def __init__(self, ratchet: Ratchet, reference: str, task: str | None) -> None:
        self._ratchet = ratchet
        self._task = task
        self._logs: dict[str, AttemptLog] = {}
        self.detail = ratchet.service.show(reference)
        self._artifacts = recorded_artifacts(ratchet, self.detail)
        _refuse_unknown(task, self.detail)

    def look(self) -> None:
        """See how far the run has come."""
        self.detail = self._ratchet.service.show(self.detail.run.id)

    def new(self) -> list[tuple[Attempt, str]]:
        """Each attempt that has printed something since the last call, and what."""
        for attempt in self.detail.attempts:
            if self._wanted(attempt) and attempt.id not in self._logs:
                found = AttemptLog(attempt, self._ratchet.logs, self._artifacts)
                self._logs[attempt.id] = found
        texts = ((log.attempt, log.read()) for log in self._logs.values())
        return [(attempt, text) for attempt, text in texts if text]

    def _wanted(self, attempt: Attempt) -> bool:
        return self._task is None or self._task in (attempt.key, node_key(attempt.key))


def _refuse_unknown(task: str | None, detail: RunDetail) -> None:
    known = {key: None for t in detail.tasks for key in (node_key(t.key), t.key)}
    if task is None or task in known:
        return
    close = get_close_matches(task, list(known), n=1)
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
            _heading(attempt, self._headings)
            self._last = attempt.id
        sys.stdout.write(text)
        sys.stdout.flush()
        self._at_line_start = text.endswith("\n")


def _heading(attempt: Attempt, onto: Console) -> None:
    again = f", attempt {attempt.number}" if attempt.number > 1 else ""
    onto.print(Text(f"== {attempt.key}{again} ({attempt.executor})", "bold cyan"))


def _print(reader: _Reader) -> int:
    printer, pieces = _Printer(), reader.new()
    for attempt, text in pieces:
        printer.print(attempt, text)
    if not pieces:
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
        ratchet.clock.sleep(LOOK)


def _json(attempt: Attempt, text: str) -> dict[str, object]:
    return {
        "task": attempt.key,
        "attempt": attempt.number,
        "status": attempt.status.value,
        "executor": attempt.executor,
        "text": text,
    }
