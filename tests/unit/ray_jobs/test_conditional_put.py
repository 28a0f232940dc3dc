"""Of several writers of one key exactly one creates it, in an object store as in a folder."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ray_jobs.conditional_put import conditional_store, create


class Bucket(ThreadingHTTPServer):
    """As much of S3 as a conditional put needs."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.who: set[str] = set()
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    server: Bucket

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            self.server.who.add(self.headers["Authorization"].split("Credential=")[1][:3])
            there = self.path in self.server.files
            code = 412 if there and self.headers.get("If-None-Match") == "*" else 200
            if code == 200:
                self.server.files[self.path] = data
        self.send_response(code)
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with Bucket() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{made.server_address[1]}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        yield made
        made.shutdown()
        thread.join()


def test_of_many_creators_in_a_bucket_exactly_one_wins(bucket: Bucket) -> None:
    won, ready = [], threading.Barrier(8)

    def compete(number: int) -> None:
        store = conditional_store("s3://bucket/jobs/j1", "us-east-1")
        ready.wait()
        if create(store, "heartbeat.json", str(number).encode()):
            won.append(number)

    threads = [threading.Thread(target=compete, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert bucket.files == {"/bucket/jobs/j1/heartbeat.json": str(won[0]).encode()}


def test_the_keys_of_a_profile_are_found(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "keys").write_text("[team]\naws_access_key_id = own\naws_secret_access_key = x\n")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_PROFILE", "team")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "keys"))
    assert create(conditional_store("s3://bucket/jobs", "us-east-1"), "a", b"")
    assert bucket.who == {"own"}


def test_a_store_that_knows_no_such_put_is_told_apart() -> None:
    assert conditional_store("hdfs://name/jobs") is None
    assert conditional_store("fsspec+memory://jobs") is None
