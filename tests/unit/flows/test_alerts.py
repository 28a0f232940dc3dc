"""Who is told, what is said, and that no secret is in it: against real web hooks."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from flows.adapters.alerts import FILE, Alerts, tell, undelivered
from flows.config import compose
from flows.core.alert import Alert, AlertKind, AlertStatus, DeliveryState, Severity, Throttle
from flows.core.courier import Courier
from flows.core.errors import ConfigError, StoreError
from flows.core.store import Store
from flows.settings import AlertRoute, AlertsConfig
from tests.manual_clock import ManualClock

# Apprise imports the standard library's imghdr on the Pythons that still have it.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

AT = datetime(2026, 7, 4, 3, tzinfo=UTC)
ALERT = Alert(
    key="failed:260704-0300-7f3a:9",
    kind=AlertKind.FAILED,
    severity=Severity.CRITICAL,
    flow="retrain",
    subject="260704-0300-7f3a",
    title="retrain failed",
    reason="train: ValueError: no luck",
    since=AT,
    at=AT + timedelta(minutes=4),
    next="ratchet retry 260704-0300-7f3a",
)
HALT = replace(
    ALERT, key="halted:x:9", kind=AlertKind.HALTED, severity=Severity.WARNING, title="x halted"
)
DELIVERED, FAILED = DeliveryState.DELIVERED, DeliveryState.FAILED


class Hook:
    """A web hook that keeps what it gets, and answers with one status after the other."""

    def __init__(self, *statuses: int, silent: bool = False) -> None:
        self.got: list[dict[str, Any]] = []
        self.released = threading.Event()
        left = list(statuses)
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if silent:
                    hook.released.wait()
                    return
                status = left.pop(0) if len(left) > 1 else left[0]
                if status == 200:
                    hook.got.append(json.loads(body))
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Keep the tests' output clean."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"json://127.0.0.1:{self.server.server_port}/hooks/T0PS3CRET?cto=0.3&rto=0.3"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def hooks() -> Iterator[Callable[..., Hook]]:
    """Makes a web hook; all are closed at the end."""
    made: list[Hook] = []

    def make(*statuses: int, silent: bool = False) -> Hook:
        made.append(Hook(*(statuses or (200,)), silent=silent))
        return made[-1]

    yield make
    for hook in made:
        hook.close()


@pytest.fixture
def hook(hooks: Callable[..., Hook]) -> Hook:
    return hooks(200)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(f"sqlite:///{tmp_path}/ratchet.db")
    yield opened
    opened.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(ALERT.at)


def lines(home: Path) -> list[dict[str, Any]]:
    path = home / FILE
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_without_a_url_the_file_is_the_channel(tmp_path: Path) -> None:
    post = Alerts(AlertsConfig(), tmp_path)
    assert post.channels(ALERT) == (FILE,)
    assert post.send(ALERT, FILE) == (DELIVERED, None)
    assert lines(tmp_path) == [
        {
            "key": "failed:260704-0300-7f3a:9",
            "kind": "failed",
            "severity": "critical",
            "flow": "retrain",
            "subject": "260704-0300-7f3a",
            "title": "retrain failed",
            "reason": "train: ValueError: no luck",
            "since": "2026-07-04T03:00:00+00:00",
            "at": "2026-07-04T03:04:00+00:00",
            "next": "ratchet retry 260704-0300-7f3a",
        }
    ]


def test_with_a_url_the_file_keeps_what_the_url_is_told(tmp_path: Path, hook: Hook) -> None:
    post = Alerts(AlertsConfig(urls=(hook.url,)), tmp_path)
    assert post.channels(ALERT) == (FILE, "json://127.0.0.1")
    assert post.send(ALERT, FILE) == (DeliveryState.KEPT, None)
    assert len(lines(tmp_path)) == 1


def test_a_message_says_what_why_since_when_and_the_next_command(
    tmp_path: Path, hook: Hook
) -> None:
    post = Alerts(AlertsConfig(urls=(hook.url,)), tmp_path)
    assert post.send(ALERT, "json://127.0.0.1") == (DELIVERED, None)
    (message,) = hook.got
    assert message["title"] == "Ratchet: retrain failed"
    assert message["type"] == "failure"
    assert message["message"].splitlines() == [
        "retrain failed: train: ValueError: no luck",
        "Since 2026-07-04T03:00:00+00:00, noticed 2026-07-04T03:04:00+00:00: 260704-0300-7f3a.",
        "Next: ratchet retry 260704-0300-7f3a",
    ]


def test_a_service_that_refuses_is_one_line_without_the_secret(
    tmp_path: Path, hooks: Callable[..., Hook]
) -> None:
    post = Alerts(AlertsConfig(urls=(hooks(403).url,)), tmp_path)
    state, problem = post.send(ALERT, "json://127.0.0.1")
    assert state is FAILED
    assert problem
    assert "\n" not in problem
    assert "T0PS3CRET" not in problem


@pytest.mark.parametrize("field", ["key", "flow", "subject", "title", "reason", "next"])
def test_a_secret_in_what_went_wrong_is_told_to_nobody(
    tmp_path: Path, hook: Hook, field: str
) -> None:
    url = "postgresql://me:T0PS3CRET@db/x?token=T0PS3CRET"
    leaky = replace(ALERT, **{field: f"OperationalError: {url} is down"})
    post = Alerts(AlertsConfig(urls=(hook.url,)), tmp_path)
    for channel in post.channels(leaky):
        assert post.send(leaky, channel)[1] is None
    assert "T0PS3CRET" not in json.dumps([hook.got, lines(tmp_path)])
    assert "postgresql://me:***@db/x" in json.dumps(lines(tmp_path))


def test_whatever_a_run_says_can_be_sent(tmp_path: Path, hook: Hook) -> None:
    odd = replace(ALERT, title="caf\udce9\x00", reason="x" * 10**6, next="\ud800")
    post = Alerts(AlertsConfig(urls=(hook.url,)), tmp_path)
    assert [post.send(odd, channel) for channel in post.channels(odd)] == [
        (DeliveryState.KEPT, None),
        (DELIVERED, None),
    ]


def test_a_secret_is_revealed_only_to_the_service(
    tmp_path: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK", hook.url)
    post = Alerts(AlertsConfig(urls=("secret:HOOK",)), tmp_path)
    assert post.channels(ALERT) == (FILE, "secret:HOOK")
    assert post.send(ALERT, "secret:HOOK") == (DELIVERED, None)
    assert len(hook.got) == 1


def test_a_secret_that_is_not_set_is_a_failed_delivery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOOK", raising=False)
    post = Alerts(AlertsConfig(urls=("secret:HOOK",)), tmp_path)
    assert post.send(ALERT, "secret:HOOK") == (FAILED, "The secret HOOK is not set")


@pytest.mark.parametrize("url", ["nope://somewhere", "no url", "", "json://[half"])
def test_what_is_no_url_of_a_service_is_a_failed_delivery(tmp_path: Path, url: str) -> None:
    post = Alerts(AlertsConfig(urls=(url,)), tmp_path)
    _, channel = post.channels(ALERT)
    assert post.send(ALERT, channel) == (FAILED, "this is no URL of a service that Apprise knows")


def test_a_home_that_cannot_be_written_is_a_failed_delivery(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    post = Alerts(AlertsConfig(), tmp_path / "home")
    assert post.send(ALERT, FILE) == (FAILED, "File exists")


def test_channels_of_one_service_have_names_of_their_own(tmp_path: Path) -> None:
    urls = ("slack://A/B/C", "slack://A/B/D", "mailto://x", "slack://A/B/C")
    post = Alerts(AlertsConfig(urls=urls), tmp_path)
    _, *names = post.channels(ALERT)
    assert len(set(names)) == 3
    assert [name.partition("#")[0] for name in names] == ["slack://", "slack://", "mailto://"]
    one_of_them = Alerts(
        AlertsConfig(urls=urls[:1], routes=(AlertRoute(urls=urls[1:], kinds=(AlertKind.TEST,)),)),
        tmp_path,
    )
    assert one_of_them.channels(ALERT)[1] == names[0]  # whoever else the alert is not for


def test_every_route_that_matches_takes_the_place_of_the_urls(tmp_path: Path) -> None:
    config = AlertsConfig(
        urls=("json://default",),
        routes=(
            AlertRoute(urls=("json://team",), flows=("re*",)),
            AlertRoute(urls=("json://pager",), severities=(Severity.CRITICAL,)),
            AlertRoute(urls=("json://champions",), kinds=(AlertKind.CHAMPION_CHANGED,)),
        ),
    )
    channels = Alerts(config, tmp_path).channels
    other = replace(ALERT, flow="other")
    champion = replace(ALERT, flow=None, kind=AlertKind.CHAMPION_CHANGED)
    assert channels(ALERT)[1:] == ("json://team", "json://pager")
    assert channels(HALT)[1:] == ("json://team",)
    assert channels(other)[1:] == ("json://pager",)
    assert channels(replace(HALT, flow="other"))[1:] == ("json://default",)
    assert channels(champion)[1:] == ("json://pager", "json://champions")


def test_kinds_that_the_urls_are_not_told_of_go_to_the_file(tmp_path: Path) -> None:
    config = AlertsConfig(urls=("json://x",), kinds=(AlertKind.FAILED,))
    assert Alerts(config, tmp_path).channels(HALT) == (FILE,)
    assert Alerts(config, tmp_path).channels(ALERT) == (FILE, "json://x")


def test_a_test_reaches_every_url_once(tmp_path: Path, hook: Hook) -> None:
    config = AlertsConfig(
        urls=(hook.url,), routes=(AlertRoute(urls=(hook.url,)), AlertRoute(urls=("nope://x",)))
    )
    sent = Alerts(config, tmp_path).test(AT)
    assert [(d.channel, d.state.done) for d in sent] == [
        (FILE, True),
        ("json://127.0.0.1", True),
        ("nope://", False),
    ]
    assert [message["type"] for message in hook.got] == ["info"]


def test_routes_and_throttle_are_read_from_a_config(tmp_path: Path) -> None:
    overrides = [
        "alerts.routes=[{urls:[json://x],flows:['re*'],severities:[critical],kinds:[failed]}]",
        "alerts.throttle.window=30m",
    ]
    config = compose(None, None, overrides, tmp_path).settings.alerts
    assert config.routes == (
        AlertRoute(
            urls=("json://x",),
            flows=("re*",),
            severities=(Severity.CRITICAL,),
            kinds=(AlertKind.FAILED,),
        ),
    )
    assert config.throttle == Throttle(alerts=20, window=timedelta(minutes=30))
    unbounded = compose(None, None, ["alerts.throttle=null"], tmp_path).settings.alerts
    assert unbounded.throttle is None


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("alerts.kinds=[nope]", "must be one of failed, halted"),
        ("alerts.throttle.alerts=0", "tells nobody anything"),
        ("alerts.throttle=20/1h", "must be a group of keys"),
    ],
)
def test_alerts_that_cannot_be_meant_are_refused(tmp_path: Path, override: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        compose(None, None, [override], tmp_path)


# ---------------------------------------------------------------- through the courier


def test_a_hook_that_fails_twice_gets_the_alert_once_with_the_third_try(
    tmp_path: Path, store: Store, clock: ManualClock, hooks: Callable[..., Hook]
) -> None:
    fine, shaky = hooks(200), hooks(500, 500, 200)
    post = Alerts(AlertsConfig(urls=(fine.url, shaky.url)), tmp_path)
    courier = Courier(store, post, clock=clock)
    store.outbox.post([ALERT], clock.now())
    tries = 0
    while courier.tick(clock.now())[0].status is AlertStatus.PENDING:
        tries += 1
        clock.advance(20)
    assert tries == 2
    assert (len(fine.got), len(shaky.got), len(lines(tmp_path))) == (1, 1, 1)
    kinds = [event.kind for event in store.reads.events()]
    assert sorted(kinds) == [
        "alert.completed", "alert.delivered", "alert.raised", "alert.retry", "alert.retry",
    ]  # fmt: skip


def test_a_hook_that_never_answers_holds_up_nobody(
    tmp_path: Path, store: Store, clock: ManualClock, hooks: Callable[..., Hook]
) -> None:
    fine, hung = hooks(200), hooks(silent=True)
    post = Alerts(AlertsConfig(urls=(fine.url, hung.url)), tmp_path)
    store.outbox.post([ALERT, replace(ALERT, key="another")], clock.now())
    records = Courier(store, post, clock=clock).tick(clock.now())
    assert len(fine.got) == 2
    assert [record.status for record in records] == [AlertStatus.PENDING] * 2
    warning = undelivered(records) or ""
    assert warning.startswith("the alert did not reach json://127.0.0.1#")
    assert "T0PS3CRET" not in warning


def test_two_who_tell_of_one_run_tell_each_channel_once(
    tmp_path: Path, store: Store, clock: ManualClock, hook: Hook
) -> None:
    post = Alerts(AlertsConfig(urls=(hook.url,)), tmp_path)
    couriers = [Courier(store, post, clock=clock) for _ in range(4)]
    store.outbox.post([ALERT], clock.now())
    said: list[str | None] = []

    def run(courier: Courier) -> None:
        said.append(tell(courier, ALERT.subject, clock.now()))

    threads = [threading.Thread(target=run, args=(courier,)) for courier in couriers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == [None] * 4
    assert len(hook.got) == 1


def test_a_storm_is_a_few_alerts_and_a_digest(
    tmp_path: Path, store: Store, clock: ManualClock, hook: Hook
) -> None:
    throttle = Throttle(alerts=2, window=timedelta(hours=1))
    post = Alerts(AlertsConfig(urls=(hook.url,), throttle=throttle), tmp_path)
    courier = Courier(store, post, clock=clock)
    storm = [replace(ALERT, key=f"failed:{n}:1", subject=f"run-{n}") for n in range(50)]
    store.outbox.post(storm, clock.now())
    courier.tick(clock.now())
    assert [message["title"] for message in hook.got] == ["Ratchet: retrain failed"] * 2
    assert len(lines(tmp_path)) == 50
    clock.advance(timedelta(hours=1))
    courier.tick(clock.now())
    assert hook.got[-1]["title"] == "Ratchet: 48 more alerts: 48 failed"
    assert len(hook.got) == 3


def test_a_store_that_is_away_is_one_line(
    tmp_path: Path, store: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(store.outbox, "take", away)
    store.outbox.post([ALERT], AT)
    courier = Courier(store, Alerts(AlertsConfig(), tmp_path), clock=clock)
    assert (
        tell(courier, ALERT.subject, ALERT.at) == "the alert waits in the outbox: the disk is full"
    )
