"""What was found to be wrong, and the whole record that it is looked for in."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from flows.core.records import Event
from flows.core.store import Store


@dataclass(kw_only=True)
class Findings:
    """What is wrong, and how much was looked at."""

    problems: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)  # rare ones that were reached

    def check(self, holds: object, problem: str) -> None:
        """Note the problem unless it holds."""
        if not holds:
            self.problems.append(problem)


class Record:
    """The runs and the event table, as they are after the night."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.details = [store.reads.detail(run.id) for run in store.reads.runs(limit=100_000)]
        self.events: list[Event] = []
        while more := store.reads.events(after=self._last(), limit=10_000):
            self.events += more
        self.chains: dict[str, list[Event]] = defaultdict(list)
        for event in self.events:
            if event.run_id is not None and event.seq:  # else it is no transition
                self.chains[event.run_id].append(event)

    def _last(self) -> int:
        return self.events[-1].id if self.events else 0
