"""The log of an attempt is read in pieces, and from where its end begins."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from flows.adapters import attempt_log
from flows.adapters.attempt_log import AttemptLog
from flows.core.records import Attempt, AttemptStatus

ATTEMPT = Attempt(
    id="r.train.1", run_id="r", key="train", number=1, status=AttemptStatus.RUNNING,
    executor="threads", worker="w", started_at=datetime(2026, 3, 1, tzinfo=UTC),
)  # fmt: skip
LINES = [f"line {number} é\n" for number in range(50)]


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AttemptLog:
    monkeypatch.setattr(attempt_log, "PIECE", 16)
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "train.1.log").write_text("".join(LINES))
    return AttemptLog(ATTEMPT, tmp_path, "")


def test_a_long_log_is_read_in_pieces_and_nothing_is_lost(log: AttemptLog) -> None:
    pieces = list(iter(log.read, ""))
    assert max(map(len, pieces)) <= 16
    assert "".join(pieces) == "".join(LINES)


@pytest.mark.parametrize("lines", [1, 3, 49, 50, 80])
def test_the_last_lines_are_read_from_the_end(log: AttemptLog, lines: int) -> None:
    log.leave_out(lines=lines)
    assert "".join(iter(log.read, "")) == "".join(LINES[-lines:])


def test_a_last_line_that_has_not_ended_is_a_line(log: AttemptLog, tmp_path: Path) -> None:
    with (tmp_path / "r" / "train.1.log").open("a") as file:
        file.write("half")
    log.leave_out(lines=2)
    assert "".join(iter(log.read, "")) == LINES[-1] + "half"


def test_of_the_last_characters_whole_lines_are_read_and_the_rest_is_counted(
    log: AttemptLog,
) -> None:
    left_out = log.leave_out(characters=30)
    assert "".join(iter(log.read, "")) == "".join(LINES[-2:])
    assert left_out == len("".join(LINES[:-2]).encode())


def test_of_what_was_not_printed_nothing_is_left_out(tmp_path: Path) -> None:
    log = AttemptLog(ATTEMPT, tmp_path, "")
    assert (log.leave_out(lines=3), log.read()) == (0, "")
