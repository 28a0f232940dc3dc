"""The Ray head of the soak, as `ratchet up` starts it, and the drivers of its jobs."""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from flows.up.child import Child, ChildState, Launch
from flows.up.process import Process, session_members
from flows.up.ray_head import RayHead, token_path
from ray_jobs import RayConfig
from ray_jobs.dashboard_http import open_job_client
from tests.soak.fleet import Fleet


@dataclass(frozen=True, kw_only=True)
class _Marked(RayHead):
    """A head whose jobs know where to write that they ran."""

    marks: Mapping[str, str]

    def launch(self, before: Mapping[str, str]) -> Launch:
        launch = super().launch(before)
        return replace(launch, environment={**launch.environment, **self.marks})


@dataclass(frozen=True, kw_only=True)
class Struck:
    """A driver that was killed."""

    submission: str
    at: float  # seconds since the epoch


class Head:
    """The head of the fleet's home, kept by the soak in the place of a `ratchet up`."""

    def __init__(self, fleet: Fleet) -> None:
        self.home = fleet.folder / ".ratchet"
        config = RayConfig(num_cpus=1, object_store_mb=100)
        self._kind = _Marked(home=self.home, config=config, marks=fleet.marks)
        self._child = Child(self._kind, self.home)
        self.struck: list[Struck] = []

    def start(self) -> None:
        """Start it, or start it again at its port as its supervisor does; it answers later."""
        self._child.start()

    def is_dead(self) -> bool:
        """Whether its supervisor would start it again."""
        return self._child.look(ask=False) is ChildState.DEAD

    def is_up(self) -> bool:
        """Whether it takes jobs."""
        return self._child.look() is ChildState.UP

    def kill(self, chance: random.Random) -> bool:
        """SIGKILL its first process, or one of its processes, or all of them, under a job."""
        if not self.drivers() or (pid := self._child.pid) is None:
            return False
        if not (members := session_members(pid)):  # it is dead already
            return False
        first = [process for process in members if process.pid == pid]
        for process in chance.choice([first, chance.choices(members), members]):
            process.signal(signal.SIGKILL)
        return True

    def drivers(self) -> dict[str, Process]:
        """Submission id -> the process of its driver, of the jobs of this home that run."""
        artifacts, found = f"{self.home / 'artifacts'}", {}
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().decode(errors="replace").rstrip("\0").split("\0")
            except OSError:
                continue
            if words[2:5] != ["-m", "ray_jobs.entry", artifacts]:
                continue
            if (process := Process.of(int(path.parent.name))) is not None:
                found[words[5]] = process
        return found

    def kill_driver(self, chance: random.Random) -> bool:
        """SIGKILL the driver of one of the jobs that run."""
        drivers = self.drivers()
        if not drivers:
            return False
        submission = chance.choice(sorted(drivers))
        drivers[submission].signal(signal.SIGKILL)
        self.struck.append(Struck(submission=submission, at=time.time()))
        return True

    def live_jobs(self) -> list[str]:
        """The jobs that Ray itself says are waiting or running."""
        config = RayConfig(
            mode="cluster", address=self._child.address, token_path=str(token_path(self.home))
        )
        jobs = open_job_client(config).list_jobs()
        return [job.submission_id for job in jobs if job.status in ("PENDING", "RUNNING")]

    def stop(self) -> None:
        """End it with everything that it started, and remove what it wrote."""
        self._child.stop(5.0)
        command = self._kind.launch({}).command
        folder = next(word for word in command if word.startswith("--temp-dir="))
        shutil.rmtree(folder.partition("=")[2], ignore_errors=True)
