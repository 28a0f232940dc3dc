"""Evidence that a challenger is not worse than allowed, on one slice or in one guard. Pure.

It adds up over nights like the evidence of an improvement, against "worse by more than `allowed`":

- a row's loss is bounded: bets on rows, or on clusters of them (`registry.methods.evidence`);
- blocks of time: one observation each (`registry.methods.blocks`);
- anything else: each night's p-value p becomes the e-value exp(z d - d^2 / 2), z the normal
  quantile of 1 - p, averaged over some d. For p uniform its mean is 1, so it is a calibrator (Vovk
  & Wang, E-values: calibration, combination and applications, Annals of Statistics 49 (2021)), and
  nights multiply, because each has rows of its own.

However often one looks, a challenger that is worse than allowed ever comes to 1 / slice_alpha with
a probability of at most slice_alpha (Ville, 1939). The same the other way round, against "not worse
than allowed", says when there is no more hope.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from registry.methods.blocks import BlockEvidence, after_block
from registry.methods.evidence import (
    Bets,
    Evidence,
    after_rows,
    after_units,
    bets_anywhere,
    bets_around,
    opened,
)

if TYPE_CHECKING:
    from registry.methods.bootstrap import Interval
    from registry.methods.predictions import Codes, Floats

# Bets behind one slice; fewer than behind an improvement: less evidence is asked for.
STAKES = 5
STAKES_ANYWHERE = 7
# Night's effects, in standard errors, that the calibrator looks for.
EFFECTS = (0.5, 1.0, 1.75, 3.0)
# No night counts for more standard errors than this.
MOST_Z = 8.0
# A forecast of more nights than this says nothing.
MOST_NIGHTS = 10_000


@dataclass(frozen=True, kw_only=True)
class NoHarm:
    """What the rows so far say of one slice, or one guard."""

    name: str
    """`column=value` of the slice, or the guard's metric."""
    allowed: float
    """How much worse the challenger may be, in the metric's unit."""
    bound: float = 1.0
    """What a row's loss counts as at most; the unit of the bets."""
    evidence: Evidence | None = None
    """Bets on rows, clusters or nights; none: blocks are compared."""
    doubt: tuple[float, ...] = ()
    """What the same bets have made the other way round, as logarithms."""
    by_night: bool = False
    """Each night is one bet, by its p-value."""
    blocks: BlockEvidence | None = None
    rows: int = 0
    nights: int = 0
    gained: float = 0.0
    """Sum of the gains of rows in units of the bound; of z for nights, of gains for blocks."""
    squares: float = 0.0
    """Sum of squares of what was bet on."""
    phi: float = 1.0
    """How many times as much as their rows say days of it differ."""
    peak: float = 0.0
    """Natural logarithm of the most that it came to at the end of a night."""
    figure: float | None = None
    """The last night's difference, where each night is one bet."""
    low: float | None = None
    high: float | None = None
    """Its interval."""

    @property
    def log_value(self) -> float:
        """Natural logarithm of the evidence that it is not worse than allowed."""
        if self.blocks is not None:
            return self.blocks.log_value
        return 0.0 if self.evidence is None else self.evidence.tempered(self.phi)

    @property
    def log_doubt(self) -> float:
        """Natural logarithm of the evidence that it is worse than allowed."""
        if self.blocks is not None:
            return replace(self.blocks, total=-self.blocks.total).log_value
        if self.evidence is None:
            return 0.0
        return self.evidence.reversed(self.doubt).tempered(self.phi)

    @property
    def mean(self) -> float | None:
        """Mean gain so far, in the metric's unit; none for nights."""
        if self.by_night:
            return None
        if self.blocks is not None:
            count = self.blocks.blocks
            return self.blocks.total / count - self.allowed if count else None
        return self.bound * self.gained / self.rows if self.rows else None

    @property
    def error(self) -> float | None:
        """Standard error of the mean; none where nothing is known of it."""
        if self.by_night or self.blocks is not None or not self.rows:
            return None
        return self.bound * math.sqrt(self.squares) / self.rows

    @property
    def told(self) -> int:
        """Rows, blocks or nights that have said something."""
        if self.blocks is not None:
            return self.blocks.blocks
        return self.nights if self.by_night else self.rows

    @property
    def above(self) -> float:
        """How far their mean lies above "worse by just what is allowed"; negative: below it."""
        if not self.told:
            return 0.0
        if self.blocks is not None:
            return self.blocks.total / self.told
        return self.gained / self.told + (0.0 if self.by_night else self.allowed / self.bound)

    def nights_left(self, log_needed: float) -> int | None:
        """Nights until it is proven, if the next ones are like those so far; none: no pace."""
        missing, mean = log_needed - self.log_value, self.above
        if not self.told or self.nights == 0 or missing <= 0:
            return None
        if self.by_night:
            square = 1.0
        elif self.blocks is not None:
            square = self.blocks.squares / self.told
        else:
            allowed = self.allowed / self.bound
            square = (self.squares + 2 * allowed * self.gained) / self.told + allowed**2
        if mean <= 0 or square <= 0:
            return None
        nights = missing / (mean**2 / (2 * square)) / (self.told / self.nights)
        return math.ceil(nights) if nights < MOST_NIGHTS else None


