"""The error budget: how sure each decision must be, so that a whole year of them stays right.

Every challenger that is compared takes a share of the year's alpha and keeps it for its life: it is
promoted when an equal one would have come as far with a probability of at most its share. Shares
are fixed before a row is seen and sum to at most alpha, and expectations add up without
independence: at most alpha false promotions are expected in a year, whichever rows the comparisons
share and however often one looks (`docs/gate.md`).
"""

import math
from dataclasses import dataclass, replace

# Of its planned share a challenger takes so much; the rest pays those beyond the plan.
PLANNED_PART = 0.95
# The reserve pays full shares until fewer than so many are left in it.
LOW_PURSE = 10
# Beyond the plan a challenger takes half of what is left at most, so that something always is.
LEAST_SHARES = 2
# A first model takes so much of what is left in the reserve.
FIRST_PART = 0.25


@dataclass(frozen=True, kw_only=True)
class Year:
    """A year's alpha, paid out in shares: one for each comparison opened.

    Two purses. New challengers are paid equal shares of (1 - reserve) alpha, as many as the year
    is planned for; comparisons that are opened again after a promotion are paid as much from the
    reserve. A purse that runs low pays a part of what is left: shares shrink, and never end, so
    the gate does not freeze, and their sum stays below alpha.
    """

    number: int = 0
    """The calendar year, in UTC; with the next one the account starts anew."""
    alpha: float = 0.05
    """Expected false promotions of the year, at most."""
    planned: int = 365
    """New challengers that the year is planned for."""
    reserve: float = 0.2
    """Part of alpha kept for comparisons that are opened again."""
    opened: int = 0
    """New challengers that took a share this year."""
    spent: float = 0.0
    """Sum of their shares."""
    reopened: int = 0
    """Comparisons, and first models, that took a share from the reserve this year."""
    spent_again: float = 0.0
    """Sum of their shares."""
    conceded: float = 0.0
    """How much worse than the year's best champion promotions by non-inferiority may have made the
    present one, in the metric's unit (`registry.nights.allowance`)."""

    @property
    def planned_share(self) -> float:
        """What a new challenger takes while the plan holds."""
        return self.alpha * (1.0 - self.reserve) / self.planned

    @property
    def share(self) -> float:
        """What the next new challenger takes."""
        if self.opened < self.planned:
            return min(self.planned_share * PLANNED_PART, self._left)
        return self._left / max(self.planned, LEAST_SHARES)

    @property
    def share_again(self) -> float:
        """What the next comparison takes that is opened again."""
        return min(self.planned_share * PLANNED_PART, self._left_again / LOW_PURSE)

    @property
    def share_first(self) -> float:
        """What the next first model takes: a part of the reserve, or an ordinary share."""
        return max(self._left_again * FIRST_PART, self.share_again)

    @property
    def _left(self) -> float:
        """What is left for new challengers; all of it may be gone to others by another plan."""
        return min(max(self.alpha * (1.0 - self.reserve) - self.spent, 0.0), self.wealth)

    @property
    def _left_again(self) -> float:
        """What is left of the reserve."""
        return min(max(self.alpha * self.reserve - self.spent_again, 0.0), self.wealth)

    @property
    def wealth(self) -> float:
        """What is left of alpha this year."""
        return max(self.alpha - self.spent - self.spent_again, 0.0)

    def at(self, number: int, *, alpha: float, planned: int, reserve: float) -> "Year":
        """The account of calendar year `number`, with what the configuration asks for now.

        What was spent this year stays spent, also when the configuration changes. A clock that is
        behind by a year opens no older account: of two around midnight, the later one counts. One
        that jumped further, either way, was or is wrong, or the model rested: the account takes
        its year, and what was spent stays spent until the next year begins. So a clock that was
        once ahead pays nothing twice, and once it is right again a new year is one.
        """
        terms = Year(number=number, alpha=alpha, planned=planned, reserve=reserve)
        if number == self.number + 1:
            return terms
        return replace(
            terms,
            number=self.number if number == self.number - 1 else number,
            opened=self.opened,
            spent=self.spent,
            reopened=self.reopened,
            spent_again=self.spent_again,
            conceded=self.conceded,
        )

    def after_gain(self, gain: float) -> "Year":
        """The account after a champion that is better by `gain` (negative: worse)."""
        return replace(self, conceded=max(self.conceded - gain, 0.0))

    def after_opening(self, *, again: bool = False, first: bool = False) -> "Year":
        """The account after a comparison took its share."""
        if again or first:
            share = self.share_first if first else self.share_again
            return replace(self, reopened=self.reopened + 1, spent_again=self.spent_again + share)
        return replace(self, opened=self.opened + 1, spent=self.spent + self.share)


def bar(share: float) -> float:
    """Log e-value at which a comparison that holds `share` is proven; infinite for no share."""
    return -math.log(share) if share > 0 else math.inf
