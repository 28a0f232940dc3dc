"""Three schedulers and three workers on one PostgreSQL, any of them killed at any time.

With Ray also a head in the home that they share, and the drivers of the jobs on it.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.postgres import Server
from flows.bootstrap import Ratchet, open_project
from flows.core.errors import StoreError
from flows.core.records import RunStatus
from tests.simulation.findings import Findings, Record
from tests.soak.fleet import Fleet, can_be_apart
from tests.soak.head import Head
from tests.soak.jobs import check_jobs
from tests.soak.verdict import judge

OPEN = (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.CANCELLING)
PATIENCE = 120.0
"""Seconds in which everything has to come to its end after the last kill."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is fired, and who is killed how often."""

    weights: Mapping[str, int]  # victim -> its share of the kills
    pause: tuple[float, float]  # seconds from one kill to the next, at least and at most
    schedules: Mapping[str, str]  # by their names in FLOWS: how often
    wishes: int  # keys with which the flow of local tasks is fired on request
    apart: frozenset[str] = frozenset()  # who is in a PID namespace of its own
    ahead: Mapping[str, float] = field(default_factory=dict)  # whose clock is wrong, in seconds


LOCAL = Plan(
    weights={"scheduler": 3, "worker": 3, "postgres": 1},
    pause=(0.2, 2.0),
    schedules={"often": "1s", "spoils": "3s"},
    wishes=60,
    apart=frozenset({"worker-1", "worker-2"}),
    ahead={"worker-2": 12.0},
)
ON_RAY = Plan(
    weights={"scheduler": 2, "worker": 4, "postgres": 1, "driver": 6, "head": 2},
    pause=(0.5, 6.0),
    schedules={"often": "12s", "lifts": "8s"},
    wishes=20,
)


FLOWS = {"often": "soak", "lifts": "lifted", "spoils": "spoiled"}
"""What the schedules run."""


