"""Two models on the same rows: one night's test, suited to its metric.

Every difference is positive when the challenger is better; p-values are one-sided, against "the
challenger is better by at most `null`" (a negative null: worse by more).

- 0/1 losses: `mcnemar`, the exact test on the rows where the models disagree; with a null other
  than 0, `tango`, and far out in the tail bets.
- Other losses with a bound, and clusters: bets, exact (`registry.methods.bounded`).
- Everything else, metrics of the whole set and blocks of time: `studentized`.
"""

import math

from registry.methods.skewed import Spread, transformed


def mcnemar(wins: int, losses: int) -> float:
    """One-sided exact p-value that the challenger is no better, from disagreements alone.

    Given a disagreement, an equal challenger wins with probability 1/2: P(Binomial(wins + losses,
    1/2) >= wins) (McNemar, Psychometrika 12 (1947); Agresti, Categorical Data Analysis, 10.1).
    """
    # scipy takes a while to import, which only a decision has to wait for.
    from scipy.special import bdtrc

    return float(bdtrc(wins - 1, wins + losses, 0.5)) if wins else 1.0


def tango(wins: int, losses: int, rows: int, null: float) -> float:
    """One-sided p-value of the score test that P(win) - P(loss) is at most `null`.

    The variance is that of the likeliest table with a difference of `null`, so it is right also
    where no row disagrees (Tango, Statistics in Medicine 17 (1998)).
    """
    from scipy.special import ndtr

    spread = wins + losses + null * (wins - losses - 2 * rows)
    lost = (spread + math.sqrt(spread**2 + 8 * rows * losses * null * (1 - null))) / (4 * rows)
    variance = rows * (2 * lost + null - null**2)
    off = wins - losses - rows * null
    if variance <= 0:
        return 0.5 if off > 0 else 1.0
    return float(ndtr(-off / math.sqrt(variance)))


def studentized(
    difference: float,
    error: float,
    units: float,
    *,
    skewness: float = 0.0,
    null: float = 0.0,
    most: float | None = None,
) -> float:
    """One-sided p-value of a difference by Student's t, corrected for skewness (Hall 1992).

    `error`: its standard error; `units`: the independent units that it stands on; `skewness`:
    theirs, which may count against the challenger and not for it, since the units at hand say
    little about it. Where nothing varies, no unit contradicts another: the sign test, 2^-units; and
    `unseen` where the null is negative (`most`: as there).
    """
    from scipy.special import stdtr

    if error <= 0 or units <= 1:
        if difference <= null:
            return 1.0
        return float(0.5**units) if null >= 0 else unseen(-null, units, most)
    t = (difference - null) / error
    spread = Spread(error=error, skewness=skewness, count=int(units), units=units)
    return float(stdtr(spread.freedom, -min(t, transformed(t, spread))))


def unseen(allowed: float, units: float, most: float | None) -> float:
    """Probability that no unit shows it, when the challenger is worse by more than `allowed`.

    By one unit the mean falls by at most `most` / units, so at least allowed / most of all units
    must lose: none among these with (1 - allowed / most)^units, as small as it can be. `most` is
    unknown: nothing is proven by what does not vary.
    """
    return 1.0 if most is None else float((1.0 - min(allowed / most, 1.0)) ** units)
