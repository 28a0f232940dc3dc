"""What a worker asks at each pass costs by what waits or runs, not by what ever was."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event, insert, text

from flows.core.claiming import Capabilities
from flows.core.pool import Pool, Rate
from flows.core.store import memory, pools, schema, waiting
from tests.contract.flows.plans import plan

NOW = datetime(2026, 3, 1, tzinfo=UTC)
POOLS = (
    Pool(name="gpu", slots=4),
    Pool(name="api", rate=Rate(count=3, per=timedelta(minutes=1))),
)


def a_run(number, status, **fields):
    return {
        "id": f"{status}{number:05}", "flow": f"flow{number % 50}", "key": f"{status}{number}",
        "status": status, "source": "m:f", "config_digest": "d", "trigger": "{}",
        "created_at": NOW - timedelta(minutes=number), "started_at": None, "ended_at": None,
        "seq": 9, "lane": None, "claimable_at": None, "claimable": None, "held_by": None, **fields,
    }  # fmt: skip


def an_attempt(run, status, **fields):
    return {
        "id": f"{run}.t.1", "run_id": run, "key": "t", "number": 1, "status": status,
        "executor": "threads", "worker": "w1", "started_at": NOW, "pool": None, **fields,
    }  # fmt: skip


@pytest.fixture
def old(store):
    """A store in which much has ended, some waits in one taken lane, and a little runs."""
    waits = {"claimable_at": NOW, "claimable": " default ", "lane": "night", "flow": "queued"}
    ended = [a_run(n, "succeeded", ended_at=NOW) for n in range(6000)]
    queued = [a_run(n, "queued", **waits) for n in range(400)]
    free = [a_run(n, "queued", **{**waits, "lane": None, "flow": "free"}) for n in range(400, 450)]
    running = [a_run(n, "running", lane="night" if n == 0 else None) for n in range(5)]
    attempts = [
        an_attempt(run["id"], "succeeded", pool=("gpu", "api", None)[n % 3], ended_at=NOW)
        for n, run in enumerate(ended)
    ]
    attempts = [{**a, "started_at": NOW - timedelta(days=1)} for a in attempts]
    alive = [an_attempt(run["id"], "running", pool="gpu", ended_at=None) for run in running]
    with store.database.write() as connection:
        connection.execute(insert(schema.run), [*ended, *queued, *free, *running])
        connection.execute(insert(schema.attempt), [*attempts, *alive])
    if store.database.url.get_backend_name() != "sqlite":
        with store.database.write() as connection:
            connection.execute(text("ANALYZE run"))
            connection.execute(text("ANALYZE attempt"))
    return store


def plans(store, look):
    """How the database finds each thing that `look` asks for."""
    asked = []

    def note(_connection, _cursor, statement, parameters, *_rest):
        asked.append((statement, parameters))

    event.listen(store.database.engine, "before_cursor_execute", note)
    try:
        with store.database.read() as connection:
            result = look(connection)
    finally:
        event.remove(store.database.engine, "before_cursor_execute", note)
    explain = (
        "EXPLAIN QUERY PLAN" if store.database.url.get_backend_name() == "sqlite" else "EXPLAIN"
    )
    with store.database.read() as connection:
        if store.database.url.get_backend_name() != "sqlite":
            connection.execute(waiting._IN_ORDER)
        return result, [
            "\n".join(map(str, connection.exec_driver_sql(f"{explain} {statement}", parameters)))
            for statement, parameters in asked
        ]


def can(**fields):
    return Capabilities(
        worker="w1", now=NOW, slots={"threads": 4}, default_executor="threads",
        pools={pool.name: pool for pool in POOLS}, **fields,
    )  # fmt: skip


def look(connection, **fields):
    return waiting.look(connection, can(**fields), memory.Memory(), [])


LOOKS = {
    "what waits": look,
    "what waits in some pools": lambda c: look(c, serves=frozenset({"default", "gpu"})),
    "what is due next": lambda c: waiting.next_due(c, NOW),
    "what has started": waiting.started,
    "what is alive of each flow": waiting.live_of_flows,
    "what pools hold": lambda c: pools.usage(c, POOLS, NOW),
}


@pytest.mark.parametrize("asked", LOOKS)
def test_nothing_is_searched_in_all_that_ever_was(old, asked):
    _, found = plans(old, LOOKS[asked])
    assert found
    assert not any(searches_all(described) for described in found)


OWNED = {
    "who has anything": lambda owners: owners.workers(held_before=NOW),
    "who has something of a run": lambda owners: owners.workers_of("running00001"),
    "what dead workers have": lambda owners: owners.runs_of(["w1", "w9"]),
    "what a worker has": lambda owners: owners.attempts_of("w1"),
}


@pytest.mark.parametrize("asked", OWNED)
def test_who_has_what_is_not_searched_in_all_that_ever_was(old, asked):
    described = plan(old, lambda: OWNED[asked](old.owners))
    assert described
    assert not searches_all(described)


def searches_all(described):
    """Whether a plan goes through all runs or attempts; a partial index holds but a few of them."""
    return any(
        f"Seq Scan on {table}" in described
        or f"SCAN {table}" in described.replace(f"SCAN {table} USING INDEX", "")
        for table in ("run", "attempt")
    )


def test_what_waits_behind_a_taken_lane_is_not_even_read(old):
    seen, found = plans(old, look)
    assert {run.flow for run in seen.waiting} == {"free"}
    assert len(seen.waiting) == 24  # as much as a worker with four slots may want
    assert sum("run_queued" in plan for plan in found) == 2
    assert "Sort" not in found[-1]
