"""What a schedule has to do now: pure decisions, over the time and what is known of the world.

Every fire has a key that the store holds unique, so deciding twice does nothing twice. A cursor
remembers what a trigger has seen; it only grows, with the two exceptions told below.

Times (`decide_time`): all occurrences after the cursor up to now are pending.

- One that is at most ON_TIME late is on time, and fires: a scheduler ticks, and restarts.
- An older one is late: nobody was there. The policy `missed` says what becomes of it, and one
  older than `grace` is missed whatever the policy (a grace below ON_TIME counts as ON_TIME).
- Of very many (a clock that jumped by a year), the newest MOST count; the others are recorded as
  one missed fire, whose key goes from the first of them to before the first that counts. Nothing
  enumerates them.
- A clock set back: what is behind the cursor never fires again. A cursor more than a day ahead
  of now comes from a clock that was wrong, and is forgotten, lest the schedule waits for years.

Deadlines (`decide_time`): each one that is near enough fires; those that have passed are missed,
whatever the policy, for no run can meet them. A run starts `by` less the bound for its duration,
held between latest_start and earliest_start; without a bound (fewer than three runs) at
earliest_start, since ending in time is what was asked for. A fire's time is the deadline itself:
it stays the same however the history changes, and `ends_by` is it.

Data: see `decide_data`. Assets: see `decide_assets`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from flows.core.duration_bound import duration_bound
from flows.core.occurrence import newest, next_after, zone_of
from flows.core.schedule import (
    Cron,
    DataState,
    Deadline,
    Decision,
    Fire,
    Interval,
    Missed,
    NewData,
    OnAsset,
    Overlap,
    Schedule,
    StoredSchedule,
    Trigger,
)
from flows.core.validity import PLACEHOLDER

ON_TIME = timedelta(seconds=60)
"""A fire that is this late was not missed by anybody."""

MOST = 1000
"""Pending fires that are looked at one by one; of more, only the newest."""

LOOK = timedelta(minutes=15)
"""How often a deadline's start is computed anew while its time comes near."""

_ASTRAY = timedelta(days=1)

Pending = Sequence[tuple[str, datetime]]
"""Fires that wait for a decision, (key, at), oldest first."""


# ------------------------------------------------------------------ its first look


def first(schedule: Schedule, now: datetime) -> tuple[datetime | None, dict[str, Any]]:
    """When to look at a newly saved schedule first, and the cursor that it begins with.

    Times and assets from before `now` never fire. Data does: all rows of the view are new.
    """
    now = now.astimezone(UTC).replace(microsecond=0)
    trigger = schedule.trigger
    if isinstance(trigger, NewData):
        return now, {"version": None}
    if isinstance(trigger, OnAsset):
        return None, {"at": now.isoformat()}
    if isinstance(trigger, Interval):
        anchor = trigger.anchor or now
        cursor = {"at": now.isoformat(), "anchor": anchor.astimezone(UTC).isoformat()}
        return next_after(replace(trigger, anchor=anchor), now), cursor
    if isinstance(trigger, Cron):
        return next_after(trigger, now), {"at": now.isoformat()}
    if isinstance(trigger, Deadline):
        return _look_at_deadline(trigger, now, now, timedelta(0)), {"at": now.isoformat()}
    return None, {}


def trigger_of(stored: StoredSchedule) -> Trigger:
    """The trigger with what its cursor knows: an interval's anchor, from when it was saved."""
    trigger = stored.schedule.trigger
    if isinstance(trigger, Interval) and trigger.anchor is None:
        kept = stored.cursor.get("anchor")
        return replace(trigger, anchor=_time(kept) if kept else stored.created_at)
    return trigger


# ------------------------------------------------------------------ times


def decide_time(
    stored: StoredSchedule, now: datetime, history: Sequence[timedelta] = ()
) -> Decision:
    """What a schedule with a cron, an interval or a deadline has to do at `now`.

    `history`, for deadlines: how long the flow's newest runs took, up to 50 that ended succeeded
    or halted, from created to ended, so that waiting in a queue counts.
    """
    trigger, since = trigger_of(stored), _cursor(stored, now)
    ahead = _ahead(trigger, history) if isinstance(trigger, Deadline) else timedelta(0)
    times, oldest = newest(trigger, since, now + ahead, MOST)
    pending = [(at.isoformat(), at) for at in times]
    last = times[-1] if times else since
    if isinstance(trigger, Deadline):
        fires = tuple(fire for fire in pending if fire[1] > now)
        missed = tuple(fire for fire in pending if fire[1] <= now)
        next_at = _look_at_deadline(trigger, last, now, ahead)
    else:
        fires, missed = _sorted_out(stored.schedule, pending, now)
        next_at = next_after(trigger, max(last, now))
    if oldest is not None:
        missed = ((f"{oldest.isoformat()}..{times[0].isoformat()}", oldest), *missed)
    cursor = {**stored.cursor, "at": last.isoformat()}
    return Decision(fires=fires, missed=missed, next_at=next_at, cursor=cursor)


def _cursor(stored: StoredSchedule, now: datetime) -> datetime:
    since = _time(stored.cursor["at"])
    # A deadline's cursor is ahead of now by rights: by as much as it starts before its time.
    trigger = stored.schedule.trigger
    ahead = trigger.earliest_start if isinstance(trigger, Deadline) else timedelta(0)
    return since if since <= now + ahead + _ASTRAY else now.astimezone(UTC).replace(microsecond=0)


