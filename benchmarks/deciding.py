"""One decision of the gate on a million rows: 5 metrics, 20 slices in two columns of text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.measure import Setting, seconds, side_by_side
from benchmarks.report import Aim, Figure, Kind
from registry import Comparison, GateConfig
from registry.gate import decide
from registry.nights.betting import Sample
from registry.nights.docket import Docket
from registry.nights.night import Tonight, judged, opened

ROWS = 1_000_000
METRICS = ("accuracy", "log_loss", "brier", "roc_auc", "f1")
# Those that no row alone can tell are compared in one night, or by blocks.
ROW_WISE = METRICS[:3]
KEPT = 5
AIM = Aim(kind=Kind.AT_MOST, bound=2.0)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def figures(setting: Setting) -> Iterator[Figure]:
    """Seconds of one decision, for each metric that the models are compared in."""
    rows = ROWS // setting.of(1, 10)
    comparison = _models(rows)
    sample = Sample(comparison=comparison, times=_times(rows))
    subjects: dict[str, Callable[[], float]] = {}
    for name in METRICS:
        decided = partial(_by_one_night, comparison, name)
        subjects[f"one night, {name}"] = partial(seconds, decided)
    for name in ROW_WISE:
        decided = partial(_by_evidence, sample, name, kept=0)
        subjects[f"evidence, {name}"] = partial(seconds, decided)
    beside = f"evidence, accuracy, {KEPT} kept challengers beside it"
    subjects[beside] = partial(seconds, partial(_by_evidence, sample, "accuracy", kept=KEPT))
    samples = side_by_side(subjects, repeats=setting.of(5, 3), warm_up=1)
    for name, own in samples.items():
        yield Figure(
            name=f"gate: {name}, 4 guards, 20 slices, {rows:,} rows",
            unit="s",
            own=own,
            aim=None if name == beside else AIM,
        )


def _by_one_night(comparison: Comparison, metric: str) -> None:
    config = _config(metric)
    verdict = decide(comparison, config, model="m", challenger="2", champion="1", level=1.1e-4)
    assert sum(rule.slice is not None for rule in verdict.rules) == 20


def _by_evidence(sample: Sample, metric: str, *, kept: int) -> None:
    """A night of which tonight's challenger, and each of those kept, get all the rows."""
    config, docket = _config(metric), Docket(epoch=1)
    for version in range(2, 3 + kept):
        tonight = _tonight(str(version))
        docket, _ = opened(docket, tonight, config)
    samples = {case.challenger: sample for case in docket.cases}
    assert len(samples) == 1 + kept
    _, verdict = judged(docket, [], samples, tonight, config)
    assert sum(rule.slice is not None for rule in verdict.rules) == 20


def _config(metric: str) -> GateConfig:
    return GateConfig(
        metric=metric,
        bound=10.0 if metric == "log_loss" else None,
        guards={name: 0.01 for name in METRICS if name != metric},
        floors={"accuracy": 0.5},
        slices=("region", "device"),
    )


def _tonight(version: str) -> Tonight:
    return Tonight(
        model="m",
        challenger=version,
        trained_until=NOON,
        champion="1",
        champion_labels_until=NOON,
        epoch=1,
        run_id="",
        mlflow_run_id="",
        now=NOON,
    )


def _times(rows: int) -> npt.NDArray[np.datetime64]:
    """A row a millisecond, after all training."""
    return np.datetime64(NOON.replace(tzinfo=None), "us") + np.arange(1, rows + 1) * np.timedelta64(
        1000, "us"
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
