"""Evidence that accumulates: how strongly fresh rows speak against "the challenger is no better".

A gambler starts with a capital of 1 and, before each row, stakes a fraction of it on the
challenger. If the challenger is no better, no way of betting makes money on average, so the
capital (an e-process) exceeds 1/alpha with a probability of at most alpha, however often and
whenever one looks (Ville, 1939). So nights may be added until the evidence suffices, and looking
early costs nothing.

The gambler spreads the capital over a grid of constant fractions and lets every part grow: the
mixture of Robbins (1970), as "grid Kelly" in Waudby-Smith & Ramdas, Estimating means of bounded
random variables by betting, JRSS B 86 (2024). A mixture does not depend on the order
of the rows, and its state is one number for each fraction.

Gains are the champion's loss minus the challenger's, in units of the loss's bound: in [-1, 1].
Rows must be exchangeable between nights; rows that depend on each other within a unit are bet on
as one unit (`after_units`), or, when the units are few and large, judged by
`registry.methods.blocks`.

A stake on a unit is limited by its size, so small units weigh more: exact where sizes tell nothing
about gains. In case they do, evidence by units counts as no more than the mean over rows says
(`agreed`).

The same bets the other way round, against "the challenger is better by a useful effect", say when
there is hardly any hope left: its capital exceeds 1/beta for a challenger that is that much better
with a probability of at most beta.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

# A stake stays below the whole capital, so that no single row can ruin the gambler.
MAX_STAKE = 0.95
# Where the first rows have no more different gains than this, all rows of one gain are one sum.
SOME, FEW = 1_000, 64
# One logarithm of the product of so many rows; no product of theirs can leave a float's range.
TOGETHER = 16
PIECE = 4096 * TOGETHER


@dataclass(frozen=True, kw_only=True)
class Bets:
    """The fractions of the capital that are staked, and how the first capital is spread."""

    fractions: tuple[float, ...]
    """Stake for each unit of gain, in (0, MAX_STAKE]."""
    weights: tuple[float, ...]
    """Share of the first capital behind each fraction; they sum to 1."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the gambler owns after the rows seen so far."""

    bets: Bets
    log_wealth: tuple[float, ...]
    """Natural logarithm of what each fraction has made of one unit."""
    rows: int = 0
    """Rows bet on."""
    nights: int = 0
    """Nights whose rows were bet on."""
    total: float = 0.0
    """Sum over units of what they gained beyond the null; 0 where rows are bet on."""
    squares: float = 0.0
    """Sum of the squares of that; 0 where rows are bet on."""
    peak: float = 0.0
    """Natural logarithm of the most that it was ever worth; what is bounded (Ville) is this."""

    @property
    def log_value(self) -> float:
        """Natural logarithm of the e-value: the whole capital, `agreed` where units are bet on."""
        return self.tempered(1.0)

    def tempered(self, phi: float) -> float:
        """The same where sums of gains vary `phi` times as much as their rows or units say.

        Every logarithm is divided by phi: of normal sums that is exactly the capital of stakes that
        are smaller by as much (quasi-likelihood: McCullagh & Nelder 1989, chapter 9).
        """
        import numpy as np

        capital = log_mixture(self.bets, np.asarray(self.log_wealth) / phi)
        if self.squares > 0:
            capital = agreed(capital, self.total, phi * self.squares, self.nights)
        return float(capital)

    def reversed(self, log_wealth: tuple[float, ...]) -> Evidence:
        """The same bets on the same rows the other way round; `log_wealth`: what they made."""
        return replace(self, log_wealth=log_wealth, total=-self.total, peak=0.0)

    @property
    def value(self) -> float:
        """The e-value, at most about 1e308."""
        return math.exp(min(self.log_value, 709.0))


def bets_around(
    effect: float, disagreement: float, *, spread: float = 0.6, count: int = 13
) -> Bets:
    """Bets that grow fastest when the true gain is about `effect`.

    `disagreement` is the mean square of a gain, for 0/1 losses the share of rows on which the two
    models disagree; a guess from earlier comparisons does, a wrong one costs speed, never
    validity. The best constant fraction is about effect / disagreement (Kelly, 1956; Waudby-Smith
    & Ramdas, 2024); the capital is spread around it as a normal density of log(fraction)
    with standard deviation `spread`.
    """
    import numpy as np

    steps = np.linspace(-2.0, 2.0, count)
    best = min(effect / disagreement, MAX_STAKE)
    fractions = np.minimum(best * np.exp(spread * steps), MAX_STAKE)
    weights = np.exp(-0.5 * steps**2)
    return Bets(
        fractions=tuple(fractions.tolist()), weights=tuple((weights / weights.sum()).tolist())
    )


def bets_anywhere(*, count: int = 13) -> Bets:
    """Bets for models of which nobody knows yet how much they differ: evenly spread in the log."""
    import numpy as np

    fractions = np.geomspace(0.01, MAX_STAKE, count)
    return Bets(fractions=tuple(fractions.tolist()), weights=(1.0 / count,) * count)


def opened(bets: Bets) -> Evidence:
    """The evidence before the first row: a capital of 1."""
    return Evidence(bets=bets, log_wealth=(0.0,) * len(bets.fractions))


def after_rows(evidence: Evidence, gains: Floats, *, null: float = 0.0, looks: int = 1) -> Evidence:
    """The evidence after a night of independent rows, against "the mean gain is at most `null`".

    `gains`: (rows,) in the order in which they count, each in [-1, 1], or ValueError. Its peak is
    looked for `looks` times on the way.
    """
    import numpy as np

    _check(gains)
    pieces = [piece for piece in np.array_split(gains - null, looks) if len(piece)]
    growth = [_growth_of_rows(evidence.bets, piece, null) for piece in pieces]
    if not growth:
        return _grown(evidence, np.zeros(len(evidence.log_wealth)), 0)
    path = np.asarray(evidence.log_wealth) + np.cumsum(growth, axis=0)
    peak = float(log_mixture(evidence.bets, path).max())
    after = _grown(evidence, path[-1] - np.asarray(evidence.log_wealth), len(gains))
    return replace(after, peak=max(evidence.peak, peak))


