"""What an attempt printed, wherever it ran."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flows.bootstrap import Ratchet
from flows.core.records import Attempt


class LogText(str):
    """Text that a cell shows as it is, line by line."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))


def log_of(attempt: Attempt, ratchet: Ratchet) -> LogText:
    """The attempt's log so far; empty when it has printed nothing."""
    path: Path = ratchet.logs / attempt.run_id / f"{attempt.key}.{attempt.number}.log"
    try:
        return LogText(path.read_text(encoding="utf-8", errors="replace"))
    except FileNotFoundError:
        return LogText("")
