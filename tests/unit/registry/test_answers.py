"""An answer is given once, follows the one before, and shows when it was altered."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError

from registry.answers import AnswerKind, AnswerStore, AnswerTaken, Reply
from registry.database import open_database

NOW = datetime(2026, 5, 1, 3, 0, tzinfo=UTC)
REPLY = Reply(
    model="digits", epoch=1, version="2", night=1, run_id="r", answer=AnswerKind.REJECT,
    actor="ann", reason="größer", at=NOW,
)  # fmt: skip


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    opened = open_database(f"sqlite:///{tmp_path}/ledger.db")
    yield opened
    opened.dispose()


def test_answers_come_back_as_they_were_given(engine: Engine) -> None:
    store = AnswerStore(engine)
    assert store.of("digits") == ()
    first = store.append(REPLY)
    second = store.append(replace(REPLY, version="3", answer=AnswerKind.APPROVE))
    assert store.of("digits") == (first, second)
    assert (first.number, second.number, second.prev_hash) == (1, 2, first.hash)
    assert (first.reason, first.at) == ("größer", NOW)
    assert store.append(replace(REPLY, model="other")).number == 1
    assert store.verify("digits") is None


def test_a_challenger_is_answered_once_against_one_champion(engine: Engine) -> None:
    store = AnswerStore(engine)
    store.append(REPLY)
    with pytest.raises(AnswerTaken):
        store.append(replace(REPLY, answer=AnswerKind.APPROVE, actor="bob", night=2))
    store.append(replace(REPLY, epoch=2))
    assert [answer.epoch for answer in store.of("digits")] == [1, 2]


@pytest.mark.parametrize(
    "statement", ["UPDATE approval_answer SET actor = 'x'", "DELETE FROM approval_answer"]
)
def test_no_statement_changes_or_removes_an_answer(engine: Engine, statement: str) -> None:
    AnswerStore(engine).append(REPLY)
    with pytest.raises(DBAPIError, match="append-only"), engine.begin() as connection:
        connection.execute(text(statement))


@pytest.mark.parametrize(
    ("tampering", "reason"),
    [
        ("UPDATE approval_answer SET answer = 'approve' WHERE number = 1",
         "the content of answer 1 was changed"),
        ("UPDATE approval_answer SET at = replace(at, '2026', '2027') WHERE number = 2",
         "the content of answer 2 was changed"),
        ("DELETE FROM approval_answer WHERE number = 1", "answer 1 is missing"),
        ("UPDATE approval_answer SET prev_hash = hash WHERE number = 2", "does not follow"),
    ],
)  # fmt: skip
def test_one_altered_byte_is_found(engine: Engine, tampering: str, reason: str) -> None:
    store = AnswerStore(engine)
    for version in ("2", "3", "4"):
        store.append(replace(REPLY, version=version))
    with engine.begin() as connection:
        for verb in ("update", "delete"):
            connection.execute(text(f"DROP TRIGGER approval_answer_no_{verb}"))
        connection.execute(text(tampering))
    broken = store.verify("digits")
    assert broken is not None
    assert reason in broken.reason
