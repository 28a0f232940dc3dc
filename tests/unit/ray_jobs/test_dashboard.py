"""What a dashboard says is read, and what is no dashboard is one clear line."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ray_jobs import ClusterLoad, Dashboard, RayJobError, RayUnreachable

NODE = {"state": "ALIVE", "resources_total": {"CPU": 4.0, "GPU": 1.0}}
DEAD = {"state": "DEAD", "resources_total": {"CPU": 64.0}}
STATUS = {"time": 12.5, "loadMetricsReport": {"usage": {"CPU": [1.0, 4.0], "GPU": [0.5, 1.0]}}}
Serve = Callable[[dict[str, tuple[int, object]]], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server with these answers by path, and returns its address."""
    servers = []

    def start(answers: dict[str, tuple[int, object]]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                code, data = answers.get(self.path, (404, None))
                if self.headers.get("Authorization") != "Bearer secret":
                    code = 401
                self.send_response(code)
                self.end_headers()
                self.wfile.write(data if isinstance(data, bytes) else json.dumps(data).encode())

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def answers(nodes: object, status: object) -> dict[str, tuple[int, object]]:
    return {
        "/api/v0/nodes": (200, {"data": {"result": {"result": nodes}}}),
        "/api/cluster_status": (200, {"data": {"clusterStatus": status}}),
    }


def test_what_the_living_nodes_have_and_what_is_used(serve: Serve) -> None:
    found = Dashboard(serve(answers([NODE, DEAD], STATUS)), "secret").load()
    assert found == ClusterLoad(cpus=4, gpus=1, used_cpus=1, used_gpus=0.5, counted_at=12.5)


def test_a_head_that_has_counted_nothing_yet_uses_nothing(serve: Serve) -> None:
    address = serve(answers([NODE], {"time": 1.0, "loadMetricsReport": {"usage": {}}}))
    assert Dashboard(address, "secret").load().used_cpus == 0
    assert Dashboard(serve(answers([NODE], None)), "secret").has_nodes()


def test_a_head_without_nodes_takes_no_jobs(serve: Serve) -> None:
    assert not Dashboard(serve(answers([], None)), "secret").has_nodes()


@pytest.mark.parametrize("nonsense", [b"<html>hello</html>", b"[1, 2]", b'{"data": 3}'])
def test_an_address_that_answers_nonsense_is_named(serve: Serve, nonsense: bytes) -> None:
    address = serve({"/api/v0/nodes": (200, nonsense)})
    with pytest.raises(RayUnreachable, match=f"What answers at {address} is no Ray dashboard"):
        Dashboard(address, "secret").load()
    with pytest.raises(RayUnreachable, match="is no Ray dashboard"):
        Dashboard(serve({}), "secret").load()


def test_a_token_that_is_missing_or_wrong_is_said(serve: Serve) -> None:
    address = serve(answers([NODE], STATUS))
    for token in (None, "guessed"):
        with pytest.raises(RayJobError, match="asks for a token") as info:
            Dashboard(address, token).load()
        assert info.value.permanent


def test_nobody_there() -> None:
    dashboard = Dashboard("http://127.0.0.1:9", None)
    assert not dashboard.has_nodes()
    with pytest.raises(RayUnreachable, match="No Ray answers at"):
        dashboard.load()
