"""What must hold after a race: one chain, nothing lost, nothing twice, nothing rewritten."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing

from flows.core.records import AttemptStatus, RunStatus
from flows.core.store import Store
from registry import LedgerEntry, Registry, RegistryConfig, connect
from tests.simulation.chains import check_attempts, check_chain
from tests.simulation.findings import Findings, Record
from tests.soak.fleet import Fleet

MODEL = "contested"
LOST = "The champion changed meanwhile. "


def check_race(found: Findings, models: Registry, challengers: int) -> tuple[LedgerEntry, ...]:
    """One epoch chain in which every challenger stands once, each after the one it was held to."""
    entries, status = models.entries(MODEL), models.champion(MODEL)
    count = range(1, challengers + 1)
    found.check([e.epoch for e in entries] == list(count), f"epochs {[e.epoch for e in entries]}")
    versions = sorted(int(entry.version) for entry in entries)
    registered = sorted(int(made.version) for made in models.models.versions(MODEL))
    found.check(versions == registered == list(count), f"promoted {versions} of {registered}")
    for before, entry in zip((None, *entries), entries, strict=False):
        verdict = entry.to_json()["verdict"]
        version = None if before is None else before.version
        found.check(entry.previous_version == version, f"epoch {entry.epoch} follows another")
        fence = (verdict["epoch"], verdict["champion"], verdict["challenger"])
        found.check(
            fence == (entry.epoch - 1, version, entry.version),
            f"epoch {entry.epoch} was promoted by a verdict of {fence}",
        )
        found.check(entry.settled_at is not None, f"epoch {entry.epoch} is pending")
    found.check(models.verify(MODEL) is None, f"{models.verify(MODEL)}")
    last = entries[-1].version if entries else None
    found.check(
        (status.version, status.settled, status.outsider) == (last, True, None), f"{status}"
    )
    found.counts["promotions"] = len(entries)
    return entries


def check_runs(found: Findings, store: Store, entries: Sequence[LedgerEntry]) -> None:
    """Every run ended; who succeeded has the one entry, who lost was told so once."""
    record = Record(store)
    by_run = {entry.run_id: entry for entry in entries}
    found.check(len(by_run) == len(entries), "a run has promoted twice")
    succeeded = {d.run.id for d in record.details if d.run.status is RunStatus.SUCCEEDED}
    found.check(succeeded == by_run.keys(), f"entries and successes: {succeeded ^ by_run.keys()}")
    for detail in record.details:
        run = detail.run
        check_chain(found, detail, record.chains[run.id])
        check_attempts(found, detail, stamped=False)
        promoting = [attempt for attempt in detail.attempts if attempt.key == "promote"]
        for attempt in detail.attempts:
            found.counts[f"attempts {attempt.status}"] += 1
        found.counts["attempts lost while promoting"] += sum(
            attempt.status is AttemptStatus.LOST for attempt in promoting
        )
        if run.status is RunStatus.SUCCEEDED and run.id in by_run:
            written = by_run[run.id].at
            found.counts["killed with the entry written"] += written < promoting[-1].started_at
        elif run.status is RunStatus.HALTED and (run.reason or "").startswith(LOST):
            found.counts["runs that lost the race"] += 1
            tries = [a for a in promoting if a.status is not AttemptStatus.LOST]
            found.check(len(tries) == 1, f"{run.id} lost, and tried {len(tries)} times")
        else:
            found.check(False, f"{run.id} is {run.status}: {run.reason}")
    told = Counter(
        (event.run_id, event.data["version"])
        for event in record.events
        if event.kind == "asset.updated" and event.data["asset"] == f"model:{MODEL}"
    )
    owed = Counter((entry.run_id, entry.version) for entry in entries)
    found.check(told == owed, f"told of {told - owed} too much, of {owed - told} not")
    found.counts["runs"] = len(record.details)


def check_history(
    found: Findings, config: RegistryConfig, fleet: Fleet, chance: random.Random
) -> None:
    """`ratchet ledger --verify` passes, and fails when one byte of any entry differs."""
    path = fleet.folder / ".ratchet" / "ledger.db"
    with connect(config) as models:
        entries = models.entries(MODEL)
    said = f"{len(entries)} entries, every hash fits"
    whole = fleet.run("ledger", MODEL, "--verify")
    found.check(whole.returncode == 0 and said in whole.stderr, f"it is not whole: {whole.stderr}")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = path.read_bytes()
    for entry in chance.sample(entries, len(entries)):
        name = f'"challenger":"{entry.version}"'.encode()
        found.check(content.count(name) == 1, f"version {entry.version} stands there not once")
        changed = bytearray(content)
        changed[content.index(name) + chance.randrange(len(name))] ^= 1
        path.write_bytes(changed)
        with connect(config) as models:
            broken = models.verify(MODEL)
        at = broken and broken.epoch
        found.check(at == entry.epoch, f"a byte of epoch {entry.epoch} differs, and {at} is named")
        found.counts["bytes changed, and found"] += at is not None
    told = fleet.run("ledger", MODEL, "--verify")  # the last of them is still there
    said = f"broken at epoch {entry.epoch}:"
    found.check(told.returncode == 1 and said in told.stderr, f"not {said} {told.stderr}")
    path.write_bytes(content)
