"""Runs kept in memory between transactions, so that the next one need not read them again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from sqlalchemy import Connection

from flows.core.progress import Progress
from flows.core.store import writes

CACHED_RUNS = 256
"""Runs kept in memory; the rest are read again when they move."""


class RunCache:
    """The newest known state of runs. What a transaction touches is forgotten if it fails."""

    def __init__(self) -> None:
        self._runs: OrderedDict[str, Progress] = OrderedDict()
        self._touched: set[str] = set()

    def get(self, run_id: str) -> Progress | None:
        """What is remembered of a run, however old."""
        return self._runs.get(run_id)

    def begin(self) -> None:
        """A transaction begins."""
        self._touched.clear()

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
        self._runs[progress.run.id] = progress
        while len(self._runs) > CACHED_RUNS:
            self._runs.popitem(last=False)

    def forget(self, run_ids: Iterable[str]) -> None:
        """Read these again when they are needed."""
        for run_id in run_ids:
            self._runs.pop(run_id, None)
