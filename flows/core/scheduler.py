"""The scheduler: looks at what is due, lets pure decisions say what to do, and records it.

Any number of schedulers work on one store at once, and none of them leads: each decides on what
it has read, and the store takes the first decision (docs/adr/0005). A scheduler starts nothing:
a fire is recorded with its run, and whichever worker claims that carries it out.

A schedule that cannot be carried out is disabled, recorded and told of, and the others go on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from flows.core import due
from flows.core.clock import Clock
from flows.core.deadline_watch import DeadlineWatch
from flows.core.errors import StoreError
from flows.core.firing import Firing, Prepare, Unprepared, sentence
from flows.core.schedule import (
    Deadline,
    Decision,
    Fire,
    NewData,
    OnAsset,
    OnRequest,
    StoredSchedule,
)
from flows.core.sources import DataSource, Watch
from flows.core.store import Store
from flows.core.store.schedule_rows import ASSET, VIEW

__all__ = ["Prepare", "Scheduler"]

log = logging.getLogger(__name__)

POLL = 1.0
"""Seconds after which a scheduler looks for what other processes have changed."""

WINDOW = 1000
"""Ids of events by which assets are looked for behind the newest that was seen."""

PATIENCE = 60.0
"""At most so many seconds between two looks at data that cannot be reached."""

RESTART = 5.0
"""At most so many seconds between two tries of a store that cannot be reached."""


class Scheduler:
    """Fires what is due, and watches data and deadlines. One thread ticks; any may wake it."""

    def __init__(
        self,
        store: Store,
        prepare: Prepare,
        source: DataSource,
        *,
        clock: Clock,
        wake: Callable[[], None] | None = None,
    ) -> None:
        """`wake` is called once runs were recorded: an engine in this process starts them."""
        self._store = store
        self._firing = Firing(store, prepare)
        self._source = source
        self._clock = clock
        self._tell = wake
        self._deadlines = DeadlineWatch(store)
        self._woken = threading.Event()
        self._guard = threading.Lock()
        self._changed: set[str] = set()  # views that may hold new data
        self._watched: frozenset[str] = frozenset()
        self._watch: Watch | None = None
        self._assets: frozenset[int] = frozenset()  # the newest events of assets that were seen
        self._tries: dict[str, int] = {}  # looks in vain since the last good one, by schedule

    def serve(self, stop: threading.Event) -> None:
        """Tick until `stop` is set, whatever happens. To end at once, `wake` it after that."""
        failures = 0
        try:
            while not stop.is_set():
                self._woken.clear()
                try:
                    self.tick(self._clock.now())
                    failures, patience = 0, self._until_next()
                except Exception as error:  # the database restarts, its disk is full, ...
                    failures += 1
                    patience = min(RESTART, _backoff(failures))
                    log.warning("the scheduler tries again in %.1f s: %s", patience, error)
                self._clock.wait(self._woken, patience)
        finally:
            self.close()

    def wake(self) -> None:
        """Look now at what is due; may be called from any thread."""
        self._woken.set()

    def changed(self, view: str) -> None:
        """Look now at what waits for a view; may be called from any thread."""
        with self._guard:
            self._changed.add(view)
        self._woken.set()

    def close(self) -> None:
        """Watch data no more."""
        watch, self._watch, self._watched = self._watch, None, frozenset()
        if watch is not None:
            watch.close()

    def tick(self, now: datetime) -> list[Fire]:
        """Do what there is to do at `now`, once; returns the fires that this scheduler recorded.

        Costs by what is due, not by what exists. Raises StoreError when the store cannot be
        reached; the next tick does what this one could not.
        """
        topics = self._store.schedules.topics()
        self._follow(frozenset(t.removeprefix(VIEW) for t in topics if t.startswith(VIEW)))
        with self._guard:
            views, self._changed = self._changed, set()
        recorded: list[Fire] = []
        try:
            news = [*(VIEW + view for view in views), *self._new_assets(topics)]
            for stored in self._to_look_at(news, now):
                fires = self._carry_out(stored, now)
                recorded += fires
                if self._tell is not None and any(fire.run_id is not None for fire in fires):
                    self._tell()
            self._deadlines.tick(now)
        except BaseException:
            with self._guard:
                self._changed |= views
            self._assets = frozenset()
            raise
        return recorded

    # ------------------------------------------------------------------ what to look at

    def _to_look_at(self, topics: Sequence[str], now: datetime) -> Iterator[StoredSchedule]:
        """The schedules that have something to decide, each once."""
        seen: set[str] = set()
        found = list(self._store.schedules.due(now))
        if topics:
            found += self._store.schedules.on(topics, now)
        while fresh := {s.schedule.name: s for s in found if s.schedule.name not in seen}:
            seen |= fresh.keys()
            yield from fresh.values()
            found = list(self._store.schedules.due(now))

    def _follow(self, views: frozenset[str]) -> None:
        """Watch the views that active schedules wait for, and no others."""
        if views == self._watched:
            return
        self.close()
        try:
            self._watch = self._source.watch(views, self.changed) if views else None
            self._watched = views
        except Exception as error:  # then every tick looks for itself
            log.warning("new data is polled, not watched: %s", error)
            with self._guard:
                self._changed |= views

    def _new_assets(self, topics: Iterable[str]) -> list[str]:
        """The topics of assets, when there are events of assets that were not seen yet."""
        wanted = [topic for topic in topics if topic.startswith(ASSET)]
        newest = self._store.schedules.newest_assets() if wanted else self._assets
        if newest == self._assets:
            return []
        self._assets = newest
        return wanted

    def _look_again(self, stored: StoredSchedule) -> None:
        """Another scheduler was faster, and may not have known what this one was told."""
        if isinstance(stored.schedule.trigger, NewData):
            self.changed(stored.schedule.trigger.view)
        elif isinstance(stored.schedule.trigger, OnAsset):
            self._assets = frozenset()
            self._woken.set()

    # ------------------------------------------------------------------ what to do

    def _carry_out(self, stored: StoredSchedule, now: datetime) -> Sequence[Fire]:
        """Decide on a schedule and record that; what goes wrong with it stays with it."""
        name = stored.schedule.name
        try:
            fires = self._firing.record(stored, self._decide(stored, now), now)
            self._tries.pop(name, None)
            if fires is None:
                self._look_again(stored)
            return fires or ()
        except StoreError as error:
            self._store.schedules.next_at()  # raises when it is the store that is gone
            self._postpone(stored, error, now)
        except Exception as error:
            if not getattr(error, "permanent", True):
                self._postpone(stored, error, now)
            else:
                failed = error.fire if isinstance(error, Unprepared) else None
                self._store.schedules.disable(name, sentence(error), now, failed)
        return ()

    def _postpone(self, stored: StoredSchedule, error: Exception, now: datetime) -> None:
        name = stored.schedule.name
        self._tries[name] = self._tries.get(name, 0) + 1
        later = now + timedelta(seconds=_backoff(self._tries[name]))
        self._store.schedules.postpone(stored, sentence(error), later, now)

    def _decide(self, stored: StoredSchedule, now: datetime) -> Decision:
        trigger = stored.schedule.trigger
        if isinstance(trigger, NewData):
            since = stored.cursor.get("version")
            late, lateness = trigger.late, trigger.lateness
            state = self._source.state(trigger.view, since, late=late, lateness=lateness)
            return due.decide_data(stored, state, now)
        if isinstance(trigger, OnAsset):
            seen = stored.cursor.get("event", 0)
            return due.decide_assets(stored, self._store.schedules.assets(seen - WINDOW), now)
        if isinstance(trigger, OnRequest):
            return Decision(cursor=stored.cursor)
        if isinstance(trigger, Deadline):
            history = self._store.deadlines.durations(stored.schedule.flow)
            return due.decide_time(stored, now, history)
        return due.decide_time(stored, now)

    def _until_next(self) -> float:
        """Seconds until something is due, and never too many."""
        next_at = self._store.schedules.next_at()
        if next_at is None:
            return POLL
        return min(POLL, max(0.001, (next_at - self._clock.now()).total_seconds()))


def _backoff(tries: int) -> float:
    """Seconds before the next try: half a second, then twice as long each time."""
    return float(min(PATIENCE, 0.5 * 2 ** min(tries - 1, 10)))
