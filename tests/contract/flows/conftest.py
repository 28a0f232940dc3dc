"""The state store's contract holds on every database: one body, each a fresh store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.core.store import Store
from tests.manual_clock import ManualClock


@pytest.fixture(params=["sqlite", "postgres"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a store that does not exist yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ratchet.db"
    url: str = request.getfixturevalue("new_postgres")()
    return url


@pytest.fixture
def clock() -> ManualClock:
    """The time of the store, and of whoever is given it."""
    return ManualClock()


@pytest.fixture
def store(store_url: str, request: pytest.FixtureRequest) -> Iterator[Store]:
    """A fresh store. Its time is that of the test's clock, if it has one."""
    clock = request.getfixturevalue("clock") if "clock" in request.fixturenames else None
    opened = Store.open(store_url, clock)
    yield opened
    opened.close()
