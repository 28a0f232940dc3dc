"""One night's test of a mean gain whose rows are bounded: exact, whatever their distribution.

A t-test trusts that the rows at hand show how bad a row can be; a model that fails badly on one row
in five hundred passes it far too often (`docs/gate-figures.md`). Bets trust the bound only.
A gambler stakes on one row after the other, as much as is best for this level by the variance of
the rows before (the predictable plug-in of Waudby-Smith & Ramdas, Estimating means of bounded
random variables by betting, JRSS B 86 (2024), section 3.2); if the challenger is no better, the
capital ever exceeds 1/p with a probability of at most p (Ville 1939).
"""

import math

import numpy as np

from registry.methods.evidence import MAX_STAKE
from registry.methods.predictions import Floats

# The gambler begins as if a row had shown this mean square.
FIRST_SQUARE = 0.25


def bet(gains: Floats, *, level: float, null: float = 0.0) -> float:
    """One-sided p-value that the mean gain is at most `null`.

    `gains`: (rows,), each in [-1, 1], or ValueError; independent of each other, in any order.
    """
    if len(gains) == 0:
        return 1.0
    if float(np.abs(gains).max()) > 1.0:
        raise ValueError("A gain lies outside [-1, 1].")
    off, room = gains - null, 1.0 + max(null, 0.0)
    squares = _before(off**2, FIRST_SQUARE)
    means = _before(off, 0.0)
    variances = np.maximum(squares - means**2, 1e-12)
    stakes = np.sqrt(2.0 * math.log(1.0 / level) / (len(off) * variances))
    capital = np.cumsum(np.log1p(np.minimum(stakes, MAX_STAKE / room) * off))
    return math.exp(-max(float(capital.max()), 0.0))


def _before(values: Floats, first: float) -> Floats:
    """The mean of the values before each one, with one more that is `first`."""
    total = np.cumsum(values)
    total = np.concatenate([[0.0], total[:-1]]) + first
    return np.asarray(total / np.arange(1.0, len(values) + 1.0))
