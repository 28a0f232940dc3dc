"""An outsider's change of a champion is noticed without MLflow's client, and told once."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from flows.adapters.champions import ChampionWatch, changed_outside
from flows.core.alert import Alert, AlertKind
from flows.core.clock import ManualClock
from flows.core.store import Store
from registry import Registry, RegistryConfig, RegistryUnreachable, Verdict

Versions = Callable[[int], list[str]]


def watched(config: RegistryConfig, now: datetime) -> tuple[Alert, ...]:
    settings: Any = SimpleNamespace(registry=config)
    return changed_outside(settings, now)


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
    assert alert.reason == "its alias names version 3, and the ledger says version 1 (epoch 1)"
    assert alert.next == "ratchet champion digits --adopt, or --restore to undo it"
    assert watched(config, now) == (alert,)  # under the same key


def test_an_alias_that_was_removed_is_told(
    config: RegistryConfig, registry: Registry, champion: str, now: datetime
) -> None:
    outsider(registry, None)
    (alert,) = watched(config, now)
    assert "its alias was removed" in alert.reason


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
    with pytest.raises(RegistryUnreachable, match=r"http://me:\*\*\*@127.0.0.1:9 cannot be read"):
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


class Server:
    """MLflow's answer to `registered-models/get`, and who asked."""

    def __init__(self) -> None:
        self.aliases: list[dict[str, str]] = []
        self.status, self.error = 200, ""
        self.asked: list[str | None] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = urlsplit(self.path)
                assert url.path == "/api/2.0/mlflow/registered-models/get"
                name = parse_qs(url.query)["name"][0]
                server.asked.append(self.headers.get("Authorization"))
                model = {"name": name, "aliases": server.aliases}
                body = {"registered_model": model} if server.status == 200 else {}
                self.send_response(server.status)
                self.end_headers()
                self.wfile.write(json.dumps(body | {"error_code": server.error}).encode())

            def log_message(self, *_: object) -> None:
                """Keep the tests' output clean."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://me:pass%20word@127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def test_a_server_is_asked_by_rest(
    config: RegistryConfig, champion: str, now: datetime, server: Server
) -> None:
    remote = replace(config, tracking_uri=server.url)
    server.aliases = [{"alias": "champion", "version": "1"}, {"alias": "old", "version": "3"}]
    assert watched(remote, now) == ()
    server.aliases = [{"alias": "champion", "version": "3"}]
    (alert,) = watched(remote, now)
    assert "names version 3" in alert.reason
    assert set(server.asked) == {"Basic bWU6cGFzcyB3b3Jk"}


def test_a_model_that_was_deleted_has_no_alias_and_a_server_in_trouble_says_nothing(
    config: RegistryConfig, champion: str, now: datetime, server: Server
) -> None:
    remote = replace(config, tracking_uri=server.url)
    server.status, server.error = 404, "RESOURCE_DOES_NOT_EXIST"
    (alert,) = watched(remote, now)
    assert "was removed" in alert.reason
    server.status, server.error = 404, ""  # somebody else's page
    with pytest.raises(RegistryUnreachable, match="it answers 404"):
        watched(remote, now)


def test_looking_does_not_import_mlflow() -> None:
    code = "import flows.adapters.champions, sys; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
