"""What the engine asks of an executor, and what it gets back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from flows.core.claiming import Capacity
from flows.core.records import Outcome as Outcome
from flows.core.records import OutcomeKind as OutcomeKind
from flows.core.records import Work as Work

Deliver = Callable[[Outcome], None]
"""Called by an executor, from any thread, once for each attempt that has ended."""


class Executor(Protocol):
    """Runs attempts.

    - `start` returns quickly (`inline` excepted) and may be called again with the same
      attempt id: it adopts what is already running and never starts a second one.
    - Every started attempt is delivered exactly once to `deliver`, in any order.
    - Work beyond `slots` may be queued by the executor; the engine avoids it.
    - `stop` asks; the attempt is delivered as STOPPED only once it is really gone. If it ends
      by itself first, its own outcome is delivered.
    - Executors that cannot end work (`kills` is False) ignore `stop` for what is running.
    - `survives`: work goes on when this process dies, and can be adopted by its id.
    - Work that the executor queues has not begun: its timeout counts from `began` on.
    - `capacity` costs nothing to ask for: it is read inside of a transaction.
    - `close` ends everything that was started here, and returns when it is gone.
    """

    @property
    def name(self) -> str:
        """As tasks and settings call it."""

    @property
    def slots(self) -> int:
        """How many attempts run at once."""

    @property
    def queues(self) -> bool:
        """Whether it keeps its workers busy from a queue of its own."""

    @property
    def kills(self) -> bool:
        """Whether it can end running work."""

    @property
    def survives(self) -> bool:
        """Whether work goes on when this process dies."""

    @property
    def capacity(self) -> Capacity | None:
        """What its cluster has free for more work; None: its slots are all that limits it."""

    def open(self, deliver: Deliver) -> None:
        """Take the function that receives outcomes; called once, before anything else."""

    def warm(self) -> None:
        """Begin to get ready, and return at once: work will come soon."""

    def start(self, work: Work) -> None:
        """Run `work`, or adopt it if it is already running."""

    def began(self, attempt_id: str) -> bool:
        """Whether a started attempt has left the executor's queue and really runs."""

    def stop(self, attempt_id: str, grace: float) -> None:
        """Ask for the end of an attempt; after `grace` seconds it is ended by force."""

    def close(self) -> None:
        """End everything and give back what was held."""
