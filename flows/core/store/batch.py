"""Writes of the hot path: a statement's text, and many rows, straight on the driver's cursor.

SQLAlchemy's expression layer costs more than the database here (measured: 55 % of a task's
processor time in five statements). The schema still names the columns, and the transaction
around is SQLAlchemy's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Integer, String, Table

from flows.core.errors import RowRefused
from flows.core.store.database import UtcTime, iso
from flows.core.store.schema import metadata

Row = Mapping[str, Any]


def insertion(table: Table, *, without: Iterable[str] = ()) -> str:
    """INSERT of all columns but `without`; a row is a mapping with their names."""
    names = [column.name for column in table.columns if column.name not in set(without)]
    columns = ", ".join(f'"{name}"' for name in names)
    return f'INSERT INTO "{table.name}" ({columns}) VALUES ({", ".join(f":{n}" for n in names)})'


def change(table: Table, names: Iterable[str], *, where: str) -> str:
    """UPDATE of the columns `names`; `where` uses `:name` as well."""
    assignments = ", ".join(f'"{table.columns[name].name}" = :{name}' for name in names)
    return f'UPDATE "{table.name}" SET {assignments} WHERE {where}'


def execute(connection: Connection, statement: str, rows: Sequence[dict[str, Any]]) -> int:
    """Run `statement` for each row, if any, in the open transaction; returns the rows it touched.

    The rows are the caller's no more: their times become what the driver takes. Raises RowRefused
    for text that is wider than its column, on every database alike; and the driver's own errors,
    which `Database.write` explains.
    """
    if not rows:
        return 0
    prepared = _prepared(statement, connection.dialect.name)
    for row in rows:
        prepared.check(row)
        for name in prepared.times:
            if type(time := row[name]) is datetime:
                row[name] = iso(time)
    cursor = connection.connection.cursor()
    try:
        if len(rows) == 1:
            cursor.execute(prepared.text, rows[0])
        else:
            cursor.executemany(prepared.text, rows)
        return int(cursor.rowcount)
    finally:
        cursor.close()


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    """A statement as a driver takes it, and what of its rows has to be looked at."""

    text: str
    table: str
    widths: tuple[tuple[str, int], ...]  # columns of text that it writes, and their limits
    numbers: tuple[str, ...]  # columns of numbers that it writes
    times: tuple[str, ...]  # names under which the driver may be given times, and takes none

    def check(self, row: Row) -> None:
        """Refuse what its column does not hold. Raises RowRefused."""
        for name, longest in self.widths:
            if (value := row[name]) is not None and len(value) > longest:
                raise RowRefused(
                    f"the {name} of a {self.table} has at most {longest} characters, "
                    f"not {len(value)}: {value[:40]!r}..."
                )
        for name in self.numbers:
            if (value := row[name]) is not None and not -_BEYOND <= value < _BEYOND:
                raise RowRefused(f"the {name} of a {self.table} is beyond what is kept: {value}")


_BEYOND = 2**31
"""The first number that an integer column of PostgreSQL does not hold."""


@lru_cache(maxsize=128)
def _prepared(statement: str, dialect: str) -> _Prepared:
    match = _HEAD.match(statement)
    assert match is not None
    table = metadata.tables[match[1]]
    columns = {column.name: column.type for column in table.columns}
    names, written = _NAME.findall(statement), _NAME.findall(match[0])
    sqlite = dialect == "sqlite"
    return _Prepared(
        text=statement if sqlite else _NAME.sub(r"%(\1)s", statement),
        table=table.name.replace("_", " "),
        widths=tuple(
            (name, kind.length)
            for name, kind in columns.items()
            if name in written and isinstance(kind, String) and kind.length is not None
        ),
        numbers=tuple(n for n, kind in columns.items() if n in written and type(kind) is Integer),
        times=tuple(n for n in names if sqlite and isinstance(columns.get(n), UtcTime | None)),
    )


_HEAD = re.compile(r'(?:INSERT INTO|UPDATE|DELETE FROM) "?(\w+)(?:(?!WHERE).)*', re.DOTALL)
"""A statement up to its condition, which writes nothing."""
_NAME = re.compile(r":(\w+)")
