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
import time
from collections import Counter
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

from registry import RegistryConfig, StaleEpoch, Verdict, connect, verdict_json
from registry.registry import Registry
from registry.verdict import Decision, verdict_from_json

MODEL = "digits"
KILLS_EACH = 2
"""A flow is killed so often, and then left to come to its end."""
IMPORTED_BEFORE = (
    "alembic.command",
    "filelock",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_store",
)
"""What a promotion would import: seconds, fifty times over."""


def race(folder: Path, config: RegistryConfig, flows: int, seed: int) -> dict[str, int]:
    """Run so many flows at once, kill each `KILLS_EACH` times, start it again; what was counted."""
    for module in IMPORTED_BEFORE:
        import_module(module)
    chance = random.Random(seed)
    counts: Counter[str] = Counter()
    kills = dict.fromkeys(range(1, flows + 1), KILLS_EACH)
    live: dict[int, int] = {}  # pid -> flow
    due: dict[int, float] = {}  # pid -> when it is killed
    waiting = list(kills)
    while waiting or live:
        for number in waiting:
            pid = _fork(folder, config, number)
            live[pid] = number
            if kills[number]:
                # From before its first statement to well within its turn.
                due[pid] = time.monotonic() + chance.choice((0.02, 0.1, 0.5, 2.0)) * chance.random()
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
                kills[number] -= 1
                waiting.append(number)
            elif status:
                counts["failed"] += 1
        time.sleep(0.002)
    counts["stale"] = len(list(folder.glob("*.stale")))
    counts["promoted"] = len(list(folder.glob("*.promoted")))
    return dict(counts)


def _fork(folder: Path, config: RegistryConfig, number: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        with connect(config) as registry:
            _flow(folder, registry, number)
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)


def _flow(folder: Path, registry: Registry, number: int) -> None:
    """A flow's promotion: run after run until one promotes; a run that was killed is repeated."""
    run = 1
    while True:
        name = f"flow-{number}-run-{run}"
        if not (folder / f"{name}.stale").exists():
            verdict = _judged(folder, registry, number, name)
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
    print(json.dumps(found))
