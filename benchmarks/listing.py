"""A long history: the latest 50 of 10,000 runs, as every list of runs reads them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from benchmarks.measure import Setting, seconds, side_by_side
from benchmarks.report import Aim, Figure, Kind
from flows.core.store import Store

RUNS, LATEST = 10_000, 50
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
AIM = Aim(kind=Kind.AT_MOST, bound=2.0)
INSERT = """
    INSERT INTO run (id, flow, key, status, source, config_digest, trigger,
                     created_at, started_at, ended_at, seq)
    VALUES (:id, 'retrain', :id, 'succeeded', 'flows.retrain:retrain', 'd', '{"kind":"cron"}',
            :at, :at, :at, 30)"""
SELECT = "SELECT * FROM run ORDER BY created_at DESC, id DESC LIMIT ?"


def figures(setting: Setting) -> Iterator[Figure]:
    """The store's read beside the bare query."""
    file = setting.folder / "listing.db"
    store = Store.open(f"sqlite:///{file}")
    database = sqlite3.connect(file)
    with database:
        database.executemany(INSERT, _rows())
    samples = side_by_side(
        {
            "own": lambda: 1e3 * seconds(lambda: store.reads.runs(limit=LATEST)),
            "query": lambda: 1e3 * seconds(lambda: database.execute(SELECT, (LATEST,)).fetchall()),
        },
        repeats=setting.of(200, 50),
        warm_up=5,
    )
    assert len(store.reads.runs(limit=LATEST)) == LATEST
    database.close()
    store.close()
    yield Figure(
        name=f"list the latest {LATEST} of {RUNS:,} runs",
        unit="ms",
        own=samples["own"],
        beside={"the bare query": samples["query"]},
        aim=AIM,
    )


def _rows() -> Iterator[dict[str, str]]:
    """A run every ten minutes."""
    for number in range(RUNS):
        at = FIRST + timedelta(minutes=10) * number
        yield {"id": f"{at:%y%m%d-%H%M%S}-{number:06}", "at": at.isoformat(timespec="microseconds")}
