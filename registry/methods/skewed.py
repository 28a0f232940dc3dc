"""Student's t for means of skewed values: one-sided errors that hold far out in the tail.

A mean of values that seldom lose much is skewed, and so is its t: at levels of 1e-4 the plain test
errs many times too often (`docs/gate-figures.md`). Hall's transformation, a monotone cubic
of the studentized mean, takes the skewness out, so that errors shrink with 1/n and not with
1/sqrt(n) (Hall, On the removal of skewness by transformation, JRSS B 54 (1992)).
"""

import math
from dataclasses import dataclass

import numpy as np

from registry.methods.predictions import Codes, Floats


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How far a mean may be off, by the values (or the rows' influence) that it is made of."""

    error: float
    """Standard error of the mean."""
    skewness: float
    """Of the independent units."""
    count: int
    """Independent units: rows, or clusters of them."""
    units: float
    """The same as if all clusters were of one size: what one large cluster tells is one voice."""

    @property
    def freedom(self) -> float:
        """Degrees of freedom of Student's t."""
        return max(self.units - 1.0, 1.0)


def spread_of(values: Floats, groups: Codes | None = None) -> Spread:
    """The spread of the mean of `values`, (rows,), dependent within `groups`, (rows,), from 0.

    Clusters: the cluster-robust (CR1) variance G/(G-1) sum of squared sums / n^2 (Liang & Zeger,
    Biometrika 73 (1986); Cameron & Miller, Journal of Human Resources 50 (2015)), with Kish's
    effective number of units, n^2 / sum of squared sizes (Survey Sampling, 1965; the degrees of
    freedom of Carter, Schnepel & Steigerwald, Review of Economics and Statistics 99 (2017), for a
    mean).
    """
    off, rows = values - values.mean(), len(values)
    units = float(rows)
    if groups is not None:
        sizes = np.bincount(groups)
        off = np.bincount(groups, weights=off) * (len(sizes) / rows)
        units = rows**2 / float((sizes.astype(np.float64) ** 2).sum())
    count = len(off)
    squares = float(np.einsum("i,i->", off, off)) / count
    if count < 2 or squares <= 0:
        return Spread(error=0.0, skewness=0.0, count=count, units=units)
    cubes = float(np.einsum("i,i,i->", off, off, off)) / count
    error = math.sqrt(squares / (count - 1))
    return Spread(error=error, skewness=cubes / squares**1.5, count=count, units=units)


def transformed(t: float, spread: Spread) -> float:
    """Hall's transformation of a studentized mean: nearly Student's t."""
    root, third = math.sqrt(spread.units), spread.skewness / 3.0
    u = t / root
    # u + s u^2 / 3 + s^2 u^3 / 27 + s / 6n, with skewness s.
    return root * (u + third * u**2 + third**2 * u**3 / 3.0) + spread.skewness / (6.0 * root)


def transformed_back(z: float, spread: Spread) -> float:
    """The studentized mean whose transformation is `z`."""
    root, skewness = math.sqrt(spread.units), spread.skewness
    if abs(skewness) < 1e-9:
        return z
    inner = 1.0 + skewness * (z - skewness / (6.0 * root)) / root
    return root * 3.0 / skewness * (math.copysign(abs(inner) ** (1.0 / 3.0), inner) - 1.0)