def kill_at_random(
    seconds: float, seed: int, say: Callable[[str], None], plan: Plan = LOCAL
) -> Findings:
    """Kill for so long, let everything come to its end, and judge."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ratchet-soak-"))
        server = Server()
        stack.callback(server.remove)
        server.start()
        fleet = Fleet(Path(folder), server.url)
        head = None
        if "lifts" in plan.schedules:
            head = Head(fleet)
            stack.callback(head.stop)
        stack.callback(fleet.stop)
        for name, every in plan.schedules.items():
            fleet.fires(FLOWS[name], name, every)
        return Night(plan, fleet, server, head, random.Random(seed), say).play(seconds)


class Night:
    """The processes, and what was done to them."""

    def __init__(
        self,
        plan: Plan,
        fleet: Fleet,
        server: Server,
        head: Head | None,
        chance: random.Random,
        say: Callable[[str], None],
    ) -> None:
        self.plan = plan
        self.fleet = fleet
        self.server = server
        self.head = head
        self.chance = chance
        self.say = say
        self.killed: Counter[str] = Counter()
        self.down: dict[str, float] = {}  # when to start a killed one again, monotonic
        self.promised: dict[str, str] = {}
        self.in_vain = 0  # starts that ended at once, as the store was away

    def play(self, seconds: float) -> Findings:
        """The whole night, and the verdict."""
        ratchet = open_project(self.fleet.folder, (f"store.url={self.server.url!r}",))
        apart = self.plan.apart if can_be_apart() else frozenset()
        for kind in ("scheduler", "worker"):
            for name in (f"{kind}-{number}" for number in range(3)):
                ahead = self.plan.ahead.get(name, 0.0)
                self.fleet.start(name, kind, apart=name in apart, ahead=ahead)
        if self.plan.apart:
            self.say(f"in a PID namespace of their own: {sorted(apart) or 'nobody, it is refused'}")
        if self.head is not None:
            self.head.start()
            until(self.head.is_up, "the head of Ray")
        until(lambda: ratchet.service.runs(), "a first run")
        begun = time.monotonic()
        while (now := time.monotonic()) - begun < seconds:
            self._ask(ratchet)
            self._start_again(now)
            if self._strike(now):
                self.say(f"{now - begun:5.0f} s: {dict(self.killed)}")
                time.sleep(self.chance.uniform(*self.plan.pause))
            else:
                time.sleep(0.05)
        self._start_again(now + 3600)
        self.say(f"killed: {dict(self.killed)}")
        return self._verdict(ratchet)

    # ------------------------------------------------------------------ inside

    def _start_again(self, now: float) -> None:
        """Those whose time has come, and those that ended by themselves."""
        for name in set(self.fleet.ended()) - self.down.keys():  # the store was away
            self.down[name] = now + 1.0
            self.in_vain += 1
        if self.head is not None and self.head.is_dead():
            self.down.setdefault("head", now + self.chance.choice((0.0, 1.0, 8.0)))
        for name in [name for name, at in self.down.items() if at <= now]:
            del self.down[name]
            if name == "head":
                assert self.head is not None
                self.head.start()
            else:
                self.fleet.again(name)

    def _strike(self, now: float) -> bool:
        """Kill one, if it is there."""
        kinds = list(self.plan.weights)
        kind = self.chance.choices(kinds, list(self.plan.weights.values()))[0]
        if kind == "postgres":
            self.server.kill()
            time.sleep(self.chance.uniform(0, 2))
            self.server.start()
        elif kind in ("driver", "head"):
            assert self.head is not None
            strike = self.head.kill if kind == "head" else self.head.kill_driver
            if not strike(self.chance):
                return False
        else:
            name = f"{kind}-{self.chance.randrange(3)}"
            if name in self.down:
                return False
            self.fleet.kill(name)
            self.down[name] = now + self.chance.choice((0.0, 1.0, 5.0, 12.0))
        self.killed[kind] += 1
        return True

    def _ask(self, ratchet: Ratchet) -> None:
        """Fire on request, as a web hook does: once, or the same again, until an answer comes."""
        key = f"wish-{self.chance.randrange(self.plan.wishes)}"
        try:
            fire = ratchet.schedules.fire("hook", key=key, by="soak")
        except StoreError:
            return
        if fire.run_id is not None:
            before = self.promised.setdefault(key, fire.run_id)
            assert before == fire.run_id, f"{key} has two runs"

    def _verdict(self, ratchet: Ratchet) -> Findings:
        last = time.monotonic()
        for schedule in self.plan.schedules:
            until(lambda name=schedule: _paused(ratchet, name), f"a pause of {schedule}")  # type: ignore[misc]
        self._wait_for_the_end(ratchet)
        self.say(f"every run has ended {time.monotonic() - last:.0f} s after the last kill")
        left = [] if self.head is None else self._jobs_left(self.head)
        until(self.fleet.ready, "the last that were started to be up", self._everything_again)
        ended = self.fleet.stop()
        found = judge(ratchet.service.store, self.fleet.lines(), self.promised)
        found.check(set(ended.values()) == {0}, f"asked to stop, they ended with {ended}")
        if self.head is not None:
            found.check(not left, f"Ray jobs are left: {left}")
            record, artifacts = Record(ratchet.service.store), ratchet.settings.artifacts
            check_jobs(found, record, artifacts, self.fleet.job_lines(), self.head.struck)
            self.head.stop()
        found.check(not self.fleet.left(), f"processes are left: {self.fleet.left()}")
        found.counts.update({f"{what} killed": times for what, times in self.killed.items()})
        found.counts["starts while the store was away"] = self.in_vain
        ratchet.close()
        return found

    def _wait_for_the_end(self, ratchet: Ratchet) -> None:
        """Until every run has ended; for as long as some do, however busy the machine is."""
        left, limit = _open(ratchet), time.monotonic() + PATIENCE
        while left:
            time.sleep(0.2)
            self._everything_again()
            before, left = left, _open(ratchet)
            if len(left) < len(before):
                limit = time.monotonic() + PATIENCE
            if time.monotonic() > limit:
                self.say(self.fleet.said())
                raise AssertionError(f"for {PATIENCE:g} s no run has ended: {_stories(ratchet)}")

    def _everything_again(self) -> None:
        self._start_again(time.monotonic() + 3600)

    def _jobs_left(self, head: Head) -> list[str]:
        """Drivers that work on, or that Ray believes to, although every run has ended."""
        working = [f"{name} (works)" for name in self.fleet.locked()]
        until(head.is_up, "the head of Ray", self._everything_again)
        limit = time.monotonic() + 30.0  # a driver that is done takes seconds to leave
        while (left := [*head.drivers(), *head.live_jobs()]) and time.monotonic() < limit:
            time.sleep(0.2)
        return working + left


def _paused(ratchet: Ratchet, schedule: str) -> bool:
    try:
        ratchet.schedules.pause(schedule, by="soak")
    except StoreError:  # of a connection from before the restart
        return False
    return True


def _open(ratchet: Ratchet) -> list[str]:
    found = (ratchet.service.runs(status=status, limit=100_000) for status in OPEN)
    return [run.id for runs in found for run in runs]


def _stories(ratchet: Ratchet) -> list[str]:
    """What the store says of the runs that do not end."""
    details = [ratchet.service.store.reads.detail(run_id) for run_id in _open(ratchet)]
    return [
        f"{detail.run.id} {[(task.key, task.status.value) for task in detail.tasks]} "
        f"{[(a.id, a.status.value, a.worker) for a in detail.attempts]}"
        for detail in details
    ]


def until(
    true: Callable[[], object],
    what: str,
    meanwhile: Callable[[], None] = lambda: None,
    patience: float = PATIENCE,
) -> None:
    """Waits for a fact about real processes."""
    deadline = time.monotonic() + patience
    while not true():
        assert time.monotonic() < deadline, f"not within {patience:g} s: {what}"
        meanwhile()
        time.sleep(0.05)
