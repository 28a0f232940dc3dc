"""Metrics of a project's own, made known to the gate by the allow-list."""

from __future__ import annotations

from collections.abc import Sequence

from ray_jobs.dotted import resolve
from registry import GateConfig
from registry.gate_config import check_mode
from registry.methods.metrics import declare, is_dotted


def declare_metrics(gate: GateConfig, allowed_modules: Sequence[str]) -> None:
    """Make the gate's own metrics, guards and floors known in this process, and check the gate.

    Raises UnknownName for one that the allowed modules do not have, GateError.
    """
    for name in sorted({gate.metric, *gate.guards, *gate.floors}):
        if is_dotted(name):
            declare(name, resolve(name, allowed_modules))
    check_mode(gate)
