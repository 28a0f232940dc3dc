"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import seconds

_BLOCK = b"x" * 4096


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine, as far as it decides how fast things are."""

    cores: int
    cpu: str
    memory_gb: float
    python: str
    kernel: str
    fsync_ms: float  # median of 4 KiB appended and synchronised
    load: float  # processes that wanted to run in the last minute, at the start

    @property
    def text(self) -> str:
        """For people, in one line."""
        return (
            f"{self.cores} cores, {self.cpu}, {self.memory_gb:.0f} GB, Python {self.python}, "
            f"{self.kernel}, fsync {self.fsync_ms:.2f} ms, load {self.load:.1f}"
        )


def describe(folder: Path) -> Machine:
    """This machine; `folder` is on the disk that is measured."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Machine(
        cores=os.cpu_count() or 1,
        cpu=_cpu(),
        memory_gb=pages / 1e9,
        python=platform.python_version(),
        kernel=f"{platform.system()} {platform.release()}",
        fsync_ms=_fsync_ms(folder),
        load=os.getloadavg()[0],
    )


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _fsync_ms(folder: Path) -> float:
    with tempfile.TemporaryFile(dir=folder) as file:

        def append() -> None:
            file.write(_BLOCK)
            file.flush()
            os.fdatasync(file.fileno())

        return statistics.median(seconds(append) for _ in range(200)) * 1e3
