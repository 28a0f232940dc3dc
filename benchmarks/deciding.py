"""One decision of the gate on a million rows: 5 metrics, 20 slices in two columns of text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.measure import Setting, seconds, side_by_side
from benchmarks.report import Aim, Figure, Kind
from registry import Comparison, GateConfig
from registry.gate import decide

ROWS = 1_000_000
METRICS = ("accuracy", "log_loss", "brier", "roc_auc", "f1")
AIM = Aim(kind=Kind.AT_MOST, bound=2.0)


def figures(setting: Setting) -> Iterator[Figure]:
    """Seconds of one decision, for each metric that the models are compared in."""
    rows = ROWS // setting.of(1, 10)
    comparison = _models(rows)

    def decided(metric: str) -> None:
        others = tuple(name for name in METRICS if name != metric)
        config = GateConfig(
            metric=metric,
            guards=dict.fromkeys(others, 0.01),
            floors={"accuracy": 0.5},
            slices=("region", "device"),
        )
        verdict = decide(comparison, config, model="m", challenger="2", champion="1", level=1.1e-4)
        assert sum(rule.slice is not None for rule in verdict.rules) == 20

    samples = side_by_side(
        {name: lambda name=name: seconds(lambda: decided(name)) for name in METRICS},  # type: ignore[misc]
        repeats=setting.of(5, 3),
        warm_up=1,
    )
    for name in METRICS:
        yield Figure(
            name=f"gate: {name}, 4 guards, 20 slices, {rows:,} rows",
            unit="s",
            own=samples[name],
            aim=AIM,
        )


def _models(rows: int) -> Comparison:
    """Two models of which one is a little better; 30 % positives."""
    rng = np.random.default_rng(0)
    y = np.array(["no", "yes"], dtype=object)[(rng.random(rows) < 0.3).astype(np.int64)]
    truth = 2.2 * (y == "yes") - 1.3
    return Comparison(
        y=y,
        challenger=_probabilities(truth + rng.normal(0, 1.10, rows)),
        champion=_probabilities(truth + rng.normal(0, 1.15, rows)),
        classes=("no", "yes"),
        slices={name: _text(name, rows, rng) for name in ("region", "device")},
    )


def _probabilities(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    p = 1.0 / (1.0 + np.exp(-logits))
    return np.column_stack([1.0 - p, p])


def _text(name: str, rows: int, rng: np.random.Generator) -> npt.NDArray[Any]:
    names = np.array([f"{name}-{number}" for number in range(10)], dtype=object)
    return np.asarray(names[rng.integers(0, 10, rows)])
