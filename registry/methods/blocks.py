"""Evidence from few, large blocks of dependent rows: an anytime-valid t-test.

When the rows of one night (or one customer, one shop) rise and fall together, a night is one
observation, however many rows it has: only the spread between blocks tells how sure one may be.
No method without an assumption can do this fast (see `docs/gate.md`); here block means are taken
as normal with unknown variance.

The e-value is the ratio of the noncentral t density to the central one, averaged over a grid of
standardised effects: a likelihood ratio of what does not depend on the unknown scale (Lai, Annals
of Statistics 4 (1976); Perez-Ortiz, Lardy, de Heide & Grunwald, E-statistics, group invariance and
anytime valid testing, Annals of Statistics 52 (2024); Wang & Ramdas, Anytime-valid t-tests,
Sequential Analysis 44 (2025)). It may be looked at after every block.

Earlier comparisons have shown already how much blocks differ: their residual sum of squares can be
borrowed, which adds degrees of freedom (the blocks must be other ones, of equal variance).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

# Standardised effects (mean of a block over its standard deviation) that the evidence looks for.
EFFECTS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)
# With so many borrowed degrees of freedom it looks near the declared effect, at NEAR places, spread
# in the log by NEAR_SPREAD, and at these.
KNOWN = 5.0
NEAR, NEAR_SPREAD = 8, 0.3
EVERYWHERE = (0.5, 1.5, 4.0)
# Points and half width, in standard deviations, of the quadrature over the unknown scale.
POINTS = 65
WIDTH = 9.0
# A residual below this part of the squares is what rounding leaves of blocks that are all equal.
ROUNDING = 1e-12


@dataclass(frozen=True, kw_only=True)
class Spread:
    """What is known already of the variance of a block's mean."""

    squares: float = 0.0
    """Residual sum of squares of earlier comparisons."""
    freedom: float = 0.0
    """Its degrees of freedom: blocks less the means taken out of them."""


@dataclass(frozen=True, kw_only=True)
class BlockEvidence:
    """The blocks seen so far, as sums."""

    spread: Spread
    """Borrowed from earlier comparisons when this one was opened."""
    effects: tuple[float, ...] = EFFECTS
    """Standardised effects that the evidence looks for, chosen when it was opened."""
    blocks: int = 0
    total: float = 0.0
    """Sum of the blocks' mean gains."""
    squares: float = 0.0
    """Sum of their squares."""

    @property
    def log_value(self) -> float:
        """Natural logarithm of the e-value against "the mean gain of a block is at most 0"."""
        import numpy as np

        counts = np.asarray([self.blocks], dtype=np.float64)
        totals, squares = np.asarray([self.total]), np.asarray([self.squares])
        borrowed = np.asarray([self.spread.squares]), np.asarray([self.spread.freedom])
        return float(log_value_of_sums(counts, totals, squares, *borrowed, self.effects)[0])


def effects_around(effect: float, spread: Spread) -> tuple[float, ...]:
    """Where to look for an improvement of `effect`, once the blocks' spread is known.

    Mostly near effect / standard deviation (log-normal), a little everywhere: a wrong guess costs
    some blocks, and no validity, since it is made before the first of them.
    """
    if spread.freedom < KNOWN or spread.squares <= 0 or effect <= 0:
        return EFFECTS
    centre = effect / math.sqrt(spread.squares / spread.freedom)
    steps = (NormalDist().inv_cdf((i + 0.5) / NEAR) for i in range(NEAR))
    return (*(centre * math.exp(NEAR_SPREAD * step) for step in steps), *EVERYWHERE)


def after_block(evidence: BlockEvidence, gain: float) -> BlockEvidence:
    """The evidence after one more block whose rows gained `gain` on average."""
    return replace(
        evidence,
        blocks=evidence.blocks + 1,
        total=evidence.total + gain,
        squares=evidence.squares + gain * gain,
    )


def residual(evidence: BlockEvidence) -> Spread:
    """What a finished comparison lends to later ones; nothing where its blocks were all equal."""
    if evidence.blocks < 2:
        return Spread()
    squares = evidence.squares - evidence.total**2 / evidence.blocks
    if squares <= ROUNDING * evidence.squares:
        return Spread()  # such as two models that never differ: of others it tells nothing
    return Spread(squares=squares, freedom=evidence.blocks - 1.0)


def log_value_of_sums(
    blocks: Floats,
    totals: Floats,
    squares: Floats,
    borrowed: Floats,
    freedom: Floats,
    effects: tuple[float, ...] = EFFECTS,
) -> Floats:
    """Log e-values from sums over blocks; all arrays of one shape. 0 while nothing is known."""
    import numpy as np

    residuals = squares - totals**2 / np.maximum(blocks, 1.0)
    residuals = np.where(residuals > ROUNDING * squares, residuals, 0.0) + borrowed
    nu = np.maximum(blocks - 1.0, 0.0) + freedom
    usable = (blocks >= 1) & (nu >= 1) & (residuals > 0)
    nu = np.where(usable, nu, 1.0)
    sd = np.sqrt(np.where(usable, residuals, 1.0) / nu)
    t = totals / (sd * np.sqrt(np.maximum(blocks, 1.0)))
    ratios = log_t_ratio(
        t[..., None], nu[..., None], np.sqrt(blocks)[..., None] * np.asarray(effects)
    )
    top = ratios.max(axis=-1, keepdims=True)
    value = np.log(np.exp(ratios - top).mean(axis=-1)) + top[..., 0]
    return np.where(usable, value, 0.0)


def log_t_ratio(t: Floats, freedom: Floats, noncentrality: Floats) -> Floats:
    """Log of the density ratio of noncentral to central t at `t`; arrays broadcast.

    With w = t / sqrt(freedom + t^2) the ratio is exp(-d^2/2) times the mean of exp(d w y) over
    y ~ chi with freedom + 1 degrees of freedom (Johnson, Kotz & Balakrishnan, Continuous
    Univariate Distributions 2 (1995), chapter 31), integrated numerically around its mode.
    """
    import numpy as np

    # scipy takes a third of a second to import, which only this has to wait for.
    from scipy.special import gammaln

    z = noncentrality * t / np.sqrt(freedom + t**2)
    mode = (z + np.sqrt(z**2 + 4.0 * freedom)) / 2.0
    sd = 1.0 / np.sqrt(1.0 + freedom / mode**2)
    low, high = np.maximum(mode - WIDTH * sd, mode * 1e-6), mode + WIDTH * sd
    y = low[..., None] + (high - low)[..., None] * np.linspace(0.0, 1.0, POINTS)
    logs = freedom[..., None] * np.log(y) - y**2 / 2.0 + z[..., None] * y
    top = logs.max(axis=-1, keepdims=True)
    area = np.log(np.exp(logs - top).sum(axis=-1) * (high - low) / (POINTS - 1)) + top[..., 0]
    whole = (freedom - 1.0) / 2.0 * math.log(2.0) + gammaln((freedom + 1.0) / 2.0)
    ratio: Floats = area - whole - noncentrality**2 / 2.0
    return ratio
