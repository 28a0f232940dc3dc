"""A scheduler of the world, what it is to fire, and the data that it looks at."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flows.core import due
from flows.core.errors import ConfigError, StoreError
from flows.core.schedule import (
    DataState,
    Interval,
    Missed,
    NewData,
    OnAsset,
    OnRequest,
    Overlap,
    Schedule,
)
from flows.core.scheduler import Scheduler
from flows.core.service import new_run_id
from flows.core.store import NewRun, Store
from tests.simulation.nights import FLOWS
from tests.simulation.process import Process
from tests.simulation.world import World

EVERY = timedelta(seconds=20)
VIEW = "sales"


@dataclass(kw_only=True)
class Nothing:
    """A watch on data that never calls: the scheduler looks for itself."""

    def close(self) -> None: ...

    def hangs(self) -> bool:
        return False


class Data:
    """One view, to which somebody appends now and then."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.commits: list[tuple[int, datetime]] = []  # rows and time of each version from 1
        self.away = False  # it cannot be reached, once
        self.watchers: list[tuple[Process, int, Callable[[str], None]]] = []

    def append(self, rows: int) -> None:
        """A new version, and everybody who watches is called."""
        self.commits.append((rows, self._world.now))
        self._world.note("data", f"{rows} rows, version {len(self.commits)}")
        for process, life, changed in self.watchers:
            if process.life == life:
                changed(VIEW)
                process.wake()


class Source:
    """A scheduler's way to the data."""

    def __init__(self, process: Process, data: Data) -> None:
        self._process, self._data = process, data

    def check(self, view: str) -> None: ...

    def state(self, trigger: NewData, since: int | None) -> DataState:
        world = self._process.world
        away, self._data.away = self._data.away, False
        if away or world.happens(self._process.faults.error):
            raise StoreError("the feature store does not answer")
        new = self._data.commits[since or 0 :]
        return DataState(
            version=len(self._data.commits),
            new_rows=sum(rows for rows, _ in new),
            first_at=new[0][1] if new else None,
            last_at=new[-1][1] if new else None,
        )

    def watch(self, views: Iterable[str], changed: Callable[[str], None]) -> Nothing:
        self._data.watchers.append((self._process, self._process.life, changed))
        for view in views:
            changed(view)
        return Nothing()


class Planner(Process):
    """Runs a real scheduler, tick after tick."""

    def __init__(self, *args: Any, data: Data) -> None:
        super().__init__(*args)
        self._data = data

    def boot(self) -> None:
        assert self.store is not None
        self._scheduler = Scheduler(
            self.store, self.prepare, Source(self, self._data), clock=self.clock, seed=1
        )

    def prepare(self, schedule: Schedule, key: str, at: datetime) -> NewRun:
        if self.world.happens(5 * self.faults.error):
            self.world.reach("config that cannot be read just now")
            raise FileNotFoundError(2, "an editor is just renaming it", "conf/config.yaml")
        return prepared(schedule, self.clock.now())

    def turn(self) -> float:
        try:
            for fire in self._scheduler.tick(self.clock.now()):
                self.world.note(self.name, f"{fire.outcome} {fire.schedule} {fire.key}")
        except StoreError as error:
            self.world.note(self.name, f"tries again: {error}")
        return self.world.chance.choice((3.0, 8.0, 20.0))


def prepared(schedule: Schedule, now: datetime) -> NewRun:
    """The run of a fire, as the composition root would prepare it."""
    if schedule.name == "broken":
        raise ConfigError("there is no such option", hint="correct the override")
    which = FLOWS[schedule.flow]
    return NewRun(
        id=new_run_id(now),
        flow=which.name,
        key="",
        source=which.source,
        graph=which.graph,
        config={},
        config_yaml="",
        config_digest="d",
        trigger={},
        priority=which.priority,
        max_runs=which.max_runs,
    )


def plan(world: World) -> list[Schedule]:
    """What is declared in this world."""
    chance = world.chance
    overlap = list(Overlap)
    return [
        Schedule(
            name="often",
            flow="chain",
            trigger=Interval(every=EVERY),
            missed=chance.choice(list(Missed)),
            overlap=chance.choice(overlap),
            grace=chance.choice((timedelta(seconds=70), timedelta(hours=1))),
            deadline=chance.choice((None, timedelta(seconds=30))),
        ),
        Schedule(
            name="fresh",
            flow="loop",
            trigger=NewData(
                view=VIEW,
                min_rows=chance.choice((1, 10)),
                settle=timedelta(seconds=chance.choice((0, 5))),
                max_wait=timedelta(seconds=30),
            ),
            overlap=chance.choice(overlap),
        ),
        Schedule(
            name="after",
            flow="alone",
            trigger=OnAsset(asset="model:*"),
            overlap=chance.choice(overlap),
        ),
        Schedule(name="hook", flow="cached", trigger=OnRequest(), overlap=chance.choice(overlap)),
        Schedule(name="broken", flow="chain", trigger=Interval(every=timedelta(seconds=50))),
    ]


def declare(store: Store, schedules: Iterable[Schedule], now: datetime) -> None:
    """Save them before the night begins."""
    for schedule in schedules:
        next_at, cursor = due.first(schedule, now)
        store.schedules.save(schedule, next_at=next_at, cursor=cursor, now=now)
