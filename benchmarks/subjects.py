"""What is measured: one module for each subject, with a function `figures`."""

from __future__ import annotations

import importlib
import os
import tempfile
from pathlib import Path

from benchmarks.measure import Setting
from benchmarks.report import Figure

NAMES = (
    "start",
    "commands",
    "listing",
    "history",
    "waiting",
    "core",
    "two_workers",
    "schedules",
    "always_on",
    "loop",
    "extraction",
    "point_in_time",
    "deciding",
)


def measure(name: str, place: Path, quick: bool) -> list[Figure]:
    """Measure one subject in a folder of its own below `place`."""
    subject = importlib.import_module(f"benchmarks.{name}")
    os.sync()  # what another subject wrote must not hold up this one's commits
    with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=place) as folder:
        return list(subject.figures(Setting(folder=Path(folder), quick=quick)))
