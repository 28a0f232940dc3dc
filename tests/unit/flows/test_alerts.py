"""Who is told, what is said, and that no secret is in it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from flows.adapters.alerts import Alerts, undelivered
from flows.core.records import Run, RunStatus
from flows.settings import AlertRoute, AlertsConfig

# Apprise imports the standard library's imghdr on the Pythons that still have it.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

AT = datetime(2026, 7, 4, 3, tzinfo=UTC)


def run_that(status: RunStatus, *, flow: str = "retrain", reason: str = "the data is bad") -> Run:
    return Run(
        id="260704-0300-7f3a",
        flow=flow,
        key="night",
        status=status,
        reason=reason,
        source="flows.retrain:retrain",
        config_digest="",
        trigger={},
        created_at=AT,
        started_at=AT,
        ended_at=AT.replace(minute=4),
        seq=1,
    )


class Hook:
    """A web hook that keeps what it gets."""

    def __init__(self, status: int) -> None:
        self.got: list[dict[str, Any]] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.got.append(json.loads(body))
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Keep the tests' output clean."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"json://127.0.0.1:{self.server.server_port}/hooks/T0PS3CRET"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook(200)
    yield made
    made.close()


@pytest.fixture
def refusing_hook() -> Iterator[Hook]:
    made = Hook(403)
    yield made
    made.close()


def lines(home: Path) -> list[dict[str, Any]]:
    path = home / "alerts.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize("status", [s for s in RunStatus if s.ended])
def test_only_the_configured_endings_alert(tmp_path: Path, status: RunStatus) -> None:
    sent = Alerts(AlertsConfig(), tmp_path).notify(run_that(status))
    alerting = status in (RunStatus.HALTED, RunStatus.FAILED)
    assert bool(sent) is alerting
    assert len(lines(tmp_path)) == alerting


def test_without_a_url_the_file_is_the_channel(tmp_path: Path) -> None:
    (delivery,) = Alerts(AlertsConfig(), tmp_path).notify(run_that(RunStatus.HALTED))
    assert (delivery.channel, delivery.delivered) == ("alerts.jsonl", True)
    assert lines(tmp_path) == [
        {
            "at": "2026-07-04T03:04:00+00:00",
            "run": "260704-0300-7f3a",
            "flow": "retrain",
            "status": "halted",
            "reason": "the data is bad",
            "since": "2026-07-04T03:00:00+00:00",
            "next": "ratchet show 260704-0300-7f3a",
            "deliveries": [],
        }
    ]


def test_a_message_says_what_why_since_when_and_the_next_command(
    tmp_path: Path, hook: Hook
) -> None:
    sent = Alerts(AlertsConfig(urls=(hook.url,)), tmp_path).notify(run_that(RunStatus.FAILED))
    assert [d.delivered for d in sent] == [True, True]
    assert undelivered(sent) is None
    (message,) = hook.got
    assert message["title"] == "Ratchet: retrain failed"
    assert message["type"] == "failure"
    for piece in ("the data is bad", "2026-07-04T03:00:00", "ratchet retry 260704-0300-7f3a"):
        assert piece in message["message"]


def test_a_service_that_refuses_is_one_line_without_the_secret(
    tmp_path: Path, refusing_hook: Hook
) -> None:
    sent = Alerts(AlertsConfig(urls=(refusing_hook.url,)), tmp_path).notify(
        run_that(RunStatus.FAILED)
    )
    warning = undelivered(sent) or ""
    assert warning.startswith("the alert did not reach json://127.0.0.1: ")
    assert "\n" not in warning
    kept = (tmp_path / "alerts.jsonl").read_text()
    assert "T0PS3CRET" not in warning + kept
    assert lines(tmp_path)[0]["deliveries"][0]["delivered"] is False


def test_a_secret_is_revealed_only_to_the_service(
    tmp_path: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK", hook.url)
    sent = Alerts(AlertsConfig(urls=("secret:HOOK",)), tmp_path).notify(run_that(RunStatus.HALTED))
    assert [(d.channel, d.delivered) for d in sent] == [
        ("alerts.jsonl", True),
        ("secret:HOOK", True),
    ]
    assert len(hook.got) == 1
    assert "T0PS3CRET" not in (tmp_path / "alerts.jsonl").read_text()


def test_a_secret_that_is_not_set_is_a_failed_delivery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOOK", raising=False)
    sent = Alerts(AlertsConfig(urls=("secret:HOOK",)), tmp_path).notify(run_that(RunStatus.HALTED))
    assert sent[1].problem == "The secret HOOK is not set"
    assert lines(tmp_path)[0]["run"] == "260704-0300-7f3a"


@pytest.mark.parametrize("url", ["nope://somewhere", "no url", ""])
def test_what_is_no_url_of_a_service_is_a_failed_delivery(tmp_path: Path, url: str) -> None:
    sent = Alerts(AlertsConfig(urls=(url,)), tmp_path).notify(run_that(RunStatus.HALTED))
    assert [d.delivered for d in sent] == [True, False]


def test_a_matching_route_takes_the_place_of_the_urls(tmp_path: Path, hook: Hook) -> None:
    config = AlertsConfig(
        urls=("nope://nobody",),
        routes=(AlertRoute(urls=(hook.url,), flows=("re*",), on=("succeeded",)),),
    )
    alerts = Alerts(config, tmp_path)
    assert all(d.delivered for d in alerts.notify(run_that(RunStatus.SUCCEEDED)))
    assert len(hook.got) == 1
    assert alerts.notify(run_that(RunStatus.SUCCEEDED, flow="other")) == ()
    assert [d.delivered for d in alerts.notify(run_that(RunStatus.FAILED))] == [True, False]


def test_a_home_that_cannot_be_written_is_a_failed_delivery(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    (delivery,) = Alerts(AlertsConfig(), tmp_path / "home").notify(run_that(RunStatus.FAILED))
    assert not delivery.delivered
    assert undelivered((delivery,)) == "the alert did not reach alerts.jsonl: File exists"


def test_a_test_reaches_every_url_once(tmp_path: Path, hook: Hook) -> None:
    config = AlertsConfig(urls=(hook.url,), routes=(AlertRoute(urls=(hook.url,)),))
    sent = Alerts(config, tmp_path).test(AT)
    assert [d.delivered for d in sent] == [True, True]
    assert len(hook.got) == 1
