"""The ledger only grows, and shows where it was altered."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError

from registry.chain import GENESIS
from registry.database import open_database
from registry.errors import LedgerBroken, RegistryError, RegistryUnreachable
from registry.ledger import Action, Change, EpochTaken, Ledger

NOW = datetime(2026, 5, 1, 3, 0, tzinfo=UTC)


def change(version: str, previous: str | None = None, run: str | None = None) -> Change:
    return Change(
        model="digits",
        version=version,
        previous_version=previous,
        action=Action.PROMOTE,
        verdict='{"reason":"größer"}',
        run_id=run,
        actor="retrain",
        reason="größer",
        at=NOW,
    )


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    opened = open_database(f"sqlite:///{tmp_path}/deep/ledger.db")
    yield opened
    opened.dispose()


@pytest.fixture
def ledger(engine: Engine) -> Ledger:
    return Ledger(engine)


def test_entries_come_back_as_they_were_written(ledger: Ledger) -> None:
    first = ledger.append(change("1"), 0)
    second = ledger.append(change("2", "1", "run-2"), 1)
    assert ledger.entries("digits") == (first, second)
    assert ledger.head("digits") == second
    assert (first.epoch, first.prev_hash, second.prev_hash) == (1, GENESIS, first.hash)
    assert ledger.entries("other") == ()
    assert ledger.models() == ("digits",)


def test_json_has_the_stable_keys(ledger: Ledger) -> None:
    shown = ledger.append(change("1"), 0).to_json()
    expected = {"epoch", "version", "action", "verdict", "at", "hash", "model", "actor", "reason"}
    assert expected <= shown.keys()
    assert shown["verdict"] == {"reason": "größer"}
    assert shown["at"] == "2026-05-01T03:00:00+00:00"


def test_an_epoch_is_given_once(ledger: Ledger) -> None:
    ledger.append(change("1"), 0)
    with pytest.raises(EpochTaken):
        ledger.append(change("2"), 0)
    with pytest.raises(EpochTaken):
        ledger.append(change("2"), 7)
    assert len(ledger.entries("digits")) == 1


def test_a_run_promotes_a_version_once(ledger: Ledger) -> None:
    made = ledger.append(change("1", run="run-1"), 0)
    with pytest.raises(EpochTaken):
        ledger.append(change("1", run="run-1"), 1)
    assert ledger.of_run("digits", "run-1", Action.PROMOTE, "1") == made
    assert ledger.of_run("digits", "run-2", Action.PROMOTE, "1") is None


def test_a_settlement_is_noted_once(ledger: Ledger) -> None:
    entry = ledger.append(change("1"), 0)
    ledger.settle(entry, NOW)
    ledger.settle(entry, NOW.replace(hour=9))
    settled = ledger.head("digits")
    assert settled is not None
    assert settled.settled_at == NOW
    assert ledger.verify("digits") is None


@pytest.mark.parametrize("table", ["ledger_entry", "ledger_settlement"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET at = 'x'", "DELETE FROM {}"])
def test_the_database_refuses_to_change_history(
    ledger: Ledger, engine: Engine, table: str, statement: str
) -> None:
    ledger.settle(ledger.append(change("1"), 0), NOW)
    with engine.connect() as connection, pytest.raises(DBAPIError, match="append-only"):
        connection.execute(text(statement.format(table)))


@pytest.mark.parametrize(
    ("tampering", "epoch", "reason"),
    [
        ("UPDATE ledger_entry SET version = '9' WHERE epoch = 2", 2, "content was changed"),
        ("UPDATE ledger_entry SET reason = 'grösser' WHERE epoch = 1", 1, "content was changed"),
        ("DELETE FROM ledger_entry WHERE epoch = 2", 3, "epoch 2 is missing"),
        ("UPDATE ledger_entry SET prev_hash = hash WHERE epoch = 3", 3, "does not follow"),
    ],
)
def test_one_altered_byte_is_found(
    ledger: Ledger, engine: Engine, tampering: str, epoch: int, reason: str
) -> None:
    for number in range(3):
        ledger.append(change(str(number)), number)
    assert ledger.verify("digits") is None
    with engine.begin() as connection:
        for verb in ("update", "delete"):
            connection.execute(text(f"DROP TRIGGER ledger_entry_no_{verb}"))
        connection.execute(text(tampering))
    broken = ledger.verify("digits")
    assert broken is not None
    assert (broken.epoch, broken.model) == (epoch, "digits")
    assert reason in broken.reason
    with pytest.raises(LedgerBroken, match=f"broken at epoch {epoch}"):
        ledger.check("digits")


def test_many_threads_take_one_epoch_once(ledger: Ledger) -> None:
    won: list[str] = []
    start = threading.Barrier(8)

    def race(name: str) -> None:
        start.wait()
        with suppress(EpochTaken):
            won.append(ledger.append(change(name), 0).version)

    threads = [threading.Thread(target=race, args=(str(n),)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert [entry.version for entry in ledger.entries("digits")] == won


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RegistryUnreachable, match="cannot be opened") as caught:
        open_database(f"sqlite:///{tmp_path}/file/ledger.db")
    assert "registry.ledger_url" in str(caught.value.hint)


def test_an_unknown_kind_of_database_is_said() -> None:
    with pytest.raises(RegistryError, match="no database that is known here"):
        open_database("oracel://host/db")
