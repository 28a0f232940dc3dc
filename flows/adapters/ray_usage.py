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
    """Adds up what jobs of this process need, and what Ray says is in use.

    Ray is asked from a thread of its own, as long as somebody wants to know. All methods but
    `look` return at once, and may be called from any thread.
    """

    def __init__(
        self, load: Callable[[], ClusterLoad | None], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask = load
        self._now = now
        self.counted: Callable[[], None] | None = None  # called when there is a new answer
        self._lock = threading.Lock()
        self._jobs: dict[str, _Reserved] = {}
        self._load: ClusterLoad | None = None
        self._counted_at = -math.inf  # not later than Ray's newest count was made
        self._wanted_at = self._seen_at = -math.inf
        self._silent_since: float | None = None
        self._poke = threading.Event()
        self._closing = False

    def open(self) -> None:
        """Begin; nothing is asked before it is wanted."""
        self._closing = False
        threading.Thread(target=self._run, name="ray-usage", daemon=True).start()

    def close(self) -> None:
        """End; an answer that is awaited is not waited for."""
        self._closing = True
        self._poke.set()

    def capacity(self, patience_s: float) -> Capacity | None:
        """What is there and what of it is free for more of our jobs, as of the last seconds.

        Unknown, so that everything waits, until Ray has answered; None, so that everything may
        try, when it has not for `patience_s`.
        """
        now = self._now()
        with self._lock:
            self._wanted_at = now
            if self._load is not None and now - self._seen_at <= FRESH:
                return self._capacity(self._load, now)
            silent = self._silent_since
        self._poke.set()
        return None if silent is not None and now - silent >= patience_s else NOTHING_FREE

    def _capacity(self, load: ClusterLoad, now: float) -> Capacity:
        young = settled = ended = Resources()
        for job in self._jobs.values():
            if job.ended_at is not None:
                ended += job.needs if job.ended_at > self._counted_at else Resources()
            elif job.begun_at is None or now - job.begun_at < SETTLED:
                young += job.needs
            else:
                settled += job.needs
        total = Resources(cpus=load.cpus, gpus=load.gpus)
        counted = Resources(cpus=load.used_cpus, gpus=load.used_gpus) - ended
        used = Resources(
            cpus=max(counted.cpus, settled.cpus, 0.0), gpus=max(counted.gpus, settled.gpus, 0.0)
        )
        return Capacity(total=total, free=total - used - young)

    def reserve(self, job: str, needs: Resources) -> None:
        """A job that is about to be submitted, or is adopted."""
        with self._lock:
            self._jobs.setdefault(job, _Reserved(needs=needs))

    def begin(self, job: str) -> None:
        """The job runs."""
        with self._lock:
            if (reserved := self._jobs.get(job)) and reserved.begun_at is None:
                reserved.begun_at = self._now()

    def end(self, job: str) -> None:
        """The job is gone."""
        with self._lock:
            if (reserved := self._jobs.get(job)) and reserved.ended_at is None:
                reserved.ended_at = self._now()

    def reset(self) -> None:
        """Another Ray has taken the place of the one that was counted; our jobs' needs stay."""
        with self._lock:
            self._load, self._silent_since = None, None
            self._counted_at = self._seen_at = -math.inf
        self._poke.set()

    def _run(self) -> None:
        while not self._closing:
            wanted = self._now() - self._wanted_at < WANTED
            self._poke.wait(LOOK if wanted else None)
            self._poke.clear()
            if not self._closing and not self.look():
                time.sleep(LOOK)  # refused at once, it must not be asked all the time

    def look(self) -> bool:
        """Ask Ray once; False when it does not answer."""
        try:
            load = self._ask()
        except Exception as error:  # also a secret that is not there: the thread must go on
            if self._silent_since is None:
                _log.warning("Ray does not say what it has free: %s", error)
                with self._lock:
                    self._silent_since = self._now()
            return False
        with self._lock:
            self._silent_since = None
            if load is not None:
                self._see(load, self._now())
        if self.counted is not None:
            self.counted()
        return True

    def _see(self, load: ClusterLoad, now: float) -> None:
        """What Ray says now; a count that was seen before is as old as it was then."""
        if self._load is None or load.counted_at != self._load.counted_at:
            # The first one may have been made long before we asked.
            first = self._load is None
            self._counted_at = now - (COUNTED_EVERY if first else 1.0)
        self._load, self._seen_at = load, now
        self._jobs = {
            job: reserved
            for job, reserved in self._jobs.items()
            if reserved.ended_at is None or reserved.ended_at > self._counted_at
        }
