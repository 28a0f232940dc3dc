"""Where work happens: executors that die with their process, and a cluster that does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from flows.core.executors.protocol import Deliver, Outcome, OutcomeKind, Work
from tests.simulation.nights import answer
from tests.simulation.process import Process
from tests.simulation.world import World


@dataclass(kw_only=True)
class Execution:
    """Work that really happened, as the walls of the world remember it."""

    attempt_id: str
    run_id: str
    task: str
    where: str  # worker or cluster
    begun: datetime
    ended: datetime | None = None
    outcome: Outcome | None = None
    clients: list[tuple[Process, int, Deliver]] = field(default_factory=list)
    stopping: bool = False

    @property
    def ended_itself(self) -> bool:
        """Whether it came to its own end, and somebody might have heard of it."""
        return self.outcome is not None and self.outcome.kind is not OutcomeKind.LOST


class LocalExecutor:
    """Threads or processes of a worker: what they do ends with it, or goes on unheard."""

    name, slots, queues, kills, survives = "local", 2, False, True, False
    capacity = None

    def __init__(self, process: Process, record: list[Execution]) -> None:
        self._process, self._life = process, process.life
        self._record = record
        self._deliver: Deliver | None = None
        self._at_work: dict[str, Execution] = {}

    def open(self, deliver: Deliver) -> None:
        self._deliver = deliver

    def warm(self) -> None: ...

    def began(self, attempt_id: str) -> bool:
        return True

    def start(self, work: Work) -> None:
        world = self._process.world
        if work.attempt_id in self._at_work:
            return
        done = Execution(
            attempt_id=work.attempt_id,
            run_id=work.run_id,
            task=work.task,
            where=worker_of(self._process),
            begun=world.now,
        )
        self._record.append(done)
        self._at_work[work.attempt_id] = done
        outcome = answer(work, done.where, world)
        world.note(self._process.name, f"works on {work.attempt_id}")
        world.at(duration(world), lambda: self._end(done, outcome))

    def stop(self, attempt_id: str, grace: float) -> None:
        done = self._at_work.get(attempt_id)
        if done is None or done.stopping:
            return
        done.stopping = True
        stopped = Outcome(attempt_id=attempt_id, kind=OutcomeKind.STOPPED)
        world = self._process.world
        world.at(world.chance.uniform(0, grace), lambda: self._end(done, stopped))

    def close(self) -> None:
        for done in self._at_work.values():
            done.ended = done.ended or self._process.world.now
        self._at_work.clear()
        self._deliver = None

    def _end(self, done: Execution, outcome: Outcome) -> None:
        if self._at_work.pop(done.attempt_id, None) is None:
            return
        done.ended, done.outcome = self._process.world.now, outcome
        if self._process.life == self._life and self._deliver is not None:
            deliver(self._process, self._deliver, outcome)


class Cluster:
    """Runs what it is given, once per id, whatever becomes of those who asked."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.jobs: dict[str, Execution] = {}

    def submit(self, work: Work, client: tuple[Process, int, Deliver]) -> None:
        """Start the job, or adopt it."""
        job = self.jobs.get(work.attempt_id)
        if job is None:
            job = self.jobs[work.attempt_id] = Execution(
                attempt_id=work.attempt_id,
                run_id=work.run_id,
                task=work.task,
                where="cluster",
                begun=self.world.now,
            )
            outcome = answer(work, "cluster", self.world)
            self.world.note("cluster", f"works on {work.attempt_id}")
            recovers = not (self.world.faulty or self.world.calm)  # the night is to end soon
            long = () if recovers else (50.0,)
            seconds = self.world.chance.choice((1.0, 3.0, 8.0, *long))
            self.world.at(seconds, lambda: self.end(job, outcome))
        job.clients.append(client)
        if job.outcome is not None:
            self.world.reach("job ended before it was adopted", len(job.clients) > 1)
            self._tell(job, client)

    def end(self, job: Execution, outcome: Outcome) -> None:
        """The job is over, for whatever reason; the first one counts."""
        if job.outcome is not None:
            return
        job.ended, job.outcome = self.world.now, outcome
        for client in job.clients:
            self._tell(job, client)

    def lose_everything(self) -> None:
        """The head is gone, and with it all that was running."""
        self.world.note("cluster", "loses its head")
        clients = {job.clients[-1][0] for job in self.jobs.values() if job.outcome is None}
        self.world.reach("jobs of two workers lost with the head", len(clients) > 1)
        for job in list(self.jobs.values()):
            lost = Outcome(
                attempt_id=job.attempt_id, kind=OutcomeKind.LOST, reason="the head was lost"
            )
            self.end(job, lost)

    def _tell(self, job: Execution, client: tuple[Process, int, Deliver]) -> None:
        process, life, told = client
        outcome = job.outcome
        assert outcome is not None

        def tell() -> None:
            if process.life == life:
                deliver(process, told, outcome)

        self.world.at(self.world.chance.choice((0.01, 0.3, 2.0)), tell)


class ClusterExecutor:
    """A worker's client of the cluster."""

    name, slots, queues, kills, survives = "cluster", 3, False, True, True
    capacity = None

    def __init__(self, process: Process, cluster: Cluster) -> None:
        self._process, self._life, self._cluster = process, process.life, cluster
        self._deliver: Deliver | None = None
        self._mine: set[str] = set()

    def open(self, deliver: Deliver) -> None:
        self._deliver = deliver

    def warm(self) -> None: ...

    def began(self, attempt_id: str) -> bool:
        return True

    def start(self, work: Work) -> None:
        if self._deliver is not None and work.attempt_id not in self._mine:
            self._mine.add(work.attempt_id)
            self._cluster.submit(work, (self._process, self._life, self._tell))

    def _tell(self, outcome: Outcome) -> None:
        self._mine.discard(outcome.attempt_id)  # asked for again, it is told again
        if self._deliver is not None:
            self._deliver(outcome)

    def stop(self, attempt_id: str, grace: float) -> None:
        job = self._cluster.jobs.get(attempt_id)
        if job is not None:
            stopped = Outcome(attempt_id=attempt_id, kind=OutcomeKind.STOPPED)
            world = self._process.world
            world.at(world.chance.uniform(0, grace), lambda: self._cluster.end(job, stopped))

    def close(self) -> None:
        self._deliver = None


def worker_of(process: Process) -> str:
    """The name of the worker that a process is at the moment."""
    return str(getattr(process, "worker", process.name))


def duration(world: World) -> float:
    """Seconds of a short piece of work."""
    return world.chance.choice((0.02, 0.3, 1.0, 12.0))


def deliver(process: Process, told: Callable[[Outcome], None], outcome: Outcome) -> None:
    """Hand an outcome over, sometimes twice."""
    told(outcome)
    if process.world.happens(0.03):
        process.world.note(process.name, f"hears of {outcome.attempt_id} twice")
        told(outcome)
    process.wake()
