"""Attempts as Ray jobs: the core's executor over a `ray_jobs` client."""

from __future__ import annotations

import hashlib
import logging
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from flows.adapters.ray_usage import RayUsage
from flows.core.claiming import NOTHING_FREE, Capacity, needs_of
from flows.core.errors import RatchetError
from flows.core.executors.perform import describe, outcome_from_text, work_to_text
from flows.core.executors.protocol import Deliver, Outcome, OutcomeKind, Work
from flows.core.records import ErrorInfo
from ray_jobs import (
    JobError,
    JobSpec,
    JobState,
    JobStatus,
    RayClient,
    RayConfig,
    RayJobError,
    RayUnreachable,
)

_log = logging.getLogger(__name__)

_LOOK_S = 0.5  # between two copies of the jobs' logs to the attempts' log files
_PASSES = 10  # from one look at jobs that Ray may have forgotten to the next


@dataclass
class _Live:
    """A job that was started or adopted here, and has not been delivered."""

    attempt_id: str
    spec: JobSpec
    log: Path | None
    submitted: bool = False
    unheard: RayUnreachable | None = None  # Ray has not been reached with it yet
    begun: bool = False
    problem: str | None = None  # why it could not be watched at the last look
    copied: int | None = None  # bytes of the job's log that are in the attempt's log file


