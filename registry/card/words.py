"""How the card writes figures, times and names."""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import escape

NOTHING = "–"
"""Stands where there is no figure."""
# Evidence beyond these is said to be over the one, or under the other.
LEAST, MOST = 1e-3, 1e9


def number(value: float | None) -> str:
    """Four significant digits: `0.9417`, `1,250`, `3.2e-05`; a dash for none."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if value == int(value) and abs(value) < 1e9:
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def signed(value: float | None) -> str:
    """A difference with its sign: `+0.0123`; a dash for none."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return f"{value:+.3g}" if value else "0"


def between(
    low: float | None, high: float | None, *, write: Callable[[float], str] = signed
) -> str:
    """An interval: `+0.002 to +0.022`; empty for none."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"{write(low)} to {write(high)}"


def evidence(log_value: float | None) -> str:
    """An evidence: `under 0.001`, `0.31`, `41`, `9,605`, `over 1,000,000,000`; a dash for none."""
    if log_value is None or math.isnan(log_value):
        return NOTHING
    if log_value > math.log(MOST):
        return f"over {MOST:,.0f}"
    if log_value < math.log(LEAST):
        return f"under {LEAST:g}"
    value = math.exp(log_value)
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def percent(share: float) -> str:
    """`99.8 %`, `100 %`, `0.02 %`."""
    return f"{100 * share:.3g} %"


def when(at: datetime | None) -> str:
    """`2026-11-22 03:10` in UTC; a dash for none."""
    return NOTHING if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M}"


def moment(at: datetime | None) -> str:
    """`2026-11-22 03:10 UTC`; a dash for none."""
    return NOTHING if at is None else f"{when(at)} UTC"


def length(span: timedelta) -> str:
    """`30 days`, `1:30:00`."""
    return str(span).removesuffix(", 0:00:00")


def counted(count: int, one: str, more: str = "") -> str:
    """`1 night`, `12 nights`."""
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def text(value: object) -> str:
    """The value as HTML text; a dash for none."""
    return NOTHING if value is None or value == "" else escape(str(value))
