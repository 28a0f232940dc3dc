"""A night is kept once, follows the night before, and shows when it was altered."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError

from registry.database import open_database
from registry.error_budget import Year
from registry.errors import RegistryUnreachable
from registry.nights.docket import Docket
from registry.nights.docket_store import DocketStore, NightTaken
from registry.verdict import Decision, Verdict

NOW = datetime(2026, 5, 1, 3, 0, tzinfo=UTC)
VERDICT = Verdict(
    model="digits", challenger="2", champion="1", epoch=1, decision=Decision.HOLD, promote=False,
    reason="größer", metric="accuracy", challenger_score=0.9, baseline=0.9, difference=0.0,
    low=None, high=None, confidence=0.95, rows=100, rules=(), run_id="r", mlflow_run_id="",
)  # fmt: skip


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    opened = open_database(f"sqlite:///{tmp_path}/ledger.db")
    yield opened
    opened.dispose()


def keep(store: DocketStore, run: str, expected: int) -> int:
    docket = Docket(epoch=1, year=Year(number=2026, opened=expected + 1))
    verdict = replace(VERDICT, run_id=run)
    return store.append(docket, verdict, challenger="2", dataset="d", expected=expected, now=NOW)


def test_nights_come_back_as_they_were_kept(engine: Engine) -> None:
    store = DocketStore(engine)
    assert store.head("digits") is None
    assert [keep(store, "a", 0), keep(store, "b", 1)] == [1, 2]
    head = store.head("digits")
    assert head is not None
    assert (head.night, head.run_id, head.docket.year.opened, head.at) == (2, "b", 2, NOW)
    assert head.verdict == replace(VERDICT, run_id="b")
    made = store.of_run("digits", "a", "2")
    assert made == store.night("digits", 1)
    assert store.of_run("digits", "a", "3") is None
    assert store.verify("digits") is None


def test_a_run_that_followed_an_older_night_must_judge_again(engine: Engine) -> None:
    store = DocketStore(engine)
    keep(store, "a", 0)
    with pytest.raises(NightTaken):
        keep(store, "b", 0)
    with pytest.raises(NightTaken):
        keep(store, "a", 1)  # the same run, once more


def test_of_many_runs_at_once_one_keeps_the_night(engine: Engine) -> None:
    kept: list[int] = []

    def race(number: int) -> None:
        with suppress(NightTaken):
            kept.append(keep(DocketStore(engine), f"run-{number}", 0))

    threads = [threading.Thread(target=race, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept == [1]


@pytest.mark.parametrize(
    "statement", ["UPDATE docket_entry SET night = 3", "DELETE FROM docket_entry"]
)
def test_no_statement_changes_or_removes_a_night(engine: Engine, statement: str) -> None:
    keep(DocketStore(engine), "a", 0)
    with pytest.raises(DBAPIError, match="append-only"), engine.begin() as connection:
        connection.execute(text(statement))


@pytest.mark.parametrize(
    ("tampering", "reason"),
    [
        ("UPDATE docket_entry SET verdict = replace(verdict, 'hold', 'holt') WHERE night = 1",
         "the content of night 1 was changed"),
        ("UPDATE docket_entry SET docket = replace(docket, '2026', '2027') WHERE night = 2",
         "the content of night 2 was changed"),
        ("DELETE FROM docket_entry WHERE night = 1", "night 1 is missing"),
        ("UPDATE docket_entry SET prev_hash = hash WHERE night = 2", "does not follow"),
    ],
)  # fmt: skip
def test_one_altered_byte_is_found(engine: Engine, tampering: str, reason: str) -> None:
    store = DocketStore(engine)
    for number, run in enumerate(("a", "b", "c")):
        keep(store, run, number)
    with engine.begin() as connection:
        for verb in ("update", "delete"):
            connection.execute(text(f"DROP TRIGGER docket_entry_no_{verb}"))
        connection.execute(text(tampering))
    broken = store.verify("digits")
    assert broken is not None
    assert reason in broken.reason


def test_a_database_that_fails_is_said_to_be_unreachable(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE docket_entry"))
    with pytest.raises(RegistryUnreachable):
        DocketStore(engine).head("digits")
