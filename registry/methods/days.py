"""Days that differ: how much a sum of gains may be off when the rows of one day move together.

Bets on rows are exact for rows that are independent of each other. On real data the rows of a day
share its weather, its campaign, its outage: the gain of a day then varies more than its rows say.
The more rows a day has, the less of that its rows show: at a million of them a daily spread of 0.1
points passes as proof. So it is measured, and evidence counts for at most 1 / (p k (k + 1)) at look
k, p Student's tail of the mean gain with the spread between days as its error: over all looks the
levels add up to one share (Bonferroni). Looks at one day are alike: k counts days where there are
fewer of them, and the limit is divided by the looks for each.

A day is one observation, weighted by its rows: X^2, the sum over days of rows (mean of the day -
mean of all)^2 / variance of a row, is phi times chi-square of days - 1 degrees of freedom; phi is 1
for independent rows (overdispersion: McCullagh & Nelder, Generalized Linear Models, 2nd ed. (1989),
chapter 4.5) and 1 + n rho for days of n rows whose gains correlate by rho (the design effect: Kish,
Survey Sampling (1965)). Student's t of groups is right or conservative also where groups
differ in variance (Ibragimov & Mueller, Journal of Business & Economic Statistics 28 (2010)).

A comparison of three days knows little of phi, so earlier comparisons lend theirs. Where those are
few as well, phi is taken to be what `assumed` says: days of many rows are believed to differ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

# The correlation of rows of one day that is expected as long as nobody has measured it: with 6 % of
# the rows in dispute days then differ by 0.7 points. It may well be twice as large.
RHO = 8e-4
# From so many degrees of freedom on what was measured counts alone.
ENOUGH = 12.0
# A residual below this part of the squares is what rounding leaves of days that are all equal.
ROUNDING = 1e-12


@dataclass(frozen=True, kw_only=True)
class Dispersion:
    """How much more days differed than their rows say, in earlier comparisons."""

    squares: float = 0.0
    """X^2: about phi for each degree of freedom."""
    freedom: float = 0.0
    """Degrees of freedom: days less the means taken out of them."""
    rows: float = 0.0
    """Rows of such a day, on average."""

    @property
    def phi(self) -> float:
        """How many times as much days differ as independent rows would."""
        return self.squares / self.freedom if self.freedom else 1.0

    def plus(self, other: Dispersion) -> Dispersion:
        """Both together."""
        freedom = self.freedom + other.freedom
        if not freedom:
            return Dispersion()
        rows = (self.rows * self.freedom + other.rows * other.freedom) / freedom
        return Dispersion(squares=self.squares + other.squares, freedom=freedom, rows=rows)


@dataclass(frozen=True, kw_only=True)
class Days:
    """The days of one comparison so far, as sums."""

    count: int = 0
    rows: int = 0
    total: float = 0.0
    """What their rows gained beyond the null."""
    squares: float = 0.0
    """Sum over days of total^2 / rows."""
    last: int = 0
    """Number of the newest day, which may go on."""
    last_rows: int = 0
    last_total: float = 0.0


def after_days(days: Days, gains: Floats, numbers: npt.NDArray[np.int64]) -> Days:
    """The sums after rows of the days `numbers`, none older than the newest so far; (rows,) both.

    A day whose rows come in several pieces is one day.
    """
    import numpy as np

    found, codes = np.unique(numbers, return_inverse=True)
    sizes = np.bincount(codes.ravel()).tolist()
    sums = np.bincount(codes.ravel(), weights=gains).tolist()
    for number, rows, total in zip(found.tolist(), sizes, sums, strict=True):
        days = _after_day(days, number, rows, total)
    return days


def _after_day(days: Days, number: int, rows: int, total: float) -> Days:
    goes_on = days.count > 0 and number == days.last
    before = days.last_total**2 / days.last_rows if goes_on else 0.0
    own_rows = rows + (days.last_rows if goes_on else 0)
    own_total = total + (days.last_total if goes_on else 0.0)
    return Days(
        count=days.count + (not goes_on),
        rows=days.rows + rows,
        total=days.total + total,
        squares=days.squares - before + own_total**2 / own_rows,
        last=number,
        last_rows=own_rows,
        last_total=own_total,
    )


def dispersion_of(days: Days, variance: float) -> Dispersion:
    """What a comparison lends to later ones; `variance`: of the gain of one row."""
    if days.count < 2 or variance <= 0:
        return Dispersion()
    left = days.squares - days.total**2 / days.rows
    if left <= ROUNDING * days.squares:
        return Dispersion()  # such as two models that never differ: of others it tells nothing
    return Dispersion(
        squares=left / variance, freedom=days.count - 1.0, rows=days.rows / days.count
    )


def at_rows(known: Dispersion, rows: float, *, assuming: bool = True) -> Dispersion:
    """What it tells of days of so many rows; `assuming`: with `assumed` where it is little.

    phi - 1 grows with the rows. From days of few rows little is known of days of many, so the
    degrees of freedom shrink as the relative error of phi grows (Satterthwaite 1946).
    """
    told = Dispersion(rows=rows)
    if known.freedom and known.phi > 0:
        ratio = rows / known.rows
        phi = 1.0 + (known.phi - 1.0) * ratio if known.phi > 1.0 else known.phi
        freedom = known.freedom * min(1.0, (phi / (ratio * known.phi)) ** 2)
        told = Dispersion(squares=phi * freedom, freedom=freedom, rows=rows)
    return told if told.freedom >= ENOUGH or not assuming else told.plus(assumed(rows))


def assumed(rows: float) -> Dispersion:
    """What days of so many rows are taken to differ by while nobody has measured it.

    As a first guess with its error: a correlation of RHO, give or take as much. Days of few rows
    hardly can differ more than their rows say, so there it is worth many days; of days of very
    many rows it says little but that they do.
    """
    phi = 1.0 + rows * RHO
    freedom = 2.0 * (phi / (phi - 1.0)) ** 2
    return Dispersion(squares=phi * freedom, freedom=freedom, rows=rows)


def log_limit(days: Days, known: Dispersion, *, variance: float, looks: int) -> float:
    """Log of what evidence counts for at most at this look; infinite where days cannot differ.

    `known`: of comparisons on other days; `variance`: of the gain of one row.
    """
    import numpy as np

    if not days.count:
        return 0.0
    lent = at_rows(known, days.rows / days.count)
    sums = (days.count, days.rows, days.total, days.squares)
    of = (variance * lent.squares, lent.freedom, float(min(looks, days.count)))
    arrays = (np.asarray(one, dtype=np.float64) for one in (*sums, *of))
    return float(log_limit_of_sums(*arrays)) - math.log(max(looks / days.count, 1.0))


def log_limit_of_sums(
    count: Floats,
    rows: Floats,
    total: Floats,
    squares: Floats,
    lent: Floats,
    freedom: Floats,
    looks: Floats,
) -> Floats:
    """The same from sums over days, many comparisons at once.

    `lent`: squares that earlier comparisons add to the residual, with their `freedom`.
    """
    import numpy as np
    from scipy.special import stdtr

    with np.errstate(divide="ignore", invalid="ignore"):
        own = squares - total**2 / rows
        own = np.where(own > ROUNDING * squares, own, 0.0)
        nu = np.maximum(count - 1.0, 0.0) + freedom
        error = np.sqrt(rows * (own + lent) / nu)
        p = np.maximum(stdtr(nu, -total / error), np.finfo(np.float64).tiny)
        limit = -np.log(p) - np.log(looks * (looks + 1.0))
    limit = np.where(nu > 0, limit, 0.0)
    return np.asarray(np.where((own + lent > 0) | (nu <= 0), limit, np.inf))


def phi_of(days: Days, known: Dispersion, *, variance: float, rows: float) -> float:
    """How many times as much as their rows say days of `rows` differ, at least 1."""
    if not days.count:
        return max(at_rows(known, rows).phi, 1.0)
    usual = days.rows / days.count
    phi = at_rows(known, usual).plus(replace(dispersion_of(days, variance), rows=usual)).phi
    return 1.0 + max(phi - 1.0, 0.0) * rows / usual
