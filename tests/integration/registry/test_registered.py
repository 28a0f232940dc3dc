"""What MLflow's database and server say of a model is what MLflow's own client says of it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import pytest

from registry import RegistryConfig, RegistryUnreachable
from registry.mlflow_seam import MlflowSeam
from registry.registered import Look, Registered, direct_look

NAMES = ("digits", 'it\'s "quoted" & 100 %', "Größe", "digits; DROP TABLE registered_models")


@contextmanager
def mlflow_server(uri: str) -> Iterator[str]:
    """MLflow's own server over a database."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    environment = {
        **os.environ,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_BACKEND_STORE_URI": uri,
    }
    process = subprocess.Popen([*command, "--workers", "1"], env=environment)
    try:
        for _ in range(600):
            try:
                with urlopen(f"http://127.0.0.1:{port}/health"):
                    break
            except URLError:
                assert process.poll() is None
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(params=["sqlite", "postgresql", "server"])
def uri(request: pytest.FixtureRequest, config: RegistryConfig) -> Iterator[str]:
    """An MLflow with its tables, of each kind."""
    if request.param == "sqlite":
        yield config.tracking_uri
    elif request.param == "postgresql":
        yield request.getfixturevalue("new_postgres")()
    else:
        with mlflow_server(config.tracking_uri) as address:
            yield address


def test_a_look_past_mlflows_client_sees_what_the_client_sees(uri: str) -> None:
    seam = MlflowSeam(RegistryConfig(tracking_uri=uri, ledger_url="sqlite://"))
    client, look = seam.client, direct_look(uri)
    assert look is not None

    def both(name: str) -> Registered | None:
        assert look(name) == seam.registered(name)
        return look(name)

    for name in NAMES:
        assert both(name) is None
        client.create_registered_model(name)
        assert both(name) == Registered(aliases={}, tags={})
        for _ in range(2):
            client.create_model_version(name, "s3://nowhere/model")
        client.set_registered_model_alias(name, "champion", "1")
        client.set_registered_model_alias(name, "Old", "1")
        client.set_registered_model_tag(name, "ratchet.ledger", "1:abc")
        client.set_registered_model_tag(name, "empty", "")
        seen = both(name)
        assert seen is not None
        assert (seen.aliases["champion"], seen.tags["ratchet.ledger"]) == ("1", "1:abc")
        client.set_registered_model_alias(name, "champion", "2")
        assert both(name) != seen
        client.delete_registered_model_alias(name, "champion")
        client.delete_registered_model_tag(name, "ratchet.ledger")
        client.delete_model_version(name, "1")
        both(name)
    client.delete_registered_model("digits")
    assert both("digits") is None
    assert both("Digits") is None


@pytest.mark.parametrize("uri_of_another", ["databricks", "file:///tmp/mlruns", "mysql://h/db"])
def test_where_only_mlflows_client_knows_the_way_there_is_no_other(uri_of_another: str) -> None:
    assert direct_look(uri_of_another) is None


@pytest.mark.parametrize("name", ["MLFLOW_TRACKING_INSECURE_TLS", "MLFLOW_WORKSPACE"])
def test_a_server_that_is_asked_in_a_special_way_is_asked_by_mlflows_client(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert direct_look("https://mlflow.example") is not None
    monkeypatch.setenv(name, "true")
    assert direct_look("https://mlflow.example") is None


def test_credentials_in_a_file_are_read_by_mlflows_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".mlflow").mkdir()
    (tmp_path / ".mlflow/credentials").write_text("[mlflow]\nmlflow_tracking_username = me\n")
    assert direct_look("https://mlflow.example") is None


class Server:
    """MLflow's answer to `registered-models/get`, and who asked."""

    def __init__(self) -> None:
        self.aliases: Any = []
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


@pytest.fixture
def look(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Look:
    """Asks the server, for somebody without credentials of their own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    direct = direct_look(server.url)
    assert direct is not None
    return direct


def test_a_server_is_told_who_asks(server: Server, look: Look) -> None:
    server.aliases = [{"alias": "champion", "version": "1"}, {"alias": "old", "version": "3"}]
    assert look("digits") == Registered(aliases={"champion": "1", "old": "3"}, tags={})
    assert server.asked == ["Basic bWU6cGFzcyB3b3Jk"]


def test_a_model_that_a_server_does_not_know_is_not_registered(server: Server, look: Look) -> None:
    server.status, server.error = 404, "RESOURCE_DOES_NOT_EXIST"
    assert look("digits") is None


@pytest.mark.parametrize("aliases", [None, 7, [7], [{"version": "1"}]])
def test_a_server_in_trouble_says_nothing_of_the_model(
    server: Server, look: Look, aliases: Any
) -> None:
    server.aliases = aliases
    with pytest.raises(RegistryUnreachable, match="cannot be read"):
        look("digits")
    server.status = 404  # somebody else's page
    with pytest.raises(RegistryUnreachable, match="it answers 404"):
        look("digits")
