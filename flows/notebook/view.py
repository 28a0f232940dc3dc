"""Where a run's progress is shown: in the cell of a notebook, or as lines in a terminal."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from flows.core.errors import RatchetError
from flows.core.records import RunStatus
from flows.wording import MARKS, event_line

if TYPE_CHECKING:
    from flows.notebook.handle import RunHandle

REST_SECONDS = 0.2
"""The least time between two pictures."""
LONGEST_PACE = 60.0
"""The most time between two pictures of a run in which nothing happens."""

ENDINGS = frozenset(f"run.{status}" for status in RunStatus if status.ended)
"""The events that end a run."""


class View(Protocol):
    """A run's progress, as it is seen."""

    def show(self) -> None:
        """Begin to show the progress here."""

    def show_again(self) -> None:
        """Show it here, unless this cell has it."""

    def attend(self) -> None:
        """Have it in sight while somebody waits here."""

    def refresh(self) -> None:
        """Bring what is shown up to date, from any thread."""

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
    """A picture in the output of a cell, redrawn until the run has ended.

    All pictures of a run have one display id, so that each of them shows the newest state.
    """

    def __init__(self, handle: RunHandle, shell: Any) -> None:
        from IPython.display import DisplayHandle

        self._handle = handle
        self._shell = shell
        self._place = DisplayHandle()
        self._cell: int | None = None  # execution count of the cell that has it in sight
        self._lock = threading.Lock()  # the newest picture must be the last one published
        self._seq = 0  # of the run, in the newest picture
        self._follower: threading.Thread | None = None

    def show(self) -> None:
        """Begin a picture in this cell."""
        self._cell = self._shell.execution_count
        if self._publish(self._place.display):
            self._follow()

    def show_again(self) -> None:
        """Show it here, unless this cell has it."""
        if self._cell != self._shell.execution_count:
            self.show()

    def attend(self) -> None:
        """Show it here, unless it is in this cell or in the one before."""
        if self._cell is not None and self._shell.execution_count - self._cell <= 1:
            self._cell = self._shell.execution_count
        elif self._cell is not None:
            self.show()

    def refresh(self) -> None:
        """Publish the picture, if it is not the newest; the last one in any case.

        What is published while a cell runs belongs to that cell, and some frontends (nbclient)
        take nothing that belongs to a cell which is done: the one who waits has to say the end.
        """
        if self._cell is not None and (
            self._handle.seq() != self._seq or self._handle.status.ended
        ):
            self._publish(self._place.update)

    def say(self, line: str) -> None:
        """Print the line below the cell."""
        sys.stdout.write(line + "\n")

    def _publish(self, how: Callable[..., None]) -> bool:
        """False when the run has ended and nothing more will change."""
        with self._lock:
            bundle, run = self._handle.snapshot()
            how(bundle, raw=True)
            self._seq = run.seq
        return not run.status.ended

    def _follow(self) -> None:
        if self._follower is None or not self._follower.is_alive():
            self._follower = threading.Thread(target=self._redraw, name="ratchet-view", daemon=True)
            self._follower.start()

    def _redraw(self) -> None:
        rest, seen, goes_on = threading.Event(), -1, True
        began = last = time.monotonic()
        while goes_on:
            seen = self._handle.follow(seen)
            now = time.monotonic()
            # The clock of a run of hours need not tick every second, least of all into the
            # buffers of a notebook that nobody has open.
            due = now - last >= min((now - began) / 60, LONGEST_PACE)
            try:
                if due or self._handle.seq() != self._seq:
                    goes_on = self._publish(self._place.update)
                    last = now
            except RatchetError:
                continue  # the store cannot be read at the moment
            rest.wait(REST_SECONDS)


class LineView:
    """One line for each thing that happens; printed while somebody waits."""

    def __init__(self, handle: RunHandle) -> None:
        self._handle = handle
        self._watched = False
        self._shown = 0  # id of the last event that was printed

    def show(self) -> None:
        """Say that the run has begun, and how to follow it."""
        self._watched = True
        self.say(f"run {self._handle.id} of {self._handle.flow.name} has begun; run.wait() follows")

    def show_again(self) -> None:
        """Say where it stands."""
        self.say(repr(self._handle))

    def attend(self) -> None:
        """Nothing to do: `refresh` prints where somebody waits."""

    def refresh(self) -> None:
        """Print what has happened since the last time."""
        for event in self._handle.events(after=self._shown) if self._watched else ():
            self._shown = event.id
            if line := event_line(event, MARKS.__getitem__):
                self.say(line)
            elif event.kind in ENDINGS:
                self.say(repr(self._handle))

    def say(self, line: str) -> None:
        """Print the line."""
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