def after_units(
    evidence: Evidence, gains: Floats, units: npt.NDArray[np.int64], *, null: float = 0.0
) -> Evidence:
    """The evidence after a night of rows that depend on each other within each of `units`.

    A unit is one bet on its sum of gains in [-1, 1]. It can lose as much as it has rows, so the
    stake for each row is at most MAX_STAKE / (rows of the unit): exact whatever the dependence
    inside a unit, and slow when units are large (see `docs/gate.md`). Units are independent of
    each other; their sizes tell nothing about the gains, or `agreed` limits what it costs.
    ValueError as `after_rows`.
    """
    import numpy as np

    _check(gains)
    _, codes, sizes = np.unique(units, return_inverse=True, return_counts=True)
    sums = np.bincount(codes, weights=gains - null)
    room = sizes * (1.0 + max(null, 0.0))
    stakes = np.minimum(np.asarray(evidence.bets.fractions)[:, None], MAX_STAKE / room[None, :])
    growth = np.log1p(stakes * sums[None, :]).sum(axis=1)
    after = replace(
        _grown(evidence, growth, len(gains)),
        total=evidence.total + float(sums.sum()),
        squares=evidence.squares + float((sums**2).sum()),
    )
    return replace(after, peak=max(evidence.peak, after.log_value))


def agreed(
    log_value: Floats, total: Floats | float, squares: Floats | float, nights: Floats | float
) -> Floats:
    """Log evidence by units, at most what the mean over all rows says; any shape.

    `total`, `squares`: of what the units gained beyond the null; `nights`: looks so far. The limit
    is 1 / (p k (k + 1)) at look k, p the normal tail of total / sqrt(squares) (Student's by
    `squares` around 0, for many units): over all looks the levels add up to one share (Bonferroni).
    The least of both is as exact as the bets, and approximately right where sizes of units tell
    something about their gains.
    """
    import numpy as np
    from scipy.special import log_ndtr

    looks = np.maximum(nights, 1.0)
    z = total / np.sqrt(np.maximum(squares, np.finfo(np.float64).tiny))
    limited: Floats = np.minimum(log_value, -log_ndtr(-z) - np.log(looks * (looks + 1.0)))
    return limited


def log_value_of_counts(
    bets: Bets, wins: Floats, losses: Floats, ties: Floats | float = 0.0, *, null: float = 0.0
) -> Floats:
    """Log e-values from the counts of 0/1 losses alone; any shape, the same for all.

    `wins`: rows that only the challenger gets right, `losses`: only the champion, `ties`: the
    others, which count where the null is not 0. Equal to `after_rows` over all those rows.
    """
    import numpy as np

    growth = _growth(bets, np.array([1.0, -1.0, 0.0]) - null, null)
    counts = (np.asarray(each, dtype=np.float64)[..., None] for each in (wins, losses, ties))
    wealth = sum(count * growth[:, i] for i, count in enumerate(counts))
    return log_mixture(bets, np.asarray(wealth))


def log_mixture(bets: Bets, log_wealth: Floats) -> Floats:
    """Log of the capital; the last axis of `log_wealth` runs over the fractions."""
    import numpy as np

    parts = log_wealth + np.log(np.asarray(bets.weights))
    top = parts.max(axis=-1, keepdims=True)
    total: Floats = np.log(np.exp(parts - top).sum(axis=-1)) + top[..., 0]
    return total


def _check(gains: Floats) -> None:
    import numpy as np

    if len(gains) and not float(np.abs(gains).max()) <= 1.0:  # so that NaN is refused, too
        raise ValueError("A gain lies outside [-1, 1].")


def _growth_of_rows(bets: Bets, values: Floats, null: float) -> Floats:
    """The sum over rows of log(1 + fraction * value), (fractions,)."""
    import numpy as np

    if len(np.unique(values[:SOME])) <= FEW:
        distinct, counts = np.unique(values, return_counts=True)
        few: Floats = _growth(bets, distinct, null) @ counts.astype(np.float64)
        return few
    whole = len(values) - len(values) % TOGETHER
    growth: Floats = _growth(bets, values[whole:], null).sum(axis=1)
    for start in range(0, whole, PIECE):
        piece = values[start : min(start + PIECE, whole)].reshape(TOGETHER, -1)
        for number, stake in enumerate(_stakes(bets, null)):
            growth[number] += np.log(np.prod(1.0 + stake * piece, axis=0)).sum()
    return growth


def _growth(bets: Bets, values: Floats, null: float) -> Floats:
    """log(1 + fraction * value), (fractions, values)."""
    import numpy as np

    growth: Floats = np.log1p(_stakes(bets, null)[:, None] * values[None, :])
    return growth


def _stakes(bets: Bets, null: float) -> Floats:
    """The fractions, with room for the worst row."""
    import numpy as np

    room = MAX_STAKE / (1.0 + max(null, 0.0))
    return np.minimum(np.asarray(bets.fractions, dtype=np.float64), room)


def _grown(evidence: Evidence, growth: Floats, rows: int) -> Evidence:
    import numpy as np

    return replace(
        evidence,
        log_wealth=tuple((np.asarray(evidence.log_wealth) + growth).tolist()),
        rows=evidence.rows + rows,
        nights=evidence.nights + 1,
    )
