"""No text is wider than its column, and no number beyond it, on any database: one clear line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Column, Integer, String

from flows.core.errors import RowRefused, StoreError
from flows.core.store import Store, schema
from flows.core.store.batch import change, execute, insertion

NOW = datetime(2026, 3, 1, tzinfo=UTC)
LIMITED = [
    column
    for table in schema.metadata.sorted_tables
    for column in table.columns
    if type(column.type) is Integer
    or (isinstance(column.type, String) and column.type.length is not None)
]


def filled(column: Column[Any], of: Column[Any], value: object) -> Any:
    """Something that fits into a column; `value` for the one that it is about."""
    if column is of:
        return value
    if isinstance(column.type, String):
        return "{}"
    return 1 if isinstance(column.type, Integer) else NOW


def insert(store: Store, column: Column[Any], value: object) -> None:
    row = {each.name: filled(each, column, value) for each in column.table.columns}
    with store.database.write() as connection:
        execute(connection, insertion(column.table), [row])


def update(store: Store, column: Column[Any], value: object) -> None:
    statement = change(column.table, [column.name], where="1 = 1")
    with store.database.write() as connection:
        execute(connection, statement, [{column.name: value}])


@pytest.mark.parametrize("column", LIMITED, ids=str)
def test_what_a_column_cannot_hold_is_refused_alike_and_what_it_can_is_kept(store, column):
    most = "x" * column.type.length if isinstance(column.type, String) else 2**31 - 1
    beyond = most + "x" if isinstance(most, str) else most + 1
    with pytest.raises(RowRefused, match=f"the {column.name} of a") as caught:
        insert(store, column, beyond)
    assert "\n" not in str(caught.value)
    insert(store, column, most)
    with pytest.raises(RowRefused):
        update(store, column, beyond)


def test_what_only_the_database_knows_of_a_row_is_no_outage(new_postgres):
    store = Store.open(new_postgres())
    with pytest.raises(RowRefused, match="refuses a row"):
        insert(store, schema.run.c.reason, "NUL \x00")
    assert issubclass(RowRefused, StoreError)
    assert RowRefused.permanent
    store.close()


def test_a_holder_whose_name_is_too_wide_takes_over_no_lease(store):
    store.leases.acquire("turn", "a", timedelta(seconds=8))
    with pytest.raises(RowRefused, match="the holder of a lease has at most 200 characters"):
        store.leases.acquire("turn", "x" * 201, timedelta(seconds=8), is_dead={"a"}.__contains__)
