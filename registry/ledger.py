"""The ledger: which version was champion when, and why. Append-only and hash-chained.

Two tables. `ledger_entry` holds one row for each epoch of a model, unique by (model, epoch): that
uniqueness is the fence that only one promotion of an epoch can pass. `ledger_settlement` says
when an entry's alias was seen in MLflow; an entry without one is pending. It is a table of its
own so that no row ever changes: the database refuses UPDATE and DELETE on both.

Every entry carries sha256(previous hash + its own canonical JSON); `verify` finds the first that
does not fit. A settlement is no part of the chain: it can be had again from MLflow.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Select,
    String,
    Table,
    Text,
    and_,
    insert,
    select,
)
from sqlalchemy.engine import Connection, Engine, Row
from sqlalchemy.exc import IntegrityError

from registry.chain import Chain, Fault, first_fault, iso
from registry.database import reading, writing
from registry.errors import LedgerBroken

metadata = MetaData()

entries_table = Table(
    "ledger_entry",
    metadata,
    Column("model", String(256), primary_key=True),
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("version", String(64), nullable=False),
    Column("previous_version", String(64)),
    Column("action", String(16), nullable=False),
    Column("verdict", Text),
    Column("run_id", String(256)),
    Column("actor", String(256), nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", String(32), nullable=False),
    Column("prev_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    Column("digest", String(128)),
)
# A run promotes a version once, however often it is repeated.
Index(
    "ledger_entry_once_a_run",
    entries_table.c.model,
    entries_table.c.run_id,
    entries_table.c.action,
    entries_table.c.version,
    unique=True,
)

Index("ledger_entry_one_line", entries_table.c.model, entries_table.c.prev_hash, unique=True)

LEDGER = Chain(table=entries_table, places=("epoch",), words="epoch {}", tag="ratchet.ledger")

settlements_table = Table(
    "ledger_settlement",
    metadata,
    Column("model", String(256), primary_key=True),
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("at", String(32), nullable=False),
    ForeignKeyConstraint(["model", "epoch"], ["ledger_entry.model", "ledger_entry.epoch"]),
)

Beside = Callable[[Connection], object]
"""What is written in the transaction of an entry, besides it; what it raises undoes both."""


class Action(StrEnum):
    """Why the champion changed."""

    PROMOTE = "promote"
    """A challenger passed the gate."""
    ROLLBACK = "rollback"
    """An operator went back to another version, or the watch proved the champion harmful."""
    ADOPT = "adopt"
    """An outsider moved the alias, and an operator agreed."""
    RESTORE = "restore"
    """An outsider moved the alias, and an operator put the champion back."""
    RETIRE = "retire"
    """An operator took the champion out of service: no version is live."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """What is to be appended: one new champion of one model."""

    model: str
    version: str
    """The new champion; of a retirement, the old one."""
    previous_version: str | None
    """What the alias named before."""
    action: Action
    actor: str
    reason: str
    at: datetime
    verdict: str | None = None
    """The verdict as canonical JSON; none where no gate was asked."""
    run_id: str | None = None
    digest: str | None = None
    """Of the version's files: what it was, however it is called; none: unknown."""

    @property
    def live(self) -> str | None:
        """The version that is live from now on."""
        return None if self.action is Action.RETIRE else self.version


@dataclass(frozen=True, kw_only=True)
class LedgerEntry(Change):
    """One epoch of a model."""

    epoch: int
    prev_hash: str
    hash: str
    settled_at: datetime | None = None
    """When the alias was seen to match; none: pending."""

    @classmethod
    def from_row(cls, row: Row[Any]) -> "LedgerEntry":
        """The entry from a row of the two tables joined."""
        values = dict(row._mapping)
        settled = values.pop("settled_at")
        try:
            return cls(
                **{
                    **values,
                    "action": Action(values["action"]),
                    "at": datetime.fromisoformat(values["at"]),
                    "settled_at": None if settled is None else datetime.fromisoformat(settled),
                }
            )
        except ValueError as error:
            raise LedgerBroken(
                f"Epoch {row.epoch} of {row.model} in the ledger was changed: {error}.",
                hint="restore the ledger's database from a backup; do not promote before",
            ) from error

    def to_json(self) -> dict[str, Any]:
        """What `ratchet ledger --json` shows; the keys are stable."""
        return {
            "model": self.model,
            "epoch": self.epoch,
            "version": self.version,
            "previous_version": self.previous_version,
            "action": self.action.value,
            "verdict": None if self.verdict is None else json.loads(self.verdict),
            "reason": self.reason,
            "actor": self.actor,
            "run_id": self.run_id,
            "at": self.at.isoformat(),
            "settled_at": None if self.settled_at is None else self.settled_at.isoformat(),
            "prev_hash": self.prev_hash,
            "hash": self.hash,
            "digest": self.digest,
        }


