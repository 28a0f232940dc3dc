"""The verbs about schedules that every surface calls: the CLI, the API, the console."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice

from flows.core import due
from flows.core.clock import Clock
from flows.core.data_source import DataSource
from flows.core.errors import ConfigError, NotFound, RatchetError, Refused, StoreError
from flows.core.firing import Firing, Prepare, sentence
from flows.core.occurrence import occurrences, zone_of
from flows.core.schedule import (
    Cron,
    Deadline,
    Fire,
    Interval,
    NewData,
    Schedule,
    ScheduleStatus,
    StoredSchedule,
    Trigger,
)
from flows.core.service import new_run_id
from flows.core.store import Store
from flows.core.validity import validate
from flows.core.values import storable

LONGEST_KEY = 90
"""Characters of an idempotency key; a run's key is the schedule's name and it."""

MISDECLARED = "its declaration is wrong: "
"""How the reason begins of what is disabled until its declaration is right again."""

MOST_FILLED = 10_000
"""Times that one backfill looks at."""


@dataclass(frozen=True, kw_only=True)
class Synced:
    """What saving the declared schedules changed, by name."""

    saved: tuple[str, ...] = ()  # new, or changed
    unchanged: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()  # no longer declared
    refused: Mapping[str, RatchetError]  # not saved; one that was stored is disabled


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A schedule as a list shows it."""

    stored: StoredSchedule
    last: Fire | None  # the newest fire, whatever became of it


@dataclass(frozen=True, kw_only=True)
class Filled:
    """One occurrence of a backfill."""

    at: datetime
    key: str
    run_id: str | None  # the run that stands for it; None in a dry run that would start one
    started: bool  # by this call (in a dry run: would be)


