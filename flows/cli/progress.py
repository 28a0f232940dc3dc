"""How a run goes on, in the terminal: one line per task, redrawn; or plain lines in a pipe."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from flows.cli.driving import View
from flows.cli.wording import COLOURS, cut, mark
from flows.core.clock import Clock
from flows.core.graph import child_index
from flows.core.records import Run, TaskStatus
from flows.core.service import Service
from flows.core.store import RunDetail
from flows.documents import between
from flows.wording import TaskView, duration, event_line, tasks_of

ROOM = 8
"""Lines of the terminal that the tasks leave to the rest."""
LOOK = 0.25
"""Seconds between two reads of the run; in between only the clocks move."""


def view_of(service: Service, clock: Clock, run: Run, console: Console) -> View:
    """The view that fits the console."""
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveView(service, clock, run, console)
    return PlainView(service, run, console)


class LiveView(View):
    """The tasks of a run, redrawn in place."""

    def __init__(self, service: Service, clock: Clock, run: Run, console: Console) -> None:
        self._service = service
        self._clock = clock
        self._run_id = run.id
        self._console = console
        self._detail = service.show(run.id)
        self._read_at = clock.now()
        self._note = ""
        self._invitation = "Ctrl-C cancels the run"
        self._spinner = Spinner("dots" if not console.options.ascii_only else "line")
        self._live = Live(
            console=console, auto_refresh=False, transient=False, vertical_overflow="crop"
        )

    def __enter__(self) -> Self:
        self._live.start()
        self.refresh()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live.is_started:
            self._note = self._invitation = ""
            self._read()
            self._draw()
            self._live.stop()

    def note(self, text: str) -> None:
        """Say something below the tasks."""
        self._note = text
        self.refresh()

    def refresh(self) -> None:
        """Draw the run as it is now."""
        if (self._clock.now() - self._read_at).total_seconds() >= LOOK:
            self._read()
        self._draw()

    def _read(self) -> None:
        self._detail = self._service.show(self._run_id)
        self._read_at = self._clock.now()

    def _draw(self) -> None:
        self._live.update(self._picture(self._clock.now()), refresh=True)

    def _picture(self, now: datetime) -> RenderableType:
        run = self._detail.run
        took = duration(between(run.started_at, run.ended_at or now))
        head = Text.assemble(
            (run.flow, "bold"),
            (f"  {run.id}  ", "dim"),
            (run.status.value, COLOURS.get(run.status, "")),
            (f"  {took}", "dim"),
        )
        foot = self._note or self._invitation
        lines: list[RenderableType] = [head, self._tasks(now)]
        if foot:
            lines.append(Text(foot, style="yellow" if self._note else "dim"))
        return Group(*lines)

    def _tasks(self, now: datetime) -> Table:
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(width=1)
        grid.add_column(no_wrap=True, max_width=32, overflow="ellipsis")
        grid.add_column(justify="right", no_wrap=True)
        grid.add_column()
        shown, left_out = _that_fit(rows_of(self._detail, now), self._console)
        for row in shown:
            sign: RenderableType = Text(mark(row.status, self._console), COLOURS[row.status])
            if row.status is TaskStatus.RUNNING:
                self._spinner.style = COLOURS[row.status]
                sign = self._spinner.render(self._console.get_time())
            style = "dim" if row.status in _QUIET else ""
            took, remarks = Text(duration(row.seconds), "dim"), cut(" · ".join(row.remarks), "dim")
            grid.add_row(sign, Text(row.key, style), took, remarks)
        if left_out:
            grid.add_row("", Text(f"and {left_out} more", "dim"), "", "")
        return grid


_QUIET = (TaskStatus.PENDING, TaskStatus.READY, TaskStatus.SKIPPED)


def rows_of(detail: RunDetail, now: datetime) -> list[TaskView]:
    """A line for each task of the flow; mapped children are counted in their parent's."""
    tasks = tasks_of(detail, now)
    return [task for key, task in tasks.items() if child_index(key) is None]


def _that_fit(rows: list[TaskView], console: Console) -> tuple[list[TaskView], int]:
    """The rows that have room in the terminal: what moves or went wrong goes first."""
    room = max(3, console.height - ROOM)
    if len(rows) <= room:
        return rows, 0
    urgency = {TaskStatus.SUCCEEDED: 1, TaskStatus.SKIPPED: 2, TaskStatus.PENDING: 3}
    ranked = sorted(range(len(rows)), key=lambda i: urgency.get(rows[i].status, 0))[: room - 1]
    return [rows[i] for i in sorted(ranked)], len(rows) - len(ranked)


class PlainView(View):
    """A line for whatever happens, for pipes and log files."""

    def __init__(self, service: Service, run: Run, console: Console) -> None:
        self._service = service
        self._run = run
        self._console = console
        self._seen = 0

    def __enter__(self) -> Self:
        self._say(f"run {self._run.id} of {self._run.flow}")
        while self._run.started_at is not None:  # resumed: only what happens from now on
            old = self._service.events(run_id=self._run.id, after=self._seen)
            if not old:
                break
            self._seen = old[-1].id
        return self

    def __exit__(self, *_: object) -> None:
        self.refresh()

    def note(self, text: str) -> None:
        """A line."""
        self._say(text)

    def refresh(self) -> None:
        """A line for each new event that says something."""
        for event in self._service.events(run_id=self._run.id, after=self._seen):
            self._seen = event.id
            if line := event_line(event, partial(mark, into=self._console)):
                self._say(line)

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)
