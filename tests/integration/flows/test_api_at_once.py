"""A thousand requests at once over a real server: each is answered, and the next one works."""

from __future__ import annotations

import http.client
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flows.bootstrap import Ratchet, open_project
from flows.console import limits
from flows.console.app import make_app
from flows.console.server import ApiServer, Health
from flows.up.ports import listening

TOKEN = "a-token"
CONFIG = """
defaults: [ratchet, _self_]
flows: [hooked]
schedules:
  hook: {flow: tiny, on_request: true, overlap: allow}
"""
FLOWS = """
from flows import flow, task
@task
def one() -> int:
    return 1
@flow
def tiny() -> None:
    one()
"""
FIRE = "/api/schedules/hook/fire"


@pytest.fixture(params=["sqlite", "postgres"])
def ratchet(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Ratchet]:
    monkeypatch.delenv("RATCHET_HOME", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "hooked", raising=False)
    store = ""
    if request.param == "postgres":
        store = f"store: {{url: '{request.getfixturevalue('new_postgres')()}'}}\n"
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").write_text(CONFIG + store)
    (tmp_path / "hooked.py").write_text(FLOWS)
    opened = open_project(tmp_path)
    declared = opened.declared()
    opened.schedules.sync(declared.schedules, declared.problems)
    yield opened
    opened.close()
    sys.modules.pop("hooked", None)


@pytest.fixture
def server(ratchet: Ratchet) -> Iterator[ApiServer]:
    served = ApiServer(
        lambda: make_app(
            ratchet, token=TOKEN, health=lambda: Health(ok=True), ordered=lambda: None
        ),
        listening(42_100),
    )
    served.start()
    yield served
    served.stop()


def call(server: ApiServer, method: str = "POST", path: str = FIRE) -> tuple[int, str | None]:
    host = server.address.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=60)
    try:
        connection.request(method, path, None, {"Authorization": f"Bearer {TOKEN}"})
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.getheader("Retry-After")
    finally:
        connection.close()


@pytest.mark.slow
def test_a_thousand_at_once_are_answered_and_the_next_one_works(
    ratchet: Ratchet, server: ApiServer
) -> None:
    assert call(server)[0] == 202
    with ThreadPoolExecutor(300) as callers:
        answers = Counter(callers.map(lambda _: call(server), range(1000)))
    assert set(answers) <= {(202, None), (503, "1")}
    assert answers[202, None] > 0
    assert call(server) == (202, None)
    assert call(server, "GET", "/health") == (200, None)
    started = answers[202, None] + 2
    assert len(ratchet.service.runs(limit=2000)) == started


def test_forty_at_once_are_all_served(ratchet: Ratchet, server: ApiServer) -> None:
    with ThreadPoolExecutor(40) as callers:
        answers = Counter(callers.map(lambda _: call(server), range(40)))
    assert answers == {(202, None): 40}


@pytest.mark.parametrize("sent", [b"", b"POST /api/sch", b"GET /health HTTP/1.1\r\nHost: x\r\n"])
def test_who_never_finishes_a_request_is_hung_up_on(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    assert call(server, "GET", "/health") == (200, None)
    monkeypatch.setattr(limits, "PATIENCE", 0.2)
    host, port = server.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(sent)
        assert connection.recv(1000) == b""
