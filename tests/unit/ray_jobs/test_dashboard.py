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
asked: list[str] = []
Serve = Callable[[dict[str, tuple[int, object]]], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server with these answers by path, and returns its address."""
    servers = []

    def start(answers: dict[str, tuple[int, object]]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                code, data = answers.get(self.path.partition("?")[0], (404, None))
                asked.append(self.path)
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


def test_the_second_autoscaler_says_by_node_what_is_in_use(serve: Serve) -> None:
    by_node = {
        "a": "2.5/4.0 CPU\n0.5/1.0 GPU\n0B/12.97GiB memory\n1.0/1.0 GPU_group_0",
        "b": "1.0/8.0 CPU (1.0 used of 2.0 reserved in placement groups)",
    }
    said = answers([NODE], None) | {
        "/nodes": (200, {"data": {"summary": [], "nodeLogicalResources": by_node}})
    }
    found = Dashboard(serve(said), "secret").load()
    assert (found.used_cpus, found.used_gpus) == (3.5, 0.5)
    assert found.counted_at > 0


def test_all_living_nodes_are_asked_for_and_no_dead_one(serve: Serve) -> None:
    asked.clear()
    assert Dashboard(serve(answers([NODE] * 300, STATUS)), "secret").load().cpus == 1200
    assert "limit=10000" in asked[0]
    assert "filter_values=ALIVE" in asked[0]


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
