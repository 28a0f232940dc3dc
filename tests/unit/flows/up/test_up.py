"""What `ratchet up` says of itself."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.up.up import home_state


@pytest.fixture
def full() -> Iterator[None]:
    """No file may grow, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_home_that_can_be_written_is_up(tmp_path: Path) -> None:
    assert home_state(tmp_path) == "up"
    assert list(tmp_path.iterdir()) == []


def test_a_home_that_takes_nothing_more_is_not_up(tmp_path: Path, full: None) -> None:
    assert home_state(tmp_path).startswith(f"{tmp_path} cannot be written: ")


def test_a_home_that_is_gone_is_not_up(tmp_path: Path) -> None:
    assert "No such file" in home_state(tmp_path / "gone")
