"""Servers that die are started again, later each time, and everything is said once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.core.errors import ConfigError
from flows.up.child import ChildState
from flows.up.supervisor import ASK, LONGEST_PAUSE, SILENT, Supervisor

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Server:
    """A child whose state the test decides."""

    def __init__(self) -> None:
        self.name, self.address, self.log = "ray", "http://127.0.0.1:1", Path("ray.log")
        self.now_is = ChildState.UP
        self.started = self.stopped = self.asked = 0
        self.refuses = False

    def start(self) -> None:
        self.started += 1
        if self.refuses:
            raise ConfigError("no port is free")

    def look(self, *, ask: bool) -> ChildState:
        self.asked += ask
        return self.now_is

    def stop(self, grace: float) -> None:
        self.stopped += 1


class Watched:
    """A supervisor on a clock of its own."""

    def __init__(self) -> None:
        self.server, self.said, self.back = Server(), [], []
        self.now = NOW
        self.supervisor = Supervisor([self.server], self.said.append, back=self.back.append)  # type: ignore[list-item]
        self.supervisor.start(self.now)

    def after(self, seconds: float, *, step: float = 0.5) -> None:
        end = self.now + timedelta(seconds=seconds)
        while self.now < end:
            self.now += timedelta(seconds=step)
            self.supervisor.tick(self.now)


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_a_server_that_answers_is_announced_once_and_seldom_asked(watched: Watched) -> None:
    watched.after(1)
    watched.after(3 * ASK.total_seconds())
    assert watched.said == ["ray is up: http://127.0.0.1:1"]
    assert watched.server.asked <= 5
    assert watched.supervisor.states() == {"ray": ChildState.UP}


def test_a_dead_server_is_noticed_within_a_second_or_two_and_started_again(
    watched: Watched,
) -> None:
    watched.after(1)
    watched.server.now_is = ChildState.DEAD
    watched.after(1)
    assert watched.supervisor.states() == {"ray": ChildState.DEAD}
    watched.server.now_is = ChildState.UP
    watched.after(3)
    assert watched.server.started == 2
    assert len(watched.back) == 2
    assert watched.said[1] == "ray died (its log: ray.log); it is started again in 1 s"


def test_one_that_keeps_dying_is_left_alone_longer_each_time(watched: Watched) -> None:
    watched.server.now_is = ChildState.DEAD
    watched.after(600)
    most = 600 / LONGEST_PAUSE.total_seconds() + 8
    assert 8 < watched.server.started < most


def test_one_that_cannot_be_started_is_said_and_tried_again(watched: Watched) -> None:
    watched.server.now_is, watched.server.refuses = ChildState.DEAD, True
    watched.after(10)
    watched.server.now_is, watched.server.refuses = ChildState.UP, False
    watched.after(60)
    assert "ray cannot be started: no port is free; it is started again in 2 s" in watched.said
    assert watched.supervisor.states() == {"ray": ChildState.UP}


def test_one_that_is_silent_for_long_is_ended_and_started_again(watched: Watched) -> None:
    watched.after(1)
    watched.server.now_is = ChildState.SILENT
    watched.after(SILENT.total_seconds() / 2)
    assert watched.server.stopped == 0
    watched.after(SILENT.total_seconds())
    assert watched.server.stopped == 1
    assert watched.server.started == 2
