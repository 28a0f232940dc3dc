"""One seed's story: who there is, what goes wrong, and that everything comes to its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from flows.core.alert import AlertStatus
from flows.core.pool import Pool, Rate
from flows.core.records import RunStatus
from flows.core.schedule import ScheduleStatus
from flows.core.store import Store
from tests.simulation.alerts import check_alerts
from tests.simulation.calm import check_calm
from tests.simulation.chains import check_executions, check_runs
from tests.simulation.channels import Channels, CourierProcess
from tests.simulation.database import Disk
from tests.simulation.executions import Cluster, Execution
from tests.simulation.findings import Findings, Record
from tests.simulation.fires import check_fires
from tests.simulation.patches import of_this_world
from tests.simulation.people import Person
from tests.simulation.planner import Data, Planner, declare, plan
from tests.simulation.poison import upgrade
from tests.simulation.process import Faults, Process
from tests.simulation.slots import check_served, check_slots
from tests.simulation.states import count_states, watched
from tests.simulation.worker import Worker
from tests.simulation.world import World

TROUBLE = 45.0
"""Seconds of virtual time in which things go wrong."""
QUIET = 1200.0
"""Seconds after which everything must have come to its end, once nothing goes wrong any more."""

POOLS = {
    "gpu": Pool(name="gpu", slots=3),
    "data": Pool(name="data", slots=2, rate=Rate(count=4, per=timedelta(seconds=10))),
}
SERVED = (None, None, frozenset({"gpu"}), frozenset({"data", "default"}))
"""Pools that a worker may serve; None: all."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """What became of a seed."""

    seed: int
    problems: tuple[str, ...]
    counts: dict[str, int]  # what was looked at: runs, attempts, fires, alerts, deaths
    states: dict[str, int]  # rare ones, and how often they were reached


class Story:
    """Who there is in a world, and what happens there."""

    def __init__(
        self,
        seed: int,
        disk: Disk,
        say: Callable[[str], None] | None = None,
        *,
        script: Sequence[str] = (),
    ) -> None:
        """With a `script`, somebody asks for these things, and nothing goes wrong by chance."""
        self.world = World(seed, tell=say)
        self.disk = disk
        self.record: list[Execution] = []
        self.cluster = Cluster(self.world)
        self.data = Data(self.world)
        self.channels = Channels(self.world)
        chance = self.world.chance
        self._script = script
        # Calm nights, and terrible ones.
        self._scale = 0.0 if script else chance.choice((0.0, 0.3, 1.0, 3.0))
        self._clocks_agree = True
        self.world.calm = not self._scale and not script
        self.schedules = plan(self.world)
        work = {"cluster": self.cluster, "record": self.record, "pools": POOLS}
        served = (None, *(chance.choice(SERVED) for _ in range(2)))  # one serves them all
        self.processes: list[Process] = [
            *(
                self._process(Worker, n, 1.0, **work, serves=served[n])
                for n in range(chance.randint(1, 3))
            ),
            *(self._process(Planner, n, 30.0, data=self.data) for n in range(chance.randint(1, 2))),
            *(
                self._process(CourierProcess, n, 1.0, channels=self.channels)
                for n in range(chance.randint(1, 2))
            ),
            self._process(Person, 0, 1.0, data=self.data, schedules=self.schedules, script=script),
        ]

    def _process(self, kind: type[Process], number: int, skew: float, **more: object) -> Process:
        chance, scale = self.world.chance, self._scale
        faults = Faults(
            crash=0.01 * scale * chance.random(),
            error=0.02 * scale * chance.random(),
            slow=0.03 * scale * chance.random(),
            freeze=0.01 * scale * chance.random(),
        )
        ahead = timedelta(seconds=chance.uniform(-skew, skew) if scale else 0)
        name = f"{kind.__name__.lower()}-{number}"
        return kind(name, self.world, self.disk, faults, ahead, **more)

    def _set_a_clock(self) -> None:
        """In some worlds a worker's clock is wrong, or is set, once or twice; else all agree."""
        chance, worker = self.world.chance, self.processes[0]
        for _ in range(chance.choice((0, 0, 1, 2)) if not self._script else 0):
            self._clocks_agree = False
            skew = timedelta(seconds=chance.choice((12.0, -12.0, 300.0, -300.0)))

            def set_clock(skew: timedelta = skew) -> None:
                self.world.note(worker.name, f"has its clock set to {skew} ahead")
                self.world.reach("clock of a worker set while it ran", worker.alive)
                worker.clock.skew = skew

            self.world.at(chance.choice((0.0, chance.uniform(5, TROUBLE))), set_clock)

    def play(self) -> None:
        """The night, and the quiet after it."""
        world, chance = self.world, self.world.chance
        self._set_a_clock()
        declare(Store(self.disk.database), self.schedules, world.now)
        for process in self.processes:
            process.start(chance.uniform(0, 2))
        if self._script:  # what workers can do besides their work
            worker = self.processes[0]
            assert isinstance(worker, Worker)
            world.at(21.0, lambda: worker.die("as the script says"))
            world.at(50.0, lambda: worker.take_turn(worker.leave))
        for _ in range(chance.randint(0, 4)):
            rows = chance.choice((1, 5, 20))
            world.at(chance.uniform(5, TROUBLE), lambda rows=rows: self.data.append(rows))
        for _ in range(chance.choice((0, 1, 2)) if self._scale else 0):
            world.at(chance.uniform(5, TROUBLE), self.cluster.lose_everything)
        if self._scale and chance.random() < 0.3:
            world.at(chance.uniform(5, TROUBLE), lambda: world.sleep(chance.choice((30.0, 200.0))))
        world.pass_time(TROUBLE)
        world.faulty = False
        world.note("world", "nothing goes wrong any more")
        upgrade(self.disk.database)
        witness = Store(self.disk.database)
        world.pass_time(30.0)  # what is frozen thaws, what is dead comes back
        for schedule in self.schedules:  # no more fires by time, so that all may end
            if witness.schedules.get(schedule.name).status is ScheduleStatus.ACTIVE and (
                schedule.name == "often"
            ):
                witness.schedules.pause("often", "the night is over", world.now)
        until = world.now + timedelta(seconds=QUIET)
        calm = 0  # what has just ended may have set off something else: a planner looks every 20 s
        while calm < 3 and world.now < until:
            upgrade(self.disk.database)  # what was asked for before, and committed only now
            world.pass_time(15.0)
            calm = 0 if self._goes_on(witness) else calm + 1
        for process in self.processes:
            process.end()

    def _goes_on(self, witness: Store) -> bool:
        return bool(
            open_runs(witness)
            or witness.outbox.list(status=AlertStatus.PENDING)
            or any(
                s.schedule.name != "often" and s.next_at and s.status is ScheduleStatus.ACTIVE
                for s in witness.schedules.list()
            )
        )

    def findings(self) -> Findings:
        """What of all that must hold does not."""
        found = Findings(problems=list(self.world.surprises), states=self.world.states)
        record = Record(Store(self.disk.database))
        executions = [*self.record, *self.cluster.jobs.values()]
        check_runs(found, record, self.world)
        check_executions(found, record.details, executions)
        check_slots(found, record, POOLS)
        check_served(found, record, self.world.serves)
        check_fires(found, record, self.schedules, self.data)
        check_alerts(found, record, self.channels)
        deaths = sum(process.deaths for process in self.processes)
        if self.world.calm:
            check_calm(found, record, POOLS, deaths, clocks_agree=self._clocks_agree)
        count_states(found.states, record, executions, self.schedules, self.channels.received)
        found.counts["deaths"] = deaths
        return found


def tell(seed: int, disk: Disk, say: Callable[[str], None] | None = None) -> Told:
    """Play one seed and check what is left of it."""
    disk.wipe()
    story = Story(seed, disk, say)
    with of_this_world(story.world), watched(story.world):
        story.play()
    found = story.findings()
    return Told(
        seed=seed,
        problems=tuple(found.problems),
        counts=dict(found.counts),
        states=dict(+found.states),
    )


def open_runs(store: Store) -> list[str]:
    """Ids of the runs that have not ended."""
    return [
        run.id
        for status in (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.CANCELLING)
        for run in store.reads.runs(status=status, limit=1)
    ]
