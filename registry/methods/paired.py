"""Two models on the same rows: one night's test, suited to its metric.

- 0/1 losses: `mcnemar`, the exact test on the rows where the models disagree.
- Other row-wise losses: `paired_t`; rows that depend on each other: `clustered`.
- ROC AUC: `delong`. Any other metric: `studentized`, with its bootstrap's standard error.

Every difference is positive when the challenger is better; p-values are one-sided, against "the
challenger is better by at most `null`".
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one night says about a difference."""

    difference: float
    error: float
    """Its standard error."""
    p: float
    """One-sided, against "no better"."""


def mcnemar(wins: int, losses: int) -> float:
    """One-sided exact p-value that the challenger is no better, from disagreements alone.

    Given a disagreement, an equal challenger wins with probability 1/2: P(Binomial(wins + losses,
    1/2) >= wins) (McNemar, Psychometrika 12 (1947); Agresti, Categorical Data Analysis, 10.1).
    """
    # scipy takes a while to import, which only a decision has to wait for.
    from scipy.special import bdtrc

    return float(bdtrc(wins - 1, wins + losses, 0.5)) if wins else 1.0


def paired_t(gains: Floats, *, null: float = 0.0) -> Finding:
    """Student's paired t-test of the rows' gains (Student, Biometrika 6 (1908)); two rows."""
    n = len(gains)
    error = float(gains.std(ddof=1)) / math.sqrt(n)
    return studentized(float(gains.mean()), error, n, null=null)


def clustered(gains: Floats, clusters: Codes, *, null: float = 0.0) -> Finding:
    """The mean gain when rows depend on each other within clusters.

    The cluster-robust (CR1) variance of a mean, G/(G-1) sum over clusters of the squared sum of
    residuals / n^2, with G-1 degrees of freedom (Liang & Zeger, Biometrika 73 (1986); Cameron &
    Miller, Journal of Human Resources 50 (2015)). Needs two clusters.
    """
    _, codes = np.unique(clusters, return_inverse=True)
    count, n = int(codes.max()) + 1, len(gains)
    mean = float(gains.mean())
    sums = np.bincount(codes, weights=gains - mean)
    error = math.sqrt(count / (count - 1) * float(sums @ sums)) / n
    return studentized(mean, error, count, null=null)


def delong(
    labels: npt.NDArray[np.bool_], challenger: Floats, champion: Floats, *, null: float = 0.0
) -> Finding:
    """The difference of two ROC AUCs on the same rows, in O(n log n).

    DeLong, DeLong & Clarke-Pearson, Biometrics 44 (1988), by midranks as in Sun & Xu, IEEE Signal
    Processing Letters 21 (2014). Rows are independent; needs two rows of each class.
    """
    placed = [_placements(labels, scores) for scores in (challenger, champion)]
    of_positives = np.stack([one for one, _ in placed])
    of_negatives = np.stack([one for _, one in placed])
    areas = of_positives.mean(axis=1)
    m, n = of_positives.shape[1], of_negatives.shape[1]
    covariance = np.cov(of_positives) / m + np.cov(of_negatives) / n
    contrast = np.array([1.0, -1.0])
    error = math.sqrt(max(float(contrast @ covariance @ contrast), 0.0))
    return studentized(float(contrast @ areas), error, m + n, null=null)


def studentized(difference: float, error: float, units: int, *, null: float = 0.0) -> Finding:
    """A difference held against Student's t with `units` - 1 degrees of freedom.

    Where nothing varies, no unit contradicts another: then the sign test speaks, 2^-units.
    """
    from scipy.special import stdtr

    if error > 0 and units > 1:
        p = float(stdtr(units - 1, -(difference - null) / error))
    else:
        p = 0.5**units if difference > null else 1.0
    return Finding(difference=difference, error=error, p=p)


def _placements(labels: npt.NDArray[np.bool_], scores: Floats) -> tuple[Floats, Floats]:
    """The share of negatives below each positive, and of positives above each negative."""
    positive, negative = scores[labels], scores[~labels]
    m, n = len(positive), len(negative)
    together = _midranks(np.concatenate([positive, negative]))
    above = (together[:m] - _midranks(positive)) / n
    below = 1.0 - (together[m:] - _midranks(negative)) / m
    return above, below


def _midranks(values: Floats) -> Floats:
    """Ranks from 1; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Floats = (last - (counts - 1) / 2.0)[inverse]
    return ranks
