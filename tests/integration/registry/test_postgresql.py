"""The ledger on PostgreSQL: the same schema, the same refusals, one winner."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from sqlalchemy import create_engine, insert, text
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.pool import NullPool

from registry.chain import iso
from registry.database import open_database
from registry.errors import RegistryUnreachable
from registry.ledger import Action, Change, EpochTaken, Ledger
from registry.locks import exclusive
from registry.watch_store import watch_table

NOW = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.fixture
def url(new_postgres: Callable[[], str]) -> str:
    """A new database in the server."""
    return new_postgres()


def plain(url: str) -> Connection:
    """A session beside ours, outside of transactions."""
    return create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT").connect()


def change(version: str) -> Change:
    return Change(
        model="digits",
        version=version,
        previous_version=None,
        action=Action.PROMOTE,
        verdict="{}",
        run_id=f"run-{version}",
        actor="me",
        reason="better",
        at=NOW,
    )


def test_connections_that_meet_a_new_database_at_once_all_succeed_and_one_wins(url: str) -> None:
    start, won, lost = threading.Barrier(4), [], []

    def race(version: str) -> None:
        start.wait()
        engine = open_database(url)
        try:
            won.append(Ledger(engine).append(change(version), 0).version)
        except EpochTaken:
            lost.append(version)
        finally:
            engine.dispose()

    threads = [threading.Thread(target=race, args=(str(n),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 3)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger_entry SET at = 'x'",
        "DELETE FROM ledger_settlement",
        "TRUNCATE ledger_settlement",
    ],
)
def test_the_database_refuses_to_change_history(url: str, statement: str) -> None:
    engine = open_database(url)
    ledger = Ledger(engine)
    ledger.settle(ledger.append(change("1"), 0), NOW)
    with engine.connect() as connection, pytest.raises(DBAPIError, match="append-only"):
        connection.execute(text(statement))
    assert ledger.verify("digits") is None
    assert [entry.settled_at for entry in ledger.entries("digits")] == [NOW]
    engine.dispose()


def test_one_holds_the_advisory_lock_at_a_time(url: str) -> None:
    order: list[str] = []
    entered = threading.Event()

    def second() -> None:
        entered.wait()
        with exclusive(url, "champion-digits"):
            order.append("second")

    waiting = threading.Thread(target=second)
    waiting.start()
    with exclusive(url, "champion-digits"):
        entered.set()
        with exclusive(url, "champion-other"):
            order.append("first")
    waiting.join()
    assert order == ["first", "second"]


def test_a_lock_whose_session_the_server_ended_is_noticed_and_left_in_peace(url: str) -> None:
    with exclusive(url, "champion-digits") as held:
        held()
        with plain(url) as other:
            others = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
            other.execute(text(others))
        with pytest.raises(RegistryUnreachable, match="champion-digits in PostgreSQL was lost"):
            held()


def test_a_lock_outlives_the_servers_patience_with_idle_transactions(url: str) -> None:
    name = make_url(url).database
    with create_engine(
        url, poolclass=NullPool, isolation_level="AUTOCOMMIT"
    ).connect() as connection:
        connection.execute(
            text(f'ALTER DATABASE "{name}" SET idle_in_transaction_session_timeout = 500')
        )
    with (
        exclusive(url, "champion-digits") as held,
        plain(url) as other,
    ):
        mine = other.execute(
            text(
                "SELECT state FROM pg_stat_activity JOIN pg_locks USING (pid) "
                "WHERE locktype = 'advisory'"
            )
        )
        assert mine.scalars().all() == ["idle"]
        held()


def test_two_nights_of_a_watch_cannot_follow_the_same_night(url: str) -> None:
    engine = open_database(url)
    content = {
        "model": "digits",
        "run_id": "r",
        "dataset": "d",
        "watch": "{}",
        "watched": "{}",
        "at": iso(NOW),
        "prev_hash": "0" * 64,
        "hash": "h",
    }
    with engine.begin() as connection:
        connection.execute(insert(watch_table).values(content | {"epoch": 5, "night": 1}))
        with pytest.raises(IntegrityError):
            connection.execute(insert(watch_table).values(content | {"epoch": 6, "night": 1}))
    engine.dispose()
