"""`ratchet up` on SQLite, killed and started again: how long until the next task starts."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from flows.bootstrap import open_project
from tests.simulation.chains import check_attempts, check_chain
from tests.simulation.findings import Findings, Record
from tests.soak.fleet import Fleet
from tests.soak.kills import until


def restart_again_and_again(
    times: int, seed: int, say: Callable[[str], None]
) -> tuple[list[float], Findings]:
    """Seconds from each restart to the next start of a task, and what was wrong."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="ratchet-soak-") as folder:
        fleet = Fleet(Path(folder), f"sqlite:///{folder}/ratchet.db")
        config = fleet.folder / "conf" / "config.yaml"
        config.write_text(config.read_text().partition("schedules:")[0])
        command = ("up", "--no-ray", "--no-mlflow", "--port", str(chance.randrange(20000, 60000)))
        try:
            return _restart(fleet, command, times, chance, say)
        finally:
            fleet.stop()


def _restart(
    fleet: Fleet,
    command: tuple[str, ...],
    times: int,
    chance: random.Random,
    say: Callable[[str], None],
) -> tuple[list[float], Findings]:
    store = fleet.environment["SOAK_STORE"]
    ratchet = open_project(fleet.folder, (f"store.url={store!r}",))
    flow = ratchet.flow("soaked:steady")
    fleet.start("up", *command)
    seconds: list[float] = []
    for number in range(times):
        ratchet.start(flow, trigger={"kind": "soak"}, key=f"run-{number}")
        seen = len(fleet.lines())
        until(lambda seen=seen: len(fleet.lines()) > seen + 2, "tasks that run")
        time.sleep(chance.uniform(0.1, 0.6))
        fleet.kill("up")
        time.sleep(0.3)
        begun, seen = time.time(), len(fleet.lines())
        fleet.again("up")
        until(lambda seen=seen: len(fleet.lines()) > seen, "the next task")
        seconds.append(fleet.lines()[seen][0] - begun)
        say(f"restart {number + 1}: the next task began after {seconds[-1]:.2f} s")
    until(lambda: not any(not run.status.ended for run in ratchet.service.runs()), "every end")
    fleet.stop()
    found = Findings()
    record = Record(ratchet.service.store)
    for detail in record.details:
        check_chain(found, detail, record.chains[detail.run.id])
        check_attempts(found, detail)
        found.counts["attempts"] += len(detail.attempts)
        found.counts["attempts lost"] += sum(a.status == "lost" for a in detail.attempts)
    found.counts["runs"] = len(record.details)
    found.check(not fleet.left(), f"processes are left: {fleet.left()}")
    ratchet.close()
    return seconds, found