class ScheduleService:
    """What people and programs may ask of Ratchet about its schedules."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        check: Callable[[Schedule], None],
        prepare: Prepare,
        source: DataSource,
        owners: frozenset[str] = frozenset(),
    ) -> None:
        """`check` raises RatchetError when the flow, or the overrides of it, cannot be.

        `owners` are the modules of this project, by which schedules of others in the same store
        are told from its own.
        """
        self._store = store
        self._clock = clock
        self._check = check
        self._source = source
        self._owners = owners
        self._firing = Firing(store, prepare)

    # ------------------------------------------------------------------ declarations

    def validate(self, schedule: Schedule) -> None:
        """Raise RatchetError, with a hint, when the schedule cannot be carried out."""
        validate(schedule)
        self._check(schedule)
        if isinstance(schedule.trigger, NewData):
            try:
                self._source.check(schedule.trigger.view)
            except RatchetError as error:
                if error.permanent:  # else the store is away just now, and the view may be there
                    raise

    def sync(
        self,
        declared: Iterable[Schedule],
        problems: Mapping[str, RatchetError] | None = None,
        *,
        broken: Collection[str] = (),
        fresh: bool = False,
        take_over: bool = False,
    ) -> Synced:
        """Save what is declared, and remove what this project no longer declares.

        Args:
            problems: what could not even be declared, by the schedule's name or by the module
                of its flow. Stored schedules of these are disabled until it can be.
            broken: modules that cannot be imported here. Elsewhere they may well be: what stands
                or could stand in them is left as it is.
            fresh: the config may be half-written. Nothing is removed or disabled yet, and what is
                stored as it is declared is not looked at; what was disabled, and can be carried
                out now, is active again.
            take_over: also save what another project has declared under the same name.
        """
        now = self._clock.now()
        stored = {each.schedule.name: each for each in self._store.schedules.list()}
        refused = dict(problems or {})
        saved: dict[str, bool] = {}
        for schedule in declared:
            name, before = schedule.name, stored.get(schedule.name)
            try:
                if name in saved:
                    raise ConfigError(
                        f"two schedules are called {name}", hint="give one another name"
                    )
                if before is not None and not (take_over or self._is_ours(before)):
                    raise ConfigError(
                        f"schedule {name} is another project's, of {_owners(before)}",
                        hint="give it another name, or: ratchet schedules sync --take-over",
                    )
                owned = schedule.owned(self._owners)
                if not (fresh and before is not None and _stands(before, owned)):
                    self.validate(schedule)  # composes a config, which takes its time
                saved[name] = self._save(owned, before, now, fresh=fresh)
            except RatchetError as error:
                if isinstance(error, StoreError) and not error.permanent:
                    raise
                refused[name] = error
            except Exception as error:  # whatever one of them holds, the others are saved
                refused[name] = ConfigError(f"schedule {name}: {sentence(error)}")
        gone = [] if fresh else self._gone(stored, saved, refused, broken)
        for each, problem in gone:
            if problem is None:
                self._store.schedules.remove(each, now)
            else:
                self._store.schedules.disable(each, MISDECLARED + str(problem), now)
        return Synced(
            saved=tuple(name for name, changed in saved.items() if changed),
            unchanged=tuple(name for name, changed in saved.items() if not changed),
            removed=tuple(name for name, problem in gone if problem is None),
            refused=refused,
        )

    def _is_ours(self, stored: StoredSchedule) -> bool:
        """Whether this project may change it: it says so, or says of no project."""
        owners = stored.schedule.owners
        return not owners or bool(owners & self._owners)

    def _save(
        self, schedule: Schedule, stored: StoredSchedule | None, now: datetime, *, fresh: bool
    ) -> bool:
        """Save one declaration; False when it is stored as it is."""
        if stored is None or stored.schedule != schedule:
            return self._store.schedules.save(schedule, *due.first(schedule, now), now)
        misdeclared = (stored.reason or "").startswith(MISDECLARED)
        if stored.status is ScheduleStatus.DISABLED and (fresh or misdeclared):
            self._store.schedules.resume(schedule.name, "its declaration", now)
            return True
        return False

    def _gone(
        self,
        stored: Mapping[str, StoredSchedule],
        declared: Container[str],
        refused: Mapping[str, RatchetError],
        broken: Collection[str],
    ) -> Sequence[tuple[str, RatchetError | None]]:
        """Our stored schedules that cannot be carried out now, and why; None: it is undeclared."""
        shared = any(not self._is_ours(each) for each in stored.values())
        gone: builtins.list[tuple[str, RatchetError | None]] = []
        for name, each in stored.items():
            problem = refused.get(name) or refused.get(each.schedule.module)
            ours = self._is_ours(each) and not (shared and not each.schedule.owners)
            lacking = each.schedule.module in broken or (broken and isinstance(problem, NotFound))
            if ours and not lacking and (problem is not None or name not in declared):
                gone.append((name, problem))
        return gone

    # ------------------------------------------------------------------ verbs

    def list(self) -> tuple[Listed, ...]:
        """All schedules by name, but the removed ones."""
        last = self._store.schedules.last_fires()
        return tuple(
            Listed(stored=stored, last=last.get(stored.schedule.name))
            for stored in self._store.schedules.list()
        )

    def show(self, name: str, *, limit: int = 20) -> tuple[StoredSchedule, tuple[Fire, ...]]:
        """A schedule and its newest fires. Raises NotFound, with the nearest name."""
        return self._store.schedules.get(name), self._store.schedules.fires(name, limit)

    def pause(self, name: str, *, by: str, reason: str | None = None) -> StoredSchedule:
        """Keep it from firing by itself. Raises NotFound, Refused."""
        why = f"paused by {by}" + (f": {reason}" if reason else "")
        return self._store.schedules.pause(name, storable(why), self._clock.now())

    def resume(self, name: str, *, by: str) -> StoredSchedule:
        """Let a paused or disabled schedule fire again; what it missed, its policy decides.

        Raises NotFound.
        """
        return self._store.schedules.resume(name, by, self._clock.now())

    def fire(
        self,
        name: str,
        *,
        key: str | None = None,
        by: str,
        overrides: Sequence[str] = (),
        scopes: Collection[str] = (),
    ) -> Fire:
        """Fire it now; the same key again gives the fire that the first call made.

        `overrides` follow those of the schedule, for this run alone. A key stands for one request
        to this schedule, and for one in each of `scopes`, whatever it asks for.

        Raises:
            NotFound: there is no such schedule.
            Refused: it is disabled, the key is too long, or stands for another request.
            RatchetError: its run cannot be prepared.
        """
        stored, now = self._store.schedules.get(name), self._clock.now()
        if stored.status in (ScheduleStatus.DISABLED, ScheduleStatus.REMOVED):
            raise Refused(
                f"schedule {name} is {stored.status}: {stored.reason or 'it is not declared'}",
                hint=f"correct it, then: ratchet schedules resume {name}",
            )
        if key is not None and not 0 < len(key) <= LONGEST_KEY:
            raise Refused(f"a key has 1 to {LONGEST_KEY} characters, not {len(key)}")
        schedule = stored.schedule
        schedule = replace(schedule, overrides=(*schedule.overrides, *overrides))
        if key is not None:
            self._check(schedule)  # what cannot be done takes no key
            request = ("fire", name, *overrides)
            self._store.requests.bind({f"fire {name}", *scopes}, key, request, now)
        stored = replace(stored, schedule=schedule)
        return self._firing.request(stored, key or f"by:{new_run_id(now)}", by, now)

    def backfill(
        self,
        flow: str,
        since: datetime,
        until: datetime,
        *,
        schedule: str | None = None,
        every: timedelta | None = None,
        dry_run: bool = False,
        limit: int | None = None,
        by: str = "backfill",
    ) -> tuple[Filled, ...]:
        """Run what did not run in `[since, until)`, oldest first, one at a time, behind the rest.

        Times without a zone are meant in that of the schedule; with `every`, in UTC.

        Args:
            schedule: whose times; None: those of the flow's only schedule by time.
            every: the distance of times, counted from 1970 in UTC, instead of a schedule's.
            limit: start at most so many.

        Raises:
            NotFound: there is no such schedule.
            Refused: it has no times, it is unclear which is meant, or there are too many.
            RatchetError: a run cannot be prepared; those before it are started.
        """
        chosen, trigger = self._times(flow, schedule, every)
        since, until = _before(since, trigger), _before(until, trigger)
        times = list(islice(occurrences(trigger, since, until), MOST_FILLED + 1))
        if len(times) > MOST_FILLED:
            raise Refused(
                f"there are more than {MOST_FILLED:,} times from {times[0]:%Y-%m-%d} on",
                hint="fill a shorter time, or give a longer --every",
            )
        keys = [at.isoformat() for at in times]
        recorded = self._store.schedules.fires_of(chosen.name, keys)
        filled: list[Filled] = []
        left = len(times) if limit is None else limit
        for at, key in zip(times, keys, strict=True):
            run_id = recorded[key].run_id if key in recorded else None
            starts = run_id is None and left > 0
            if starts:
                left -= 1
                if not dry_run:
                    now = self._clock.now()
                    run_id = self._firing.backfill(chosen, key, at, by, now).run_id
            filled.append(Filled(at=at, key=key, run_id=run_id, started=starts))
        return tuple(filled)

    def _times(
        self, flow: str, name: str | None, every: timedelta | None
    ) -> tuple[Schedule, Trigger]:
        """The schedule that a backfill is of, and the trigger with its times."""
        if every is not None:
            trigger = Interval(every=every, anchor=datetime(1970, 1, 1, tzinfo=UTC))
            made = Schedule(name=f"backfill-{flow}"[:100], flow=flow, trigger=trigger)
            self.validate(made)
            return made, trigger
        if name is not None:
            candidates = [self._store.schedules.get(name)]
        else:
            candidates = [
                stored
                for stored in self._store.schedules.list()
                if stored.schedule.flow == flow
                and isinstance(stored.schedule.trigger, Cron | Interval | Deadline)
            ]
        if len(candidates) != 1:
            names = ", ".join(stored.schedule.name for stored in candidates)
            raise Refused(
                f"flow {flow} has several schedules by time: {names}"
                if candidates
                else f"flow {flow} has no schedule by time",
                hint="say which: --schedule NAME" if candidates else "give a distance: --every 1d",
            )
        if candidates[0].schedule.flow != flow:
            raise Refused(
                f"schedule {name} is one of flow {candidates[0].schedule.flow}, not of {flow}"
            )
        return candidates[0].schedule, due.trigger_of(candidates[0])


def _stands(stored: StoredSchedule, declared: Schedule) -> bool:
    """Whether a schedule is stored as it is declared, and fires."""
    return stored.schedule == declared and stored.status is not ScheduleStatus.DISABLED


def _before(at: datetime, trigger: Trigger) -> datetime:
    """Just before a time, in UTC: a trigger's times are after one and up to another."""
    aware = at if at.tzinfo else at.replace(tzinfo=zone_of(trigger))
    return aware.astimezone(UTC) - timedelta(microseconds=1)


def _owners(stored: StoredSchedule) -> str:
    return ", ".join(sorted(stored.schedule.owners)) or "none that says its name"
