"""What a job uses: its own processor time, and the CPUs and GPUs that its Ray tasks were granted.

A grant counts for as long as it lasts, used or not: nobody else could have had it. That is what
a cluster costs, and what the efficiency of a training loop is measured by.
"""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Used:
    """Seconds, times what was had for them."""

    cpu_s: float = 0.0  # processor time of the job's process, and CPUs granted times seconds
    gpu_s: float = 0.0  # GPUs granted times seconds


class Usage:
    """The account of one job; any thread may read it while the job goes on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._own = _process_time()
        self._cpu_s = self._gpu_s = 0.0
        self._open: dict[int, tuple[float, float, float]] = {}  # CPUs, GPUs, granted since
        self._granted = 0

    def begin(self, num_cpus: float, num_gpus: float) -> int:
        """A grant begins; returns its number."""
        with self._lock:
            self._granted += 1
            self._open[self._granted] = (num_cpus, num_gpus, time.monotonic())
            return self._granted

    def end(self, number: int, seconds: float | None = None) -> None:
        """A grant has ended, after `seconds` where its holder measured them; once."""
        with self._lock:
            if (grant := self._open.pop(number, None)) is None:
                return
            num_cpus, num_gpus, since = grant
            seconds = time.monotonic() - since if seconds is None else seconds
            self._cpu_s += num_cpus * seconds
            self._gpu_s += num_gpus * seconds

    def so_far(self) -> Used:
        """What was used until now, by what goes on too."""
        with self._lock:
            now, cpu_s, gpu_s = time.monotonic(), self._cpu_s, self._gpu_s
            for num_cpus, num_gpus, since in self._open.values():
                cpu_s += num_cpus * (now - since)
                gpu_s += num_gpus * (now - since)
            return Used(cpu_s=cpu_s + _process_time() - self._own, gpu_s=gpu_s)


_usage: ContextVar[Usage | None] = ContextVar("ray_jobs_usage", default=None)


@contextmanager
def counted_in(usage: Usage) -> Iterator[None]:
    """Count in `usage` what this block is granted."""
    token = _usage.set(usage)
    try:
        yield
    finally:
        _usage.reset(token)


def current_usage() -> Usage:
    """The account of the job that runs here; outside of a job, one that nobody reads."""
    return _usage.get() or Usage()


def _process_time() -> float:
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
