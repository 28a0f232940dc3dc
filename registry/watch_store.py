"""Every night of every watch, kept beside the ledger: append-only and hash-chained.

A night is unique by (model, epoch, night), so of two runs that look at once one keeps the night,
and by (model, epoch, run), so a run that is repeated after a crash finds what it had found and
counts no row twice.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Index, Integer, String, Table, Text
from sqlalchemy.engine import Engine, Row
from sqlalchemy.exc import IntegrityError

from registry.chain import Chain, Fault, first_fault, iso
from registry.database import reading, writing
from registry.ledger import Action, Ledger, LedgerBreak, metadata
from registry.nights.docket_store import NightTaken
from registry.watch import (
    Subject,
    Watch,
    Watched,
    watch_from_json,
    watch_json,
    watched_from_json,
)

watch_table = Table(
    "watch_entry",
    metadata,
    Column("model", String(256), primary_key=True),
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("night", Integer, primary_key=True, autoincrement=False),
    Column("run_id", String(256), nullable=False),
    Column("dataset", String(64), nullable=False),
    Column("watch", Text, nullable=False),
    Column("watched", Text, nullable=False),
    Column("at", String(32), nullable=False),
    Column("prev_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)
Index(
    "watch_entry_once_a_run",
    watch_table.c.model,
    watch_table.c.epoch,
    watch_table.c.run_id,
    unique=True,
)
Index("watch_entry_one_line", watch_table.c.model, watch_table.c.prev_hash, unique=True)
WATCH = Chain(
    table=watch_table,
    places=("epoch", "night"),
    words="night {1} of the watch over the champion of epoch {0}",
    tag="ratchet.watch",
)


@dataclass(frozen=True, kw_only=True)
class WatchEntry:
    """One night of one watch."""

    model: str
    epoch: int
    """Of the champion that is watched."""
    night: int
    """From 1."""
    run_id: str
    dataset: str
    """Digest of the rows that were there."""
    watch: Watch
    """After the night."""
    watched: Watched
    """What it came to, for people."""
    at: datetime
    hash: str


class WatchStore:
    """Reads and appends; every method is one transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def head(self, model: str, epoch: int | None = None) -> WatchEntry | None:
        """The latest night of a model, or of the watch over one champion; None before the first."""
        query = WATCH.newest(model)
        if epoch is not None:
            query = query.where(watch_table.c.epoch == epoch)
        return self._first(query)

    def of_run(self, model: str, run_id: str) -> WatchEntry | None:
        """The latest night that this run kept, if it kept one."""
        return self._first(WATCH.newest(model).where(watch_table.c.run_id == run_id))

    def append(
        self, watch: Watch, found: Watched, *, run_id: str, dataset: str, now: datetime
    ) -> None:
        """Add the night that `watch` ends with.

        Raises NightTaken when another run kept it first, or a later champion is watched already.
        """
        subject = watch.subject
        with writing(self._engine) as connection:
            end = WATCH.end(connection, subject.model)
            night = end.night + 1 if end is not None and end.epoch == subject.epoch else 1
            if watch.entries != night or (end is not None and end.epoch > subject.epoch):
                raise NightTaken
            content = {
                "model": subject.model,
                "epoch": subject.epoch,
                "night": night,
                "run_id": run_id,
                "dataset": dataset,
                "watch": watch_json(watch),
                "watched": watch_json(found),
                "at": iso(now),
            }
            try:
                WATCH.append(connection, end, content)
            except IntegrityError as error:
                raise NightTaken from error

    def verify(self, model: str) -> LedgerBreak | None:
        """The first night that was altered, or whose predecessor is gone; None: all is well."""
        with reading(self._engine) as connection:
            rows = connection.execute(WATCH.of(model)).all()
        found = first_fault(rows)
        if found is None:
            return None
        place, row, fault = found
        expected = sum(one.epoch == row.epoch for one in rows[:place])
        if row.night != expected:
            why = f"night {expected} is missing"
        elif fault is Fault.UNLINKED:
            why = f"night {row.night} does not follow from the night before it"
        else:
            why = f"the content of night {row.night} was changed"
        reason = f"in the watch over this champion, {why}"
        return LedgerBreak(model=model, epoch=row.epoch, reason=reason)

    def _first(self, query: Any) -> WatchEntry | None:
        with reading(self._engine) as connection:
            row = connection.execute(query.limit(1)).first()
        return None if row is None else _entry(row)


def _entry(row: Row[Any]) -> WatchEntry:
    values = dict(row._mapping)
    values.pop("prev_hash")
    return WatchEntry(
        **{
            **values,
            "watch": watch_from_json(values["watch"]),
            "watched": watched_from_json(values["watched"]),
            "at": datetime.fromisoformat(values["at"]),
        }
    )


class SeenWatches:
    """How the watch over a model's new champion stands."""

    def __init__(self, ledger: Ledger, store: WatchStore) -> None:
        self._ledger = ledger
        self._store = store

    def subject(self, model: str) -> Subject | None:
        """The champion, if a promotion by the gate put it in place of another one."""
        head = self._ledger.head(model)
        if head is None or head.action is not Action.PROMOTE or head.previous_version is None:
            return None
        return Subject(
            model=model, epoch=head.epoch, version=head.version, previous=head.previous_version
        )

    def latest(self, model: str) -> Watched | None:
        """How the watch over the present champion stands; none: there is none, or no night yet."""
        subject = self.subject(model)
        return None if subject is None else self._of(subject)

    def of_run(self, model: str, run_id: str) -> Watched | None:
        """What this run found before, if it did."""
        entry = self._store.of_run(model, run_id)
        return None if entry is None else entry.watched

    def verify(self, model: str) -> LedgerBreak | None:
        """The first night that was altered or removed; None: they fit together."""
        return self._store.verify(model)

    def _of(self, subject: Subject) -> Watched | None:
        entry = self._store.head(subject.model, subject.epoch)
        return None if entry is None else entry.watched
