"""What an attempt printed, wherever it ran: read on from where the last look ended."""

from __future__ import annotations

import codecs
from pathlib import Path

import ray_jobs
from flows.adapters.ray_executor import job_id
from flows.core.records import Attempt


class AttemptLog:
    """The log of one attempt.

    The worker of a Ray job copies its log to the attempt's file. Where that file is not (the
    worker is on another machine, or died), the job's own log in the artifact store is read.
    """

    def __init__(self, attempt: Attempt, logs: Path, artifacts: str) -> None:
        self.attempt = attempt
        self._path = logs / attempt.run_id / f"{attempt.key}.{attempt.number}.log"
        self._job = None
        if attempt.executor == "ray":
            self._job = ray_jobs.JobMarkers(ray_jobs.ArtifactStore(artifacts), job_id(attempt.id))
        self._offset = 0
        self._job_offset = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def read(self) -> str:
        """The text that has come since the last call. Raises OSError, RayJobError."""
        text = self._from_file()
        if text or self._offset or self._job is None:
            return text
        chunk = self._job.log(self._job_offset)
        self._job_offset = chunk.offset
        return chunk.text

    def _from_file(self) -> str:
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:  # it has not printed anything
            return ""
        self._offset += len(data)
        return self._decoder.decode(data)
