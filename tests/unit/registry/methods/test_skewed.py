"""Errors of means: against formulas worked by hand, and their coverage."""

import math

import numpy as np
import pytest
from scipy import stats

from registry.methods.paired import studentized
from registry.methods.skewed import Spread, spread_of, transformed, transformed_back


def test_the_spread_of_rows_is_scipys_standard_error_and_skewness() -> None:
    values = np.random.default_rng(0).exponential(size=80)
    spread = spread_of(values)
    assert spread.error == pytest.approx(stats.sem(values))
    assert spread.skewness == pytest.approx(stats.skew(values))
    assert (spread.count, spread.units, spread.freedom) == (80, 80.0, 79.0)


def test_the_cluster_robust_variance_worked_by_hand() -> None:
    # Mean 3; sums of residuals by cluster: -3, 0, +3. CR1: 3/2 (9 + 0 + 9) / 6^2 = 0.75.
    values, clusters = np.array([1.0, 2, 3, 3, 4, 5]), np.array([0, 0, 1, 1, 2, 2])
    spread = spread_of(values, clusters)
    assert spread.error**2 == pytest.approx(0.75)
    assert (spread.count, spread.units) == (3, 3.0)


def test_clusters_of_one_row_are_rows_and_equal_clusters_are_their_means() -> None:
    values = np.random.default_rng(1).normal(size=(12, 7))
    rows = values.ravel()
    assert spread_of(rows, np.arange(84)).error == pytest.approx(spread_of(rows).error)
    clusters = spread_of(rows, np.repeat(np.arange(12), 7))
    assert clusters.error == pytest.approx(stats.sem(values.mean(axis=1)))
    assert clusters.units == pytest.approx(12)


def test_one_large_cluster_is_one_voice() -> None:
    spread = spread_of(np.arange(100.0), np.array([0] * 91 + list(range(1, 10))))
    assert spread.count == 10
    assert spread.units == pytest.approx(100**2 / (91**2 + 9))
    assert spread.freedom == 1.0


def test_the_transformation_is_halls_cubic_and_goes_back() -> None:
    spread = Spread(error=1.0, skewness=-1.5, count=30, units=30.0)
    u = 2.0 / math.sqrt(30)
    cubic = u - 1.5 * u**2 / 3 + 1.5**2 * u**3 / 27 - 1.5 / (6 * 30)
    assert transformed(2.0, spread) == pytest.approx(math.sqrt(30) * cubic)
    for t in (-6.0, -0.3, 0.0, 2.5, 9.0):
        assert transformed_back(transformed(t, spread), spread) == pytest.approx(t)


def test_seldom_and_large_losses_fool_the_plain_t_test_but_not_the_corrected_one() -> None:
    rng = np.random.default_rng(2)
    gains = 1.0 - rng.exponential(size=(20_000, 200))  # mean 0, skewness -2
    plain = stats.ttest_1samp(gains, 0.0, axis=1, alternative="greater").pvalue
    ours = np.array([_p(row) for row in gains])
    assert (plain <= 0.001).mean() > 0.002
    assert (ours <= 0.001).mean() == pytest.approx(0.001, abs=3 * math.sqrt(0.001 / 20_000))


def test_on_dependent_rows_the_naive_error_is_wrong_and_ours_right() -> None:
    rng = np.random.default_rng(4)
    codes = np.repeat(np.arange(40), 25)
    naive = clusters = 0
    for _ in range(500):
        gains = np.repeat(rng.normal(0, 0.5, 40), 25) + rng.normal(0, 1, 1000)
        naive += abs(gains.mean()) <= stats.t.ppf(0.975, 999) * spread_of(gains).error
        spread = spread_of(gains, codes)
        clusters += abs(gains.mean()) <= stats.t.ppf(0.975, spread.freedom) * spread.error
    assert naive / 500 < 0.7
    assert clusters / 500 == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / 500))


def test_clusters_of_unequal_size_need_kishs_degrees_of_freedom() -> None:
    rng = np.random.default_rng(5)
    naive = ours = 0
    for _ in range(4000):
        sizes = np.ceil(4 * np.exp(rng.normal(size=20))).astype(int)
        codes = np.repeat(np.arange(20), sizes)
        gains = rng.normal(size=20)[codes]
        spread = spread_of(gains, codes)
        t = gains.mean() / spread.error
        naive += t >= stats.t.ppf(0.99, 19)
        ours += studentized(gains.mean(), spread.error, spread.units) <= 0.01
    assert naive / 4000 > 0.018
    assert ours / 4000 < 0.018


def _p(gains: np.ndarray) -> float:
    spread = spread_of(gains)
    return studentized(float(gains.mean()), spread.error, spread.units, skewness=spread.skewness)
