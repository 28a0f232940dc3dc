"""Every night's docket, kept beside the ledger: append-only, hash-chained, one entry a night.

A night is unique by (model, night), so two runs that judge at once cannot both follow the same
docket, and by (model, run, challenger), so a run that is repeated after a crash finds what it had
decided and counts no row twice.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Index, Integer, Select, String, Table, Text, func, select
from sqlalchemy.engine import Engine, Row
from sqlalchemy.exc import IntegrityError

from registry.chain import Chain, first_misfit, iso
from registry.database import reading, writing
from registry.ledger import LedgerBreak, metadata
from registry.nights.docket import Docket, docket_from_json, docket_json
from registry.verdict import CaseNote, Verdict, verdict_from_json, verdict_json

docket_table = Table(
    "docket_entry",
    metadata,
    Column("model", String(256), primary_key=True),
    Column("night", Integer, primary_key=True, autoincrement=False),
    Column("epoch", Integer, nullable=False),
    Column("run_id", String(256), nullable=False),
    Column("challenger", String(64), nullable=False),
    Column("dataset", String(64), nullable=False),
    Column("docket", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("at", String(32), nullable=False),
    Column("prev_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)
Index(
    "docket_entry_once_a_run",
    docket_table.c.model,
    docket_table.c.run_id,
    docket_table.c.challenger,
    unique=True,
)
DOCKET = Chain(
    table=docket_table, places=("night",), words="night {} of the evidence", tag="ratchet.docket"
)


@dataclass(frozen=True, kw_only=True)
class NightEntry:
    """One night of a model: what the gate decided, and what it keeps."""

    model: str
    night: int
    """From 1."""
    epoch: int
    """The champion's, when it was compared."""
    run_id: str
    challenger: str
    """The night's new challenger."""
    dataset: str
    """Digest of the rows that were there."""
    docket: Docket
    """After the night."""
    verdict: Verdict
    at: datetime
    hash: str


@dataclass(frozen=True, kw_only=True)
class PastNight:
    """What one night said of the comparisons with the champion."""

    night: int
    """Of the model, from 1."""
    at: datetime
    cases: tuple[CaseNote, ...]


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """One night of a model without its docket: what was decided, and when."""

    night: int
    at: datetime
    verdict: Verdict


class NightTaken(Exception):
    """Another run judged first; internal to the package."""


class DocketStore:
    """Reads and appends; every method is one transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def head(self, model: str) -> NightEntry | None:
        """The latest night of a model; None before the first."""
        return self._first(DOCKET.newest(model))

    def night(self, model: str, number: int) -> NightEntry | None:
        """One night."""
        return self._first(DOCKET.of(model).where(docket_table.c.night == number))

    def of_run(self, model: str, run_id: str, challenger: str) -> NightEntry | None:
        """The night that this run made before, if it did."""
        return self._first(
            DOCKET.of(model).where(
                docket_table.c.run_id == run_id, docket_table.c.challenger == challenger
            )
        )

    def of_run_id(self, run_id: str, model: str | None = None) -> tuple[NightEntry, ...]:
        """The nights that this run made, of one model or of all, oldest first."""
        query = select(docket_table).where(docket_table.c.run_id == run_id)
        if model is not None:
            query = query.where(docket_table.c.model == model)
        with reading(self._engine) as connection:
            rows = connection.execute(query.order_by(docket_table.c.at)).all()
        return tuple(_entry(row) for row in rows)

    def past_nights(
        self, model: str, epoch: int, *, until: int, limit: int = 120
    ) -> tuple[PastNight, ...]:
        """What the nights of one champion's epoch said of the comparisons, oldest first."""
        table = docket_table.c
        query = (
            select(table.night, table.at, table.verdict)
            .where(table.model == model, table.epoch == epoch, table.night <= until)
            .order_by(table.night.desc())
            .limit(limit)
        )
        with reading(self._engine) as connection:
            rows = connection.execute(query).all()
        return tuple(
            PastNight(
                night=row.night,
                at=datetime.fromisoformat(row.at),
                cases=verdict_from_json(row.verdict).cases,
            )
            for row in reversed(rows)
        )

    def models(self) -> tuple[str, ...]:
        """The names of all models that have been judged."""
        query = select(docket_table.c.model).distinct().order_by(docket_table.c.model)
        with reading(self._engine) as connection:
            return tuple(connection.scalars(query))

    def judgements(self, model: str, *, epoch: int | None = None) -> tuple[Judgement, ...]:
        """The nights from the first on whose verdict waits for approval; none: no night's does.

        `epoch`: only those on which the champion was that of this epoch.
        """
        columns = docket_table.c
        mine = [columns.model == model]
        if epoch is not None:
            mine.append(columns.epoch == epoch)
        # Canonical JSON: these bytes stand for the decision and nothing else.
        asks = columns.verdict.contains('"decision":"await"', autoescape=True)
        first = select(func.min(columns.night)).where(*mine, asks).scalar_subquery()
        query = select(columns.night, columns.at, columns.verdict).where(
            *mine, columns.night >= first
        )
        with reading(self._engine) as connection:
            rows = connection.execute(query.order_by(columns.night)).all()
        return tuple(
            Judgement(
                night=row.night,
                at=datetime.fromisoformat(row.at),
                verdict=verdict_from_json(row.verdict),
            )
            for row in rows
        )

    def append(
        self,
        docket: Docket,
        verdict: Verdict,
        *,
        challenger: str,
        dataset: str,
        expected: int,
        now: datetime,
    ) -> int:
        """Add night `expected` + 1, and return it. NightTaken when another came first."""
        with writing(self._engine) as connection:
            end = DOCKET.end(connection, verdict.model)
            if (0 if end is None else end.night) != expected:
                raise NightTaken
            content = {
                "model": verdict.model,
                "night": expected + 1,
                "epoch": verdict.epoch,
                "run_id": verdict.run_id,
                "challenger": challenger,
                "dataset": dataset,
                "docket": docket_json(docket),
                "verdict": verdict_json(verdict),
                "at": iso(now),
            }
            try:
                DOCKET.append(connection, end, content)
            except IntegrityError as error:
                raise NightTaken from error
        return expected + 1

    def verify(self, model: str) -> LedgerBreak | None:
        """The first night that was altered, or whose predecessor is gone; None: all is well."""
        with reading(self._engine) as connection:
            rows = connection.execute(DOCKET.of(model)).all()
        found = first_misfit(rows, "night", "night")
        if found is None:
            return None
        row, why = found
        return LedgerBreak(model=model, epoch=row.epoch, reason=f"in the evidence, {why}")

    def _first(self, query: Select[Any]) -> NightEntry | None:
        with reading(self._engine) as connection:
            row = connection.execute(query.limit(1)).first()
        return None if row is None else _entry(row)


def _entry(row: Row[Any]) -> NightEntry:
    values = dict(row._mapping)
    values.pop("prev_hash")
    return NightEntry(
        **{
            **values,
            "docket": docket_from_json(values["docket"]),
            "verdict": verdict_from_json(values["verdict"]),
            "at": datetime.fromisoformat(values["at"]),
        }
    )
