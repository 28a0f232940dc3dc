"""People and programs who ask for things at random: start, cancel, retry, twice, and again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, cast

from flows.core.alert import champion_changed
from flows.core.errors import KeyReused, RatchetError, StoreError
from flows.core.flow import Flow
from flows.core.records import Asset, RunStatus
from flows.core.schedule import Schedule
from flows.core.schedule_service import ScheduleService
from flows.core.service import Service
from tests.simulation.nights import FLOWS
from tests.simulation.planner import EVERY, Data, Source, prepared
from tests.simulation.poison import ENDLESS, NOT_UTF8, NUL, POISONED
from tests.simulation.process import Process
from tests.simulation.world import START

Wish = tuple[str, str]
"""What is asked for, and the key under which: asking again repeats nothing."""


class Person(Process):
    """Uses the services as the CLI and the API do, and asks again until an answer has come."""

    def __init__(
        self, *args: Any, data: Data, schedules: Sequence[Schedule], script: Sequence[str] = ()
    ) -> None:
        super().__init__(*args)
        self._data, self._schedules = data, schedules
        self._script = list(script)  # what to ask for, one after the other; empty: at random
        self._asked = 0
        self._open: Wish | None = None

    def boot(self) -> None:
        assert self.store is not None
        self._runs = Service(self.store, self.clock)
        self._plan = ScheduleService(
            self.store,
            self.clock,
            lambda schedule: None,
            lambda schedule, key, at: prepared(schedule, self.clock.now()),
            Source(self, self._data),
        )

    def turn(self) -> float:
        wish = self._open or self._next()
        if wish is None:
            return 3600.0
        self._open = wish
        self.world.note(self.name, " ".join(wish))
        try:
            self._verbs()[wish[0]](wish[1])
            self._open = None
        except StoreError as error:
            self.world.note(self.name, f"gets no answer: {error}")
            if self.world.calm:
                self.world.surprises.append(f"{wish} is not answered: {error}")
        except RatchetError as error:
            self.world.note(self.name, f"is refused: {error}")
            self._open = None
        pause = self.world.chance.choice((2.0, 8.0, 20.0))
        return 2.0 if self._script else pause * self.world.busy

    def _next(self) -> Wish | None:
        self._asked += 1
        if self._script:
            place = self._asked - 1
            return (self._script[place], f"{place}") if place < len(self._script) else None
        if not self.world.faulty:
            return None
        poison = self.world.poison * ("poison",)
        verbs = ("start", "start", "cancel", *(3 * ("retry",)), *poison, *sorted(self._verbs()))
        return self.world.chance.choice(verbs), f"{self.world.chance.randrange(6)}"

    def _verbs(self) -> dict[str, Callable[[str], object]]:
        return {
            "start": self._start,
            "cancel": self._cancel,
            "retry": self._retry,
            "pause": lambda key: self._plan.pause("often", by=self.name),
            "resume": lambda key: self._plan.resume("often", by=self.name),
            "fire": lambda key: self._plan.fire("hook", key=f"wish-{key}", by="api"),
            "backfill": self._backfill,
            "declare": lambda key: self._plan.sync(self._schedules),
            "declare less": lambda key: self._plan.sync(self._schedules[:-1]),
            "post": self._post,
            "approve": self._approve,
            "revive": lambda key: self.store.outbox.revive(self.clock.now()),  # type: ignore[union-attr]
            "append": lambda key: self._data.append(20),
            "cut off": self._cut_off,
            "poison": self._poison,
            "odd names": self._odd_names,
            "nothing": lambda key: None,
        }

    def _start(self, key: str) -> None:
        flow = FLOWS[sorted(FLOWS)[int(key) % len(FLOWS)]]
        self._bind(f"wish-{key}", self.world.chance.choice(("body", "body", "another body")))
        run = self._runs.start(
            flow,
            config={},
            config_yaml="",
            config_digest="d",
            trigger={"kind": "api"},
            key=f"wish-{key}",
        )
        promise = (flow.name, f"wish-{key}", run.id)
        if promise in self.world.promises:
            self.world.reach("asked for again, and given the same run")
        self.world.promises.append(promise)

    def _bind(self, key: str, body: str) -> None:
        assert self.store is not None
        try:
            self.store.requests.bind(["api"], key, [body], self.clock.now())
        except KeyReused:
            self.world.reach("key refused for another request")
            raise
        self.world.bound.add((key, body))

    def _poison(self, key: str) -> None:
        flow = self.world.chance.choice([*POISONED.values()])
        self._runs.start(
            cast(Flow, flow),
            config={NUL: ENDLESS},
            config_yaml="",
            config_digest="d",
            trigger={"kind": "api", "by": NOT_UTF8},
        )

    def _odd_names(self, key: str) -> None:
        flow = FLOWS["chain"]
        key = f"{NUL}{key * 3000}"
        run = self._runs.start(
            flow,
            config={},
            config_yaml="",
            config_digest="d",
            trigger={"kind": "api", "by": NUL},
            key=key,
        )
        self.world.promises.append((flow.name, run.key, run.id))
        self._plan.fire("hook", key=f"{key}{NOT_UTF8}", by=NUL)

    def _cancel(self, key: str) -> None:
        runs = [run for run in self._runs.runs(limit=8) if not run.status.ended]
        if runs:
            self._runs.cancel(self.world.chance.choice(runs).id, by=self.name)

    def _retry(self, key: str) -> None:
        again = (RunStatus.FAILED, RunStatus.HALTED, RunStatus.CANCELLED)
        runs = [run for run in self._runs.runs(limit=30) if run.status in again]
        if runs:
            self._runs.retry(self.world.chance.choice(runs).id)

    def _backfill(self, key: str) -> None:
        self._plan.backfill("chain", START - 2 * EVERY, START, schedule="often", by=self.name)

    def _cut_off(self, key: str) -> None:
        self._data.away = True
        self._data.append(1)

    def _approve(self, key: str) -> None:
        assert self.store is not None
        asset = Asset(name="model:approved", version=key)
        self.store.assets.update(asset, cause=f"wish-{key}", now=self.clock.now())

    def _post(self, key: str) -> None:
        assert self.store is not None
        now = self.clock.now()
        alert = champion_changed(
            "night", int(key), "8", "It names version 8.", "adopt", now - timedelta(seconds=1)
        )
        self.store.outbox.post([alert], now)


SCRIPT = (
    *(
        "start",
        "append",
        "start",
        "backfill",
        "cut off",
        "fire",
        "cancel",
        "pause",
        "fire",
        "resume",
        "post",
        "approve",
    ),
    *("declare less", "declare", "start", "retry", "retry", "revive", "cancel", "retry"),
)
"""All that may be asked for: with it, every method of the store is called."""
