"""From a decision to its record: overlap is settled, runs are prepared, and all is one commit.

The scheduler and the verbs of people both come through here, so a fire on request, of a
backfill, or by a trigger differ in nothing but who asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from flows.core import due
from flows.core.alert import Alert, schedule_skipping
from flows.core.due import Pending
from flows.core.errors import RatchetError
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
    lane_of,
    still_open,
)
from flows.core.store import NewRun, Store
from flows.core.values import message

Prepare = Callable[[Schedule, str, datetime], NewRun]
"""Composes the run of a schedule's fire, from its key and its time. Raises RatchetError."""

HOLD = timedelta(seconds=5)
"""After so long, what waits for an open run to end is looked at again."""

IN_A_ROW, MOST = 3, 50
"""Fires that are skipped for one run before people are told, and those that are counted."""

LONG = timedelta(hours=12)
"""Or so long it has been open: a nightly schedule need not lose three nights first."""

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
        self.permanent = not passes(cause)


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
        schedule = stored.schedule
        decision, entries, blocking = self._settled(stored, decision, now)
        started: list[Entry] = [self._started(schedule, fire, now) for fire in decision.fires]
        if started and (other := self._other_about(schedule, started[-1][1])) is not None:
            wanted, blocking = list(decision.fires), other.id
            decision, started = self._held(stored, decision, wanted, still_open(other.id), now)
        news = self._skipping(schedule, blocking, len(started) + len(entries), now)
        entries += [(_missed(schedule, fire, now), None) for fire in decision.missed]
        entries += started
        if not (entries or news) and _is_as_it_was(stored, decision):
            return ()
        return self._store.schedules.fire(
            stored,
            entries,
            next_at=decision.next_at,
            cursor=decision.cursor,
            now=now,
            instead=_takes_its_place(schedule) if decision.fires else None,
            news=news,
        )

    def _skipping(
        self, schedule: Schedule, run_id: str | None, skipped: int, now: datetime
    ) -> tuple[Alert, ...]:
        """What people are told when a run holds up a schedule for long."""
        if run_id is None:
            return ()
        newest = self._store.schedules.fires(schedule.name, MOST)
        reason = still_open(run_id)
        before = [f for f in newest if f.outcome is FireOutcome.SKIPPED and f.reason == reason]
        began = [fire.decided_at for fire in newest if fire.run_id == run_id]
        since = min([*began, *(fire.decided_at for fire in before)], default=now)
        in_a_row = len(before) + skipped
        if in_a_row < IN_A_ROW and now - since < LONG:
            return ()
        return (schedule_skipping(schedule.name, schedule.flow, run_id, in_a_row, since, now=now),)

    def _other_about(self, schedule: Schedule, new: NewRun | None) -> Run | None:
        """An open run of the same flow about the same, which another schedule or somebody began."""
        subject = new.trigger.get("subject") if new is not None else None
        if subject is None:
            return None
        for run in self._store.reads.open_runs(schedule.flow):
            trigger = run.trigger
            if trigger.get("subject") == subject and trigger.get("schedule") != schedule.name:
                return run
        return None

    def _settled(
        self, stored: StoredSchedule, decision: Decision, now: datetime
    ) -> tuple[Decision, list[Entry], str | None]:
        """A decision with the fires that run, and what becomes of those that have to give way.

        The last is the open run that they give way to, if it is one.
        """
        schedule, trigger = stored.schedule, stored.schedule.trigger
        wanted = self._without_run(stored, decision)
        if wanted and schedule.overlap is Overlap.SKIP:
            open_runs = self._store.schedules.open_runs(stored)
            if open_runs:
                reason = still_open(open_runs[0])
                return *self._held(stored, decision, wanted, reason, now), open_runs[0]
            if isinstance(trigger, OnAsset):  # the others wait until its run has ended
                next_at = now + HOLD if wanted[1:] else decision.next_at
                return replace(decision, fires=tuple(wanted[:1]), next_at=next_at), [], None
        runs, ways = due.without_overlap(schedule, wanted, now)
        skipped: list[Entry] = [
            (_fire(schedule, fire, FireOutcome.SKIPPED, f"{runs[-1][0]} took its place", now), None)
            for fire in ways
        ]
        return replace(decision, fires=tuple(runs)), skipped, None

    def _held(
        self,
        stored: StoredSchedule,
        decision: Decision,
        wanted: Pending,
        reason: str,
        now: datetime,
    ) -> tuple[Decision, list[Entry]]:
        """What becomes of fires while a run is open: times pass, what is new waits for its end."""
        schedule, trigger = stored.schedule, stored.schedule.trigger
        waits = isinstance(trigger, OnAsset)
        outcome = FireOutcome.PENDING if waits else FireOutcome.SKIPPED
        entries = [(_fire(schedule, fire, outcome, reason, now), None) for fire in wanted]
        if isinstance(trigger, NewData):  # said once a run
            newest = self._store.schedules.fires(schedule.name, 1)
            entries = [] if any(fire.reason == reason for fire in newest) else entries[-1:]
            decision = replace(decision, cursor=stored.cursor)
        if isinstance(trigger, NewData | OnAsset):
            decision = replace(decision, next_at=now + HOLD)
        return replace(decision, fires=()), list(entries)

    def request(self, stored: StoredSchedule, key: str, by: str, now: datetime) -> Fire:
        """Fire a schedule now because somebody asked; a key that has a run gives its fire.

        Raises:
            Unprepared: the run could not be prepared; nothing is recorded.
        """
        schedule = stored.schedule
        before = self._store.schedules.fires_of(schedule.name, [key]).get(key)
        if before is not None and before.run_id is not None:
            return before
        fire, new = self._started(schedule, (key, now), now)
        trigger = {**new.trigger, "kind": "request", "by": by}
        if isinstance(schedule.trigger, Deadline):  # asked for at another time, it has no such
            trigger["deadline"] = None
        return self._store.schedules.request(
            fire,
            replace(new, trigger=trigger),
            now,
            alone=schedule.overlap is Overlap.SKIP,
            instead=_takes_its_place(schedule),
        )

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

    def _without_run(
        self, stored: StoredSchedule, decision: Decision
    ) -> list[tuple[str, datetime]]:
        """The fires that no run stands for yet: a crash, or a backfill, may have come before."""
        if not decision.fires:
            return []
        keys = [key for key, _ in decision.fires]
        recorded = self._store.schedules.fires_of(stored.schedule.name, keys)
        ran = {key for key, fire in recorded.items() if fire.run_id is not None}
        return [fire for fire in decision.fires if fire[0] not in ran]

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
                **prepared.trigger,
            },
        )
        return _fire(schedule, fire, FireOutcome.STARTED, None, now), new


def passes(error: BaseException | None) -> bool:
    """Whether an error may be gone at the next try: of the machine or a store, not of a config.

    A config's error may hide one of the machine: files that cannot be opened, a disk that is away.
    """
    if isinstance(error, OSError) or not getattr(error, "permanent", True):
        return True
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return True
        error = error.__cause__ or error.__context__
    return False


def sentence(error: Exception) -> str:
    """An error in one storable line: Ratchet's own as they are, others with their type."""
    line = str(error).strip().partition("\n")[0]
    return message(line if isinstance(error, RatchetError) else f"{type(error).__name__}: {line}")


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


def _takes_its_place(schedule: Schedule) -> str | None:
    """Why the open runs of a schedule are cancelled once a new one is there, if they are."""
    if schedule.overlap is not Overlap.CANCEL:
        return None
    return f"a newer fire of schedule {schedule.name} takes its place"


def _is_as_it_was(stored: StoredSchedule, decision: Decision) -> bool:
    before = (stored.next_at, stored.cursor, stored.reason)
    return before == (decision.next_at, decision.cursor, None)
