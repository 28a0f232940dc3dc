"""Capturing what tasks print while they share a process with everything else."""

from __future__ import annotations

import contextvars
import io
import logging
import sys
from pathlib import Path

import pytest

from flows.core.executors.output import Output


def test_only_what_the_task_prints_goes_into_its_log(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before, elsewhere = sys.stdout, contextvars.copy_context()
    with Output().into(str(tmp_path / "task.log")):
        sys.stdout.write("of the task\n")
        elsewhere.run(sys.stdout.write, "of the console\n")
    sys.stdout.write("afterwards\n")
    assert (tmp_path / "task.log").read_text() == "of the task\n"
    assert capsys.readouterr().out == "of the console\nafterwards\n"
    assert sys.stdout is before


def test_a_silent_task_leaves_no_file(tmp_path: Path) -> None:
    with Output().into(str(tmp_path / "task.log")):
        pass
    assert list(tmp_path.iterdir()) == []


def test_two_executors_in_any_order_leave_the_streams_in_use(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before, one, other = sys.stdout, Output(), Output()
    for _ in range(5):
        first = one.into(str(tmp_path / "first.log"))
        second = other.into(str(tmp_path / "second.log"))
        first.__enter__()
        aside = contextvars.copy_context()
        aside.run(second.__enter__)
        first.__exit__(None, None, None)
        aside.run(sys.stdout.write, "second\n")
        aside.run(second.__exit__, None, None, None)
        sys.stdout.write("nobody\n")
    assert (tmp_path / "second.log").read_text() == "second\n" * 5
    assert capsys.readouterr().out == "nobody\n" * 5
    depth, stream = 0, sys.stdout
    while stream is not before:
        depth, stream = depth + 1, stream.stream  # type: ignore[attr-defined]
    assert depth <= 2
    sys.stdout = before


def test_a_task_is_not_on_a_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with Output().into(str(tmp_path / "task.log")):
        assert not sys.stdout.isatty()
    assert sys.stdout.isatty()


def test_records_are_copied_when_the_application_has_set_up_logging(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    terminal, application = io.StringIO(), logging.getLogger()
    with monkeypatch.context() as patch:
        handlers = [logging.StreamHandler(terminal)]
        patch.setattr(application, "handlers", handlers)
        with Output().into(str(tmp_path / "task.log")):
            logging.getLogger("user").warning("look")
        logging.getLogger("user").warning("later")
    assert (tmp_path / "task.log").read_text().endswith("WARNING user: look\n")
    assert terminal.getvalue() == "look\nlater\n"
    assert len(handlers) == 1


def test_records_are_written_once_when_logging_is_not_set_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(logging.getLogger(), "handlers", [])
        with Output().into(str(tmp_path / "task.log")):
            logging.getLogger("user").warning("look")
    assert (tmp_path / "task.log").read_text() == "look\n"
    assert capsys.readouterr().err == ""
