"""Timing of things side by side: turn by turn, so that a busy machine is busy for all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

Case = Callable[[], float]
"""Does its work once and returns the figure that it measured."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where a benchmark may write, and how long it may take."""

    folder: Path  # empty, on the project's file system, removed afterwards
    quick: bool  # a first impression: fewer repeats, smaller data

    def of(self, full: int, quick: int) -> int:
        """One of two sizes."""
        return quick if self.quick else full


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Repeated measurements of one thing, in the order in which they were taken."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The figure that is stated."""
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        """A quarter of the measurements lie below."""
        return self.quantile(0.25)

    @property
    def high(self) -> float:
        """A quarter of the measurements lie above."""
        return self.quantile(0.75)

    def quantile(self, share: float) -> float:
        """The value below which `share` of the measurements lie, interpolated."""
        ordered = sorted(self.values)
        place = share * (len(ordered) - 1)
        below = int(place)
        above = min(below + 1, len(ordered) - 1)
        return ordered[below] + (place - below) * (ordered[above] - ordered[below])

    def over(self, other: Sample) -> Sample:
        """The ratios of measurements that were taken next to each other."""
        pairs = zip(self.values, other.values, strict=True)
        return Sample(values=tuple(mine / theirs for mine, theirs in pairs))


def seconds(action: Callable[[], object]) -> float:
    """How long `action` takes."""
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def side_by_side(cases: Mapping[str, Case], *, repeats: int, warm_up: int = 1) -> dict[str, Sample]:
    """Measure all cases in turn, `repeats` times; the first `warm_up` rounds do not count."""
    taken: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(warm_up + repeats):
        for name, case in cases.items():
            figure = case()
            if number >= warm_up:
                taken[name].append(figure)
    return {name: Sample(values=tuple(values)) for name, values in taken.items()}
