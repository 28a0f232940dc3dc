"""Metrics of a user's own: a function that gives each row a value, and declares what it may be.

    from registry import row_metric

    @row_metric(of="classes", low=-10, high=50, greater_is_better=True)
    def profit(y, prediction):
        return np.where(prediction == "offer", np.where(y == "buys", 50, -10), 0)

A value below `low` or above `high` counts as the nearest of the two: what is proven is proven of
these. So a row's loss has a bound, and evidence adds up over nights as it does for accuracy.
"""

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

import numpy as np

from registry.errors import GateError
from registry.methods.predictions import AnyArray, Floats, Scored

Function = TypeVar("Function", bound=Callable[..., Any])
_ATTRIBUTE = "__ratchet_metric__"


class Of(StrEnum):
    """In which form a metric takes predictions; `y` comes in the labels' own type."""

    NUMBERS = "numbers"
    """The predicted numbers, (rows,)."""
    CLASSES = "classes"
    """The predicted classes, (rows,), in the labels' own type."""
    PROBABILITIES = "probabilities"
    """The probability of the second of two classes in ascending order, (rows,); of more classes
    one column each, (rows, classes)."""


@dataclass(frozen=True, kw_only=True)
class Declared:
    """What the author of a metric said of it."""

    function: Callable[..., Any]
    of: Of
    low: float
    high: float
    greater_is_better: bool

    @property
    def bound(self) -> float:
        """What a row's loss is at most: the distance from the best value to the worst."""
        return self.high - self.low

    @property
    def best(self) -> float:
        """The value of a row without loss."""
        return self.high if self.greater_is_better else self.low

    @property
    def digest(self) -> str:
        """Of its source and of what it declares: another one, and evidence begins anew."""
        try:
            source = inspect.getsource(self.function)
        except (OSError, TypeError):
            source = repr(self.function.__code__.co_code)
        said = f"{self.of} {self.low!r} {self.high!r} {self.greater_is_better}\n{source}"
        return hashlib.sha256(said.encode()).hexdigest()

    def losses(self, scored: Scored, name: str) -> Floats:
        """The loss of each row, from 0 to `bound`; GateError where the function fails."""
        values = self._values(scored, name)
        clipped = np.clip(values, self.low, self.high)
        return np.asarray(self.high - clipped if self.greater_is_better else clipped - self.low)

    def _values(self, scored: Scored, name: str) -> Floats:
        y, prediction = _as_the_author_sees(scored, self.of)
        try:
            values = np.asarray(self.function(y, prediction), dtype=np.float64)
        except Exception as error:
            raise GateError(
                f"The metric {name} raised {type(error).__name__}: {error}{_line_of(error)}",
                hint="correct it, and try it on a few rows: it is a plain function",
            ) from error
        if values.shape != (len(scored),):
            raise GateError(
                f"The metric {name} gave the shape {values.shape} for {len(scored):,} rows.",
                hint="return one value for each row, (rows,), not their mean",
            )
        unusable = int((~np.isfinite(values)).sum())
        if unusable:
            raise GateError(
                f"The metric {name} gave {unusable:,} of {len(scored):,} rows a value that is no "
                "finite number.",
                hint="say in the function what such a row is worth",
            )
        return values


def row_metric(
    *, of: str, low: float, high: float, greater_is_better: bool
) -> Callable[[Function], Function]:
    """Declare a function `(y, prediction) -> value of each row` a metric of the gate.

    `of`: what it takes as prediction: `numbers`, `classes` or `probabilities`; `low`, `high`:
    between which a row's value lies; `greater_is_better`: whether it is a gain. Raises GateError.
    """
    if of not in set(Of):
        raise GateError(f"A metric is of {', '.join(Of)}, not of {of!r}.")
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise GateError(
            f"A metric's values lie between low and high, and {low!r} and {high!r} are no bounds.",
            hint="give finite numbers, low < high: a value outside counts as the nearest of them",
        )

    def mark(function: Function) -> Function:
        said = Declared(
            function=function,
            of=Of(of),
            low=float(low),
            high=float(high),
            greater_is_better=greater_is_better,
        )
        setattr(function, _ATTRIBUTE, said)
        return function

    return mark


def declared_by(name: str, function: object) -> Declared:
    """What a function was declared to be; GateError when nobody declared it a metric."""
    said = getattr(function, _ATTRIBUTE, None)
    if not isinstance(said, Declared):
        raise GateError(
            f"{name} is not declared a metric: nobody says what its values may be.",
            hint="write above it: @row_metric(of='classes', low=0, high=1, greater_is_better=True)"
            " (from registry import row_metric)",
        )
    return said


def _as_the_author_sees(scored: Scored, of: Of) -> tuple[AnyArray, AnyArray]:
    if of is Of.NUMBERS:
        return scored.y, scored.needed_values()
    names = np.asarray(scored.classes)
    y = names[scored.y]
    if of is Of.CLASSES:
        return y, names[scored.needed_labels()]
    p = scored.needed_probabilities()
    return y, p[:, 1] if p.shape[1] == 2 else p


def _line_of(error: BaseException) -> str:
    """Where in the user's file it was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f" ({trace.tb_frame.f_code.co_filename}, line {trace.tb_lineno})"
