"""Champion and challenger on the same rows: what the gate and the report look at."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from registry.errors import GateError
from registry.methods.codes import numbered
from registry.methods.metrics import Metric, losses_of, score_of
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

# A score beyond this counts as infinite: its square could not be added up.
MOST = 1e100


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


class Unusable(str):
    """Why a challenger can never be judged, whatever rows come."""

    __slots__ = ()


class Spoilt(str):
    """Why these rows can never judge anybody, whatever rows come beside them."""

    __slots__ = ()


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


def obstacles(
    comparison: Comparison, task: Task, *, judge_new_classes: bool = False
) -> Iterator[str]:
    """Why these rows cannot be judged, the most basic reason first.

    What is the challenger's own fault is Unusable; what spoils the rows for every challenger, on
    later nights as well, is Spoilt. `judge_new_classes`: rows of a class that the
    champion never saw are no obstacle.
    """
    if len(comparison.y) == 0:
        yield "the holdout is empty"
    # Rows on which the champion fails, too, say nothing against the challenger.
    yield from map(Spoilt, _not_finite("labels", comparison.y))
    yield from map(Spoilt, _not_finite("champion's predictions", comparison.champion))
    yield from map(Unusable, _not_finite("challenger's predictions", comparison.challenger))
    if comparison.clusters is not None and len(np.unique(comparison.clusters)) < 2:
        yield "all rows belong to one cluster"
    if task is Task.CLASSIFICATION:
        yield from _class_obstacles(comparison, judge_new_classes)


def _not_finite(what: str, values: AnyArray | None) -> Iterator[str]:
    unusable = 0 if values is None else int((~finite(values)).sum())
    if unusable:
        yield f"{unusable:,} of the {what} are missing or infinite"


def _class_obstacles(comparison: Comparison, judge_new_classes: bool) -> Iterator[str]:
    present = _present(comparison.y)
    yield from _type_obstacles(comparison, present)
    if len(present) == 1:
        yield f"the holdout has one class only, {next(iter(present))}"
    new = unseen_by_champion(comparison)
    if new and not judge_new_classes:
        classes = f"class{'' if len(new) == 1 else 'es'} {_with_rows(new)}"
        yield (
            f"the champion never saw the {classes}: gate.new_classes=judge counts them as its "
            "errors; or drop these rows in a feature function, or train under another name "
            "(model=...)"
        )


def _type_obstacles(comparison: Comparison, present: set[Any]) -> Iterator[str]:
    """Labels and classes that no order holds for, such as words and numbers."""
    own, others = comparison.classes, comparison.champion_classes or comparison.classes
    for who, known, predicted in (
        ("champion", others, comparison.champion),
        ("challenger", own, comparison.challenger),
    ):
        if predicted is None:
            continue
        said = _present(predicted) if predicted.ndim == 1 else set()
        try:
            sorted(present | said | set(known or ()))
        except TypeError:
            why = (
                f"the {who}'s classes are of another type than the labels "
                f"({_types(said | set(known or ()))} and {_types(present)}): give the labels their "
                "former type, or train under another name (model=...)"
            )
            yield why if who == "champion" else Unusable(why)


def _types(values: set[Any]) -> str:
    return ", ".join(sorted({type(value).__name__ for value in values}))


def unseen_by_champion(comparison: Comparison) -> dict[Any, int]:
    """Each class that the champion never saw, to how many rows are of it."""
    if comparison.champion is None:
        return {}
    return _unseen(comparison.y, comparison.champion_classes or comparison.classes)


def unseen_by_challenger(comparison: Comparison) -> dict[Any, int]:
    """Each class that the challenger never saw, to how many rows are of it."""
    return _unseen(comparison.y, comparison.classes)


def unseen_words(comparison: Comparison) -> Iterator[tuple[int, str]]:
    """How many rows each model is wrong on because it never saw their class, and in words."""
    for who, new in (
        ("champion", unseen_by_champion(comparison)),
        ("challenger", unseen_by_challenger(comparison)),
    ):
        if new:
            rows, classes = sum(new.values()), "a class" if len(new) == 1 else "classes"
            yield (
                rows,
                f"{rows:,} rows are of {classes} that the {who} never saw, and it is wrong on "
                f"them: {_with_rows(new)}",
            )


def _unseen(y: AnyArray, known: tuple[Any, ...] | None) -> dict[Any, int]:
    new = set() if known is None else _present(y) - set(known)
    if not new:
        return {}
    return dict(Counter(item for item in y.tolist() if item in new).most_common())


def _present(y: AnyArray) -> set[Any]:
    return set(numbered(y)[0] if y.dtype.kind in "iub" else y.tolist())


def _with_rows(classes: Mapping[Any, int]) -> str:
    """ "flat (100 rows), round (1 row)"; the most frequent ones."""
    counted = list(classes.items())
    named = [f"{label} ({rows:,} row{'' if rows == 1 else 's'})" for label, rows in counted[:3]]
    return ", ".join([*named, *([f"{len(counted) - 3:,} more"] if len(counted) > 3 else [])])


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


def infinite(pair: ScoredPair, metric: Metric) -> str | None:
    """Why finite numbers that are off beyond all measure cannot be judged; None: they can.

    Whose fault it is says the kind, as in `obstacles`.
    """
    kinds: tuple[tuple[str, Scored | None, type[str]], ...] = (
        ("champion", pair.champion, Spoilt),
        ("challenger", pair.challenger, Unusable),
    )
    for who, scored, kind in kinds:
        if scored is not None and metric.task is Task.REGRESSION:
            with np.errstate(over="ignore"):
                score = score_of(metric, scored)
            if abs(score) > MOST:
                return kind(f"the {who}'s {metric.name} of {score:.3g} is beyond all measure")
    return None


def row_gains(pair: ScoredPair, metric: Metric, bound: float = np.inf) -> Floats:
    """What each row gains by the challenger; a loss counts as at most `bound`."""
    assert pair.champion is not None
    gains: Floats = np.minimum(losses_of(metric, pair.champion), bound) - np.minimum(
        losses_of(metric, pair.challenger), bound
    )
    return gains
