"""A straight scale: values to percent of a drawing's width or height, and ticks to read it by."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

# Steps between ticks that people read without thinking, as parts of a power of ten.
STEPS = (1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What part of the way from `low` to `high` a value is."""

    low: float
    high: float

    def percent(self, value: float) -> float:
        """0 at `low`, 100 at `high`; what lies beyond stays at the edge."""
        part = (value - self.low) / (self.high - self.low)
        return 100.0 * min(max(part, 0.0), 1.0)

    def ticks(self, count: int = 4) -> tuple[float, ...]:
        """About so many round values inside."""
        step = _round_step((self.high - self.low) / count)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return tuple(number * step for number in range(first, last + 1))


def covering(values: Iterable[float | None], *, margin: float = 0.06) -> Scale | None:
    """The scale that holds all finite values, with a margin; None when there are none."""
    finite = [value for value in values if value is not None and math.isfinite(value)]
    if not finite:
        return None
    low, high = min(finite), max(finite)
    room = (high - low) * margin or abs(high) * margin or 1.0
    return Scale(low=low - room, high=high + room)


def _round_step(wanted: float) -> float:
    power = 10.0 ** math.floor(math.log10(wanted))
    return min((part * power for part in STEPS if part * power >= wanted * 0.999), default=wanted)
