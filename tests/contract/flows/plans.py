"""How a database finds what a read asks for, with enough rows that it matters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import event, text

from flows.core.store import Store

NUMBERS = {
    "sqlite": "WITH RECURSIVE numbers(i) AS "
    "(SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < {count})",
    "postgresql": "WITH numbers AS (SELECT i FROM generate_series(1, {count}) AS i)",
}
AT = {
    "sqlite": "strftime('%Y-%m-%dT%H:%M:%f', '2026-01-01', '+' || i || ' minutes') || '000+00:00'",
    "postgresql": "timestamptz '2026-01-01' + i * interval '1 minute'",
}


def insert(store: Store, count: int, into: str) -> None:
    """Carry out `INSERT INTO <into>` for each number `i` from 1 on; `AT` is a minute of its own."""
    with store.database.write() as connection:
        dialect = connection.dialect.name
        table, _, columns = into.partition(" SELECT ")
        numbers = NUMBERS[dialect].format(count=count)
        columns = columns.replace("AT", AT[dialect])
        connection.execute(text(f"INSERT INTO {table} {numbers} SELECT {columns} FROM numbers"))


def ended_runs(store: Store, count: int, *, flows: int = 10, status: str = "succeeded") -> None:
    """So many runs that ended long ago; the database learns how many there are where it does."""
    insert(
        store,
        count,
        "run (id, flow, key, status, source, config_digest, trigger, created_at, started_at, "
        "ended_at, seq) "
        f"SELECT '{status}-' || i, 'flow' || (i % {flows}), '{status}' || i, '{status}', 'm:f', "
        "'d', '{}', AT, AT, AT, 9",
    )
    analyze(store)


def analyze(store: Store) -> None:
    """As PostgreSQL does it by itself; nobody does it for SQLite."""
    if store.database.url.get_backend_name() == "postgresql":
        with store.database.write() as connection:
            connection.execute(text("ANALYZE"))


def plan(store: Store, look: Callable[[], Any]) -> str:
    """The plans of all statements that `look` carries out."""
    asked: list[tuple[str, Any]] = []

    def note(
        _connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: object
    ) -> None:
        asked.append((statement, parameters))

    event.listen(store.database.engine, "before_cursor_execute", note)
    look()
    event.remove(store.database.engine, "before_cursor_execute", note)
    explain = (
        "EXPLAIN QUERY PLAN" if store.database.url.get_backend_name() == "sqlite" else "EXPLAIN"
    )
    with store.database.read() as connection:
        return "\n".join(
            str(row)
            for statement, parameters in asked
            if statement.lstrip().startswith(("SELECT", "WITH"))
            for row in connection.exec_driver_sql(f"{explain} {statement}", parameters)
        )


def reads_all_of(table: str, described: str) -> bool:
    """Whether a plan goes through a table from its beginning to its end."""
    whole = (f"SCAN {table}'", f"SCAN {table} ", f"Seq Scan on {table} ")
    return any(words in described for words in whole)
