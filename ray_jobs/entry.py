"""Inside the job: run the entrypoint once, and bear witness in the artifact store.

A Ray task of an embedded Ray calls `run_job`; on a cluster the job's command is
`python -m ray_jobs.entry ARTIFACTS_URI ID`. A job id runs at most once: whoever creates the
first heartbeat has it, and any other process with the same id leaves without working.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from types import FrameType

from ray_jobs.artifacts import ArtifactStore
from ray_jobs.errors import ArtifactError, BadEntrypoint
from ray_jobs.joblog import JobLog, captured
from ray_jobs.markers import Done, Heartbeat, JobMarkers, StopReason
from ray_jobs.own_modules import forget_changed, remember
from ray_jobs.process import kill_own_processes, this_process
from ray_jobs.spec import JobError, JobSpec, JobState, load_entrypoint
from ray_jobs.usage import Usage, counted_in

_log = logging.getLogger(__name__)

EXIT_CODES = {JobState.SUCCEEDED: 0, JobState.STOPPED: 143, JobState.LOST: 143}
ALREADY_RUN = 75  # this id was started by another process


class StopRequested(BaseException):
    """The job is asked to end; `finally` blocks and checkpoints still run."""

    from_outside = True  # it is no failure of the task that it is raised in


def run_job(
    artifacts_uri: str,
    job_id: str,
    *,
    dedicated: bool = False,
    prepare: Callable[[JobSpec], None] | None = None,
) -> Done | None:
    """Runs the job `job_id` here, and returns how it ended.

    None: another process has started this id and not finished it; nothing was done here.
    `dedicated` says that the process exists for this job alone; `prepare` runs first, and its
    errors are the job's.
    """
    markers = JobMarkers(ArtifactStore(artifacts_uri), job_id)
    done = markers.done()
    if done is not None:
        return done
    spec = markers.spec()
    heart = _Heart(markers, every_s=spec.heartbeat_s, dedicated=dedicated)
    if not heart.claim():
        return None
    if markers.stop_request() is not None:
        return _finish(heart, _stopped(markers, "before it started"))
    heart.usage.begin(0, spec.num_gpus)  # of the job itself, whose processor time counts anyway
    with captured(heart.log), heart.beating():
        done = _outcome(markers, spec, prepare, heart.usage)
    return _finish(heart, done)


def _outcome(
    markers: JobMarkers,
    spec: JobSpec,
    prepare: Callable[[JobSpec], None] | None,
    usage: Usage,
) -> Done:
    try:
        for path in reversed(spec.import_paths):
            if path not in sys.path:
                sys.path.insert(0, path)
        if prepare is not None:
            prepare(spec)
        with _stoppable(), counted_in(usage):
            result = load_entrypoint(spec.entrypoint)(spec.payload)
        if not isinstance(result, str):
            raise BadEntrypoint(
                f"Job entrypoint {spec.entrypoint!r} returned {type(result).__name__}, not text.",
                hint="Return one string, for example JSON.",
            )
        return _done(markers.job_id, JobState.SUCCEEDED, result=result)
    except BaseException as error:
        # Ray raises SystemExit or KeyboardInterrupt where it stops a process of its own.
        if isinstance(error, StopRequested) or (
            not isinstance(error, Exception) and markers.stop_request() is not None
        ):
            return _stopped(markers, "while it ran")
        traceback.print_exception(error)
        return _done(markers.job_id, JobState.FAILED, error=_describe(error))


def _stopped(markers: JobMarkers, when: str) -> Done:
    request = markers.stop_request()
    orphan = request is not None and request.reason is StopReason.ORPHAN
    if orphan:
        error = JobError(type="Orphaned", message="Its Ray was gone; it ended itself.")
    else:
        error = JobError(type="Stopped", message=f"It was stopped {when}.")
    state = JobState.LOST if orphan else JobState.STOPPED
    return _done(markers.job_id, state, error=error)


def _done(
    job_id: str, state: JobState, *, result: str | None = None, error: JobError | None = None
) -> Done:
    return Done(
        id=job_id,
        state=state,
        at=_now(),
        host=this_process().host,
        result=result,
        error=error,
    )


def _finish(heart: _Heart, done: Done) -> Done:
    done = replace(done, used=heart.usage.so_far())
    heart.markers.finish(done)
    heart.leave()
    return done


def _describe(error: BaseException) -> JobError:
    # A failed Ray task arrives as RayTaskError(ValueError); the user's own error is its cause.
    cause = getattr(error, "cause", None)
    inner = cause if isinstance(cause, BaseException) else error
    hint = getattr(inner, "hint", None)
    return JobError(
        type=type(inner).__name__,
        message=str(inner) or type(inner).__name__,
        kinds=tuple(
            f"{c.__module__}.{c.__qualname__}"
            for c in type(inner).__mro__
            if c not in (object, BaseException)
        ),
        trace="".join(traceback.format_exception(error)),
        hint=hint if isinstance(hint, str) else None,
        permanent=getattr(inner, "permanent", False) is True,
    )


class _Heart:
    """A daemon thread that writes heartbeats, flushes the log, and obeys a stop marker."""

    def __init__(self, markers: JobMarkers, *, every_s: float, dedicated: bool) -> None:
        self.markers = markers
        self.log = JobLog(markers.store)
        self.usage = Usage()
        self._last = Heartbeat(
            beat=0, at=_now(), every_s=every_s, process=this_process(), dedicated=dedicated
        )
        self._rest = threading.Event()
        self._kill_at: float | None = None  # monotonic, once a stop marker was seen

    def claim(self) -> bool:
        return self.markers.claim(self._last)

    def leave(self) -> None:
        """The last beat: a process that is used again would otherwise look alive."""
        self._beat(ended=True)

    @contextmanager
    def beating(self) -> Iterator[None]:
        thread = threading.Thread(target=self._run, name="heart", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._rest.set()
            thread.join()

    def _run(self) -> None:
        every_s = self._last.every_s
        # A stop marker is looked for more often than a beat is written, where that is cheap.
        look_s = min(0.25, every_s) if self.markers.store.is_local else every_s
        next_beat = time.monotonic() + every_s
        while not self._rest.wait(look_s):
            self._obey_stop_marker()
            if time.monotonic() >= next_beat:
                next_beat += every_s
                self._beat()
                self.log.flush()

    def _obey_stop_marker(self) -> None:
        if self._kill_at is not None:
            if time.monotonic() >= self._kill_at:
                kill_own_processes()
            return
        try:
            request = self.markers.stop_request()
        except ArtifactError:
            return
        if request is not None:
            self._kill_at = time.monotonic() + request.grace_s
            # To the main thread itself: a signal to the process may be taken by a thread of
            # a library, and then a blocking call in the main thread would not notice it.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    def _beat(self, *, ended: bool = False) -> None:
        beat, used = self._last.beat + 1, self.usage.so_far()
        self._last = replace(self._last, beat=beat, at=_now(), ended=ended, used=used)
        try:
            self.markers.beat(self._last)
        except ArtifactError as error:
            _log.warning("A heartbeat could not be written: %s", error)


@contextmanager
def _stoppable() -> Iterator[None]:
    """Turns SIGTERM into `StopRequested` in the main thread, once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signum: int, frame: FrameType | None) -> None:
        del signum, frame
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise StopRequested

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _now() -> str:
    return datetime.now(UTC).isoformat()


def run_embedded_job(artifacts_uri: str, job_id: str) -> None:
    """The body of the Ray task that runs a job in an embedded Ray."""
    forget_changed()
    try:
        run_job(artifacts_uri, job_id)
    finally:
        remember()


def _connect(spec: JobSpec) -> None:
    """Joins the cluster that runs this job; its tasks' prints come to the job's log."""
    import ray

    ray.init("auto", namespace="ratchet", log_to_driver=True, logging_level=logging.WARNING)


def main(arguments: list[str]) -> int:
    """The command of a job on a cluster; the exit code tells Ray how it ended."""
    artifacts_uri, job_id = arguments
    done = run_job(artifacts_uri, job_id, dedicated=True, prepare=_connect)
    return ALREADY_RUN if done is None else EXIT_CODES.get(done.state, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
