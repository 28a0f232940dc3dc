"""Flows that race to promote their challengers, killed at any instant: one process each.

`python -m tests.crash.promoters FOLDER CONFIG FLOWS SEED` forks them from one process that has
imported everything, so that fifty cost no more than fifty promotions.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from registry import RegistryConfig, StaleEpoch, Verdict, connect, verdict_json
from registry.ledger import Ledger, LedgerEntry
from registry.registry import Registry
from registry.verdict import Decision, verdict_from_json

MODEL = "digits"
WRITING_SECONDS = 0.06
"""About how long it takes from a ledger's entry to its settlement."""
IMPORTED_BEFORE = (
    "alembic.command",
    "filelock",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_store",
)
"""What a promotion would import: seconds, fifty times over."""


def race(folder: Path, config: RegistryConfig, flows: int, seed: int) -> dict[str, int]:
    """Run so many flows at once, kill each of them once, start it again; what was counted.

    Half of them are killed from outside at any instant, half soon after they wrote an entry.
    """
    for module in IMPORTED_BEFORE:
        import_module(module)
    chance = random.Random(seed)
    counts: Counter[str] = Counter()
    fates = {number: chance.choice(("outside", "writing")) for number in range(1, flows + 1)}
    live: dict[int, int] = {}  # pid -> flow
    due: dict[int, float] = {}  # pid -> when it is killed
    waiting = list(fates)
    while waiting or live:
        for number in waiting:
            fate, luck = fates.get(number), chance.random()
            pid = _fork(folder, config, number, luck if fate == "writing" else None)
            live[pid] = number
            if fate == "outside":
                due[pid] = time.monotonic() + chance.choice((0.02, 0.1, 0.5, 2.0)) * luck
        waiting = []
        for pid in [pid for pid, at in due.items() if at <= time.monotonic()]:
            del due[pid]
            os.kill(pid, signal.SIGKILL)
        while live:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            number = live.pop(pid)
            due.pop(pid, None)
            if os.WIFSIGNALED(status):
                counts["killed"] += 1
                fates.pop(number, None)
                waiting.append(number)
            elif status:
                counts["failed"] += 1
        time.sleep(0.002)
    for what in ("stale", "repeated", "promoted"):
        counts[what] = len(list(folder.glob(f"*.{what}")))
    return dict(counts)


def _fork(folder: Path, config: RegistryConfig, number: int, luck: float | None) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        if luck is not None:
            _die_while_writing(luck * WRITING_SECONDS)
        with connect(config) as registry:
            _flow(folder, registry, number)
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)


def _die_while_writing(seconds: float) -> None:
    append = Ledger.append

    def doomed(self: Ledger, *arguments: Any) -> LedgerEntry:
        entry = append(self, *arguments)
        threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()
        return entry

    Ledger.append = doomed  # type: ignore[method-assign,assignment]


def _flow(folder: Path, registry: Registry, number: int) -> None:
    """A flow's promotion: run after run until one promotes; a run that was killed is repeated."""
    run = 1
    while True:
        name = f"flow-{number}-run-{run}"
        if not (folder / f"{name}.stale").exists():
            verdict = _judged(folder, registry, number, name)
            if any(entry.run_id == name for entry in registry.entries(MODEL)):
                _note(folder / f"{name}.repeated", "")  # killed after its entry was made
            try:
                entry = registry.promote(verdict, actor=name, now=datetime.now(UTC))
            except StaleEpoch:
                _note(folder / f"{name}.stale", "")
            else:
                _note(folder / f"{name}.promoted", str(entry.epoch))
                return
        run += 1


def _judged(folder: Path, registry: Registry, number: int, run: str) -> Verdict:
    """The run's verdict: reached once, and kept as the state store keeps a task's value."""
    path = folder / f"{run}.verdict"
    if not path.exists():
        status = registry.champion(MODEL)
        _note(path, verdict_json(_verdict(number, run, status.epoch, status.version)))
    return verdict_from_json(path.read_text())


def _note(path: Path, text: str) -> None:
    beside = path.with_suffix(f".{os.getpid()}")
    beside.write_text(text)
    beside.rename(path)


def _verdict(number: int, run: str, epoch: int, champion: str | None) -> Verdict:
    return Verdict(
        model=MODEL,
        challenger=str(number),
        champion=champion,
        epoch=epoch,
        decision=Decision.PROMOTE,
        promote=True,
        reason=f"Version {number} is better.",
        metric="accuracy",
        challenger_score=0.9,
        baseline=0.8,
        difference=0.1,
        low=0.05,
        high=0.15,
        confidence=0.95,
        rows=1000,
        rules=(),
        run_id=run,
        mlflow_run_id="",
    )


if __name__ == "__main__":
    place, settings, many, number = sys.argv[1:]
    found = race(Path(place), RegistryConfig(**json.loads(settings)), int(many), int(number))
    sys.stdout.write(json.dumps(found))
