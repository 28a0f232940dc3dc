"""An idempotency key stands for one request on every database, also when many are sent at once."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from flows.core.errors import KeyReused
from flows.core.store import Store
from flows.core.store.requests import KEPT

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def test_the_same_request_may_be_sent_again_and_another_may_not(store: Store) -> None:
    store.requests.bind(["api"], "k", ["start", "a", "x=1"], NOW)
    store.requests.bind(["api"], "k", ["start", "a", "x=1"], NOW)
    for other in (["start", "a", "x=2"], ["start", "b", "x=1"], ["fire", "a", "x=1"], []):
        with pytest.raises(KeyReused, match="the key k stands for another request"):
            store.requests.bind(["api"], "k", other, NOW)
    store.requests.bind(["api"], "other", ["start", "b"], NOW)


def test_a_key_that_stands_for_another_request_in_one_scope_is_bound_in_none(store: Store) -> None:
    store.requests.bind(["fire nightly"], "k", ["fire", "nightly"], NOW)
    with pytest.raises(KeyReused):
        store.requests.bind(["api", "fire nightly"], "k", ["fire", "nightly", "x=1"], NOW)
    store.requests.bind(["api", "fire weekly"], "k", ["fire", "weekly"], NOW)
    with pytest.raises(KeyReused):
        store.requests.bind(["api", "fire nightly"], "k", ["fire", "nightly"], NOW)


def test_of_different_requests_sent_at_once_under_one_key_one_is_done(store: Store) -> None:
    def bind(number: int) -> int | None:
        try:
            store.requests.bind(["api"], "k", ["start", str(number % 4)], NOW)
        except KeyReused:
            return None
        return number % 4

    with ThreadPoolExecutor(16) as pool:
        bound = Counter(pool.map(bind, range(64)))
    refused = bound.pop(None)
    assert (refused, sorted(bound.values())) == (48, [16])


def test_what_a_key_stands_for_is_forgotten_after_a_month(store: Store) -> None:
    store.requests.bind(["api"], "k", ["a"], NOW)
    with pytest.raises(KeyReused):
        store.requests.bind(["api"], "k", ["b"], NOW + KEPT)
    store.requests.bind(["api"], "k", ["b"], NOW + KEPT + timedelta(seconds=1))


def test_a_store_of_the_release_before_has_no_such_table_and_goes_on(store: Store) -> None:
    with store.database.write() as connection:
        connection.execute(text("DROP TABLE request"))
        connection.info.clear()
    store.requests.bind(["api"], "k", ["a"], NOW)
    store.requests.bind(["api"], "k", ["b"], NOW)
