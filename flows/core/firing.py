"""From a decision to its record: overlap is settled, runs are prepared, and all is one commit.

The scheduler and the verbs of people both come through here, so a fire on request, of a
backfill, or by a trigger differ in nothing but who asked.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from flows.core import due
from flows.core.errors import RatchetError, Refused
from flows.core.records import Run
from flows.core.schedule import (
    Cron,
    Deadline,
    Decision,
    Fire,
    FireOutcome,
    Interval,
    NewData,
    OnAsset,
    OnRequest,
    Overlap,
    Schedule,
    StoredSchedule,
)
from flows.core.store import NewRun, Store
from flows.core.store.schedule_reads import lane_of, overlapping

Prepare = Callable[[Schedule, str, datetime], NewRun]
"""Composes the run of a schedule's fire, from its key and its time. Raises RatchetError."""

HOLD = timedelta(seconds=5)
"""After so long, what waits for an open run to end is looked at again."""

BEHIND = 100
"""By so much, the runs of a backfill have a lower priority."""

KINDS = {
    Cron: "cron",
    Interval: "interval",
    NewData: "new_data",
    OnAsset: "asset",
    OnRequest: "request",
    Deadline: "deadline",
}
"""What started a run, by its schedule's trigger."""

Entry = tuple[Fire, NewRun | None]


class Unprepared(RatchetError):
    """The run of a fire cannot be prepared; the fire says which and why."""

    def __init__(self, fire: Fire, cause: Exception) -> None:
        super().__init__(sentence(cause), hint=getattr(cause, "hint", None))
        self.fire = fire
        self.permanent = bool(getattr(cause, "permanent", True))


