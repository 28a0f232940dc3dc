"""Where a run's progress is shown: in the cell of a notebook, or as lines in a terminal."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any, Protocol

from flows.core.errors import RatchetError
from flows.core.records import Event
from flows.notebook.tasks import lasted

if TYPE_CHECKING:
    from flows.notebook.handle import RunHandle

REST_SECONDS = 0.2
"""The least time between two pictures."""


class View(Protocol):
    """A run's progress, as it is seen.

    - `show` begins a new place here; `show_again` does so only where there is none yet.
    - `refresh` brings what is shown up to date, from any thread; cheap when nothing changed.
    - `say` adds one line.
    """

    def show(self) -> None:
        """Begin to show the progress here."""

    def show_again(self) -> None:
        """Show it here, unless this cell already does."""

    def refresh(self) -> None:
        """Bring what is shown up to date."""

    def say(self, line: str) -> None:
        """Add one line."""


def view_of(handle: RunHandle) -> View:
    """The view that fits where this runs."""
    shell = _shell()
    return CellView(handle, shell) if hasattr(shell, "kernel") else LineView(handle)


def _shell() -> Any:
    """The IPython shell that this runs in; None in plain Python."""
    ipython = sys.modules.get("IPython")
    return None if ipython is None else ipython.get_ipython()


class CellView:
    """A picture in the output of a cell, redrawn until the run has ended."""

    def __init__(self, handle: RunHandle, shell: Any) -> None:
        self._handle = handle
        self._shell = shell
        self._place: Any = None
        self._cell: int | None = None  # execution count of the cell that shows it
        self._lock = threading.Lock()  # the newest picture must be the last one published
        self._follower: threading.Thread | None = None

    def show(self) -> None:
        """Begin a picture in this cell."""
        from IPython.display import HTML, DisplayHandle

        with self._lock:
            html, detail = self._handle.now_html()
            self._place, self._cell = DisplayHandle(), self._shell.execution_count
            self._place.display(HTML(html))
        if not detail.run.status.ended:
            self._follow()

    def show_again(self) -> None:
        """Show it here, unless this cell already does."""
        if self._cell != self._shell.execution_count:
            self.show()

    def refresh(self) -> None:
        """Publish the picture as it is now."""
        self._publish()

    def say(self, line: str) -> None:
        """Print the line below the cell."""
        sys.stdout.write(line + "\n")

    def _publish(self) -> bool:
        """False when the run has ended and nothing more will change."""
        from IPython.display import HTML

        with self._lock:
            html, detail = self._handle.now_html()
            if self._place is not None:
                self._place.update(HTML(html))
        return not detail.run.status.ended

    def _follow(self) -> None:
        if self._follower is None or not self._follower.is_alive():
            self._follower = threading.Thread(target=self._redraw, name="ratchet-view", daemon=True)
            self._follower.start()

    def _redraw(self) -> None:
        rest, seen, goes_on = threading.Event(), -1, True
        while goes_on:
            seen = self._handle.follow(seen)
            try:
                goes_on = self._publish()
            except RatchetError:
                continue  # the store cannot be read at the moment
            rest.wait(REST_SECONDS)


class LineView:
    """One line for each thing that happens; printed while somebody waits."""

    def __init__(self, handle: RunHandle) -> None:
        self._handle = handle
        self._watched = False
        self._shown = 0  # id of the last event that was printed
        self._began: dict[str, Event] = {}

    def show(self) -> None:
        """Say that the run has begun, and how to follow it."""
        self._watched = True
        self.say(f"run {self._handle.id} of {self._handle.flow.name} has begun; run.wait() follows")

    def show_again(self) -> None:
        """Say where it stands."""
        self.say(repr(self._handle))

    def refresh(self) -> None:
        """Print what has happened since the last time."""
        for event in self._handle.events(after=self._shown) if self._watched else ():
            self._shown = event.id
            if line := self._line(event):
                self.say(f"{event.at.astimezone():%H:%M:%S}  {line}")

    def say(self, line: str) -> None:
        """Print the line."""
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    def _line(self, event: Event) -> str | None:
        what = event.kind.partition(".")[2]
        if what in ("ready", "created"):
            return None
        words = [event.task or f"run {self._handle.id}", what.replace("_", " ")]
        if what == "started" and event.task:
            self._began[event.task] = event
            if event.attempt and event.attempt > 1:
                words.append(f"(attempt {event.attempt})")
        elif event.task in self._began and what != "adopted":
            took = event.at - self._began[event.task].at
            words.append(f"after {lasted(took.total_seconds())}")
        reason = event.data.get("reason") or event.data.get("error")
        return " ".join(words) + (f": {reason}" if reason else "")
