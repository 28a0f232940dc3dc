"""What every state store promises about assets that no run made."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from flows.core.records import Asset
from flows.core.store import Store

NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
SEVEN = Asset(name="model:digits", version="7")


def test_it_is_seen_by_those_who_wait_for_it(store: Store) -> None:
    before = store.schedules.newest_assets()
    assert store.assets.update(SEVEN, cause="approved: epoch 2", now=NOW)
    assert store.schedules.newest_assets() != before
    assert [(at, asset) for _, at, asset in store.schedules.assets(0)] == [(NOW, SEVEN)]
    (told,) = store.reads.events()
    assert (told.kind, told.run_id, told.data["cause"]) == (
        "asset.updated",
        None,
        "approved: epoch 2",
    )


def test_one_change_is_told_once_and_another_again(store: Store) -> None:
    later = NOW + timedelta(hours=1)
    assert store.assets.update(SEVEN, cause="approved: epoch 2", now=NOW)
    assert not store.assets.update(SEVEN, cause="approved: epoch 2", now=later)
    assert store.assets.update(SEVEN, cause="approved: epoch 4", now=later)
    assert len(store.schedules.assets(0)) == 2
