"""A hash chain over the rows of a model: each carries sha256(hash before it + its own content).

Changing, removing or inserting a row breaks the chain from there on. Rows that are cut off its end
leave no trace in it: something elsewhere has to remember the newest hash.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Select, Table, insert, select
from sqlalchemy.engine import Row

from registry.verdict import canonical_json

GENESIS = "0" * 64
"""The previous hash of a model's first row."""


@dataclass(frozen=True, kw_only=True)
class Chain:
    """A table that holds one chain for each model; nothing in it ever changes."""

    table: Table
    places: tuple[str, ...]
    """Columns that number a model's rows."""
    words: str
    """How a row is called, by its numbers."""
    tag: str
    """Of the registered model in MLflow: `PLACE:HASH` of the newest row."""

    def of(self, model: str) -> Select[Any]:
        """The rows of a model, oldest first."""
        columns = (self.table.c[name] for name in self.places)
        return select(self.table).where(self.table.c.model == model).order_by(*columns)

    def newest(self, model: str) -> Select[Any]:
        """The rows of a model, newest first."""
        columns = (self.table.c[name].desc() for name in self.places)
        return self.of(model).order_by(None).order_by(*columns)

    def end(self, connection: Connection, model: str) -> Row[Any] | None:
        """Number and hash of a model's newest row; None before the first."""
        columns = (self.table.c[name] for name in (*self.places, "hash"))
        return connection.execute(self.newest(model).with_only_columns(*columns).limit(1)).first()

    def append(
        self, connection: Connection, end: Row[Any] | None, content: dict[str, Any]
    ) -> dict[str, Any]:
        """Add a row behind `end`, and return its hashes. IntegrityError: another came first."""
        prev_hash = GENESIS if end is None else end.hash
        hashes = {"prev_hash": prev_hash, "hash": chained_hash(prev_hash, content)}
        connection.execute(insert(self.table).values(content | hashes))
        return hashes


LATER = ("digest",)
"""Columns that the first rows did not have: where there is nothing in them, no hash covers them."""


def chained_hash(prev_hash: str, content: dict[str, Any]) -> str:
    """The hash of a row that follows the one with `prev_hash`."""
    covered = {k: v for k, v in content.items() if v is not None or k not in LATER}
    return hashlib.sha256((prev_hash + canonical_json(covered)).encode()).hexdigest()


class Fault(StrEnum):
    """How a row does not fit into its chain."""

    UNLINKED = "unlinked"
    """It does not follow from the row before it: one is missing, or was put in between."""
    CHANGED = "changed"
    """Its content is not what was hashed."""


def first_fault(rows: Iterable[Row[Any]]) -> tuple[int, Row[Any], Fault] | None:
    """The first of `rows`, in the chain's order, that does not fit: its place from 1, and how.

    Looks at the rows as they are stored: what was altered need not be readable any more.
    """
    last = GENESIS
    for place, row in enumerate(rows, start=1):
        content = dict(row._mapping)
        before, digest = content.pop("prev_hash"), content.pop("hash")
        if before != last:
            return place, row, Fault.UNLINKED
        if digest != chained_hash(before, content):
            return place, row, Fault.CHANGED
        last = digest
    return None


def first_misfit(rows: Sequence[Row[Any]], name: str, column: str) -> tuple[Row[Any], str] | None:
    """The first row that does not fit, and why in words.

    Rows are called `name`, and numbered from 1 in `column`.
    """
    found = first_fault(rows)
    if found is None:
        return None
    place, row, fault = found
    if getattr(row, column) != place:
        return row, f"{name} {place} is missing"
    if fault is Fault.UNLINKED:
        return row, f"{name} {place} does not follow from the {name} before it"
    return row, f"the content of {name} {place} was changed"


def iso(moment: datetime) -> str:
    """A moment as it is stored: UTC, to the microsecond."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
