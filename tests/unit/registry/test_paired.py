import numpy as np
import pytest
from scipy import stats

from paired import (
    acceleration,
    bca,
    clustered,
    delong,
    holm,
    mcnemar,
    moving_blocks,
    paired_t,
    rows_needed,
)

# Efron & Tibshirani (1993), table 14.1: spatial test data, A.
SPATIAL = np.array(
    [
        *[48, 36, 20, 29, 42, 42, 20, 42, 22, 41, 45, 14, 6],
        *[0, 33, 28, 34, 4, 32, 24, 47, 41, 24, 26, 30, 41],
    ],
    dtype=float,
)


def test_mcnemar_on_the_approval_ratings_of_agresti() -> None:
    # 150 changed to disapproval, 86 to approval: z^2 = 17.36, so one-sided p is about 1.6e-5.
    wins, losses = 150, 86
    assert (wins - losses) ** 2 / (wins + losses) == pytest.approx(17.36, abs=0.01)
    assert mcnemar(wins, losses) == pytest.approx(
        stats.binomtest(wins, wins + losses, alternative="greater").pvalue
    )
    assert mcnemar(wins, losses) == pytest.approx(stats.norm.sf(np.sqrt(17.36)), rel=0.3)
    assert mcnemar(0, 0) == 1.0


def test_paired_t_is_scipys() -> None:
    rng = np.random.default_rng(1)
    new, old = rng.normal(0.2, 1, 40), rng.normal(0, 1, 40)
    expected = stats.ttest_rel(new, old, alternative="greater")
    found = paired_t(new - old)
    assert found.p == pytest.approx(expected.pvalue)
    both = stats.ttest_rel(new, old).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((both.low, both.high))


def test_the_sleep_data_of_student() -> None:
    # Student (1908), Cushny & Peebles: t = 4.0621 with 9 degrees of freedom, as R prints it.
    gains = np.array([1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4])
    found = paired_t(gains)
    assert found.difference / found.error == pytest.approx(4.0621, abs=5e-5)
    assert 2 * found.p == pytest.approx(0.002833, abs=5e-7)
    assert (found.low, found.high) == pytest.approx((0.7001142, 2.4598858), abs=5e-8)


def test_clusters_of_one_row_are_the_t_test() -> None:
    gains = np.random.default_rng(2).normal(0.1, 1, 50)
    alone, clusters = paired_t(gains), clustered(gains, np.arange(50))
    assert clusters.error == pytest.approx(alone.error)
    assert clusters.p == pytest.approx(alone.p)


def test_equal_clusters_are_the_t_test_of_their_means() -> None:
    gains = np.random.default_rng(3).normal(0.1, 1, (12, 7))
    found = clustered(gains.ravel(), np.repeat(np.arange(12), 7))
    assert found.error == pytest.approx(paired_t(gains.mean(axis=1)).error)


def test_on_dependent_rows_the_naive_interval_is_wrong_and_ours_right() -> None:
    rng = np.random.default_rng(4)
    codes = np.repeat(np.arange(40), 25)
    naive = clusters = 0
    for _ in range(500):
        gains = np.repeat(rng.normal(0, 0.5, 40), 25) + rng.normal(0, 1, 1000)
        naive += _covers_zero(paired_t(gains))
        clusters += _covers_zero(clustered(gains, codes))
    assert naive / 500 < 0.7
    assert clusters / 500 == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / 500))


def test_moving_blocks_cover_a_series_whose_neighbours_depend_on_each_other() -> None:
    rng = np.random.default_rng(5)
    naive = blocks = 0
    for _ in range(400):
        noise = rng.normal(0, 1, 2200)
        series = np.convolve(noise, np.full(10, 0.3), mode="valid")[:2000]
        naive += _covers_zero(paired_t(series))
        blocks += _covers_zero(moving_blocks(series, 100))
    assert naive / 400 < 0.6
    assert blocks / 400 == pytest.approx(0.95, abs=0.045)


def _areas(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """DeLong's kernel for every pair of a positive and a negative, by definition."""
    positive, negative = scores[labels][:, None], scores[~labels][None, :]
    return (positive > negative) + 0.5 * (positive == negative)


def test_delong_is_its_definition_with_ties() -> None:
    rng = np.random.default_rng(6)
    labels = rng.random(60) < 0.4
    new = np.round(rng.normal(0, 1, 60) + labels, 1)
    old = np.round(rng.normal(0, 1, 60) + 0.5 * labels, 1)
    kernels = _areas(labels, new), _areas(labels, old)
    difference = kernels[0].mean() - kernels[1].mean()
    rows = (kernels[0] - kernels[1]).mean(axis=1)
    columns = (kernels[0] - kernels[1]).mean(axis=0)
    variance = rows.var(ddof=1) / len(rows) + columns.var(ddof=1) / len(columns)
    found = delong(labels, new, old)
    assert found.difference == pytest.approx(difference)
    assert found.error == pytest.approx(np.sqrt(variance))
    statistic = stats.mannwhitneyu(new[labels], new[~labels]).statistic
    assert kernels[0].mean() == pytest.approx(statistic / labels.sum() / (~labels).sum())


def test_delong_covers() -> None:
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(400):
        labels = rng.random(400) < 0.3
        shared = rng.normal(0, 1, 400) + labels
        new, old = shared + rng.normal(0, 1, 400), shared + rng.normal(0, 1, 400)
        covered += _covers_zero(delong(labels, new, old))
    assert covered / 400 == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / 400))


def test_bca_is_the_published_interval_of_the_spatial_data() -> None:
    # Efron & Tibshirani, chapter 14: variance 171.5, acceleration 0.061, 90 % BCa interval
    # (115.8, 259.6) from their 2,000 draws.
    rng = np.random.default_rng(8)
    draws = rng.choice(SPATIAL, (40_000, 26)).var(axis=1)
    jackknife = np.array([np.delete(SPATIAL, i).var() for i in range(26)])
    assert SPATIAL.var() == pytest.approx(171.5, abs=0.05)
    assert acceleration(jackknife) == pytest.approx(0.061, abs=0.0005)
    low, high = bca(float(SPATIAL.var()), draws, jackknife, 0.9)
    assert low == pytest.approx(115.8, abs=3)
    assert high == pytest.approx(259.6, abs=5)


def test_bca_is_scipys() -> None:
    expected = stats.bootstrap(
        (SPATIAL,), np.var, method="BCa", n_resamples=20_000, rng=np.random.default_rng(9)
    )
    jackknife = np.array([np.delete(SPATIAL, i).var() for i in range(26)])
    got = bca(float(SPATIAL.var()), expected.bootstrap_distribution, jackknife, 0.95)
    assert got == pytest.approx(tuple(expected.confidence_interval), rel=2e-3)


def test_holm_worked_by_hand() -> None:
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_rows_needed_reach_the_power() -> None:
    n = round(rows_needed(0.01, 0.06, 0.001))
    z = 0.01 / np.sqrt(0.06 / n)
    assert stats.norm.sf(stats.norm.isf(0.001) - z) == pytest.approx(0.5, abs=1e-3)


def _covers_zero(found: object) -> bool:
    return bool(found.low <= 0 <= found.high)  # type: ignore[attr-defined]
