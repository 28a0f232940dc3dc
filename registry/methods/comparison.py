"""Champion and challenger on the same rows: what the gate and the report look at."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from registry.errors import GateError
from registry.methods.metrics import Metric, losses_of
from registry.methods.predictions import (
    AnyArray,
    Floats,
    Scored,
    Task,
    all_classes,
    classification,
    finite,
    regression,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """Both models' predictions of the same rows in the same order.

    Classification: labels (rows,), or probabilities (rows, classes) with the names of their
    columns; regression: numbers (rows,). `champion` is None for a first model.
    """

    y: AnyArray
    """The truth, (rows,)."""
    challenger: AnyArray
    champion: AnyArray | None = None
    constant: AnyArray | None = None
    """A first model's baseline, in the challenger's form; none: nothing to be better than."""
    constant_is: str = "saying always the same"
    """That baseline, as a verdict says it."""
    classes: tuple[Any, ...] | None = None
    """The challenger's classes: the columns of its probabilities."""
    champion_classes: tuple[Any, ...] | None = None
    """The champion's classes; none: the same as the challenger's."""
    slices: Mapping[str, AnyArray] = field(default_factory=dict)
    """Slice column to its value for each row."""
    clusters: AnyArray | None = None
    """The unit that each row belongs to, where rows depend on each other."""

    def take(self, rows: AnyArray) -> "Comparison":
        """The same for some rows only (a mask or row numbers)."""
        return replace(
            self,
            y=self.y[rows],
            challenger=self.challenger[rows],
            champion=None if self.champion is None else self.champion[rows],
            constant=None if self.constant is None else self.constant[rows],
            slices={name: values[rows] for name, values in self.slices.items()},
            clusters=None if self.clusters is None else self.clusters[rows],
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredPair:
    """A comparison in the terms of the metrics.

    `champion` is what the challenger is compared with: for a first model the constant baseline,
    or None.
    """

    challenger: Scored
    champion: Scored | None


def check_rows(comparison: Comparison) -> None:
    """Raise GateError unless everything has one value for each row."""
    columns: dict[str, AnyArray | None] = {
        "challenger": comparison.challenger,
        "champion": comparison.champion,
        "constant": comparison.constant,
        "clusters": comparison.clusters,
        **comparison.slices,
    }
    for name, column in columns.items():
        if column is not None and len(column) != len(comparison.y):
            raise GateError(
                f"There are {len(comparison.y):,} labels and {len(column):,} rows of {name}: "
                "both models must be scored on the same rows in the same order."
            )


def obstacles(comparison: Comparison, task: Task) -> Iterator[str]:
    """Why these rows cannot be judged, the most basic reason first."""
    if len(comparison.y) == 0:
        yield "the holdout is empty"
    predictions = {
        "labels": comparison.y,
        "challenger's predictions": comparison.challenger,
        "champion's predictions": comparison.champion,
    }
    for name, values in predictions.items():
        unusable = 0 if values is None else int((~finite(values)).sum())
        if unusable:
            yield f"{unusable:,} of the {name} are missing or infinite"
    if comparison.clusters is not None and len(np.unique(comparison.clusters)) < 2:
        yield "all rows belong to one cluster"
    if task is Task.CLASSIFICATION:
        yield from _class_obstacles(comparison)


def _class_obstacles(comparison: Comparison) -> Iterator[str]:
    present = Counter(comparison.y.tolist())
    if len(present) == 1:
        yield f"the holdout has one class only, {next(iter(present))}"
    known = comparison.champion_classes or comparison.classes
    if comparison.champion is not None and known is not None:
        for label in (label for label in present if label not in known):
            yield (
                f"the champion never saw the class {label} ({present[label]:,} rows); drop these "
                "rows in a feature function, or train under another name (model=...)"
            )


def scored_pair(comparison: Comparison, metric: Metric) -> ScoredPair:
    """Both models in the metric's terms; GateError when shapes or classes do not fit."""
    y, new, old = comparison.y, comparison.challenger, comparison.champion
    old = comparison.constant if old is None else old
    if metric.task is Task.REGRESSION:
        return ScoredPair(
            challenger=regression(y, new, "challenger"),
            champion=None if old is None else regression(y, old, "champion"),
        )
    own = comparison.classes
    others = comparison.champion_classes or own
    labels = [group for group in (new, old) if group is not None and group.ndim == 1]
    classes = all_classes(y, own, others, *labels)
    return ScoredPair(
        challenger=classification(y, new, own, classes, "challenger"),
        champion=None if old is None else classification(y, old, others, classes, "champion"),
    )


def row_gains(pair: ScoredPair, metric: Metric, bound: float = np.inf) -> Floats:
    """What each row gains by the challenger; a loss counts as at most `bound`."""
    assert pair.champion is not None
    gains: Floats = np.minimum(losses_of(metric, pair.champion), bound) - np.minimum(
        losses_of(metric, pair.challenger), bound
    )
    return gains
