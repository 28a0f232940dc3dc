"""The scheduler: looks at what is due, lets pure decisions say what to do, and records it.

Any number of schedulers work on one store at once, and none of them leads: each decides on what
it has read, and the store takes the first decision (docs/adr/0005). A scheduler starts nothing:
a fire is recorded with its run, and whichever worker claims that carries it out.

What goes wrong with a schedule stays with it. An error that may pass is tried again for ever, and
any other until nothing that it may come from has changed for a while: then the schedule is
disabled, with an alert.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from flows.core import due
from flows.core.clock import Clock
from flows.core.data_source import DataSource, Watch
from flows.core.deadline_watch import DeadlineWatch
from flows.core.errors import StoreError
from flows.core.firing import Firing, Prepare, Unprepared, passes, sentence
from flows.core.schedule import (
    ASSET,
    VIEW,
    Deadline,
    Decision,
    Fire,
    NewData,
    OnAsset,
    OnRequest,
    StoredSchedule,
)
from flows.core.store import Store
from flows.core.store.schedules import ScheduleStore

log = logging.getLogger(__name__)

POLL = 1.0
"""Seconds after which a scheduler looks for what other processes have changed."""

SETTLED = timedelta(seconds=60)
"""An error that is the same for so long, while no config file changes, does not pass."""

VIEWS = 20
"""Views that one tick looks at."""

LOOK_AT_ALL, WITHOUT_WATCH = timedelta(minutes=10), timedelta(minutes=1)
"""After so long, all views are looked at; the latter while their watch hangs."""

PATIENCE = 60.0
"""At most so many seconds between two looks at data that cannot be reached."""

RESTART = 5.0
"""At most so many seconds between two tries of a store that cannot be reached."""


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """A schedule that could not be carried out at the last look."""

    tries: int  # in vain, since the last good one
    since: datetime  # it is as it is now
    state: object  # what it may come from: the config's stamp, and where the schedule stands


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
        stamp: Callable[[], object] | None = None,
        owners: frozenset[str] | None = None,
        seed: int | None = None,
    ) -> None:
        """`wake` is called once runs were recorded: an engine in this process starts them.

        `stamp` is another one when a config file has changed. `owners` are the modules of the
        project whose schedules it fires; None: all. By `seed`, several schedulers that meet take
        what is due in different orders.
        """
        self._store = store
        self._schedules = (
            ScheduleStore(store.database, owners) if owners is not None else store.schedules
        )
        self._owners = owners or frozenset()
        self._firing = Firing(store, prepare)
        self._source = source
        self._clock = clock
        self._tell = wake
        self._stamp = stamp or (lambda: None)
        self._order = Random(seed)
        self._deadlines = DeadlineWatch(store)
        self._woken = threading.Event()
        self._guard = threading.Lock()
        self._changed: set[str] = set()  # views that may hold new data
        self._watched: frozenset[str] = frozenset()
        self._looked_at_all = clock.now()
        self._watch: Watch | None = None
        self._assets: frozenset[Any] = frozenset()  # the newest that schedules were told of
        self._troubles: dict[str, Trouble] = {}  # by schedule
        self._looked = datetime.min.replace(tzinfo=UTC)  # when all that was due was looked at
        self._beaten = False  # another scheduler was faster with something of this tick

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
        topics = self._schedules.topics()
        self._follow(frozenset(t.removeprefix(VIEW) for t in topics if t.startswith(VIEW)))
        if assets := any(topic.startswith(ASSET) for topic in topics):
            self._tell_of_assets(now)
        views = self._take_views(now)
        recorded: list[Fire] = []
        try:
            for stored in self._to_look_at([VIEW + view for view in views], now, assets=assets):
                fires = self._carry_out(stored, now)
                recorded += fires
                if self._tell is not None and any(fire.run_id is not None for fire in fires):
                    self._tell()
            self._deadlines.tick(now)
        except BaseException:
            with self._guard:
                self._changed |= views
            raise
        self._looked = now
        return recorded

    # ------------------------------------------------------------------ what to look at

    def _to_look_at(
        self, topics: Sequence[str], now: datetime, *, assets: bool
    ) -> Iterator[StoredSchedule]:
        """The schedules that have something to decide, each once.

        Where another scheduler is at the same ones, the order changes, and what it has moved
        meanwhile is left to it: so that they share the work instead of doing it twice.
        """
        schedules, seen = self._schedules, set[str]()
        due_now = [*schedules.due(now)]
        if assets:
            due_now += schedules.to_decide(now)
        if topics:
            due_now += schedules.on(topics)
        while fresh := {s.schedule.name: s for s in due_now if s.schedule.name not in seen}:
            seen |= fresh.keys()
            batch, self._beaten = [*fresh.values()], False
            while batch:
                stored = batch.pop(0)
                if not self._beaten or schedules.stands(stored):
                    yield stored
                    if self._beaten:
                        self._order.shuffle(batch)
            due_now = [*schedules.due(now)]

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

    def _take_views(self, now: datetime) -> set[str]:
        """The next few views to look at: storage is slow, and times do not wait for it."""
        hangs = self._watch is not None and self._watch.hangs()
        with self._guard:
            if now - self._looked_at_all >= (WITHOUT_WATCH if hangs else LOOK_AT_ALL):
                self._looked_at_all = now
                self._changed |= self._watched
            views = set(sorted(self._changed)[:VIEWS])
            self._changed -= views
            if self._changed:
                self._woken.set()
        return views

    def _tell_of_assets(self, now: datetime) -> None:
        """Workers of the release before do not record the fires of assets: do it for them."""
        newest = self._store.assets.newest()
        if newest != self._assets:
            self._store.assets.tell(newest - self._assets, now)
            self._assets = newest

    # ------------------------------------------------------------------ what to do

    def _carry_out(self, stored: StoredSchedule, now: datetime) -> Sequence[Fire]:
        """Decide on a schedule and record that; what goes wrong with it stays with it."""
        try:
            fires = self._firing.record(stored, self._decide(stored, now), now)
        except Exception as error:
            if isinstance(error, StoreError):
                self._schedules.next_at()  # raises when it is the store that is gone
            self._fail(stored, error, now)
            return ()
        self._troubles.pop(stored.schedule.name, None)
        if fires is None:  # another scheduler was faster
            self._beaten = True
            if isinstance(stored.schedule.trigger, NewData):  # and may not know what this one does
                self.changed(stored.schedule.trigger.view)
        return fires or ()

    def _fail(self, stored: StoredSchedule, error: Exception, now: datetime) -> None:
        """Try it again later, or disable it once that is of no use."""
        name, state = stored.schedule.name, (self._config_state(), stored.cursor)
        before = self._troubles.get(name)
        trouble = Trouble(
            tries=before.tries + 1 if before else 1,
            since=before.since if before and before.state == state else now,
            state=state,
        )
        self._troubles[name] = trouble
        foreign = not stored.schedule.owners and bool(self._owners)  # perhaps another project's
        if foreign or passes(error) or now - trouble.since < SETTLED:
            later = now + timedelta(seconds=_backoff(trouble.tries))
            self._store.schedules.postpone(stored, sentence(error), later, now)
        else:
            failed = error.fire if isinstance(error, Unprepared) else None
            self._store.schedules.disable(name, sentence(error), now, failed)
            del self._troubles[name]

    def _config_state(self) -> object:
        try:
            return self._stamp()
        except OSError:  # a file that is just being written
            return object()

    def _decide(self, stored: StoredSchedule, now: datetime) -> Decision:
        trigger = stored.schedule.trigger
        if isinstance(trigger, NewData):
            state = self._source.state(trigger, stored.cursor.get("version"))
            return due.decide_data(stored, state, now)
        if isinstance(trigger, OnAsset):
            waiting = self._store.schedules.pending(stored.schedule.name, due.MOST + 1)
            return due.decide_assets(stored, waiting, now)
        if isinstance(trigger, OnRequest):
            return Decision(cursor=stored.cursor)
        if isinstance(trigger, Deadline):
            history = self._store.deadlines.durations(stored.schedule.flow)
            return due.decide_time(stored, now, history)
        return due.decide_time(stored, now)

    def _until_next(self) -> float:
        """Seconds until something is due, and never too many."""
        next_at = self._schedules.next_at(after=self._looked)
        if next_at is None:
            return POLL
        return min(POLL, max(0.001, (next_at - self._clock.now()).total_seconds()))


def _backoff(tries: int) -> float:
    """Seconds before the next try: half a second, then twice as long each time."""
    return float(min(PATIENCE, 0.5 * 2 ** min(tries - 1, 10)))
