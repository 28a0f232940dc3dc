"""What a Ray cluster has free for more jobs: what Ray says, and what our own jobs will take.

Ray counts what is in use only every few seconds, and a job takes seconds before it uses
anything. So the count is corrected by what is known here: jobs that have begun since it was
made are added to it, and jobs that have ended since are taken off.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flows.core.claiming import NOTHING_FREE, Capacity, Resources

if TYPE_CHECKING:
    from ray_jobs import ClusterLoad

_log = logging.getLogger(__name__)

COUNTED_EVERY = 6.0
"""Seconds. Ray's head counts every five."""

SETTLED = 10.0
"""Seconds after which a job that has begun uses what it asked for, or does not any more."""

LOOK, FRESH, WANTED = 1.0, 4.0, 10.0
"""Seconds. Between two questions to Ray; that an answer holds; that one who asked still cares."""


@dataclass(kw_only=True)
class _Reserved:
    needs: Resources
    begun_at: float | None = None  # monotonic
    ended_at: float | None = None


class RayUsage:
    """Adds up what jobs of one process need. Not thread-safe; `now` is monotonic seconds."""

    def __init__(self) -> None:
        self._jobs: dict[str, _Reserved] = {}
        self._load: ClusterLoad | None = None
        self._counted_at = -math.inf  # monotonic: not later than Ray's newest count was made

    def reserve(self, job: str, needs: Resources) -> None:
        """A job that is about to be submitted, or is adopted."""
        self._jobs.setdefault(job, _Reserved(needs=needs))

    def begin(self, job: str, now: float) -> None:
        """The job runs."""
        if (found := self._jobs.get(job)) and found.begun_at is None:
            found.begun_at = now

    def end(self, job: str, now: float) -> None:
        """The job is gone."""
        if (found := self._jobs.get(job)) and found.ended_at is None:
            found.ended_at = now

    def see(self, load: ClusterLoad, now: float) -> None:
        """What Ray says now; a count that was seen before is as old as it was then."""
        if self._load is None or load.counted_at != self._load.counted_at:
            # The first one may have been made long before we asked.
            first = self._load is None
            self._counted_at = now - (COUNTED_EVERY if first else 1.0)
        self._load = load
        self._jobs = {
            job: reserved
            for job, reserved in self._jobs.items()
            if reserved.ended_at is None or reserved.ended_at > self._counted_at
        }

    def forget_load(self) -> None:
        """Ray itself was replaced; what our jobs need stays."""
        self._load, self._counted_at = None, -math.inf

    def capacity(self, now: float) -> Capacity:
        """What is there, and what of it is free for more of our jobs."""
        if self._load is None:
            return NOTHING_FREE
        young = settled = ended = Resources()
        for job in self._jobs.values():
            if job.ended_at is not None:
                ended += job.needs if job.ended_at > self._counted_at else Resources()
            elif job.begun_at is None or now - job.begun_at < SETTLED:
                young += job.needs
            else:
                settled += job.needs
        total = Resources(cpus=self._load.cpus, gpus=self._load.gpus)
        counted = Resources(cpus=self._load.used_cpus, gpus=self._load.used_gpus) - ended
        used = Resources(
            cpus=max(counted.cpus, settled.cpus, 0.0), gpus=max(counted.gpus, settled.gpus, 0.0)
        )
        return Capacity(total=total, free=total - used - young)


class RayCounter:
    """Asks Ray what is in use, from a thread of its own, as long as somebody wants to know it.

    All methods return at once and may be called from any thread.
    """

    def __init__(self, load: Callable[[], ClusterLoad | None]) -> None:
        self._load = load
        self.counted: Callable[[], None] | None = None  # called when there is a new answer
        self._lock = threading.Lock()
        self._usage = RayUsage()
        self._wanted_at = self._seen_at = -math.inf  # monotonic
        self._silent_since: float | None = None
        self._poke = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Begin; nothing is asked before it is wanted."""
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="ray-counter", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End; an answer that is awaited is not waited for."""
        self._closing = True
        self._poke.set()

    def capacity(self, patience_s: float) -> Capacity | None:
        """What is free, as of the last seconds.

        Unknown, so that everything waits, until Ray has answered; None, so that everything may
        try, when it has not for `patience_s`.
        """
        now = time.monotonic()
        with self._lock:
            self._wanted_at = now
            if now - self._seen_at <= FRESH:
                return self._usage.capacity(now)
            silent = self._silent_since
        self._poke.set()
        return None if silent is not None and now - silent >= patience_s else NOTHING_FREE

    def reserve(self, job: str, needs: Resources) -> None:
        """A job that is about to be submitted, or is adopted."""
        with self._lock:
            self._usage.reserve(job, needs)

    def begin(self, job: str) -> None:
        """The job runs."""
        with self._lock:
            self._usage.begin(job, time.monotonic())

    def end(self, job: str) -> None:
        """The job is gone."""
        with self._lock:
            self._usage.end(job, time.monotonic())

    def reset(self) -> None:
        """Another Ray has taken the place of the one that was counted."""
        with self._lock:
            self._usage.forget_load()
            self._seen_at, self._silent_since = -math.inf, None
        self._poke.set()

    def _run(self) -> None:
        while not self._closing:
            wanted = time.monotonic() - self._wanted_at < WANTED
            self._poke.wait(LOOK if wanted else None)
            self._poke.clear()
            if not self._closing:
                self._look()

    def _look(self) -> None:
        try:
            load = self._load()
        except Exception as error:  # also a secret that is not there: this thread must go on
            if self._silent_since is None:
                _log.warning("Ray does not say what it has free: %s", error)
                with self._lock:
                    self._silent_since = time.monotonic()
            time.sleep(LOOK)  # refused at once, it must not be asked all the time
            return
        now = time.monotonic()
        with self._lock:
            self._silent_since = None
            if load is not None:
                self._usage.see(load, now)
                self._seen_at = now
        if self.counted is not None:
            self.counted()
