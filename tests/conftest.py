"""A real PostgreSQL for the tests that hold on every database."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import count

import pytest
from sqlalchemy import create_engine, text

from benchmarks import postgres


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a server: that of RATCHET_TEST_POSTGRES, or one of our own, on a socket."""
    if given := os.environ.get("RATCHET_TEST_POSTGRES"):
        yield given
        return
    if postgres.programs() is None:
        pytest.skip("PostgreSQL's programs are not installed, and RATCHET_TEST_POSTGRES not set")
    with postgres.Server(durable=False) as server:
        yield server.url


@pytest.fixture(scope="session")
def new_postgres(postgres_server: str) -> Callable[[], str]:
    """Makes an empty database in the server, and returns its URL."""
    numbers = count()

    def make() -> str:
        name = f"ratchet_{os.getpid()}_{next(numbers)}"
        engine = create_engine(postgres_server, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return engine.url.set(database=name).render_as_string(hide_password=False)

    return make
