"""Drives runs from a terminal: a host in the background, the progress and Ctrl-C in front of it.

Ctrl-C once cancels the run that is being driven and waits until nothing of it is alive.
Twice leaves it as it is, to be taken up again by `ratchet retry`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Self

from flows.adapters.alerts import tell
from flows.bootstrap import Ratchet
from flows.cli.failures import say
from flows.core.errors import Refused
from flows.core.host import Host
from flows.core.records import Run, RunStatus

INTERRUPTED = 130
EXIT_CODES = {
    RunStatus.SUCCEEDED: 0,
    RunStatus.SKIPPED: 0,
    RunStatus.HALTED: 3,
    RunStatus.FAILED: 1,
    RunStatus.CANCELLED: INTERRUPTED,
}
REDRAW = 0.1
"""Seconds between two looks at the run."""
LEAVING = 5.0
"""Seconds that running work gets to end when the run is left."""


class View:
    """Shows how a run goes on; as it is, where nobody looks: nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave what is shown last."""

    def refresh(self) -> None:
        """Show the run as it is now."""

    def note(self, text: str) -> None:
        """Say something about the run."""


class Driver:
    """A host of this process, and the keyboard's power over it."""

    def __init__(self, ratchet: Ratchet, host: Host) -> None:
        self._ratchet = ratchet
        self._host = host
        self._interrupts = 0

    def drive(self, run: Run, view: View) -> Run:
        """Drive the run to its end, and return it as it ended; tells whom it concerns.

        Raises whatever stopped the engine. Leaves the process with 130 after a second Ctrl-C.
        """
        self._interrupts = 0
        with view, self._interruptible():
            self._host.drive(run.id)
            self._watch(run, view)
        if (error := self._host.error_of(run.id)) is not None:
            raise error
        ended = self._ratchet.service.find(run.id)
        self._alert(ended)
        return ended

    def _watch(self, run: Run, view: View) -> None:
        handled = changes = 0
        while self._host.drives(run.id):
            changes = self._host.wait_for_change(changes, REDRAW)
            if self._interrupts > handled:
                handled += 1
                self._interrupted(handled, run, view)
            view.refresh()

    @property
    def worker(self) -> str:
        """The name under which it drives; runs that it makes are its own."""
        return self._host.worker

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C was pressed during the last run."""
        return self._interrupts > 0

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        def count(_signal: int, _frame: FrameType | None) -> None:
            self._interrupts += 1

        before = signal.signal(signal.SIGINT, count)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _interrupted(self, times: int, run: Run, view: View) -> None:
        if times == 1:
            view.note("cancelling, until everything is gone; Ctrl-C again leaves the run as it is")
            with suppress(Refused):  # it has ended meanwhile
                self._ratchet.service.cancel(run.id, by="Ctrl-C")
            self._host.wake()
            return
        view.__exit__(None, None, None)
        say("left as it is; whatever still runs here ends now")
        say(f"  next: ratchet cancel {run.id}, or: ratchet retry {run.id}")
        self._leave()

    def _leave(self) -> None:
        self._host.close(LEAVING)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(INTERRUPTED)  # threads that run a task cannot be ended in any other way

    def _alert(self, run: Run) -> None:
        ratchet = self._ratchet
        if warning := tell(ratchet.courier(), run.id, ratchet.clock.now()):
            say(f"warning: {warning}")


@contextmanager
def driver(ratchet: Ratchet, executor: str | None = None) -> Iterator[Driver]:
    """A worker of this process, for as long as the block runs."""
    host = Host(lambda identity: ratchet.engine(executor=executor, identity=identity))
    try:
        yield Driver(ratchet, host)
    finally:
        host.close()
