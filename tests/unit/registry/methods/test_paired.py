"""Each test against a published example, a closed form or scipy, and its coverage."""

import numpy as np
import pytest
from scipy import stats

from registry.methods.paired import Finding, clustered, delong, mcnemar, paired_t, studentized


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


def test_the_sleep_data_of_student() -> None:
    # Student (1908), Cushny & Peebles: t = 4.0621 with 9 degrees of freedom, as R prints it.
    gains = np.array([1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4])
    found = paired_t(gains)
    assert found.difference / found.error == pytest.approx(4.0621, abs=5e-5)
    assert 2 * found.p == pytest.approx(0.002833, abs=5e-7)


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
        clusters += _covers_zero(clustered(gains, codes), 39)
    assert naive / 500 < 0.7
    assert clusters / 500 == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / 500))


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


def test_where_nothing_varies_the_sign_test_speaks() -> None:
    assert paired_t(np.full(4, 0.25)).p == 0.0625
    assert paired_t(np.zeros(50)).p == 1.0
    assert studentized(0.1, 0.0, 1).p == 0.5


def _covers_zero(found: Finding, freedom: int = 10_000) -> bool:
    return bool(abs(found.difference) <= stats.t.ppf(0.975, freedom) * found.error)
