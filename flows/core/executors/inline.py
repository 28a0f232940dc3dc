"""Runs attempts in the calling thread: notebooks, tests, and the shortest hand-over."""

from __future__ import annotations

from flows.core.errors import ExecutorError
from flows.core.executors.output import Output
from flows.core.executors.perform import perform
from flows.core.executors.protocol import Deliver, Outcome, OutcomeKind, Work


class InlineExecutor:
    """`start` runs the work and delivers its outcome before it returns.

    Nothing can be stopped from outside. Ctrl-C ends the work: it is delivered as STOPPED and
    the KeyboardInterrupt goes on to the caller of `start`.
    """

    name = "inline"
    queues = False
    kills = False
    survives = False
    capacity = None  # slots are all that limits it

    def __init__(self) -> None:
        self.slots = 1
        self._deliver: Deliver | None = None
        self._output = Output()

    def open(self, deliver: Deliver) -> None:
        """Take the function that receives outcomes."""
        self._deliver = deliver

    def warm(self) -> None:
        """Do nothing: there is nothing to get ready."""

    def start(self, work: Work) -> None:
        """Run `work` here and now."""
        if self._deliver is None:
            raise ExecutorError("the inline executor is not open")
        try:
            with self._output.into(work.log):
                outcome = perform(work)
        except KeyboardInterrupt:
            self._deliver(
                Outcome(
                    attempt_id=work.attempt_id,
                    kind=OutcomeKind.STOPPED,
                    reason="interrupted from the keyboard",
                )
            )
            raise
        self._deliver(outcome)

    def began(self, attempt_id: str) -> bool:
        """Yes: `start` ran it."""
        return True

    def stop(self, attempt_id: str, grace: float) -> None:
        """Do nothing: whoever could call this is not running while the work is."""

    def close(self) -> None:
        """Take no more work."""
        self._deliver = None
