"""The ledger on PostgreSQL: the same schema, the same refusals, one winner."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from registry.database import open_database
from registry.ledger import Action, Change, EpochTaken, Ledger
from registry.locks import exclusive

NOW = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.fixture
def url(new_postgres: Callable[[], str]) -> str:
    """A new database in the server."""
    return new_postgres()


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
