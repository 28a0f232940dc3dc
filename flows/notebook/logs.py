"""What an attempt printed, wherever it ran."""

from __future__ import annotations

from typing import Any

from flows.adapters.attempt_log import AttemptLog
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
    return LogText(AttemptLog(attempt, ratchet.logs, ratchet.settings.artifacts).read())
