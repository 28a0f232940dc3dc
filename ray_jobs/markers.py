"""The job's own witness: small files under `<artifacts>/jobs/<id>/`.

    spec.json       the intent: what was submitted, written before Ray hears of it
    heartbeat.json  who runs it; created once (the claim), rewritten while it lives
    done.json       how it ended: the result or the error, written once, whole
    stop.json       a request to end; the job's own heartbeat thread obeys it
    log.txt         what the job printed

Ray's job table lives in its head's memory and is gone, or wrong, after the head restarts; a
job outlives a killed head as an orphan. These files tell the truth all the same.
"""

from __future__ import annotations

import codecs
import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from ray_jobs.artifacts import ArtifactStore
from ray_jobs.errors import ArtifactError, JobNotKnown
from ray_jobs.process import ProcessIdentity
from ray_jobs.spec import JobError, JobSpec, JobState, LogChunk
from ray_jobs.usage import Used


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """One sign of life."""

    beat: int  # counts up from 0
    at: str  # ISO time by the job's clock; readers trust `beat` instead
    every_s: float  # seconds until the next one
    process: ProcessIdentity
    dedicated: bool  # the process exists for this job alone: alive means at work
    ended: bool = False  # the last beat: the job has left
    used: Used | None = None  # so far


class StopReason(StrEnum):
    """Why a job is asked to end."""

    ASKED = "asked"  # a cancel or a timeout
    ORPHAN = "orphan"  # its Ray is gone, and another attempt may only start after it


@dataclass(frozen=True, kw_only=True)
class StopRequest:
    """A request to end, read by the job itself."""

    reason: StopReason
    grace_s: float  # seconds between asking politely and ending by force


@dataclass(frozen=True, kw_only=True)
class Done:
    """How a job ended, in its own words."""

    id: str  # submission id, so that a late file is never taken for another attempt's
    state: JobState  # succeeded, failed, stopped; lost when it ended itself as an orphan
    at: str  # ISO time by the job's clock
    host: str
    result: str | None = None
    error: JobError | None = None
    used: Used | None = None  # in all


class JobMarkers:
    """Reads and writes the markers of one job; each file is always found whole."""

    def __init__(self, artifacts: ArtifactStore, job_id: str) -> None:
        self.job_id = job_id
        self.store = artifacts.child(f"jobs/{job_id}")

    def intend(self, spec: JobSpec) -> bool:
        """Writes the intent; says whether it is new, for a first one stays as it is."""
        return self.store.create_text("spec.json", spec.to_json())

    def spec(self) -> JobSpec:
        """The intent; `JobNotKnown` when there is none."""
        text = self._text("spec.json")
        if text is None:
            raise JobNotKnown(
                f"Nothing is known of job {self.job_id} under {self.store.uri}.",
                hint="Check that the job and its submitter use the same artifacts URI.",
            )
        return JobSpec.from_json(text)

    def claim(self, heartbeat: Heartbeat) -> bool:
        """Writes the first heartbeat; False when another process has run this id before."""
        return self.store.create_text("heartbeat.json", _dump(heartbeat))

    def beat(self, heartbeat: Heartbeat) -> None:
        """Rewrites the heartbeat."""
        self.store.write_text("heartbeat.json", _dump(heartbeat))

    def heartbeat(self) -> Heartbeat | None:
        """The last heartbeat; None when the job never started."""
        with self._readable("heartbeat.json"):
            row = self._row("heartbeat.json")
            if row is None:
                return None
            process = _made(ProcessIdentity, row["process"])
            return _made(Heartbeat, row | {"process": process, "used": _used(row)})

    def finish(self, done: Done) -> None:
        """Writes how the job ended."""
        self.store.write_text("done.json", _dump(done))

    def done(self) -> Done | None:
        """How the job ended; None while it has not said so.

        An end that cannot be read is a failure: the job is over, and nobody will write it again.
        """
        try:
            row = self._row("done.json")
            if row is None:
                return None
            error = row["error"]
            if error is not None:
                error = _made(JobError, error | {"kinds": tuple(error["kinds"])})
            state = JobState(row["state"])
            return _made(Done, row | {"state": state, "error": error, "used": _used(row)})
        except (LookupError, TypeError, ValueError) as problem:
            error = JobError(
                type="UnreadableEnd",
                message=f"The job ended, and what it wrote of that cannot be read: {problem}",
                hint=f"Look at {self.store.uri}/done.json.",
            )
            return Done(id=self.job_id, state=JobState.FAILED, at="", host="", error=error)

    def ask_to_stop(self, request: StopRequest) -> None:
        """Leaves the request to end; one that was asked for outranks one for an orphan."""
        if request.reason is StopReason.ASKED:
            self.store.write_text("stop.json", _dump(request))
        else:
            self.store.create_text("stop.json", _dump(request))

    def stop_request(self) -> StopRequest | None:
        """The request to end, if there is one."""
        with self._readable("stop.json"):
            row = self._row("stop.json")
            if row is None:
                return None
            return _made(StopRequest, row | {"reason": StopReason(row["reason"])})

    def log(self, offset: int = 0) -> LogChunk:
        """The log from byte `offset` on, cut after the last whole character."""
        try:
            data = self.store.read_bytes("log.txt", offset=offset)
        except FileNotFoundError:
            return LogChunk(text="", offset=offset)
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        text = decoder.decode(data)
        unfinished, _ = decoder.getstate()  # a character that is still being written
        return LogChunk(text=text, offset=offset + len(data) - len(unfinished))

    @contextmanager
    def _readable(self, name: str) -> Iterator[None]:
        """Raises ArtifactError, of this job alone, where a marker is not what one looks like."""
        try:
            yield
        except (LookupError, TypeError, ValueError) as error:
            raise ArtifactError(f"{self.store.uri}/{name} cannot be read: {error}") from error

    def _text(self, name: str) -> str | None:
        try:
            return self.store.read_text(name)
        except FileNotFoundError:
            return None

    def _row(self, name: str) -> dict[str, Any] | None:
        text = self._text(name)
        return None if text is None else json.loads(text)


T = TypeVar("T")


def _made(record: type[T], row: dict[str, Any]) -> T:
    """A record from its row; what a newer version wrote beside its fields is left out."""
    return record(**{name: row[name] for name in row.keys() & record.__annotations__.keys()})


def _used(row: dict[str, Any]) -> Used | None:
    used = row.get("used")
    return None if used is None else _made(Used, used)


def _dump(record: Heartbeat | StopRequest | Done) -> str:
    return json.dumps(dataclasses.asdict(record))
