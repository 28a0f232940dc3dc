"""The year's error budget: a bar of what is spent, and the same in words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from registry.card.words import counted, number, percent

if TYPE_CHECKING:
    from registry.error_budget import Year


def budget_meter(year: Year) -> str:
    """Spent on challengers, spent of the reserve, and what is left."""
    parts = ((year.spent, "var(--line)"), (year.spent_again, "var(--ask)"))
    drawn = "".join(
        f"<i style='width:{100 * part / year.alpha:.2f}%;background:{colour}'></i>"
        for part, colour in parts
        if math.isfinite(part) and part > 0
    )
    said = f"{percent(year.wealth / year.alpha)} of the budget is left"
    return f"<div class='c-meter' role='img' aria-label='{said}'>{drawn}</div>"


def budget_words(year: Year) -> str:
    """ "0.0475 of 0.05 left (95 %); 12 challengers took a share, and 1 was taken anew ..."."""
    left = f"{number(round(year.wealth, 5))} of {year.alpha:g} left"
    if year.alpha > 0:
        left += f" ({percent(year.wealth / year.alpha)})"
    took = f"{counted(year.opened, 'challenger')} took a share"
    if not year.reopened:
        return f"{left}; {took}"
    again = f"{counted(year.reopened, 'share')} came from the reserve"
    return f"{left}; {took}, and {again}" if year.opened else f"{left}; {again}"
