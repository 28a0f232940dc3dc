"""The year's error budget: a bar of what is spent, and the same in words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from registry.card.words import counted, number, percent

if TYPE_CHECKING:
    from registry.error_budget import Year


def budget_meter(year: Year) -> str:
    """Spent on challengers, and what is left."""
    drawn = ""
    if math.isfinite(year.spent) and year.spent > 0:
        width = 100 * year.spent / year.alpha
        drawn = f"<i style='width:{width:.2f}%;background:var(--line)'></i>"
    said = f"{percent(year.wealth / year.alpha)} of the budget is left"
    return f"<div class='c-meter' role='img' aria-label='{said}'>{drawn}</div>"


def budget_words(year: Year) -> str:
    """ "0.0475 of 0.05 left (95 %); 12 challengers took a share"."""
    left = f"{number(round(year.wealth, 5))} of {year.alpha:g} left"
    if year.alpha > 0:
        left += f" ({percent(year.wealth / year.alpha)})"
    return f"{left}; {counted(year.opened, 'challenger')} took a share"
