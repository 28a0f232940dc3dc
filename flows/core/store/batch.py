"""Writes of the hot path: a statement's text, and many rows, straight on the driver's cursor.

SQLAlchemy's expression layer costs more than the database here (measured: 55 % of a task's
processor time in five statements). The schema still names the columns, and the transaction
around is SQLAlchemy's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Integer, String, Table

from flows.core.errors import RowRefused
from flows.core.store.database import iso
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


def execute(connection: Connection, statement: str, rows: Sequence[Row]) -> int:
    """Run `statement` for each row, if any, in the open transaction; returns the rows it touched.

    Raises RowRefused for text that is wider than its column, on every database alike; and the
    driver's own errors, which `Database.write` explains.
    """
    if not rows:
        return 0
    dialect = connection.dialect
    _check(statement, rows)
    text = _for_driver(statement, dialect.paramstyle)
    if dialect.name == "sqlite":
        rows = [_with_text_times(row) for row in rows]
    cursor = connection.connection.cursor()
    try:
        if len(rows) == 1:
            cursor.execute(text, rows[0])
        else:
            cursor.executemany(text, rows)
        return int(cursor.rowcount)
    finally:
        cursor.close()


def _check(statement: str, rows: Sequence[Row]) -> None:
    widths, numbers = _limits(statement)
    for row in rows:
        for name, longest in widths:
            if (value := row[name]) is not None and len(value) > longest:
                raise RowRefused(
                    f"{_column(statement, name)} has at most {longest} characters, "
                    f"not {len(value)}: {value[:40]!r}..."
                )
        for name in numbers:
            if (value := row[name]) is not None and not -_BEYOND <= value < _BEYOND:
                raise RowRefused(f"{_column(statement, name)} is beyond what is kept: {value}")


_BEYOND = 2**31
"""The first number that an integer column of PostgreSQL does not hold."""


@lru_cache(maxsize=64)
def _limits(statement: str) -> tuple[tuple[tuple[str, int], ...], tuple[str, ...]]:
    """Of what a statement writes: the columns of text of limited length, and those of numbers."""
    names = set(re.findall(r":(\w+)", statement))
    columns = [c for c in metadata.tables[_table(statement)].columns if c.name in names]
    widths = tuple(
        (column.name, column.type.length)
        for column in columns
        if isinstance(column.type, String) and column.type.length is not None
    )
    return widths, tuple(column.name for column in columns if type(column.type) is Integer)


def _column(statement: str, name: str) -> str:
    return f"the {name} of a {_table(statement).replace('_', ' ')}"


def _table(statement: str) -> str:
    match = _TABLE.match(statement)
    assert match is not None
    return match[1]


_TABLE = re.compile(r'(?:INSERT INTO|UPDATE|DELETE FROM) "?(\w+)')


def _with_text_times(row: Row) -> Row:
    return {name: iso(v) if type(v) is datetime else v for name, v in row.items()}


@lru_cache(maxsize=64)
def _for_driver(statement: str, paramstyle: str) -> str:
    if paramstyle in ("qmark", "named"):  # sqlite3 takes both
        return statement
    return re.sub(r":(\w+)", r"%(\1)s", statement)