class RayExecutor:
    """Runs each attempt as one Ray job, whose id is derived from the attempt's.

    - Ray is reached, or started, with the first attempt; `start` never waits for it.
    - What does not fit into what the cluster has free is refused by `capacity`, and waits in
      the state store. While Ray does not answer, everything waits for `unreachable_s`, also what
      was about to be submitted; then it is let through, to fail with the reason.
    - A job that nobody works on any more is delivered as LOST; one that Ray forgot before it
      started is submitted again under its id.
    - On a cluster the jobs outlive this process, also a `close`; an embedded Ray ends with it.
    """

    name = "ray"
    queues = False  # Ray has one, and resources of its own to wait for
    kills = True

    def __init__(
        self,
        connect: Callable[[], RayClient],
        *,
        import_paths: tuple[str, ...] = (),
    ) -> None:
        self.slots = 16
        self._connect = connect
        self._import_paths = import_paths
        self._client: RayClient | None = None
        self._deliver: Deliver | None = None
        self._live: dict[str, _Live] = {}  # by job id
        self._lock = threading.Lock()
        self._work = threading.Event()
        self._closing = threading.Event()
        self._usage = RayUsage(lambda: self._ray.load())
        self._calls: ThreadPoolExecutor | None = None
        self._monitor: threading.Thread | None = None

    @property
    def survives(self) -> bool:
        """Whether work goes on when this process dies; it may, on a Ray that cannot be reached."""
        try:
            return self._ray.survives
        except RatchetError:  # a secret that is not there: whoever starts work here is told
            return True

    @property
    def _ray(self) -> RayClient:
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            return self._client

    @property
    def capacity(self) -> Capacity | None:
        """What the cluster has free; None for a Ray that only this process uses.

        Also for one that adds nodes: what does not fit has to wait in Ray, which adds them for it.
        """
        if not self.survives:
            return None
        found = self._usage.capacity(self._patience)
        return None if self._elastic and found is not NOTHING_FREE else found

    @property
    def _elastic(self) -> bool:
        try:
            return self._ray.config.elastic
        except RatchetError:
            return False

    @property
    def _patience(self) -> float:
        """Seconds for which everything waits for a Ray that does not answer."""
        try:
            return self._ray.config.unreachable_s
        except RatchetError:
            return RayConfig.unreachable_s

    def when_counted(self, wake: Callable[[], None]) -> None:
        """Have `wake` called whenever what is free was counted anew."""
        self._usage.counted = wake

    def reconnect(self) -> None:
        """Take the Ray that `connect` gives now: another head has taken the place of ours."""
        with self._lock:
            client, self._client = self._client, None
        self._usage.reset()
        if client is not None:
            client.wake()

    def open(self, deliver: Deliver) -> None:
        """Take the function that receives outcomes."""
        self._deliver = deliver
        self._closing.clear()
        self._usage.open()
        self._calls = ThreadPoolExecutor(max_workers=4, thread_name_prefix="ray-calls")
        self._monitor = threading.Thread(target=self._watch, name="ray-monitor", daemon=True)
        self._monitor.start()

    def start(self, work: Work) -> None:
        """Submit `work` as a job, or adopt the job that has it."""
        spec = job_spec(work, self._import_paths, self._ray.config.heartbeat_s)
        with self._lock:
            if spec.id in self._live:
                return
            log = Path(work.log) if work.log else None
            self._live[spec.id] = _Live(attempt_id=work.attempt_id, spec=spec, log=log)
        self._usage.reserve(spec.id, needs_of(work.resources, work.arguments))
        self._call(self._submit, spec)

    def began(self, attempt_id: str) -> bool:
        """Whether the job's own process has been heard of: before, it waits or starts in Ray."""
        live = self._live.get(job_id(attempt_id))
        return live is None or live.begun

    def stop(self, attempt_id: str, grace: float) -> None:
        """Ask for the end of an attempt; after `grace` seconds it is ended by force."""
        job = job_id(attempt_id)
        if job in self._live:
            self._call(self._stop, job, grace)

    def warm(self) -> None:
        """Begin to start an embedded Ray, or to count a cluster: a run will need it."""
        if self.survives:
            self._usage.capacity(self._patience)
        self._call(lambda: self._ray.warm(self._import_paths))

    def close(self) -> None:
        """End an embedded Ray with its jobs; let go of a cluster, whose jobs go on."""
        self._closing.set()
        self._work.set()
        self._usage.close()
        if self._client is not None:
            self._client.wake()
        if self._monitor is not None:
            self._monitor.join()
        if self._calls is not None:
            self._calls.shutdown()
        if self._client is not None:
            self._client.close()

    # ------------------------------------------------------------------ inside

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        """Run what may take seconds (Ray starts, a cluster answers) beside the engine."""
        if self._calls is None:
            raise RuntimeError("the Ray executor is used before open()")
        self._calls.submit(_logged, function, *arguments)

    def _submit(self, spec: JobSpec) -> None:
        unheard = None
        try:
            self._ray.submit(spec)
        except Exception as error:
            if not isinstance(error, RayUnreachable) or self._gives_up:
                self._end(spec.id, error)
                return
            _log.warning("The job %s is submitted when Ray answers: %s", spec.id, error)
            unheard = error
        with self._lock:
            if (live := self._live.get(spec.id)) is not None:
                live.submitted, live.unheard = True, unheard
        self._work.set()
        self._ray.wake()

    def _stop(self, job: str, grace: float) -> None:
        try:
            self._ray.stop(job, grace)
        finally:
            self._ray.wake()

    def _watch(self) -> None:
        passes = 0
        while not self._closing.is_set():
            with self._lock:
                submitted = [job for job, live in self._live.items() if live.submitted]
            if not submitted:
                self._work.wait()
                self._work.clear()
                continue
            passes += 1
            try:
                self._pass(submitted, look_for_forgotten=passes % _PASSES == 0)
            except Exception as error:  # all jobs of this worker hang on this thread
                _log.warning("Ray jobs cannot be watched now: %r", error)
                self._closing.wait(_LOOK_S)

    def _pass(self, submitted: list[str], *, look_for_forgotten: bool) -> None:
        """Deliver what has ended, copy logs, and submit again what Ray forgot."""
        ended = self._ray.wait(submitted, _LOOK_S)
        for job in [*ended, *(job for job in submitted if job not in ended)]:
            try:
                self._attend_to(job, job in ended, look_for_forgotten)
            except Exception as error:  # the others' jobs must not wait for this one
                self._report(job, repr(error))

    def _report(self, job: str, problem: str) -> None:
        """Log what is wrong with one job, once."""
        live = self._live.get(job)
        if live is not None and live.problem != problem:
            live.problem = problem
            _log.warning("The job %s cannot be watched now: %s", job, problem)

    def _attend_to(self, job: str, ended: bool, look_for_forgotten: bool) -> None:
        if ended:
            self._end(job)
        else:
            self._note_begin(job)
            self._copy_log(job)
        live = self._live.get(job)
        if live is not None and (look_for_forgotten or live.unheard):
            self._look_for(job, live)

    def _look_for(self, job: str, live: _Live) -> None:
        """Submit a job that Ray does not know; one that it was never told of ends when it must."""
        try:
            if self._ray.status(job).state is JobState.UNKNOWN:
                self._ray.submit(live.spec)
            live.unheard = None
        except RayUnreachable as error:
            if live.unheard is None:
                _log.warning("The job %s cannot be asked for: %s", job, error)
            elif self._gives_up:
                self._end(job, live.unheard)

    @property
    def _gives_up(self) -> bool:
        """Whether Ray has been silent for so long that what waits for it is to fail."""
        return self.capacity is None

    def _end(self, job: str, error: Exception | None = None) -> None:
        live = self._live.get(job)
        if live is None or self._deliver is None:
            return
        if error is None:
            with suppress(OSError, RayJobError):  # a full disk: the end counts, not its log
                self._copy_log(job)
            outcome = outcome_of(live.attempt_id, self._ray.status(job))
        else:
            outcome = _failed(live.attempt_id, describe(error))
        with self._lock:
            if self._live.pop(job, None) is None:
                return
        self._usage.end(job)
        self._deliver(outcome)

    def _note_begin(self, job: str) -> None:
        live = self._live.get(job)
        if live is not None and not live.begun and self._ray.has_begun(job):
            live.begun = True
            self._usage.begin(job)

    def _copy_log(self, job: str) -> None:
        """Bring the attempt's log file up to date; a file that is there was begun before."""
        live = self._live.get(job)
        if live is None or live.log is None:
            return
        if live.copied is None:
            live.copied = live.log.stat().st_size if live.log.exists() else 0
        chunk = self._ray.logs(job, live.copied)
        if chunk.text:
            live.log.parent.mkdir(parents=True, exist_ok=True)
            with live.log.open("ab") as file:
                file.write(chunk.text.encode())
            live.copied = chunk.offset


