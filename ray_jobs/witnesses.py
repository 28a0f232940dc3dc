"""What two witnesses say of a job, and what follows: a pure decision.

The first witness is Ray. The second is the job itself, through its markers; it is asked twice
about death: by the process where that can be proved, else by heartbeats that stop coming.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from ray_jobs.markers import Done, Heartbeat
from ray_jobs.process import proved_alive
from ray_jobs.spec import JobError, JobState, JobStatus


class RayState(StrEnum):
    """What Ray says of a job."""

    UNREACHABLE = "unreachable"  # Ray does not answer
    UNKNOWN = "unknown"  # Ray never heard of it, or forgot it
    LIVE = "live"  # waiting for resources, starting or running
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    KILLED = "killed"  # a signal ended its process, or whoever looked after that died
    STOPPED = "stopped"


@dataclass(frozen=True, kw_only=True)
class RayAnswer:
    """Ray's testimony."""

    state: RayState
    message: str = ""  # Ray's own words about an end


class Pulse(StrEnum):
    """What the heartbeat says of a job."""

    NONE = "none"  # it never started
    FRESH = "fresh"  # somebody works on it
    STALE = "stale"  # silent for longer than five heartbeats
    GONE = "gone"  # it said so, its process is proved dead, or it is silent for very long


@dataclass(frozen=True, kw_only=True)
class Pulses:
    """Judges heartbeats by the reader's own clock, so that clocks need not agree.

    A heartbeat is fresh while its counter moves. Its first sight counts as a movement, unless
    its process is proved dead.
    """

    give_up_s: float = 60.0  # silence after which a job is gone whatever else is known
    clock: Callable[[], float] = time.monotonic
    _seen: dict[str, tuple[int, float]] = field(default_factory=dict)

    def look(self, job_id: str, heartbeat: Heartbeat | None) -> Pulse:
        """The pulse now."""
        if heartbeat is None:
            return Pulse.NONE
        alive = proved_alive(heartbeat.process)
        if heartbeat.ended or alive is False:
            return Pulse.GONE
        if alive and heartbeat.dedicated:
            return Pulse.FRESH
        silent, stale_after = self._silent_s(job_id, heartbeat), max(5 * heartbeat.every_s, 2.0)
        if silent < stale_after:
            return Pulse.FRESH
        return Pulse.STALE if silent < max(stale_after, self.give_up_s) else Pulse.GONE

    def _silent_s(self, job_id: str, heartbeat: Heartbeat) -> float:
        now = self.clock()
        beat, since = self._seen.get(job_id, (-1, now))
        if beat != heartbeat.beat:
            since = now
            self._seen[job_id] = (heartbeat.beat, now)
        return now - since

    def forget(self, job_id: str) -> None:
        """Drops what is remembered of a job that has ended."""
        self._seen.pop(job_id, None)


def from_done(done: Done) -> JobStatus:
    """The status of a job that left its done marker: the marker wins over everything."""
    return JobStatus(
        id=done.id,
        state=done.state,
        result=done.result,
        error=done.error,
        node=done.host,
        used=done.used,
        witnesses=f"done marker: {done.state}",
    )


def combine(
    job_id: str,
    ray: RayAnswer,
    pulse: Pulse,
    *,
    host: str | None = None,
    stop_asked: bool = False,
    barred: bool = False,
) -> JobStatus | None:
    """The status of a job without a done marker; None when nobody can tell.

    - Ray live: PENDING before the first heartbeat, else RUNNING.
    - A fresh heartbeat: RUNNING, whatever Ray says (an orphan, when Ray is done with it).
    - Otherwise nobody works on it: STOPPED when it was asked to stop; FAILED when Ray could
      not start it; LOST when it started and left no result, or was killed before; UNKNOWN when
      it never started, unless it is `barred`: a stop marker of ours lets it start no more.
    - Ray unreachable: the heartbeat alone decides, if it is fresh or gone for sure.
    """
    if ray.state is RayState.UNREACHABLE:
        if pulse in (Pulse.NONE, Pulse.STALE):
            return None
        ray = replace(ray, message="")
    state, message = _judge(ray, pulse, stop_asked=stop_asked, barred=barred)
    error = JobError(type=_ERROR_TYPES[state], message=message) if message else None
    return JobStatus(
        id=job_id,
        state=state,
        error=error,
        node=host,
        witnesses=f"ray: {ray.state}; heartbeat: {pulse}",
    )


_ERROR_TYPES = {
    JobState.STOPPED: "Stopped",
    JobState.FAILED: "JobNotStarted",
    JobState.LOST: "JobLost",
}


def _judge(ray: RayAnswer, pulse: Pulse, *, stop_asked: bool, barred: bool) -> tuple[JobState, str]:
    said = f" Ray says: {_short(ray.message)}" if ray.message else ""
    if pulse is Pulse.FRESH:
        return JobState.RUNNING, ""
    if ray.state is RayState.LIVE:
        return (JobState.PENDING if pulse is Pulse.NONE else JobState.RUNNING), ""
    if stop_asked or ray.state is RayState.STOPPED:
        when = "before it started" if pulse is Pulse.NONE else "and is gone"
        return JobState.STOPPED, f"The job was stopped {when}."
    if pulse is not Pulse.NONE:
        return JobState.LOST, f"The job's process ended without leaving a result.{said}"
    if ray.state is RayState.UNKNOWN and not barred:
        return JobState.UNKNOWN, ""
    if ray.state in (RayState.UNKNOWN, RayState.KILLED):
        return JobState.LOST, f"The job's process was gone before it began to work.{said}"
    return JobState.FAILED, f"Ray could not start the job.{said}"


def _short(message: str) -> str:
    """Ray's message on one line; its end holds the cause."""
    line = " ".join(message.split())
    return line if len(line) <= 600 else f"{line[:150]} ... {line[-440:]}"
