"""What an attempt printed, wherever it ran."""

from __future__ import annotations

from typing import Any

from flows.adapters.ray_executor import job_id
from flows.bootstrap import Ratchet
from flows.core.records import Attempt
from ray_jobs import ArtifactStore
from ray_jobs.markers import JobMarkers


class LogText(str):
    """Text that a cell shows as it is, line by line."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))


def log_of(attempt: Attempt, ratchet: Ratchet) -> LogText:
    """The attempt's log so far; empty when it has printed nothing.

    The log of a Ray job is copied to the attempt's file by the worker that submitted it; where
    that is not here (another machine, a dead worker), the job's own is read.
    """
    path = ratchet.logs / attempt.run_id / f"{attempt.key}.{attempt.number}.log"
    if path.exists():
        return LogText(path.read_text(encoding="utf-8", errors="replace"))
    if attempt.executor != "ray":
        return LogText("")
    artifacts = ArtifactStore(ratchet.settings.artifacts)
    return LogText(JobMarkers(artifacts, job_id(attempt.id)).log().text)
