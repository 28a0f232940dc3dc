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
# Beyond the plan a challenger takes half of what is left at most, so that something always is.
LEAST_SHARES = 2


@dataclass(frozen=True, kw_only=True)
class Year:
    """A year's alpha, paid out in shares: one for each challenger that is compared.

    As many equal shares as the year is planned for; those beyond the plan take a part of what is
    left: shares shrink, and never end, so the gate does not freeze, and their sum stays below
    alpha. A first model is compared with no champion, and takes none of it.
    """

    number: int = 0
    """The calendar year, in UTC; with the next one the account starts anew."""
    alpha: float = 0.05
    """Expected false promotions of the year, at most."""
    planned: int = 365
    """New challengers that the year is planned for."""
    opened: int = 0
    """Challengers that took a share this year."""
    spent: float = 0.0
    """Sum of their shares."""
    conceded: float = 0.0
    """How much worse than the year's best champion promotions by non-inferiority may have made the
    present one, in the metric's unit (`registry.nights.allowance`)."""

    @property
    def share(self) -> float:
        """What the next challenger takes."""
        if self.opened < self.planned:
            return min(self.alpha / self.planned * PLANNED_PART, self.wealth)
        return self.wealth / max(self.planned, LEAST_SHARES)

    @property
    def wealth(self) -> float:
        """What is left of alpha this year."""
        return max(self.alpha - self.spent, 0.0)

    def at(self, number: int, *, alpha: float, planned: int) -> "Year":
        """The account of calendar year `number`, with what the configuration asks for now.

        What was spent this year stays spent, also when the configuration changes. A clock that is
        behind by a year opens no older account: of two around midnight, the later one counts. One
        that jumped further, either way, was or is wrong, or the model rested: the account takes
        its year, and what was spent stays spent until the next year begins. So a clock that was
        once ahead pays nothing twice, and once it is right again a new year is one.
        """
        terms = Year(number=number, alpha=alpha, planned=planned)
        if number == self.number + 1:
            return terms
        return replace(
            terms,
            number=self.number if number == self.number - 1 else number,
            opened=self.opened,
            spent=self.spent,
            conceded=self.conceded,
        )

    def after_gain(self, gain: float) -> "Year":
        """The account after a champion that is better by `gain` (negative: worse)."""
        return replace(self, conceded=max(self.conceded - gain, 0.0))

    def after_opening(self) -> "Year":
        """The account after a challenger took its share."""
        return replace(self, opened=self.opened + 1, spent=self.spent + self.share)


def carried(share: float, log_value: float) -> float:
    """What a comparison goes on with when it begins anew, against another champion, say.

    Its share times its evidence, at most its share. While it is no better, share times evidence is
    a supermartingale: the probability of having been promoted and the share that is left add up to
    no more than the share that it began with, however often it begins anew. Where it was better
    than the champion before, nothing false could have happened, and the share is no larger either.
    """
    return share * math.exp(min(log_value, 0.0))


def bar(share: float) -> float:
    """Log e-value at which a comparison that holds `share` is proven; infinite for no share."""
    return -math.log(share) if share > 0 else math.inf
