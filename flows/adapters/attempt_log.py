"""What an attempt printed, wherever it ran: read on from where the last look ended."""

from __future__ import annotations

import codecs
import os
import re
from pathlib import Path
from typing import BinaryIO

import ray_jobs
from flows.adapters.ray_executor import job_id
from flows.core.records import Attempt

PIECE = 1 << 20
"""Bytes of a log that are held at once, however much a task has printed."""


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

    def leave_out(self, *, lines: int | None = None, characters: int | None = None) -> int:
        """Go on before the last of so many; returns the bytes of the file that are left out.

        A job's log that is not on this machine is read whole.
        """
        try:
            with self._path.open("rb") as file:
                self._offset = _begin_of_tail(file, lines, characters)
        except FileNotFoundError:
            pass
        return self._offset

    def read(self) -> str:
        """Text that has come since the last call, a piece at a time; empty: there is no more yet.

        Raises OSError, RayJobError.
        """
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
                data = file.read(PIECE)
        except FileNotFoundError:  # it has not printed anything
            return ""
        self._offset += len(data)
        return self._decoder.decode(data)


def _begin_of_tail(file: BinaryIO, lines: int | None, characters: int | None) -> int:
    """Where the last so many lines begin, or the first line within the last so many characters."""
    size = end = file.seek(0, os.SEEK_END)
    first = 0 if characters is None else max(0, size - characters)
    wanted = lines
    while wanted is not None and end > first:
        begin = max(first, end - PIECE)
        file.seek(begin)
        ends = [m.start() for m in re.finditer(b"\n", file.read(end - begin))]
        if ends and begin + ends[-1] == size - 1:
            ends.pop()  # the end of the last line, which nothing follows
        if len(ends) >= wanted:
            return begin + ends[len(ends) - wanted] + 1 if wanted else size
        wanted -= len(ends)
        end = begin
    if first:
        file.seek(first)
        first += len(file.readline())
    return first
