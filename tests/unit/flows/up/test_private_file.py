"""Tokens are private, records are whole, and one home has one `ratchet up`."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from flows.core.errors import ConfigError, Refused
from flows.up.ports import free_port, listening
from flows.up.private_file import HomeLock, read_json, token, write_json


def test_a_token_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "up" / "token"
    made = token(path)
    assert len(made) == 64
    assert token(path) == made
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    assert token(path) == made
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_token_lets_nobody_in(tmp_path: Path, text: str) -> None:
    path = tmp_path / "token"
    path.write_text(text)
    with pytest.raises(Refused, match="holds no token"):
        token(path)


def test_a_record_that_is_missing_or_broken_is_none(tmp_path: Path) -> None:
    path = tmp_path / "up" / "ray.json"
    assert read_json(path) is None
    write_json(path, {"pid": 7})
    assert read_json(path) == {"pid": 7}
    for broken in ("", "[1]", '{"pid": '):
        path.write_text(broken)
        assert read_json(path) is None


def test_the_second_ratchet_up_of_a_home_is_refused_and_told_of_the_first(tmp_path: Path) -> None:
    first, second = HomeLock(tmp_path), HomeLock(tmp_path)
    first.take("process 7")
    with pytest.raises(Refused, match="runs on this home already: process 7") as info:
        second.take("process 8")
    assert "ratchet worker" in (info.value.hint or "")
    second.release()
    first.release()
    second.take("process 8")
    second.release()


def test_a_port_that_is_taken_is_passed_over() -> None:
    with listening(41_000) as taken:
        port = int(taken.getsockname()[1])
        with listening(port) as other:
            assert int(other.getsockname()[1]) > port
        assert free_port(port) > port
        assert free_port(port, frozenset(range(port, port + 3))) >= port + 3


def test_nobody_outside_of_this_machine_reaches_the_api() -> None:
    with listening(41_100) as server:
        assert server.getsockname()[0] == "127.0.0.1"


def test_no_free_port_is_one_line() -> None:
    with socket.create_server(("", 65535)), pytest.raises(ConfigError, match="no port from 65535"):
        free_port(65535)
