"""A long history, and long queues: what a worker's pass costs by what may start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

from sqlalchemy import insert, text

from benchmarks import postgres
from benchmarks.measure import Sample, Setting, seconds
from benchmarks.report import Aim, Figure, Kind
from flows.core.claiming import Capabilities
from flows.core.clock import SystemClock
from flows.core.engine import Engine
from flows.core.executors.threads import ThreadExecutor
from flows.core.store import Store, memory, schema, waiting

ENDED, QUEUED, SLOTS = 300_000, 10_000, 4
AIM = Aim(kind=Kind.AT_MOST, bound=5.0)
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def figures(setting: Setting) -> Iterator[Figure]:
    """A tick with nothing to do, and looks at queues, on both databases."""
    with ExitStack() as stack:
        urls = {"SQLite": f"sqlite:///{setting.folder / 'ratchet.db'}"}
        if postgres.programs() is not None:
            urls["PostgreSQL"] = stack.enter_context(postgres.Server()).url
        for database, url in urls.items():
            store = Store.open(url)
            yield from _of(store, database, setting)
            store.close()


def _of(store: Store, database: str, setting: Setting) -> Iterator[Figure]:
    ended = setting.of(ENDED, ENDED // 10)
    _add(store, ended, "ended", ended_at=LONG_AGO, status="succeeded")
    repeats = setting.of(50, 10)
    engine = Engine(store, {"threads": ThreadExecutor(SLOTS)}, clock=SystemClock(), discovers=True)

    def tick() -> None:
        engine._looked = engine._recovered = LONG_AGO  # as once a second: also for the dead
        engine.tick(engine.clock.now())

    with engine:
        yield _figure(f"idle tick among {ended:,} ended runs, {database}", tick, repeats)
    waits = {"claimable_at": LONG_AGO, "claimable": " default "}
    _add(store, 1, "first", lane="night", status="running")
    _add(store, QUEUED, "behind", lane="night", **waits)
    yield _figure(
        f"look past {QUEUED:,} runs of a taken lane, {database}", lambda: _look(store, 0), repeats
    )
    _add(store, QUEUED, "free", **waits)
    chosen = 8 + 4 * SLOTS
    yield _figure(
        f"look at {QUEUED:,} queued runs, {database}", lambda: _look(store, chosen), repeats
    )


def _figure(name: str, act: Callable[[], None], repeats: int) -> Figure:
    act()
    times = tuple(1e3 * seconds(act) for _ in range(repeats))
    return Figure(name=name, unit="ms", own=Sample(values=times), aim=AIM)


def _look(store: Store, chosen: int) -> None:
    can = Capabilities(
        worker="w", now=datetime.now(UTC), slots={"threads": SLOTS}, default_executor="threads"
    )
    with store.database.read() as connection:
        seen = waiting.look(connection, can, memory.Memory(), [])
    assert len(seen.waiting) == chosen


def _add(store: Store, count: int, flow: str, **fields: object) -> None:
    rows = [
        {
            "id": f"{flow}-{number:06}",
            "flow": f"{flow}{number % 50}" if flow == "ended" else flow,
            "key": str(number),
            "status": "queued",
            "source": "m:f",
            "config_digest": "d",
            "trigger": "{}",
            "created_at": LONG_AGO + timedelta(minutes=number),
            "seq": 9,
            **fields,
        }
        for number in range(count)
    ]
    with store.database.write() as connection:
        for begin in range(0, count, 10_000):
            connection.execute(insert(schema.run), rows[begin : begin + 10_000])
    if store.database.url.get_backend_name() != "sqlite":
        with store.database.write() as connection:
            connection.execute(text("ANALYZE run"))
