"""`ratchet approve`, killed at any instant, and then typed again: one process for each.

`python -m tests.crash.approvers PROJECT SEED MODEL...` forks them from one process that has
imported everything, and says at what point each first one died.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import sys
import threading
import time
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

from flows.cli.app import main as ratchet
from registry.ledger import Ledger
from tests.crash.promoters import IMPORTED_BEFORE

COMMANDS = ("flows.cli.approvals", "flows.core.store", "registry.registry")
FATES = ("outside", "append", "settle")
"""Killed from outside at any instant; or soon after this method of the ledger has returned."""
AFTER_SECONDS = {"append": 0.04, "settle": 0.1}
"""About how long it takes from there to the settlement, and to the end."""


def approve_all(project: Path, seed: int, models: list[str]) -> dict[str, str]:
    """Each model's approval, once to be killed and then twice in peace; how far each had come."""
    for module in (*IMPORTED_BEFORE, *COMMANDS):
        import_module(module)
    chance = random.Random(seed)
    begun = time.monotonic()
    _wait(_fork(project, models[0]), at=None)  # the first is let live, and says how long it takes
    seconds = time.monotonic() - begun
    found = {models[0]: "left alone"}
    for number, model in enumerate(models[1:]):
        fate = FATES[number % len(FATES)]
        if fate == "outside":
            at = time.monotonic() + chance.random() * seconds
            killed = _wait(_fork(project, model), at)
        else:
            delay = chance.random() * AFTER_SECONDS[fate]
            killed = _wait(_fork(project, model, fate, delay), at=None)
        found[model] = _reached(project, model) if killed else "too late"
        for _ in range(2):
            _wait(_fork(project, model), at=None)
    return found


def _wait(pid: int, at: float | None) -> bool:
    """Let it end, or kill it then (monotonic); whether it was killed. It may not fail."""
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG if at is not None else 0)
        if ended:
            break
        if at is not None and time.monotonic() >= at:
            os.kill(pid, signal.SIGKILL)
            at = None
        else:
            time.sleep(0.001)
    if os.WIFSIGNALED(status):
        return True
    if status:
        raise SystemExit(f"ratchet approve ended with {os.waitstatus_to_exitcode(status)}")
    return False


def _fork(project: Path, model: str, method: str | None = None, delay: float = 0.0) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        if method is not None:
            _die_after(method, delay)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.argv = ["ratchet", "--project", str(project), "approve", model, "--reason", "shadowed"]
        ratchet()
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        sys.stderr.flush()
        os._exit(code)


def _die_after(method: str, seconds: float) -> None:
    original = getattr(Ledger, method)

    def doomed(self: Ledger, *arguments: Any) -> Any:
        made = original(self, *arguments)
        threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()
        return made

    setattr(Ledger, method, doomed)


def _reached(project: Path, model: str) -> str:
    """What of an approval is there."""
    ledger, store = project / ".ratchet" / "ledger.db", project / ".ratchet" / "ratchet.db"
    answers = _count(ledger, "SELECT count(*) FROM approval_answer WHERE model = ?", model)
    entries = _count(
        ledger, "SELECT count(*) FROM ledger_entry WHERE model = ? AND epoch = 2", model
    )
    settled = _count(
        ledger, "SELECT count(*) FROM ledger_settlement WHERE model = ? AND epoch = 2", model
    )
    told = _count(
        store,
        "SELECT count(*) FROM event WHERE kind = 'asset.updated' AND data LIKE ?",
        f'%"model:{model}"%',
    )
    if answers != entries:
        return "torn"
    if told:
        return "told"
    return "settled" if settled else "pending" if entries else "nothing"


def _count(path: Path, query: str, value: str) -> int:
    with closing(sqlite3.connect(path, timeout=10)) as connection:
        return int(connection.execute(query, (value,)).fetchone()[0])


if __name__ == "__main__":
    place, number, *names = sys.argv[1:]
    sys.stdout.write(json.dumps(approve_all(Path(place), int(number), names)))
