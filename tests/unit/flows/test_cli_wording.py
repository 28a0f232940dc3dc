"""How the terminal says things."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from flows.cli.wording import cut, mark, marked, table
from flows.wording import ago, duration

NOW = datetime(2026, 7, 4, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, ""),
        (-0.2, "0.0s"),
        (0.04, "0.0s"),
        (9.94, "9.9s"),
        (9.96, "10s"),
        (59.6, "1m 00s"),
        (83, "1m 23s"),
        (3600, "1h 00m"),
        (7500, "2h 05m"),
        (273_600, "3d 04h"),
    ],
)
def test_a_duration_is_said_in_two_units_at_most(seconds: float | None, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("past", "said"),
    [
        (timedelta(seconds=5), "just now"),
        (timedelta(minutes=5), "5m ago"),
        (timedelta(hours=3, minutes=50), "3h ago"),
        (timedelta(days=2), "2d ago"),
        (timedelta(days=30), "2026-06-04"),
    ],
)
def test_a_time_is_said_relative_to_now(past: timedelta, said: str) -> None:
    assert ago(NOW - past, NOW) == said


def test_no_time_is_said_as_nothing() -> None:
    assert ago(None, NOW) == ""


def test_marks_are_ascii_where_the_terminal_knows_no_more() -> None:
    plain = Console(file=io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert mark("succeeded", plain) == "+"
    assert mark("succeeded", Console(file=io.StringIO())) == "✓"


def test_colours_are_for_terminals_only_and_not_where_no_color_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" not in _printed(Console(file=io.StringIO()))
    assert "\x1b[32m" in _printed(Console(file=io.StringIO(), force_terminal=True))
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[32m" not in _printed(Console(file=io.StringIO(), force_terminal=True))


def test_a_table_is_never_wider_than_the_terminal() -> None:
    console = Console(file=io.StringIO(), width=40)
    lines = table("run", "reason", give=("reason",))
    lines.add_row(
        "260704-120000-abcdef", cut("column price has 40 % nulls, at most 5 % are allowed")
    )
    console.print(lines)
    assert isinstance(console.file, io.StringIO)
    _, line = console.file.getvalue().splitlines()
    assert line.startswith("260704-120000-abcdef  column price")
    assert line.endswith("…")
    assert len(line) <= 40


def _printed(console: Console) -> str:
    console.print(marked("succeeded", console))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()
