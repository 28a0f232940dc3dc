"""Servers of this machine are asked directly, and a URI may hold who is asking."""

import threading
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import proxy_bypass

import pytest
from requests.utils import should_bypass_proxies

from flows.up.mlflow_server import MlflowServer
from ray_jobs.dashboard import Dashboard
from registry import RegistryConfig
from registry.http import opened, request_to, spare_loopback
from registry.mlflow_seam import _check_server

PROXY = "http://127.0.0.1:9"


class Server(ThreadingHTTPServer):
    """Answers everything, and keeps what it was asked with."""

    def __init__(self) -> None:
        self.seen: list[str | None] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.seen.append(self.headers.get("Authorization"))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def behind_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, PROXY)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_what_runs_on_this_machine_is_not_asked_through_a_proxy(server: Server, host: str) -> None:
    with opened(f"http://{host}:{server.port}/x", timeout=5) as answer:
        assert answer.status == 200
    assert should_bypass_proxies(f"http://{host}:{server.port}", no_proxy=None)


def test_every_server_of_this_machine_is_found_behind_a_proxy(server: Server) -> None:
    address = f"http://127.0.0.1:{server.port}"
    config = RegistryConfig(tracking_uri="sqlite://", ledger_url="sqlite://")
    assert MlflowServer(home=None, config=config).answers(address)  # type: ignore[arg-type]
    _check_server(address)
    Dashboard(address, None).has_nodes()
    assert len(server.seen) == 3


def test_a_uri_with_user_and_password_is_reached_as_that_user(server: Server) -> None:
    _check_server(f"http://bob:p%40w@127.0.0.1:{server.port}/")
    assert server.seen == [f"Basic {b64encode(b'bob:p@w').decode()}"]
    address, _ = request_to(f"http://bob:pw@127.0.0.1:{server.port}/")
    assert address == f"http://127.0.0.1:{server.port}"


def test_other_machines_are_asked_as_the_environment_says() -> None:
    spare_loopback()
    assert not proxy_bypass("mlflow.example.com:5000")
    assert proxy_bypass("localhost:5000")
    assert proxy_bypass("[::1]:5000")


def test_what_was_spared_before_is_kept() -> None:
    variables = {"HTTPS_PROXY": PROXY, "NO_PROXY": ".example.com, 10.0.0.0/8"}
    spare_loopback(variables)
    assert variables["no_proxy"] == variables["NO_PROXY"]
    assert variables["no_proxy"].startswith(".example.com,10.0.0.0/8,localhost,127.0.0.1")
    again = dict(variables)
    spare_loopback(again)
    assert again == variables


def test_without_a_proxy_the_environment_is_left_alone() -> None:
    variables: dict[str, str] = {}
    spare_loopback(variables)
    assert variables == {}
