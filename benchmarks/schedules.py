"""Ten thousand schedules: a tick of the scheduler costs by what is due, not by what exists."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

from benchmarks.measure import Case, Setting, seconds, side_by_side
from benchmarks.noop_flows import short
from benchmarks.report import Aim, Figure, Kind
from flows.core import due
from flows.core.data_source import DataSource
from flows.core.schedule import Cron, Interval, Schedule
from flows.core.scheduler import Scheduler
from flows.core.service import new_run_id
from flows.core.store import NewRun, Store
from tests.manual_clock import ManualClock

MANY, FEW, DUE = 10_000, 10, 10
START = datetime(2026, 1, 1, tzinfo=UTC)
AIM = Aim(kind=Kind.RATIO_AT_MOST, bound=1.5)
NO_DATA = cast(DataSource, None)  # no schedule here watches a view


def figures(setting: Setting) -> Iterator[Figure]:
    """A tick with ten fires, and an idle one, among few schedules and among many."""
    among = {n: _among(setting.folder / f"{n}.db", n) for n in (FEW, MANY)}
    repeats = setting.of(40, 10)
    for what, minutes in ((f"{DUE} fires", 1), ("nothing due", 0)):
        samples = side_by_side(
            {f"among {n:,}": _tick(*among[n], minutes) for n in among}, repeats=repeats, warm_up=3
        )
        own, floor = samples[f"among {MANY:,}"], samples[f"among {FEW:,}"]
        yield Figure(
            name=f"tick of the scheduler among {MANY:,} schedules, {what}",
            unit="ms",
            own=own,
            beside={f"among {FEW:,}": floor},
            aim=AIM,
        )


def _among(file: Path, schedules: int) -> tuple[Scheduler, ManualClock]:
    """A scheduler over ten schedules that are due every minute, and others that never are."""
    store, clock = Store.open(f"sqlite:///{file}"), ManualClock(START)
    for number in range(schedules):
        trigger = (
            Interval(every=timedelta(minutes=1), anchor=START)
            if number < DUE
            else Cron(cron="0 0 29 2 *")
        )
        schedule = Schedule(name=f"schedule-{number:05}", flow=short.name, trigger=trigger)
        store.schedules.save(schedule, *due.first(schedule, START), START)
    return Scheduler(store, _prepare, NO_DATA, clock=clock), clock


def _prepare(schedule: Schedule, key: str, at: datetime) -> NewRun:
    return NewRun(
        id=new_run_id(at),
        flow=short.name,
        key=f"{schedule.name}:{key}",
        source=short.source,
        graph=short.graph,
        config={},
        config_yaml="",
        config_digest="",
        trigger={"kind": "interval"},
    )


def _tick(scheduler: Scheduler, clock: ManualClock, minutes: int) -> Case:
    def measured() -> float:
        clock.advance(timedelta(minutes=minutes))
        fires: list[int] = []
        took = seconds(lambda: fires.append(len(scheduler.tick(clock.now()))))
        assert fires == [DUE if minutes else 0], fires
        return 1e3 * took

    return measured
