"""Whether runs end in time: tells of a deadline at risk, and of one that was missed.

A run is at risk once it is more likely than not to miss its deadline, as the flow's own history
tells: of the earlier runs that took longer than this one has by now, more than half took
longer than it may. With fewer than three earlier runs nothing is predicted.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from flows.core.alert import Alert, deadline_at_risk, deadline_missed
from flows.core.duration_bound import FEWEST
from flows.core.errors import StoreError
from flows.core.records import Run
from flows.core.store import Store
from flows.core.store.deadlines import WatchedRun

log = logging.getLogger(__name__)

LEFT_ALONE = timedelta(minutes=1)
"""So long a run that could not be looked at leaves the turn to the others."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What one look at a run with a deadline found."""

    alert: Alert | None  # what people have to be told
    next_at: datetime | None  # when to look again; None: there is nothing more to see


def risky_from(history: Sequence[timedelta], allowed: timedelta) -> timedelta | None:
    """From what age on a run is more likely than not to take longer than `allowed`.

    Of n earlier durations, m are longer than `allowed`; m is more than half of those that are
    longer than the run's age as soon as these are fewer than 2m. None: nothing can be said.
    """
    if len(history) < FEWEST:
        return None
    durations = sorted(history)
    longer = sum(duration > allowed for duration in durations)
    left = max(2 * longer - 1, 0)
    passed = len(durations) - left
    return durations[passed - 1] if passed > 0 else timedelta(0)


def look(watched: WatchedRun, history: Sequence[timedelta], now: datetime) -> Look:
    """What is to be told of a run now, and when to look again."""
    run, at = watched.run, watched.at
    if run.ended_at is not None and run.ended_at <= at:
        return Look(alert=None, next_at=None)
    if run.ended_at is not None or now >= at:
        return Look(alert=deadline_missed(run, at, _missed(run, at), now=now), next_at=None)
    risky = risky_from(history, at - run.created_at)
    if watched.warned or risky is None:
        return Look(alert=None, next_at=at)
    if now - run.created_at >= risky:
        reason = f"it is {run.status} since {_minutes(now - run.created_at)}, and most of the "
        reason += f"flow's runs that took so long took longer than {_minutes(at - run.created_at)}"
        return Look(alert=deadline_at_risk(run, at, reason, now=now), next_at=at)
    return Look(alert=None, next_at=min(at, run.created_at + risky))


class DeadlineWatch:
    """Looks at the runs that have a deadline, each when there is something to see."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._left_alone: set[str] = set()  # ids of runs that cannot be looked at

    def tick(self, now: datetime) -> list[Alert]:
        """Look at what is due, and return the alerts. Costs by the open runs with a deadline."""
        alerts = []
        for watched in self._store.deadlines.due(now):
            try:
                alert = self._look(watched, now)
            except Exception as error:
                if isinstance(error, StoreError) and not error.permanent:
                    raise
                if watched.run.id not in self._left_alone:
                    self._left_alone.add(watched.run.id)
                    log.warning("the deadline of run %s is left alone: %s", watched.run.id, error)
                self._store.deadlines.looked(watched, next_at=now + LEFT_ALONE, now=now)
                continue
            if alert is not None:
                alerts.append(alert)
        return alerts

    def _look(self, watched: WatchedRun, now: datetime) -> Alert | None:
        history = self._store.deadlines.durations(watched.run.flow)
        seen = look(watched, history, now)
        recorded = self._store.deadlines.looked(
            watched, next_at=seen.next_at, alert=seen.alert, now=now
        )
        return seen.alert if recorded else None


def _missed(run: Run, at: datetime) -> str:
    if run.ended_at is None:
        return f"it was still {run.status} at {at:%H:%M} UTC"
    return f"it ended {run.status}, {_minutes(run.ended_at - at)} late"


def _minutes(span: timedelta) -> str:
    return str(timedelta(seconds=max(1, round(span.total_seconds()))))