@dataclass(frozen=True, kw_only=True)
class LedgerBreak:
    """The first place where a model's history does not fit together."""

    model: str
    epoch: int
    reason: str


class EpochTaken(Exception):
    """Another entry has this epoch; internal to the package."""


class Ledger:
    """Reads and appends; every method is one transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def entries(self, model: str) -> tuple[LedgerEntry, ...]:
        """All entries of a model, oldest first."""
        with reading(self._engine) as connection:
            query = _joined().where(entries_table.c.model == model)
            rows = connection.execute(query.order_by(entries_table.c.epoch)).all()
        return tuple(LedgerEntry.from_row(row) for row in rows)

    def head(self, model: str) -> LedgerEntry | None:
        """The latest entry of a model: its champion; None before the first promotion."""
        with reading(self._engine) as connection:
            query = _joined().where(entries_table.c.model == model)
            row = connection.execute(query.order_by(entries_table.c.epoch.desc()).limit(1)).first()
        return None if row is None else LedgerEntry.from_row(row)

    def of_run(self, model: str, run_id: str, action: Action, version: str) -> LedgerEntry | None:
        """The entry that this run made before, if it did."""
        with reading(self._engine) as connection:
            query = _joined().where(
                entries_table.c.model == model,
                entries_table.c.run_id == run_id,
                entries_table.c.action == action.value,
                entries_table.c.version == version,
            )
            row = connection.execute(query).first()
        return None if row is None else LedgerEntry.from_row(row)

    def models(self) -> tuple[str, ...]:
        """The names of all models that have a history."""
        with reading(self._engine) as connection:
            query = select(entries_table.c.model).distinct().order_by(entries_table.c.model)
            return tuple(connection.scalars(query))

    def append(
        self, change: Change, expected_epoch: int, beside: Beside | None = None
    ) -> LedgerEntry:
        """Add epoch `expected_epoch` + 1, pending. EpochTaken when another came first.

        `beside` writes what belongs to the entry, in its transaction.
        """
        with writing(self._engine) as connection:
            end = LEDGER.end(connection, change.model)
            if (0 if end is None else end.epoch) != expected_epoch:
                raise EpochTaken
            epoch = expected_epoch + 1
            try:
                hashes = LEDGER.append(connection, end, _content(change, epoch))
            except IntegrityError as error:
                raise EpochTaken from error
            if beside is not None:
                beside(connection)
        return LedgerEntry(**vars(change), epoch=epoch, **hashes)

    def settle(self, entry: LedgerEntry, now: datetime) -> None:
        """Note that the alias was seen to match; a second time changes nothing."""
        row = {"model": entry.model, "epoch": entry.epoch, "at": iso(now)}
        with writing(self._engine) as connection:
            known = connection.execute(
                select(settlements_table.c.at).where(
                    settlements_table.c.model == entry.model,
                    settlements_table.c.epoch == entry.epoch,
                )
            ).first()
            if known is None:
                connection.execute(insert(settlements_table).values(row))

    def verify(self, model: str) -> LedgerBreak | None:
        """The first entry that was altered, or whose predecessor is gone; None: all is well."""
        with reading(self._engine) as connection:
            found = first_fault(connection.execute(LEDGER.of(model)).all())
        if found is None:
            return None
        place, row, fault = found
        if row.epoch != place:
            why = f"epoch {place} is missing"
        elif fault is Fault.UNLINKED:
            why = "it does not follow from the entry before it"
        else:
            why = "its content was changed"
        return LedgerBreak(model=model, epoch=row.epoch, reason=why)

    def check(self, model: str) -> None:
        """Raise LedgerBroken when `verify` finds something."""
        broken = self.verify(model)
        if broken is not None:
            raise LedgerBroken(
                f"The ledger of {model} is broken at epoch {broken.epoch}: {broken.reason}.",
                hint="restore the ledger's database from a backup; do not promote before",
            )


def _joined() -> Select[Any]:
    same = and_(
        entries_table.c.model == settlements_table.c.model,
        entries_table.c.epoch == settlements_table.c.epoch,
    )
    return select(entries_table, settlements_table.c.at.label("settled_at")).select_from(
        entries_table.outerjoin(settlements_table, same)
    )


def _content(change: Change, epoch: int) -> dict[str, Any]:
    """What the hash covers: everything that is stored but the hashes."""
    return vars(change) | {"epoch": epoch, "action": change.action.value, "at": iso(change.at)}
