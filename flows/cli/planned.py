"""Whether a schedule makes as many challengers a year as its gate plans for."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from itertools import islice

from flows.bootstrap import Ratchet
from flows.core.errors import RatchetError
from flows.core.occurrence import occurrences
from flows.core.schedule import Cron, Deadline, Interval, Schedule, Trigger

WEEK, YEAR = timedelta(days=7), timedelta(days=365)
FACTOR = 2
"""A plan that is off by no more costs less than half a night's evidence."""
COUNTED = 10_000


def misplanned(ratchet: Ratchet, schedule: Schedule, now: datetime) -> tuple[str, str] | None:
    """What is said of a schedule whose gate plans for another number, and what to set."""
    planned = _planned(ratchet, schedule)
    if planned is None or not isinstance(schedule.trigger, Cron | Interval | Deadline):
        return None
    runs = runs_a_year(schedule.trigger, now)
    if not runs or max(runs / planned, planned / runs) <= FACTOR:
        return None
    costs = "those beyond get ever smaller shares" if runs > planned else "what is left is unused"
    return (
        f"some {runs:,} runs a year, and its gate plans for {planned:,} challengers: {costs}",
        f"gate.planned={runs}; gate.expire_after counts runs, too",
    )


def runs_a_year(trigger: Trigger, now: datetime) -> int:
    """How often it fires in a year, by the week where that is often."""
    week = sum(1 for _ in islice(occurrences(trigger, now, now + WEEK), COUNTED))
    if week > WEEK.days:
        return round(week * (YEAR / WEEK))
    return sum(1 for _ in occurrences(trigger, now, now + YEAR))


def _planned(ratchet: Ratchet, schedule: Schedule) -> int | None:
    """`gate.planned` of the runs that it makes; None: their flow has no gate."""
    gates = [said for said in schedule.overrides if said.startswith("gate")]
    with suppress(RatchetError):  # told of elsewhere
        composed = ratchet.compose(ratchet.flows.get(schedule.flow), gates)
        gate = composed.data.get("gate")
        planned = gate.get("planned") if isinstance(gate, dict) else None
        return planned if isinstance(planned, int) and planned > 0 else None
    return None
