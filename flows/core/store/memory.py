"""What a process remembers of runs between transactions.

Their newest state, so that the next transaction need not read it again; and which of them cannot
go on here just now. All of it is bounded, and may be forgotten at any time.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from sqlalchemy import Connection

from flows.core import values
from flows.core.claiming import Blocked
from flows.core.errors import NotFound, Refused
from flows.core.progress import Progress
from flows.core.records import Run
from flows.core.store import events, writes

CACHED_RUNS, CACHED_CHARACTERS = 256, 50_000_000
"""Runs kept in memory, and what they hold in all; the rest are read again when they move."""
REMEMBERED = 10_000
"""Blocked runs that a worker remembers."""
LEFT_ALONE = timedelta(minutes=1)
"""So long a run that could not be read or decided on is left alone before it is tried again."""

_log = logging.getLogger(__name__)


class RunCache:
    """The newest known state of runs. What a transaction touches is forgotten if it fails."""

    def __init__(self) -> None:
        self._runs: OrderedDict[str, Progress] = OrderedDict()
        self._touched: set[str] = set()
        self._characters: dict[str, int] = {}  # as of when each was touched last

    def get(self, run_id: str) -> Progress | None:
        """What is remembered of a run, however old."""
        return self._runs.get(run_id)

    def begin(self) -> None:
        """A transaction begins; since the one before, runs have grown."""
        for run_id in tuple(self._touched):
            if (progress := self._runs.get(run_id)) is not None:
                self._characters[run_id] = progress.characters
        self._touched.clear()
        while len(self._runs) > 1 and sum(self._characters.values()) > CACHED_CHARACTERS:
            self._forget_oldest()

    def undo(self) -> None:
        """The transaction has failed: memory may be ahead of what was committed."""
        self.forget(tuple(self._touched))

    def load(self, connection: Connection, run_id: str) -> Progress:
        """A run, from memory if it is there; writing it finds out if that is too old."""
        self._touched.add(run_id)
        progress = self._runs.get(run_id)
        if progress is None:
            progress = writes.read(connection, run_id)
            self.remember(progress)
        return progress

    def load_at(self, connection: Connection, run_id: str, seq: int) -> Progress:
        """A run that is known to stand at `seq` now."""
        known = self._runs.get(run_id)
        if known is not None and known.stored.seq != seq:
            self.forget((run_id,))
        return self.load(connection, run_id)

    def remember(self, progress: Progress) -> None:
        """Keep a run's state."""
        self._touched.add(progress.run.id)
        self._runs[progress.run.id] = progress
        while len(self._runs) > CACHED_RUNS:
            self._forget_oldest()

    def forget(self, run_ids: Iterable[str]) -> None:
        """Read these again when they are needed."""
        for run_id in run_ids:
            self._runs.pop(run_id, None)
            self._characters.pop(run_id, None)

    def _forget_oldest(self) -> None:
        self.forget((next(iter(self._runs)),))


class Memory:
    """What one worker has learnt about runs that wait: which are blocked, and which are broken."""

    def __init__(self, knows: Callable[[str], bool] | None = None) -> None:
        """`knows` says whether a flow's dotted path may be found here; None: any may."""
        self._knows = knows or (lambda _: True)
        self.skip: dict[str, int] = {}  # by queue: rows of its rest that were blocked last time
        self._blocked: OrderedDict[str, Blocked] = OrderedDict()
        self._left_alone: dict[str, tuple[datetime, BaseException]] = {}  # until when, and why
        self._said: set[str] = set()
        self.unrecorded: dict[str, str] = {}  # runs left alone that no event says yet, and why

    def keep(self, run_id: str, blocked: Blocked) -> None:
        """Remember what a run lacks."""
        self._blocked[run_id] = blocked
        while len(self._blocked) > REMEMBERED:
            self._blocked.popitem(last=False)

    def blocked(self, run_id: str) -> Blocked | None:
        """What a run lacked when it was looked at."""
        return self._blocked.get(run_id)

    def leave_alone(self, run_id: str, error: BaseException, now: datetime) -> None:
        """A run can be neither read nor decided on: go on without it, and say so once."""
        self._stay_away_from(run_id, error, now)
        if run_id not in self._said:
            self._said.add(run_id)
            self.unrecorded[run_id] = why = f"{type(error).__name__}: {values.message(error)}"
            _log.warning(
                "run %s is left alone, this worker cannot carry it on: %s",
                run_id,
                why,
                extra={"action": events.LEFT_ALONE, "run": run_id},
            )

    def is_elsewhere(self, run: Run, now: datetime) -> bool:
        """Whether a run's flow is another project's, whose workers share the store; said once."""
        if self._knows(run.source):
            return False
        package = run.source.partition(":")[0].partition(".")[0]
        self._stay_away_from(run.id, NotFound(f"there is no {package} here"), now)
        if package not in self._said:
            self._said.add(package)
            _log.warning("runs of %s are left to workers that have it", package)
        return True

    def _stay_away_from(self, run_id: str, error: BaseException, now: datetime) -> None:
        if len(self._left_alone) >= REMEMBERED:
            self._left_alone.clear()
            self._said.clear()
        self._left_alone[run_id] = now + LEFT_ALONE, error

    def is_left_alone(self, run_id: str, now: datetime) -> bool:
        """Whether a run is not to be touched for now."""
        until, _ = self._left_alone.get(run_id, (now, None))
        return now < until

    def refusals(self, run_ids: Iterable[str], now: datetime) -> dict[str, Refused]:
        """Which of these are left alone, and what to tell those who wait for them."""
        return {
            run_id: Refused(
                f"run {run_id} cannot be carried on here: "
                f"{values.message(self._left_alone[run_id][1])}",
                hint="was it made by a newer Ratchet? upgrade this one, or cancel the run",
            )
            for run_id in run_ids
            if self.is_left_alone(run_id, now)
        }
