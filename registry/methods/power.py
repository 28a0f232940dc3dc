"""How many rows would have been enough, and how many are too few whatever they say."""

import math
from statistics import NormalDist

# Chance of proving a difference that is there.
POWER = 0.8
POWER_Z = NormalDist().inv_cdf(POWER)
# Bets need a little more than a t-test: so many standard errors (measured: 0.15 to 0.35 at levels
# from 1e-4 to 0.05).
COST_OF_BETS = 0.25


def fewest_units(level: float) -> int:
    """Independent units below which nothing is proven at `level`, whatever they say.

    Each speaks for an equal challenger with probability 1/2, so all of them do with 2^-units (the
    sign test). A smaller p-value would rest on the shape of a distribution that so few do not show.
    At 1e-4 it is 14; McNemar's test needs as many disagreements, all won.
    """
    return max(math.ceil(-math.log2(level)), 1)


def rows_enough(
    wanted: float, error: float, rows: int, level: float, *, exact_by_bets: bool = False
) -> int | None:
    """Rows like these that prove a difference of `wanted` at `level` with a probability of 80 %.

    `wanted`: how far it lies above what is to be exceeded; `error`: standard error of the
    difference over these `rows`. The normal formula n = (z_level + z_power)^2 variance / wanted^2
    (Miettinen, Biometrics 24 (1968); Connor, Biometrics 43 (1987)); for bets the first z is larger
    by COST_OF_BETS. None: no number of them.
    """
    if wanted <= 0 or error <= 0 or not 0 < level < 0.5:
        return None
    reach = NormalDist().inv_cdf(1.0 - level) + (COST_OF_BETS if exact_by_bets else 0.0)
    needed = rows * ((reach + POWER_Z) * error / wanted) ** 2
    return max(math.ceil(needed), fewest_units(level)) if needed < 1e12 else None


def rounded(count: int) -> int:
    """Two digits of it: 9,438 is said as 9,500, never less than it is."""
    step: int = 10 ** max(len(str(count)) - 2, 0)
    return math.ceil(count / step) * step
