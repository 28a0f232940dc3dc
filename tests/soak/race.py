"""Runs of a real flow race to promote their challengers, while the workers they run on are killed.

All runs are submitted at once. A run that lost is followed by a new one of the same challenger, as
a schedule or a person would start it, until every challenger was champion once.
"""

from __future__ import annotations

import random
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from flows.bootstrap import Ratchet, open_project
from flows.core.records import RunStatus
from registry import connect
from tests.simulation.findings import Findings
from tests.soak.finish import MODEL, check_history, check_race, check_runs
from tests.soak.fleet import Fleet

RACING = Path(__file__).parent / "racing"
WORKERS = 3
KILLED_AFTER = 10
"""Runs that end from one kill to the next, at most: some time for those who were killed."""
PATIENCE = 300.0
"""Seconds in which some run has to end."""
WRITING_SECONDS = 0.08
"""About how long it takes from a ledger's entry to the end of its task."""


def race(challengers: int, kills: int, seed: int, say: Callable[[str], None]) -> Findings:
    """So many challengers, and so many kills of workers; what was counted, and what was wrong."""
    with tempfile.TemporaryDirectory(prefix="ratchet-race-") as folder:
        fleet = Fleet(Path(folder), "", RACING)
        ratchet = open_project(fleet.folder)
        try:
            with connect(ratchet.settings.registry) as models:
                models.champion(MODEL)  # makes MLflow's tables and the ledger's, once
            return _Race(fleet, ratchet, challengers, kills, random.Random(seed), say).run()
        finally:
            fleet.stop()
            ratchet.close()


class _Race:
    """The workers, and who was started for which challenger."""

    def __init__(
        self,
        fleet: Fleet,
        ratchet: Ratchet,
        challengers: int,
        kills: int,
        chance: random.Random,
        say: Callable[[str], None],
    ) -> None:
        self.fleet = fleet
        self.ratchet = ratchet
        self.challengers = challengers
        self.kills = kills
        self.chance = chance
        self.say = say
        self.live: dict[str, int] = {}  # run -> its challenger
        self.started: Counter[int] = Counter()  # challenger -> its runs so far
        self.down: dict[str, float] = {}  # worker -> when it is started again, monotonic
        self.killed: Counter[str] = Counter()
        self.ended = 0  # runs that have
        self.home = fleet.folder / ".ratchet"

    def run(self) -> Findings:
        """The race, and the judgement."""
        begun = self.moved = time.monotonic()
        for number in range(1, self.challengers + 1):
            self._start(number)
        for worker in range(WORKERS):
            self.fleet.start(f"worker-{worker}", "worker")
        next_kill, next_look = 0, 0.0
        while self.live:
            now = time.monotonic()
            self._start_again(now)
            if self.killed.total() < self.kills and self.ended >= next_kill and self._kill(now):
                next_kill = self.ended + self.chance.randint(1, KILLED_AFTER)
            if now >= next_look:
                self._follow()
                next_look = now + 0.5
            if now - self.moved > PATIENCE:
                raise AssertionError(f"no run ends: {list(self.live)}\n{self.fleet.said()}")
            time.sleep(0.002)
        self.say(f"raced for {time.monotonic() - begun:.0f} s: {dict(self.killed)}")
        return self._judged(time.monotonic() - begun)

    # ------------------------------------------------------------------ inside

    def _start(self, number: int) -> None:
        self.started[number] += 1
        run = self.ratchet.start(
            self.ratchet.flow("contend"),
            (f"number={number}",),
            trigger={"kind": "race"},
            key=f"{number}-{self.started[number]}",
        )
        self.live[run.id] = number

    def _follow(self) -> None:
        """Start anew what has lost."""
        service = self.ratchet.service
        for run in service.runs(flow="contend", limit=100_000):
            if run.id in self.live and run.status.ended:
                self.moved = time.monotonic()
                self.ended += 1
                number = self.live.pop(run.id)
                if run.status is not RunStatus.SUCCEEDED and self.started[number] < 200:
                    self._start(number)

    def _start_again(self, now: float) -> None:
        for name in [name for name, at in self.down.items() if at <= now]:
            del self.down[name]
            self.fleet.again(name)

    def _kill(self, now: float) -> bool:
        """SIGKILL a worker at any instant, or one that has just written an entry; or all."""
        up = [name for name in map("worker-{}".format, range(WORKERS)) if name not in self.down]
        aim = ("any", "writing", "all")[self.killed.total() % 3]
        if aim == "writing":
            pid = self._writing()
            doomed = [name for name in up if self.fleet.pid(name) == pid]
            time.sleep(self.chance.random() * WRITING_SECONDS if doomed else 0.0)
        else:
            time.sleep(self.chance.random())
            doomed = self.chance.sample(up, min(len(up), 1 if aim == "any" else WORKERS))
        for name in doomed:
            self.fleet.kill(name)
            self.down[name] = now + self.chance.choice((0.0, 0.5, 2.0))
        if doomed:
            self.killed[aim] += 1
        return bool(doomed)

    def _writing(self) -> int | None:
        """The worker whose promotion stands in the ledger, and is not settled yet."""
        pending = _read(
            self.home / "ledger.db",
            "SELECT run_id FROM ledger_entry e WHERE NOT EXISTS (SELECT 1 FROM ledger_settlement s"
            " WHERE s.model = e.model AND s.epoch = e.epoch)",
        )
        if not pending:
            return None
        workers = _read(
            self.home / "ratchet.db",
            "SELECT worker FROM attempt WHERE run_id = ? AND key = 'promote' AND ended_at IS NULL",
            pending[0],
        )
        return int(workers[0].split(":")[1]) if workers else None

    def _judged(self, seconds: float) -> Findings:
        self._start_again(time.monotonic() + 3600)
        found = Findings()
        audited = self.fleet.run("audit")
        found.check(audited.returncode == 0, f"ratchet audit: {audited.stdout}{audited.stderr}")
        deadline = time.monotonic() + PATIENCE
        while not self.fleet.ready() and time.monotonic() < deadline:
            time.sleep(0.1)
        ended = self.fleet.stop()
        found.check(set(ended.values()) == {0}, f"asked to stop, they ended with {ended}")
        found.check(not self.fleet.left(), f"processes are left: {self.fleet.left()}")
        with connect(self.ratchet.settings.registry) as models:
            entries = check_race(found, models, self.challengers)
        check_runs(found, self.ratchet.service.store, entries)
        check_history(found, self.ratchet.settings.registry, self.fleet, self.chance)
        found.counts["seconds"] = round(seconds)
        found.counts.update({f"kills ({aim})": times for aim, times in self.killed.items()})
        return found


def _read(path: Path, query: str, *values: object) -> list[str]:
    """The first column, read beside those who write."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as connection:
        return [row[0] for row in connection.execute(query, values)]
