"""Connections are had for a transaction: no number of callers keeps the others from the store."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from flows.core.errors import RowRefused, StoreBusy, StoreError
from flows.core.graph import Node, validated
from flows.core.store import NewRun, Store
from flows.core.store.database import SHARED, Database

MANY = 4 * SHARED
NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def database(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """Of which nobody waits for a connection."""
    monkeypatch.setattr("flows.core.store.database.PATIENCE", 0.001)
    return store.database


def write(database: Database) -> None:
    with database.write() as connection:
        connection.execute(text("UPDATE lease SET token = token"))


def read(database: Database) -> None:
    with database.read() as connection:
        connection.execute(text("SELECT 1"))


@pytest.mark.parametrize("ended", [True, False], ids=["ended", "alive"])
def test_threads_that_have_written_keep_nothing_whether_they_have_ended_or_not(database, ended):
    go_on, wrote = threading.Event(), threading.Barrier(2)

    def caller() -> None:
        write(database)
        wrote.wait()
        go_on.wait(60)

    callers = [threading.Thread(target=caller) for _ in range(MANY)]
    for thread in callers:
        thread.start()
        wrote.wait(60)
        if ended:
            go_on.set()
            thread.join()
    assert database.engine.pool.checkedout() == 0
    read(database)
    write(database)
    go_on.set()
    for thread in callers:
        thread.join()


def test_who_finds_every_connection_taken_is_told_so_soon_and_the_next_one_is_served(database):
    with ExitStack() as others:
        for _ in range(SHARED):
            others.enter_context(database.read())
        with pytest.raises(StoreBusy, match="callers have held the state store"):
            read(database)
        with pytest.raises(StoreBusy):
            write(database)
    read(database)
    write(database)


def test_who_goes_first_waits_for_no_number_of_callers(database):
    with Readers(database, SHARED), database.first():
        read(database)
        write(database)


def test_who_goes_first_reads_within_its_own_transaction_and_gives_everything_back(database):
    with database.first():
        with database.write() as connection:
            connection.execute(text("UPDATE lease SET token = token"))
            with Readers(database, SHARED):
                read(database)
        assert database.engine.pool.checkedout() == 1
    assert database.engine.pool.checkedout() == 0


def test_a_refused_row_costs_no_connection(database):
    with database.first():
        write(database)
        before = own_connection(database)
        with pytest.raises(StoreError):
            write_twice(database)
        assert own_connection(database) is before


def write_twice(database: Database) -> None:
    insert = text("INSERT INTO definition VALUES ('one', '{}', '{}', '')")
    with database.write() as connection:
        connection.execute(insert)
        connection.execute(insert)


def own_connection(database: Database) -> object:
    with database.read() as connection:
        return connection.connection.dbapi_connection


class Readers:
    """So many other threads, each in the middle of a read."""

    def __init__(self, database: Database, count: int) -> None:
        self._database = database
        self._inside = threading.Barrier(count + 1)
        self._leave = threading.Event()
        self._threads = [threading.Thread(target=self._read) for _ in range(count)]

    def _read(self) -> None:
        with self._database.read() as connection:
            connection.execute(text("SELECT 1"))
            self._inside.wait(60)
            self._leave.wait(60)

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()
        self._inside.wait(60)

    def __exit__(self, *_: object) -> None:
        self._leave.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.parametrize("value", ["caf\udce9", 10**30], ids=["not UTF-8", "a large number"])
def test_what_no_driver_takes_is_refused_in_one_line(database, value):
    where = "name = :value" if isinstance(value, str) else "seq = :value LIMIT :value"
    ask = text(f"SELECT name FROM schedule WHERE {where}")
    for transaction in (database.read, database.write):
        with pytest.raises(RowRefused, match="refuses a"), transaction() as connection:
            connection.execute(ask, {"value": value})
        read(database)


@pytest.mark.parametrize("error", [OverflowError("date value out of range"), UnicodeError("no")])
def test_what_goes_wrong_beside_the_statements_is_no_word_of_the_store(database, error):
    for transaction in (database.read, database.write):
        with pytest.raises(type(error)), transaction():
            raise error


def test_who_cancels_a_run_does_not_wait_for_what_an_engine_of_this_process_is_at(store):
    graph = validated((Node(key="a", function="m:a", inputs={}),))
    new = NewRun(id="r1", flow="f", key="k", source="m:f", graph=graph, config={}, config_yaml="",
                 config_digest="d", trigger={})  # fmt: skip
    store.runs.create(new, NOW)
    caller = threading.Thread(target=store.runs.cancel, args=("r1", "by the test", NOW))
    with store.runs._lock:  # as in the middle of a step
        caller.start()
        caller.join(60)
        assert not caller.is_alive()
    assert store.reads.get("r1").status.ended
