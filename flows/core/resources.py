"""What a task needs of a cluster, and what the cluster has: CPUs and GPUs.

Work that a cluster would only queue stays `ready` instead: it can still be given to another
worker, a more urgent run can pass it, and its timeout does not begin.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Amounts of a cluster."""

    cpus: float = 0.0  # CPU cores
    gpus: float = 0.0  # GPUs; a share of one is a fraction

    def __add__(self, other: Resources) -> Resources:
        return Resources(cpus=self.cpus + other.cpus, gpus=self.gpus + other.gpus)

    def __sub__(self, other: Resources) -> Resources:
        return Resources(cpus=self.cpus - other.cpus, gpus=self.gpus - other.gpus)

    def within(self, other: Resources) -> bool:
        """Whether these amounts are there among those of `other`."""
        return self.cpus <= other.cpus + _DUST and self.gpus <= other.gpus + _DUST


_DUST = 1e-6  # shares of a GPU do not add up exactly

ONE_CPU = Resources(cpus=1.0)
"""What a task needs that does not say it."""


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """What a cluster has, and what of it is free for more work."""

    total: Resources
    free: Resources

    def takes(self, needs: Resources) -> bool:
        """Whether work with these needs may start now.

        Also when it can never fit: whoever starts it says so, with what there is; waiting for
        ever says nothing.
        """
        return needs.within(self.free) or not needs.within(self.total)

    def less(self, needs: Resources) -> Capacity:
        """What is left once work with these needs has started."""
        return replace(self, free=self.free - needs)


def needs_of(parameter: str | None, arguments: str) -> Resources:
    """What an attempt needs, as its argument `parameter` says: num_cpus, num_gpus, workers.

    `arguments` is the JSON object of all its arguments. None: one CPU.
    """
    if parameter is None:
        return ONE_CPU
    data: Any = json.loads(arguments).get(parameter)
    if not isinstance(data, dict):
        return ONE_CPU
    workers = _number(data.get("workers"), 1)
    return Resources(
        cpus=workers * _number(data.get("num_cpus"), 1),
        gpus=workers * _number(data.get("num_gpus"), 0),
    )


def _number(value: Any, default: float) -> float:
    return float(value) if isinstance(value, int | float) else float(default)
