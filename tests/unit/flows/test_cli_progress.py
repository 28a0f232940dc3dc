"""What the live view draws."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from flows.cli.progress import LiveView, PlainView, rows_of, view_of
from flows.core.engine import Engine
from flows.core.executors.inline import InlineExecutor
from flows.core.flow import Flow, flow, task
from flows.core.records import Run
from flows.core.retry import Retry
from flows.core.service import Service
from flows.core.store import Store
from tests.manual_clock import ManualClock


@task
def numbers() -> list[int]:
    return [1, 2, 3]


@task(retry=Retry(attempts=2))
def half(number: int) -> float:
    if number == 2:
        raise ValueError("two is\nspecial")
    return number / 2


@task
def total(halves: list[float]) -> float:
    return sum(halves)


@flow
def halving() -> None:
    total(half.map(numbers()))


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    store = Store.open(f"sqlite:///{tmp_path / 'ratchet.db'}")
    yield Service(store, ManualClock())
    store.close()


def started(service: Service, made: Flow) -> Run:
    return service.start(
        made, config={}, config_yaml="{}", config_digest="", trigger={"kind": "test"}
    )


def drive(service: Service, run: Run) -> None:
    executors = {"inline": InlineExecutor()}
    with Engine(service.store, executors, clock=service.clock, default_executor="inline") as engine:
        engine.run_until_ended([run.id])


def drawn(service: Service, run: Run, *, height: int = 24) -> str:
    console = Console(file=io.StringIO(), force_terminal=True, width=60, height=height)
    with LiveView(service, service.clock, run, console):
        pass
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_mapped_task_is_one_row_that_counts_its_children(service: Service) -> None:
    run = started(service, halving)
    drive(service, run)
    detail = service.show(run.id)
    rows = {row.key: row for row in rows_of(detail, service.clock.now())}
    assert list(rows) == ["numbers", "half", "total"]
    assert rows["half"].progress == "3 of 3"
    assert rows["half"].remarks == ["3 of 3", "1 of 3 failed; half[1]: ValueError: two is"]


def test_the_live_view_shows_every_task_with_its_mark(service: Service) -> None:
    run = started(service, halving)
    drive(service, run)
    text = drawn(service, run)
    for piece in ("halving", run.id, "failed", "✓", "✗", "numbers", "half", "3 of 3", "total"):
        assert piece in text


def test_more_tasks_than_lines_are_left_out_and_counted(service: Service) -> None:
    @flow
    def long() -> None:
        for _ in range(30):
            numbers()

    run = started(service, long)
    assert "and 16 more" in drawn(service, run, height=23)


def test_the_view_of_a_pipe_is_a_line_for_each_event(service: Service) -> None:
    run = started(service, halving)
    console = Console(file=io.StringIO())
    view = view_of(service, service.clock, run, console)
    assert isinstance(view, PlainView)
    with view:
        drive(service, run)
        view.refresh()
    assert isinstance(console.file, io.StringIO)
    lines = [line.partition(" ")[2] for line in console.file.getvalue().splitlines()]
    assert lines == [
        f"{run.id} of halving",
        "● numbers running",
        "✓ numbers succeeded",
        "↻ half[1] retrying: ValueError: two is",
        "✗ half[1] failed (attempt 2): ValueError: two is",
        "✗ half failed: 1 of 3 failed; half[1]: ValueError: two is",
    ]


def test_a_resumed_run_is_told_from_now_on(service: Service) -> None:
    run = started(service, halving)
    drive(service, run)
    again = service.retry(run.id)
    console = Console(file=io.StringIO())
    with PlainView(service, again, console):
        drive(service, again)
    assert isinstance(console.file, io.StringIO)
    assert "numbers" not in console.file.getvalue()
    assert "half[1] failed" in console.file.getvalue()
