"""What both clients share: the markers, which are the second witness of every job."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import replace

from ray_jobs.artifacts import ArtifactStore
from ray_jobs.client import RayConfig
from ray_jobs.errors import ArtifactError, RayUnreachable
from ray_jobs.markers import JobMarkers, StopReason, StopRequest
from ray_jobs.spec import JobSpec, JobStatus, LogChunk
from ray_jobs.witnesses import Pulse, Pulses, RayAnswer, RayState, combine, from_done

_ENDED = frozenset({RayState.SUCCEEDED, RayState.FAILED, RayState.KILLED, RayState.STOPPED})


class MarkedClient(ABC):
    """A Ray client without its Ray: subclasses give the first witness.

    `ends_orphans`: a job that works on though Ray is done with it is told to end itself.
    """

    ends_orphans = False
    max_answer_age_s = 0.0  # how old an answer of Ray may be while waiting

    def __init__(self, config: RayConfig, artifacts_uri: str) -> None:
        self.config = config
        self._artifacts = ArtifactStore(artifacts_uri)
        self._pulses = Pulses(give_up_s=config.unreachable_s)
        self._submitting = threading.Lock()
        self._changed = threading.Condition()
        self._changes = 0
        self._woken = False

    @abstractmethod
    def _ask_ray(self, job_id: str, max_age_s: float) -> RayAnswer:
        """Ray's testimony, at most `max_age_s` old."""

    def _intent(self, spec: JobSpec) -> JobSpec:
        """The spec as the job itself will read it."""
        return spec

    @abstractmethod
    def _submit_to_ray(self, spec: JobSpec) -> None:
        """Submits under the spec's id, unless Ray knows the id already."""

    @abstractmethod
    def _stop_in_ray(self, job_id: str, grace: float) -> None:
        """Asks Ray to end the job; does nothing when Ray does not know it."""

    def submit(self, spec: JobSpec) -> None:
        """Runs the job, or adopts it: intent first, then Ray. A stopped one is left alone."""
        markers = self._markers(spec.id)
        with self._submitting:
            if markers.done() or markers.heartbeat() or markers.stop_request():
                return
            is_new = markers.intend(self._intent(spec))
            try:
                self._submit_to_ray(spec)
            except RayUnreachable:
                # A job submitted earlier may be in that Ray all the same: it is not failed.
                if is_new:
                    raise

    def status(self, job_id: str) -> JobStatus:
        """What is known of the job now. Raises RayUnreachable when nobody can tell."""
        return self._status(job_id, max_age_s=0)

    def wait(self, job_ids: Iterable[str], timeout: float) -> tuple[str, ...]:
        """The ids that have ended; returns early with the first one."""
        ids = tuple(job_ids)
        deadline = time.monotonic() + timeout
        poll_s = 0.1 if self._artifacts.is_local else 1.0
        while True:
            with self._changed:
                changes = self._changes
            ended = tuple(job_id for job_id in ids if self._has_ended(job_id))
            left = deadline - time.monotonic()
            with self._changed:
                if ended or left <= 0 or self._woken:
                    self._woken = False
                    return ended
                if changes == self._changes:
                    self._changed.wait(min(poll_s, left))

    def wake(self) -> None:
        """Makes a wait that is under way return now, or the next one at once."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def stop(self, job_id: str, grace: float | None = None) -> None:
        """Asks the job to end; by force after `grace` seconds (the config's unless given)."""
        grace = self.config.stop_grace_s if grace is None else grace
        markers = self._markers(job_id)
        if markers.done() is None:
            markers.ask_to_stop(StopRequest(reason=StopReason.ASKED, grace_s=grace))
            self._stop_in_ray(job_id, grace)

    def has_begun(self, job_id: str) -> bool:
        """Whether the job has left Ray's queue: its own process has been heard of."""
        return self._markers(job_id).heartbeat() is not None

    def logs(self, job_id: str, offset: int = 0) -> LogChunk:
        """The job's output from byte `offset` on."""
        return self._markers(job_id).log(offset)

    def _note_change(self) -> None:
        with self._changed:
            self._changes += 1
            self._changed.notify_all()

    def _markers(self, job_id: str) -> JobMarkers:
        return JobMarkers(self._artifacts, job_id)

    def _forget(self, job_id: str) -> None:
        """Drops what is remembered of a job whose done marker says it all."""
        self._pulses.forget(job_id)

    def _has_ended(self, job_id: str) -> bool:
        try:
            return self._status(job_id, max_age_s=self.max_answer_age_s).state.ended
        except (RayUnreachable, ArtifactError):
            return False  # nobody can tell now; whoever asks by `status` is told so

    def _status(self, job_id: str, max_age_s: float) -> JobStatus:
        markers = self._markers(job_id)
        done = markers.done()
        if done is None:
            answer = self._ask_ray(job_id, max_age_s)
            heartbeat = markers.heartbeat()
            pulse = self._pulses.look(job_id, heartbeat)
            request = markers.stop_request()
            if request is None and self._ends(answer, pulse):
                request = StopRequest(reason=StopReason.ORPHAN, grace_s=self.config.stop_grace_s)
                markers.ask_to_stop(request)
                # A process that claims the job from here on finds the marker, and does nothing.
                heartbeat = markers.heartbeat()
                pulse = self._pulses.look(job_id, heartbeat)
            # It may have ended since the first look, and then its done marker wins.
            done = markers.done()
        if done is not None:
            self._forget(job_id)
            return from_done(done)
        status = combine(
            job_id,
            answer,
            pulse,
            host=heartbeat.process.host if heartbeat else None,
            stop_asked=request is not None and request.reason is StopReason.ASKED,
            barred=request is not None,
        )
        if status is None:
            raise RayUnreachable(
                answer.message, hint="Start it, or correct ray.address; the job is adopted then."
            )
        return replace(status, used=heartbeat.used) if heartbeat else status

    def _ends(self, answer: RayAnswer, pulse: Pulse) -> bool:
        """Whether what may be left of a job has to be told to end, as Ray is done with it.

        What works on, and a process that Ray has started and lost sight of before its first beat;
        also one that is merely silent and counts as lost: cut off from us it may work on, and its
        successor would have it beside itself. A job that Ray has forgotten and that never began is
        submitted again instead.
        """
        orphan = pulse is Pulse.FRESH and answer.state is RayState.UNKNOWN
        ended = pulse in (Pulse.FRESH, Pulse.NONE) and answer.state in _ENDED
        silent = pulse is Pulse.GONE or (
            pulse is Pulse.STALE and answer.state is not RayState.UNREACHABLE
        )
        lost = silent and answer.state is not RayState.LIVE
        return self.ends_orphans and (orphan or ended or lost)