def _sorted_out(
    schedule: Schedule, pending: Pending, now: datetime
) -> tuple[tuple[tuple[str, datetime], ...], tuple[tuple[str, datetime], ...]]:
    """Which of the pending fire, and which are missed."""
    on_time = [fire for fire in pending if now - fire[1] <= ON_TIME]
    late = [fire for fire in pending if ON_TIME < now - fire[1] <= schedule.grace]
    if schedule.missed is Missed.ALL:
        fires = [*late, *on_time]
    elif schedule.missed is Missed.LATEST:
        fires = on_time or late[-1:]
    else:
        fires = on_time
    chosen = set(fires)
    return tuple(fires), tuple(fire for fire in pending if fire not in chosen)


def _ahead(trigger: Deadline, history: Sequence[timedelta]) -> timedelta:
    """How long before its deadline a run starts: see the module's docstring."""
    ahead = duration_bound(history, trigger.confidence) or trigger.earliest_start
    return min(max(ahead, trigger.latest_start), trigger.earliest_start)


def _look_at_deadline(
    trigger: Deadline, last: datetime, now: datetime, ahead: timedelta
) -> datetime | None:
    """When the next deadline can first become due, or has to be computed anew."""
    coming = next_after(trigger, last)
    if coming is None:
        return None
    earliest = coming - trigger.earliest_start
    return earliest if now < earliest else max(now, min(coming - ahead, now + LOOK))


def ends_by(schedule: Schedule, at: datetime) -> datetime | None:
    """When the run of the fire at `at` has to have ended; None when nobody said."""
    if isinstance(schedule.trigger, Deadline):
        return at
    return None if schedule.deadline is None else at + schedule.deadline


# ------------------------------------------------------------------ data


def decide_data(stored: StoredSchedule, state: DataState, now: datetime) -> Decision:
    """What a schedule has to do about the data of its view.

    It fires when there are `min_rows` new rows and nothing was added for `settle`, and at the
    latest `max_wait` after the first new row, be they as few as they may. One fire covers all
    that is new, also after a night without a scheduler: `missed` and `grace` are about times.
    `next_at` is when settle or max_wait ends; None: only more data can change the decision.

    Another table than the cursor's means that the view was made anew, and a version below the
    cursor's that, or that it was restored from a copy: all its rows count as new, and from then on
    its keys say which time around it is (`digits@3+1`).
    """
    trigger = stored.schedule.trigger
    assert isinstance(trigger, NewData)
    seen, cursor = stored.cursor.get("version"), dict(stored.cursor)
    before = cursor.get("table")
    another = None not in (before, state.table) and before != state.table
    cursor |= {} if state.table is None else {"table": state.table}
    if seen is not None and (state.version < seen or another):
        again = cursor.get("restored", 0) + 1
        return Decision(next_at=now, cursor=cursor | {"version": None, "restored": again})
    if state.new_rows < 1:  # a version without rows that count: tidying up, or late ones only
        return Decision(cursor={**cursor, "version": state.version})
    looks = _ready_times(trigger, state, now)
    if all(at > now for at in looks):
        return Decision(next_at=min(looks, default=None), cursor=cursor)
    key = f"{trigger.view}@{state.version}"
    if cursor.get("restored"):
        key += f"+{cursor['restored']}"
    at = min(state.last_at or now, now)
    return Decision(fires=((key, at),), cursor={**cursor, "version": state.version})


def _ready_times(trigger: NewData, state: DataState, now: datetime) -> list[datetime]:
    """When what is new may be run on: any of these times will do."""
    times = []
    if state.new_rows >= trigger.min_rows:
        # Without settle, a storage whose clock is ahead must not hold anything back.
        times.append((state.last_at or now) + trigger.settle if trigger.settle else now)
    if trigger.max_wait is not None:
        times.append((state.first_at or now) + trigger.max_wait)
    return times


# ------------------------------------------------------------------ assets


def decide_assets(stored: StoredSchedule, waiting: Sequence[Fire], now: datetime) -> Decision:
    """What a schedule has to do about assets that were made: the fires that wait for it.

    They were recorded with the events of the assets. Missed ones follow the policy of times. The
    oldest MOST are decided on; of more than that, the latest is among those that come then.
    """
    pending = [(fire.key, fire.at) for fire in waiting[:MOST]]
    fires, missed = _sorted_out(stored.schedule, pending, now)
    if stored.schedule.missed is Missed.LATEST and len(waiting) > MOST:
        fires = tuple(fire for fire in fires if now - fire[1] <= ON_TIME)
        missed = tuple(fire for fire in pending if fire not in fires)
    return Decision(fires=fires, missed=missed, cursor=stored.cursor)


# ------------------------------------------------------------------ overlap


def without_overlap(
    schedule: Schedule, fires: Pending, now: datetime
) -> tuple[list[tuple[str, datetime]], list[tuple[str, datetime]]]:
    """Which of several fires run, and which give way to them, when runs may not overlap.

    With `skip` and `cancel` the newest stands for all that came meanwhile; of `skip`, all that
    were missed run, one after the other, where `missed=all` asks for them.
    """
    if len(fires) < 2 or schedule.overlap not in (Overlap.SKIP, Overlap.CANCEL):
        return list(fires), []
    chosen = list(fires[-1:])
    if schedule.overlap is Overlap.SKIP and schedule.missed is Missed.ALL:
        chosen = [fire for fire in fires if now - fire[1] > ON_TIME] or chosen
    return chosen, [fire for fire in fires if fire not in chosen]


# ------------------------------------------------------------------ overrides


def filled(schedule: Schedule, at: datetime) -> tuple[str, ...]:
    """A schedule's overrides for its fire at `at`: `{at:%Y-%m-%d}`, and `{at}` in ISO 8601.

    Dates are those of the zone of its trigger.
    """
    local = at.astimezone(zone_of(schedule.trigger))

    def written(match: re.Match[str]) -> str:
        return local.strftime(match[1]) if match[1] else local.isoformat()

    return tuple(PLACEHOLDER.sub(written, text) for text in schedule.overrides)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