def begun(name: str, *, allowed: float, bound: float, square: float | None) -> NoHarm:
    """Bets on rows; `square`: mean square of a row's gain by earlier comparisons, in bounds."""
    room = allowed / bound
    bets = (
        bets_anywhere(count=STAKES_ANYWHERE)
        if not square
        else bets_around(room, square + room**2, count=STAKES)
    )
    return _with(NoHarm(name=name, allowed=allowed, bound=bound), bets)


def begun_by_night(name: str, *, allowed: float) -> NoHarm:
    """A bet a night, by its p-value."""
    bets = Bets(fractions=EFFECTS, weights=(1.0 / len(EFFECTS),) * len(EFFECTS))
    return _with(NoHarm(name=name, allowed=allowed, by_night=True), bets)


def begun_with_blocks(name: str, *, allowed: float, blocks: BlockEvidence) -> NoHarm:
    """One observation a block."""
    return NoHarm(name=name, allowed=allowed, blocks=blocks)


def after_gains(kept: NoHarm, gains: Floats, units: Codes | None) -> NoHarm:
    """After a night's rows; `gains`: (rows,) in units of the bound, each in [-1, 1]."""
    import numpy as np

    assert kept.evidence is not None
    null, squares = -kept.allowed / kept.bound, float((gains**2).sum())
    other = kept.evidence.reversed(kept.doubt)
    if units is None:
        evidence = after_rows(kept.evidence, gains, null=null)
        doubt = after_rows(other, -gains, null=-null)
    else:
        evidence = after_units(kept.evidence, gains, units, null=null)
        doubt = after_units(other, -gains, units, null=-null)
        sums = np.bincount(np.unique(units, return_inverse=True)[1].ravel(), weights=gains)
        squares = float((sums**2).sum())
    return replace(
        kept,
        evidence=_rounded(evidence),
        doubt=_rounded(doubt).log_wealth,
        rows=kept.rows + len(gains),
        nights=kept.nights + 1,
        gained=kept.gained + float(gains.sum()),
        squares=kept.squares + squares,
    )


def after_p(kept: NoHarm, p: float, tonight: Interval, rows: int, *, phi: float = 1.0) -> NoHarm:
    """After a night whose one-sided p-value against "worse by more than allowed" is `p`.

    `phi`: how many times as much as their rows say days differ.
    """
    import numpy as np
    from scipy.special import ndtri

    assert kept.evidence is not None
    z = float(np.clip(-ndtri(p), -MOST_Z, MOST_Z)) / math.sqrt(phi)
    looked = np.asarray(kept.evidence.bets.fractions)
    wealth = np.asarray(kept.evidence.log_wealth) + looked * z - looked**2 / 2
    doubt = np.asarray(kept.doubt) - looked * z - looked**2 / 2
    evidence = replace(
        kept.evidence,
        log_wealth=tuple(wealth.tolist()),
        rows=kept.evidence.rows + rows,
        nights=kept.evidence.nights + 1,
    )
    return replace(
        kept,
        evidence=_rounded(evidence),
        doubt=tuple(round(one, 6) for one in doubt.tolist()),
        rows=kept.rows + rows,
        nights=kept.nights + 1,
        gained=kept.gained + z,
        squares=kept.squares + z * z,
        figure=tonight.difference,
        low=tonight.low,
        high=tonight.high,
    )


def after_blocks(kept: NoHarm, gains: list[float], rows: int) -> NoHarm:
    """After a night's blocks; `gains`: the metric's difference in each, where it is defined."""
    blocks = kept.blocks
    assert blocks is not None
    for gain in gains:
        blocks = after_block(blocks, gain + kept.allowed)
    return replace(
        kept,
        blocks=blocks,
        rows=kept.rows + rows,
        nights=kept.nights + 1,
        gained=blocks.total,
        squares=blocks.squares,
    )


def with_peak(kept: NoHarm, *, phi: float) -> NoHarm:
    """At the end of a night, when days of it differ so much: what was proven stays proven."""
    kept = replace(kept, phi=round(phi, 6))
    return replace(kept, peak=max(kept.peak, round(kept.log_value, 6)))


def _with(kept: NoHarm, bets: Bets) -> NoHarm:
    evidence = opened(bets)
    return replace(kept, evidence=evidence, doubt=evidence.log_wealth)


def _rounded(evidence: Evidence) -> Evidence:
    """To a millionth: shorter to store, and 1e-6 of a logarithm is nothing."""
    return replace(evidence, log_wealth=tuple(round(one, 6) for one in evidence.log_wealth))
