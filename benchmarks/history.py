"""A long history: what is looked up, listed and measured over 300,000 runs, 10 million events.

Of two years; made by the databases themselves, as no program could write it in the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial

from sqlalchemy import text

from benchmarks import postgres
from benchmarks.measure import Sample, Setting, seconds, side_by_side
from benchmarks.report import Aim, Figure, Kind
from flows.core import kpis
from flows.core.store import Store

DAYS, EACH = 730, 33  # days of history; events of a run
WEEK = timedelta(days=7)
AIMS = {"find a run by its id": 1.0, "list the newest runs": 2.0, "kpis --since 7d": 2000.0}
NUMBERS = {
    "sqlite": "WITH RECURSIVE numbers(n) AS "
    "(SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < {last}) ",
    "postgresql": "WITH numbers AS (SELECT generate_series(0, {last}) AS n) ",
}
AT = {
    "sqlite": "strftime('%Y-%m-%dT%H\\:%M\\:%f', {begin} + {number} * {step}, 'unixepoch')"
    " || '000+00\\:00'",
    "postgresql": "to_timestamp({begin} + {number} * {step})",
}
RUN = """
    INSERT INTO run (id, flow, key, status, source, config_digest, trigger,
                     created_at, started_at, ended_at, seq)
    {numbers} SELECT CAST(1000000 + n AS TEXT), 'flow' || (n % 50), CAST(n AS TEXT), 'succeeded',
                     'm\\:f', 'd', '{{}}', {begun}, {begun}, {ended}, {each} FROM numbers"""
EVENT = """
    INSERT INTO event (run_id, seq, at, kind, data)
    {numbers} SELECT CAST(1000000 + n / {each} AS TEXT), n % {each}, {at},
        CASE WHEN n % {each} = 0 THEN 'run.created' WHEN n % {each} = 1 THEN 'run.started'
             WHEN n % {each} = {each} - 1 THEN 'run.succeeded'
             WHEN n % {each} = {each} - 2 THEN 'asset.updated'
             WHEN n % 3 = 0 THEN 'task.ready' WHEN n % 3 = 1 THEN 'task.started'
             ELSE 'task.succeeded' END,
        CASE WHEN n % {each} = 0 THEN '{{"flow"\\: "flow' || (n / {each} % 50) || '"}}'
             WHEN n % {each} = {each} - 2
             THEN '{{"asset"\\: "model\\:m' || (n / {each} % 50) || '", "version"\\: "1"}}'
             WHEN n % {each} = {each} - 1 OR n % 3 < 2 THEN '{{}}'
             ELSE '{{"ended"\\: "succeeded", "seconds"\\: 1.5, "cpu_s"\\: 1.0}}' END
    FROM numbers"""


def figures(setting: Setting) -> Iterator[Figure]:
    """On SQLite, and on a PostgreSQL server of its own."""
    runs = setting.of(300_000, 3_000)
    with closing(Store.open(f"sqlite:///{setting.folder}/history.db")) as store:
        yield from _measured(store, "SQLite", runs, setting)
    if postgres.programs() is None:
        return
    with postgres.Server() as server, closing(Store.open(server.url)) as store:
        yield from _measured(store, "PostgreSQL", runs, setting)


def _measured(store: Store, database: str, runs: int, setting: Setting) -> Iterator[Figure]:
    _fill(store, runs)
    middle = str(1_000_000 + runs // 2)
    cases: dict[str, Callable[[], object]] = {
        "find a run by its id": partial(store.reads.find, middle),
        "list the newest runs": store.reads.runs,
    }
    quick = _samples(cases, setting.of(50, 20))
    slow = _samples({"kpis --since 7d": partial(_kpis, store)}, setting.of(5, 2))
    for name, sample in (quick | slow).items():
        yield Figure(
            name=f"{name}, {database}, {runs:,} runs and {runs * EACH:,} events",
            unit="ms",
            own=sample,
            aim=Aim(kind=Kind.AT_MOST, bound=AIMS[name]),
        )


def _samples(cases: dict[str, Callable[[], object]], repeats: int) -> dict[str, Sample]:
    return side_by_side(
        {name: partial(_milliseconds, case) for name, case in cases.items()}, repeats=repeats
    )


def _milliseconds(case: Callable[[], object]) -> float:
    return 1e3 * seconds(case)


def _kpis(store: Store) -> kpis.Kpis:
    now = datetime.now(UTC)
    events = store.reads.events_by_run(kpis.KINDS, now - WEEK)
    return kpis.measure(events, since=now - WEEK, until=now)


def _fill(store: Store, runs: int) -> None:
    begin = (datetime.now(UTC) - timedelta(days=DAYS)).timestamp()
    step = timedelta(days=DAYS).total_seconds() / (runs * EACH)
    with store.database.write() as connection:
        dialect = connection.dialect.name
        at = partial(AT[dialect].format, begin=begin, step=step)
        numbers = NUMBERS[dialect]
        of_runs = RUN.format(
            numbers=numbers.format(last=runs - 1),
            begun=at(number=f"n * {EACH}"),
            ended=at(number=f"(n * {EACH} + {EACH - 1})"),
            each=EACH,
        )
        events = EVENT.format(
            numbers=numbers.format(last=runs * EACH - 1), at=at(number="n"), each=EACH
        )
        connection.execute(text(of_runs))
        connection.execute(text(events))
    if dialect == "postgresql":
        with store.database.write() as connection:
            connection.execute(text("ANALYZE"))
