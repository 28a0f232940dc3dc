"""An outsider's change of a champion is noticed without MLflow's client, and told once."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows.adapters.champions import ChampionWatch, champions_seen, changed_outside
from flows.core.alert import Alert, AlertKind
from flows.core.store import Store
from registry import Registry, RegistryConfig, RegistryUnreachable, Verdict
from tests.manual_clock import ManualClock

Versions = Callable[[int], list[str]]


def watched(config: RegistryConfig, now: datetime) -> tuple[Alert, ...]:
    settings: Any = SimpleNamespace(registry=config)
    return changed_outside(champions_seen(settings), now)


@pytest.fixture
def champion(
    registry: Registry, versions: Versions, verdict: Callable[..., Verdict], now: datetime
) -> str:
    """`digits` has three versions, and the first is champion."""
    version, *_ = versions(3)
    registry.promote(verdict(version, 0), actor="test", now=now)
    return version


def outsider(registry: Registry, version: str | None) -> None:
    client = registry.tracking._seam.client
    if version is None:
        client.delete_registered_model_alias("digits", "champion")
    else:
        client.set_registered_model_alias("digits", "champion", version)


def test_nothing_is_told_where_nothing_was_promoted(config: RegistryConfig, now: datetime) -> None:
    assert watched(config, now) == ()
    assert not Path(config.ledger_url.removeprefix("sqlite:///")).exists()


def test_nothing_is_told_of_a_champion_that_is_the_ledgers(
    config: RegistryConfig, champion: str, now: datetime
) -> None:
    assert watched(config, now) == ()


def test_an_alias_that_was_moved_is_told_with_what_to_do(
    config: RegistryConfig, registry: Registry, champion: str, now: datetime
) -> None:
    outsider(registry, "3")
    (alert,) = watched(config, now)
    assert (alert.kind, alert.subject) == (AlertKind.CHAMPION_CHANGED, "digits")
    assert "names version 3, but the ledger says version 1 (epoch 1)" in alert.reason
    assert alert.next == "ratchet champion digits --adopt, or --restore to undo it"
    assert watched(config, now) == (alert,)  # under the same key


def test_an_alias_that_was_removed_is_told(
    config: RegistryConfig, registry: Registry, champion: str, now: datetime
) -> None:
    outsider(registry, None)
    (alert,) = watched(config, now)
    assert "alias of digits was removed" in alert.reason


def test_a_champion_that_was_deleted_is_told_with_what_leads_out(
    config: RegistryConfig, registry: Registry, champion: str, now: datetime
) -> None:
    registry.tracking._seam.client.delete_model_version("digits", champion)
    (alert,) = watched(config, now)
    assert "version 1 (epoch 1) was deleted in MLflow" in alert.reason
    assert "ratchet rollback digits" in alert.next


def test_what_was_adopted_is_told_no_more(
    config: RegistryConfig, registry: Registry, champion: str, now: datetime
) -> None:
    outsider(registry, "3")
    registry.adopt("digits", actor="test", reason="it is fine", now=now)
    assert watched(config, now) == ()
    outsider(registry, "2")
    (alert,) = watched(config, now)
    assert "epoch 2" in alert.reason


def test_an_mlflow_that_is_gone_is_said_in_one_sentence(
    config: RegistryConfig, champion: str, now: datetime, tmp_path: Path
) -> None:
    gone = replace(config, tracking_uri=f"sqlite:///{tmp_path}/gone.db")
    with pytest.raises(RegistryUnreachable, match="cannot be read: there is no file"):
        watched(gone, now)
    with pytest.raises(RegistryUnreachable, match=r"http://127.0.0.1:9 cannot be read"):
        watched(replace(config, tracking_uri="http://me:secret@127.0.0.1:9"), now)


def test_a_watch_tells_of_a_change_once_and_waits_for_a_registry_that_is_away(
    config: RegistryConfig,
    registry: Registry,
    champion: str,
    now: datetime,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    outsider(registry, "3")
    store, stop = Store.open(f"sqlite:///{tmp_path}/ratchet.db"), threading.Event()
    settings: Any = SimpleNamespace(registry=config)
    away: Any = SimpleNamespace(registry=replace(config, tracking_uri="sqlite:////nowhere/m.db"))

    class Clock(ManualClock):
        """Ends the watch after three looks."""

        def wait(self, event: threading.Event, seconds: float | None) -> bool:
            if self.now() >= now + timedelta(minutes=2):
                event.set()
            return super().wait(event, seconds)

    ChampionWatch(settings, store, clock=Clock(now)).serve(stop)
    (record,) = store.outbox.list()
    assert record.alert.kind is AlertKind.CHAMPION_CHANGED
    ChampionWatch(away, store, clock=Clock(now)).serve(threading.Event())
    assert len(caplog.records) == 1
    assert "champions cannot be watched: MLflow at sqlite:" in caplog.text
    store.close()


def test_looking_does_not_import_mlflow(
    config: RegistryConfig, champion: str, now: datetime
) -> None:
    code = f"""
import sys
from flows.adapters.champions import champions_seen, changed_outside
from registry import RegistryConfig
from types import SimpleNamespace
config = RegistryConfig(tracking_uri={config.tracking_uri!r}, ledger_url={config.ledger_url!r})
assert changed_outside(champions_seen(SimpleNamespace(registry=config)), None) == ()
sys.exit("mlflow" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
