"""One night's test of a mean gain whose rows are bounded: exact, whatever their distribution.

A t-test trusts that the rows at hand show how bad a row can be; a model that fails badly on one row
in five hundred passes it far too often (`docs/gate-figures.md`). Bets trust the bound only.
A gambler stakes on one row after the other, or on one cluster of them; if the challenger is no
better, the capital ever exceeds 1/p with a probability of at most p (Ville 1939). The stake is what
is best by the variance of the rows before (the predictable plug-in of Waudby-Smith & Ramdas,
Estimating means of bounded random variables by betting, JRSS B 86 (2024), section 3.2), for what is
missing to 1 / level and the rows that are left (Voracek & Orabona, STaR-Bets, NeurIPS 2025).
"""

import math
from itertools import pairwise

import numpy as np

from registry.methods.codes import numbered
from registry.methods.evidence import MAX_STAKE
from registry.methods.power import POWER_Z
from registry.methods.predictions import AnyArray, Floats

# The gambler begins as if a row had shown this mean square.
FIRST_SQUARE = 0.25
# Seed of the order in which units are bet on.
ORDER = 1
# The stake is found anew so many times.
PIECES = 100
# Who has what the level asks for bets on, as if so much were missing (natural logarithm).
LEAST_MISSING = 1.0
# Stakes among which the best one for `clusters_enough` is looked for.
STAKES = np.geomspace(1e-4, 1.0, 40)


def bet(
    gains: Floats, *, level: float, null: float = 0.0, clusters: AnyArray | None = None
) -> float:
    """One-sided p-value that the mean gain is at most `null`.

    `gains`: (rows,), each in [-1, 1], or ValueError; `clusters`: (rows,), the unit of each row;
    none: each row is one. Units are independent of each other. A unit is one bet on its sum, which
    may lose as much as it has rows: exact whatever the dependence inside of it, where its size
    tells nothing about its gains (where it does, `registry.one_night` asks a second test). Units
    are bet on in a random order, always the same one: an early half that is worse and a late one
    that is better are no proof.
    """
    if len(gains) == 0:
        return 1.0
    if float(np.abs(gains).max()) > 1.0:
        raise ValueError("A gain lies outside [-1, 1].")
    sums, sizes = _units(gains - null, clusters)
    return math.exp(-float(log_capital(sums, sizes * (1.0 + max(null, 0.0)), level=level)))


def log_capital(sums: Floats, most: Floats, *, level: float) -> Floats:
    """Natural logarithm of the largest capital on the way, (...), at least 0.

    Many nights at once: `sums`: (..., units), each at least -`most`, (..., units) or (units,).
    """
    units = sums.shape[-1]
    order = np.random.default_rng(ORDER).permutation(units)
    sums, limits = sums[..., order], MAX_STAKE / most[..., order]
    goal, capital = math.log(1.0 / level), np.zeros(sums.shape[:-1])
    best, total = capital, capital
    squares: Floats = FIRST_SQUARE * most.mean(axis=-1) ** 2 + capital
    edges = np.unique(np.linspace(0, units, min(PIECES, units) + 1).astype(np.int64)).tolist()
    for start, end in pairwise(edges):
        variance = np.maximum(squares / (start + 1) - (total / (start + 1)) ** 2, 1e-12)
        missing = np.maximum(goal - capital, LEAST_MISSING)
        stake = np.sqrt(2.0 * missing / ((units - start) * variance))[..., None]
        piece = sums[..., start:end]
        path = np.cumsum(np.log1p(np.minimum(stake, limits[..., start:end]) * piece), axis=-1)
        best = np.maximum(best, capital + path.max(axis=-1))
        capital = capital + path[..., -1]
        total = total + piece.sum(axis=-1)
        squares = squares + np.einsum("...i,...i->...", piece, piece)
    return best


def clusters_enough(
    gains: Floats, clusters: AnyArray, *, wanted: float, level: float, null: float = 0.0
) -> int | None:
    """Clusters like these that prove a mean gain of `wanted` at `level` with 80 %; None: no number.

    The best constant stake f lets the capital grow by g a cluster, with standard deviation s: what
    is needed is the n with n g - z s sqrt(n) = log(1 / level), z the normal quantile of 80 %.
    """
    sums, sizes = _units(gains, clusters)
    sums = np.clip(sums + (wanted - float(gains.mean())) * sizes, -sizes, sizes) - null * sizes
    most = MAX_STAKE / (sizes * (1.0 + max(null, 0.0)))
    growth = np.log1p(np.minimum(STAKES[:, None], most) * sums)
    means, spreads = growth.mean(axis=1), growth.std(axis=1)
    grows = means > 0
    if not grows.any():
        return None
    g, s = means[grows], POWER_Z * spreads[grows]
    roots = (s + np.sqrt(s**2 + 4.0 * g * math.log(1.0 / level))) / (2.0 * g)
    needed = float(roots.min()) ** 2
    return math.ceil(needed) if needed < 1e12 else None


def _units(gains: Floats, clusters: AnyArray | None) -> tuple[Floats, Floats]:
    """Sum of the gains and number of the rows of each unit."""
    if clusters is None:
        return gains, np.ones(len(gains))
    codes = numbered(clusters)[1]
    sums: Floats = np.bincount(codes, weights=gains).astype(np.float64)
    return sums, np.bincount(codes).astype(np.float64)