class Firing:
    """Records what was decided on a schedule, with the runs of its fires."""

    def __init__(self, store: Store, prepare: Prepare) -> None:
        self._store = store
        self._prepare = prepare

    def record(
        self, stored: StoredSchedule, decision: Decision, now: datetime
    ) -> tuple[Fire, ...] | None:
        """Record a decision in one commit; returns the fires that were recorded.

        None when somebody else has changed the schedule meanwhile: it has to be decided anew.
        Several fires of one decision do not overlap: their runs wait for one another.

        Raises:
            Unprepared: a run could not be prepared; nothing is recorded.
        """
        wanted = self._without_run(stored, decision)
        entries: list[Entry] = [
            (_missed(stored.schedule, fire, now), None) for fire in decision.missed
        ]
        blocking = self._make_room(stored, now) if wanted else None
        if blocking is not None:
            reason = overlapping(blocking)
            skipped = [
                _fire(stored.schedule, fire, FireOutcome.SKIPPED, reason, now) for fire in wanted
            ]
            if isinstance(stored.schedule.trigger, NewData | OnAsset):
                return self._hold(stored, skipped[-1], now)
            entries += [(fire, None) for fire in skipped]
            wanted = []
        entries += [self._started(stored.schedule, fire, now) for fire in wanted]
        if not entries and _is_as_it_was(stored, decision):
            return ()
        return self._commit(stored, entries, decision, now)

    def request(self, stored: StoredSchedule, key: str, by: str, now: datetime) -> Fire:
        """Fire a schedule now because somebody asked; a key that has a run gives its fire.

        Raises:
            Unprepared: the run could not be prepared; nothing is recorded.
        """
        schedule = stored.schedule
        known = self._store.schedules.fires_of(schedule.name, [key]).get(key)
        if known is not None and known.run_id is not None:
            return known
        fire, new = self._started(schedule, (key, now), now)
        trigger = {**new.trigger, "kind": "request", "by": by}
        if isinstance(schedule.trigger, Deadline):  # asked for at another time, it has no such
            trigger["deadline"] = None
        if schedule.overlap is Overlap.CANCEL:
            self._make_room(stored, now)
        alone = schedule.overlap is Overlap.SKIP
        return self._store.schedules.request(fire, replace(new, trigger=trigger), now, alone=alone)

    def backfill(self, schedule: Schedule, key: str, at: datetime, by: str, now: datetime) -> Fire:
        """Run an occurrence that has passed, behind everything else and beside what is due.

        Raises:
            Unprepared: the run could not be prepared; nothing is recorded.
        """
        fire, new = self._started(schedule, (key, at), now)
        trigger = {**new.trigger, "kind": "backfill", "by": by, "deadline": None}
        lane, priority = f"backfill:{schedule.name}", new.priority - BEHIND
        new = replace(new, trigger=trigger, lane=lane, priority=priority)
        return self._store.schedules.request(fire, new, now)

    def _commit(
        self, stored: StoredSchedule, entries: list[Entry], decision: Decision, now: datetime
    ) -> tuple[Fire, ...] | None:
        return self._store.schedules.fire(
            stored, entries, next_at=decision.next_at, cursor=decision.cursor, now=now
        )

    def _without_run(
        self, stored: StoredSchedule, decision: Decision
    ) -> list[tuple[str, datetime]]:
        """The fires that no run stands for yet: a crash, or a backfill, may have come before."""
        if not decision.fires:
            return []
        keys = [key for key, _ in decision.fires]
        known = self._store.schedules.fires_of(stored.schedule.name, keys)
        ran = {key for key, fire in known.items() if fire.run_id is not None}
        return [fire for fire in decision.fires if fire[0] not in ran]

    def _make_room(self, stored: StoredSchedule, now: datetime) -> Run | None:
        """Settle the overlap with open runs; returns the one that a fire is skipped for."""
        overlap = stored.schedule.overlap
        if overlap not in (Overlap.SKIP, Overlap.CANCEL):
            return None
        open_runs = self._store.schedules.open_runs(stored)
        if overlap is Overlap.SKIP:
            return open_runs[0] if open_runs else None
        for run in open_runs:
            with suppress(Refused):  # it has ended meanwhile
                reason = f"a newer fire of schedule {stored.schedule.name} takes its place"
                self._store.runs.cancel(run.id, reason, now)
        return None

    def _hold(
        self, stored: StoredSchedule, skipped: Fire, now: datetime
    ) -> tuple[Fire, ...] | None:
        """Keep what is new for later, since nothing would bring it up again; say so once a run."""
        told = self._store.schedules.fires(stored.schedule.name, 1)
        again = any(fire.reason == skipped.reason for fire in told)
        entries: list[Entry] = [] if again else [(skipped, None)]
        later = Decision(next_at=now + HOLD, cursor=stored.cursor)
        return self._commit(stored, entries, later, now)

    def _started(
        self, schedule: Schedule, fire: tuple[str, datetime], now: datetime
    ) -> tuple[Fire, NewRun]:
        key, at = fire
        try:
            prepared = self._prepare(schedule, key, at)
            overrides = list(due.filled(schedule, at))
            deadline = due.ends_by(schedule, at)
        except Exception as error:
            failed = _fire(schedule, fire, FireOutcome.FAILED, sentence(error), now)
            raise Unprepared(failed, error) from error
        new = replace(
            prepared,
            key=f"{schedule.name}:{key}",
            lane=None if schedule.overlap is Overlap.ALLOW else lane_of(schedule.name),
            priority=schedule.priority or prepared.priority,
            trigger={
                "kind": KINDS[type(schedule.trigger)],
                "schedule": schedule.name,
                "key": key,
                "at": at.isoformat(),
                "deadline": deadline.isoformat() if deadline is not None else None,
                "overrides": overrides,
            },
        )
        return _fire(schedule, fire, FireOutcome.STARTED, None, now), new


def sentence(error: Exception) -> str:
    """An error in one line: Ratchet's own as they are, others with their type."""
    line = str(error).strip().partition("\n")[0]
    return line if isinstance(error, RatchetError) else f"{type(error).__name__}: {line}"


def _fire(
    schedule: Schedule,
    fire: tuple[str, datetime],
    outcome: FireOutcome,
    reason: str | None,
    now: datetime,
) -> Fire:
    key, at = fire
    return Fire(
        schedule=schedule.name, key=key, at=at, decided_at=now, outcome=outcome, reason=reason
    )


def _missed(schedule: Schedule, fire: tuple[str, datetime], now: datetime) -> Fire:
    late = timedelta(seconds=round((now - fire[1]).total_seconds()))
    reason = f"it was looked at {late} after its time (missed={schedule.missed})"
    return _fire(schedule, fire, FireOutcome.MISSED, reason, now)


def _is_as_it_was(stored: StoredSchedule, decision: Decision) -> bool:
    before = (stored.next_at, stored.cursor, stored.reason)
    return before == (decision.next_at, decision.cursor, None)
