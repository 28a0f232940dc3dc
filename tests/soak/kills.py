"""Three schedulers and three workers on one PostgreSQL, any of them killed at any time."""

from __future__ import annotations

import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from benchmarks.postgres import Server
from flows.bootstrap import Ratchet, open_project
from flows.core.errors import StoreError
from flows.core.records import RunStatus
from tests.simulation.findings import Findings
from tests.soak.fleet import Fleet
from tests.soak.verdict import judge

OPEN = (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.CANCELLING)
PATIENCE = 120.0
"""Seconds in which everything has to come to its end after the last kill."""


def kill_at_random(seconds: float, seed: int, say: Callable[[str], None]) -> Findings:
    """Kill for so long, let everything come to its end, and judge."""
    chance = random.Random(seed)
    server = Server()
    with tempfile.TemporaryDirectory(prefix="ratchet-soak-") as folder:
        try:
            server.start()
            fleet = Fleet(Path(folder), server.url)
            try:
                return _kill(fleet, server, seconds, chance, say)
            finally:
                fleet.stop()
        finally:
            server.remove()


def _kill(
    fleet: Fleet, server: Server, seconds: float, chance: random.Random, say: Callable[[str], None]
) -> Findings:
    ratchet = open_project(fleet.folder, (f"store.url={server.url!r}",))
    names = [f"scheduler-{n}" for n in range(3)] + [f"worker-{n}" for n in range(3)]
    for name in names:
        fleet.start(name, name.partition("-")[0])
    until(lambda: ratchet.service.runs(), "a first run")
    killed: Counter[str] = Counter()
    down: dict[str, float] = {}  # when to start a killed one again
    promised: dict[str, str] = {}
    in_vain = 0
    begun = time.monotonic()
    while (now := time.monotonic()) - begun < seconds:
        _ask(ratchet, promised, chance)
        for name in [name for name, at in down.items() if at <= now]:
            del down[name]
            fleet.again(name)
        for name in set(fleet.ended()) - down.keys():  # the store was away when it started
            down[name] = now + 1.0
            in_vain += 1
        victim = chance.choice([*names, "postgres"])
        if victim == "postgres":
            server.kill()
            time.sleep(chance.uniform(0, 2))
            server.start()
        elif victim not in down:
            fleet.kill(victim)
            down[victim] = now + chance.choice((0.0, 1.0, 5.0, 12.0))
        else:
            continue
        killed[victim.partition("-")[0]] += 1
        time.sleep(chance.uniform(0.2, 2.0))
    for name in [*down, *(set(fleet.ended()) - down.keys())]:
        fleet.again(name)
    say(f"killed: {dict(killed)}")
    until(lambda: _paused(ratchet), "a pause")
    until(lambda: not _open(ratchet), "the end of every run")
    ended = fleet.stop()
    found = judge(ratchet.service.store, fleet.lines(), promised)
    found.check(set(ended.values()) == {0}, f"asked to stop, they ended with {ended}")
    found.check(not fleet.left(), f"processes are left: {fleet.left()}")
    found.counts.update({f"{what} killed": times for what, times in killed.items()})
    found.counts["starts while the store was away"] = in_vain
    ratchet.close()
    return found


def _ask(ratchet: Ratchet, promised: dict[str, str], chance: random.Random) -> None:
    """Fire on request, as a web hook does: once, or the same again, until an answer comes."""
    key = f"wish-{chance.randrange(60)}"
    try:
        fire = ratchet.schedules.fire("hook", key=key, by="soak")
    except StoreError:
        return
    if fire.run_id is not None:
        assert promised.setdefault(key, fire.run_id) == fire.run_id, f"{key} has two runs"


def _paused(ratchet: Ratchet) -> bool:
    try:
        ratchet.schedules.pause("often", by="soak")
    except StoreError:  # of a connection from before the restart
        return False
    return True


def _open(ratchet: Ratchet) -> bool:
    return any(ratchet.service.runs(status=status, limit=1) for status in OPEN)


def until(true: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
    """Waits for a fact about real processes."""
    deadline = time.monotonic() + patience
    while not true():
        assert time.monotonic() < deadline, f"not within {patience:g} s: {what}"
        time.sleep(0.05)
