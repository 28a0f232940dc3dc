"""What people answered to verdicts that wait for approval: append-only, hash-chained.

A challenger is answered once against one champion, by (model, epoch, version): of two people who
answer at once one comes first. An approval is appended in the transaction of the ledger's entry,
so neither is ever there without the other; a rejection stands alone.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Column, Connection, Index, Integer, String, Table, Text
from sqlalchemy.engine import Engine, Row
from sqlalchemy.exc import IntegrityError

from registry.chain import Chain, first_misfit, iso
from registry.database import reading, writing
from registry.ledger import LedgerBreak, metadata

answers_table = Table(
    "approval_answer",
    metadata,
    Column("model", String(256), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("epoch", Integer, nullable=False),
    Column("version", String(64), nullable=False),
    Column("night", Integer, nullable=False),
    Column("run_id", String(256), nullable=False),
    Column("answer", String(16), nullable=False),
    Column("actor", String(256), nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", String(32), nullable=False),
    Column("prev_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)
# Who answers second finds that it was answered.
Index(
    "approval_answer_once",
    answers_table.c.model,
    answers_table.c.epoch,
    answers_table.c.version,
    unique=True,
)
ANSWERS = Chain(
    table=answers_table,
    places=("number",),
    words="answer {} to a request for approval",
    tag="ratchet.answers",
)


class AnswerKind(StrEnum):
    """What a person said."""

    APPROVE = "approve"
    """It became champion."""
    REJECT = "reject"
    """The champion stayed, and the version is never proposed again."""
    RELEASE = "release"
    """A version that was rolled back from may be proposed again; `epoch` is that of its reign."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What is to be appended: one person's answer to one verdict."""

    model: str
    epoch: int
    """The champion's, when it was compared; 0: there was none."""
    version: str
    """The challenger's."""
    night: int
    """Of the docket, in which the verdict stands."""
    run_id: str
    """The run that asked."""
    answer: AnswerKind
    actor: str
    """Who answered."""
    reason: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Answer(Reply):
    """One answer, as it was appended."""

    number: int
    """From 1."""
    prev_hash: str
    hash: str


class AnswerTaken(Exception):
    """Somebody else answered first; internal to the package."""


class AnswerStore:
    """Reads and appends."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def of(self, model: str) -> tuple[Answer, ...]:
        """All answers about a model, oldest first."""
        with reading(self._engine) as connection:
            rows = connection.execute(ANSWERS.of(model)).all()
        return tuple(_answer(row) for row in rows)

    def append(self, reply: Reply) -> Answer:
        """Add an answer in a transaction of its own. AnswerTaken when there is one already."""
        with writing(self._engine) as connection:
            return self.append_in(connection, reply)

    def append_in(self, connection: Connection, reply: Reply) -> Answer:
        """Add an answer to the open transaction. AnswerTaken when there is one already."""
        end = ANSWERS.end(connection, reply.model)
        number = 1 if end is None else end.number + 1
        try:
            hashes = ANSWERS.append(connection, end, _content(reply, number))
        except IntegrityError as error:
            raise AnswerTaken from error
        return Answer(**vars(reply), number=number, **hashes)

    def verify(self, model: str) -> LedgerBreak | None:
        """The first answer that was altered, or whose predecessor is gone; None: all is well."""
        with reading(self._engine) as connection:
            rows = connection.execute(ANSWERS.of(model)).all()
        found = first_misfit(rows, "answer", "number")
        if found is None:
            return None
        row, why = found
        return LedgerBreak(model=model, epoch=row.epoch, reason=f"in the approvals, {why}")


def _content(reply: Reply, number: int) -> dict[str, Any]:
    """What the hash covers: everything that is stored but the hashes."""
    return vars(reply) | {"number": number, "answer": reply.answer.value, "at": iso(reply.at)}


def _answer(row: Row[Any]) -> Answer:
    values = dict(row._mapping)
    return Answer(
        **{
            **values,
            "answer": AnswerKind(values["answer"]),
            "at": datetime.fromisoformat(values["at"]),
        }
    )
