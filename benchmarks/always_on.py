"""`ratchet up` at its default settings, as a process of its own: latencies, recovery, idle cost.

The flow that it drives writes the time at which its first task's own code began; the clock is
the machine's monotonic one, which all processes share.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from textwrap import dedent

import pyarrow as pa

from benchmarks.measure import Sample, Setting
from benchmarks.report import Aim, Figure, Kind
from feature_store import FeatureStoreConfig, FeatureView, connect

SCHEMA = pa.schema([("id", pa.int64()), ("at", pa.timestamp("us", "UTC")), ("x", pa.float64())])
PATIENCE = 60.0  # seconds until something that should happen is given up
CONFIG = """
    defaults:
      - ratchet
      - _self_
    flows: [stamping]
    schedules:
      on_data: {flow: stamp_once, new_data: ticks}
      hook: {flow: stamp_once, on_request: true}
      steps: {flow: stamp_steps, on_request: true}
    """
FLOWS = """
    import os
    import time

    from flows import current, flow, task

    STEP = 0.2  # seconds that a step of the long flow takes


    def stamp(name: str) -> None:
        line = f"{name} {current().attempt_id} {time.monotonic_ns()}\\n"
        descriptor = os.open("stamps", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, line.encode())
        os.close(descriptor)


    @task
    def once() -> None:
        stamp("once")


    @task
    def step(number: int) -> int:
        stamp("step")
        time.sleep(STEP)
        return number + 1


    @flow
    def stamp_once() -> None:
        once()


    @flow
    def stamp_steps() -> None:
        number = step(0)
        for _ in range(99):
            number = step(number)
    """


def figures(setting: Setting) -> Iterator[Figure]:
    """New data, an API call, a kill -9, and nothing at all."""
    project = _project(setting.folder)
    with _up(project) as up:
        once = Stamps(project, "once")
        yield Figure(
            name="from the commit of new data to the first task's start",
            unit="ms",
            own=_latencies(once, setting.of(25, 6), lambda number: _append(project, number)),
            aim=Aim(kind=Kind.AT_MOST, bound=250),
        )
        yield Figure(
            name="from an API call to the first task's start",
            unit="ms",
            own=_latencies(once, setting.of(40, 8), lambda number: up.fire("hook", f"f{number}")),
            aim=Aim(kind=Kind.AT_MOST, bound=50),
        )
        yield from _idle(up, setting.of(20, 6))
    yield _recovery(project, setting.of(8, 3))


class Up:
    """One `ratchet up`, without Ray and MLflow, and everything that it starts."""

    def __init__(self, project: Path) -> None:
        self._project = project
        command = [sys.executable, "-m", "flows.cli", "up", "--no-ray", "--no-mlflow"]
        self.begun = time.monotonic_ns()
        self._process = subprocess.Popen(
            command,
            cwd=project,
            env=os.environ | {"RATCHET_HOME": str(project / ".ratchet")},
            stdout=(project / "up.log").open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def address(self) -> str:
        """Of its API, once it says so."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            said = (self._project / "up.log").read_text()
            if found := re.search(r"http://127\.0\.0\.1:\d+", said):
                return found[0]
            assert self._process.poll() is None, said
            time.sleep(0.02)
        raise TimeoutError("ratchet up said no address")

    def fire(self, schedule: str, key: str) -> None:
        """Ask for a run through the API."""
        token = (self._project / ".ratchet/up/api-token").read_text().strip()
        request = urllib.request.Request(
            f"{self.address()}/api/schedules/{schedule}/fire",
            method="POST",
            headers={"Authorization": f"Bearer {token}", "Idempotency-Key": key},
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            assert json.load(answer)["run"]

    def processes(self) -> list[int]:
        """Process ids of it and of everything below it; workers have sessions of their own."""
        parents = dict(_parents())
        found = [self._process.pid]
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found

    def stop(self) -> None:
        """As an operator would."""
        self._process.terminate()
        self._process.wait(PATIENCE)

    def kill(self) -> None:
        """Everything at once, by SIGKILL."""
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        self._process.wait()


class Stamps:
    """What the flows' tasks wrote when they began."""

    def __init__(self, project: Path, name: str) -> None:
        self._file = project / "stamps"
        self._name = name

    def read(self) -> list[tuple[str, int]]:
        """(attempt id, nanoseconds) in the order in which they were written."""
        lines = self._file.read_text().splitlines() if self._file.exists() else []
        rows = [line.split() for line in lines]
        return [(attempt, int(at)) for name, attempt, at in rows if name == self._name]

    def wait_for(self, count: int) -> list[tuple[str, int]]:
        """The stamps, once there are so many."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if len(found := self.read()) >= count:
                return found
            time.sleep(0.002)
        raise TimeoutError(f"{len(self.read())} of {count} tasks began")


@contextmanager
def _up(project: Path) -> Iterator[Up]:
    up = Up(project)
    try:
        up.address()
        yield up
    finally:
        up.stop()


def _latencies(stamps: Stamps, repeats: int, cause: object) -> Sample:
    """Milliseconds from the end of a commit (or the start of a call) to the task's start."""
    found = []
    for number in range(repeats + 2):
        before = len(stamps.read())
        asked = time.monotonic_ns()
        committed = cause(number)  # type: ignore[operator]
        _, began = stamps.wait_for(before + 1)[before]
        if number >= 2:  # the first ones start the worker processes
            found.append((began - (committed or asked)) / 1e6)
        time.sleep(0.3)
    return Sample(values=tuple(found))


def _idle(up: Up, length: int) -> Iterator[Figure]:
    time.sleep(3)  # what the last run left to do
    before, begun = _cpu_seconds(up.processes()), time.monotonic()
    time.sleep(length)
    share = 100 * (_cpu_seconds(up.processes()) - before) / (time.monotonic() - begun)
    yield Figure(
        name="ratchet up with nothing to do",
        unit="% of a core",
        own=Sample(values=(share,)),
        aim=Aim(kind=Kind.AT_MOST, bound=2),
    )
    sizes = [_megabytes(pid) for pid in up.processes()]
    yield Figure(
        name=f"its own processes ({len(sizes)}), proportional set size",
        unit="MB",
        own=Sample(values=(sum(sizes),)),
        aim=Aim(kind=Kind.AT_MOST, bound=200),
    )


def _recovery(project: Path, repeats: int) -> Figure:
    """Seconds from the restart's first instruction to the next task's start."""
    stamps = Stamps(project, "step")
    up = Up(project)
    up.address()
    up.fire("steps", "recovery")
    stamps.wait_for(1)
    found, kills = [], []
    for _ in range(repeats):
        stamps.wait_for(len(stamps.read()) + 2)
        up.kill()
        kills.append(len(stamps.read()))
        up = Up(project)
        _, began = stamps.wait_for(kills[-1] + 1)[kills[-1]]
        found.append((began - up.begun) / 1e9)
    up.kill()
    _only_what_was_in_flight(stamps.read(), kills)
    return Figure(
        name="from the restart after kill -9 of everything to the next task's start",
        unit="s",
        own=Sample(values=tuple(found)),
        aim=Aim(kind=Kind.AT_MOST, bound=1.5),
    )


def _only_what_was_in_flight(stamps: list[tuple[str, int]], kills: list[int]) -> None:
    """At each kill at most the newest task is run again, and no attempt ever twice."""
    attempts = [attempt for attempt, _ in stamps]
    assert len(set(attempts)) == len(attempts), "an attempt ran twice"
    tasks = [attempt.rpartition(".")[0] for attempt in attempts]
    again = [n for n in range(1, len(tasks)) if tasks[n] in tasks[:n]]
    assert set(again) <= set(kills), (again, kills)
    assert all(tasks[n] == tasks[n - 1] for n in again), "a finished task ran again"


def _project(folder: Path) -> Path:
    (folder / "conf").mkdir()
    (folder / "conf/config.yaml").write_text(dedent(CONFIG))
    (folder / "stamping.py").write_text(dedent(FLOWS))
    store = connect(FeatureStoreConfig(uri=str(folder / ".ratchet/features")))
    view = FeatureView(name="ticks", entities=("id",), event_time="at", features=("x",))
    store.create(view, SCHEMA)
    return folder


def _append(project: Path, number: int) -> int:
    """One batch of new rows, from this process; when it was committed."""
    store = connect(FeatureStoreConfig(uri=str(project / ".ratchet/features")))
    row = {"id": number, "at": datetime.now(UTC), "x": 0.5}
    store.append("ticks", pa.Table.from_pylist([row], SCHEMA))
    return time.monotonic_ns()


def _parents() -> Iterator[tuple[int, int]]:
    """(process id, its parent's) of all that run."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            yield int(stat.parent.name), int(stat.read_text().rpartition(")")[2].split()[1])


def _cpu_seconds(pids: list[int]) -> float:
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _megabytes(pid: int) -> float:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024 / 1e6