def _logged(function: Callable[..., None], *arguments: object) -> None:
    """Call `function` in a pool's thread, where an exception would be lost."""
    try:
        function(*arguments)
    except Exception as error:
        _log.warning("Ray cannot be asked now (%s): %r", function.__name__, error)


def job_id(attempt_id: str) -> str:
    """The submission id of an attempt: the same text where that can name a file, else close to it.

    `r7f3.extract[3].1` becomes `r7f3.extract.3.1`; no task key holds a dot, so none collides.
    """
    plain = re.sub(r"\[(\w+)\]", r".\1", attempt_id)
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}", plain):
        return plain
    digest = hashlib.sha256(attempt_id.encode()).hexdigest()[:12]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", f"j{plain}")[:180] + f"-{digest}"


def job_spec(work: Work, import_paths: tuple[str, ...], heartbeat_s: float) -> JobSpec:
    """The Ray job that performs `work`, named for people."""
    return JobSpec(
        id=job_id(work.attempt_id),
        name=f"{work.flow} · {work.task} · run {work.run_id}",
        entrypoint="flows.core.executors.perform:perform_text",
        payload=work_to_text(replace(work, log=None)),
        metadata=(
            ("flow", work.flow),
            ("task", work.task),
            ("run", work.run_id),
            ("attempt", str(work.number)),
        ),
        import_paths=import_paths,
        heartbeat_s=heartbeat_s,
    )


def outcome_of(attempt_id: str, status: JobStatus) -> Outcome:
    """What the end of a job means for its attempt; what the job used is what the attempt did."""
    outcome = _ending(attempt_id, status)
    if status.used is None:
        return outcome
    return replace(
        outcome,
        cpu_seconds=status.used.cpu_s + (outcome.cpu_seconds or 0.0),
        gpu_seconds=status.used.gpu_s + (outcome.gpu_seconds or 0.0),
    )


def _ending(attempt_id: str, status: JobStatus) -> Outcome:
    error = status.error or JobError(type="JobLost", message="The job left no result.")
    if status.state is JobState.SUCCEEDED:
        try:
            return outcome_from_text(status.result or "")
        except Exception as unreadable:  # cut short, or of another version
            return _failed(
                attempt_id,
                ErrorInfo(
                    type="NotStorable",
                    message=f"The job's result cannot be read: {unreadable}",
                    hint="install the same version of Ratchet on the workers and in the cluster",
                    permanent=True,
                ),
            )
    if status.state is JobState.FAILED:
        return _failed(attempt_id, ErrorInfo(**vars(error)))  # the same, of another package
    stopped = status.state is JobState.STOPPED
    kind = OutcomeKind.STOPPED if stopped else OutcomeKind.LOST
    return Outcome(attempt_id=attempt_id, kind=kind, reason=error.message)


def _failed(attempt_id: str, error: ErrorInfo) -> Outcome:
    return Outcome(attempt_id=attempt_id, kind=OutcomeKind.FAILED, error=error)
