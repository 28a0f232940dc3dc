"""Each test against a published example, a closed form or scipy."""

import math

import numpy as np
import pytest
from scipy import stats

from registry.methods.paired import mcnemar, studentized, tango
from registry.methods.skewed import spread_of

# Agresti, Categorical Data Analysis, table 10.1: of 1,600 people asked twice whether they approve
# of the prime minister, 150 changed to disapproval and 86 to approval; z^2 = 17.36.
CHANGED, CHANGED_BACK, ASKED = 150, 86, 1600


def test_mcnemar_on_the_approval_ratings_of_agresti() -> None:
    expected = stats.binomtest(CHANGED, CHANGED + CHANGED_BACK, alternative="greater").pvalue
    assert mcnemar(CHANGED, CHANGED_BACK) == pytest.approx(expected)
    assert mcnemar(CHANGED, CHANGED_BACK) == pytest.approx(stats.norm.sf(np.sqrt(17.36)), rel=0.3)
    assert mcnemar(0, 0) == 1.0


def test_tango_against_no_difference_is_the_score_test_of_agresti() -> None:
    assert tango(CHANGED, CHANGED_BACK, ASKED, 0.0) == pytest.approx(
        stats.norm.sf(64 / np.sqrt(236))
    )


def test_tango_finds_the_likeliest_table_under_the_null() -> None:
    wins, losses, rows, null = 12, 9, 200, -0.05
    lost = np.linspace(0.0501, 0.4, 200_001)
    likelihood = wins * np.log(lost + null) + losses * np.log(lost)
    likelihood += (rows - wins - losses) * np.log(1 - 2 * lost - null)
    best = lost[likelihood.argmax()]
    z = (wins - losses - rows * null) / math.sqrt(rows * (2 * best + null - null**2))
    assert tango(wins, losses, rows, null) == pytest.approx(stats.norm.sf(z), rel=1e-3)


def test_tango_asks_for_rows_also_where_no_row_disagrees() -> None:
    # 1 in 20 rows may be lost. With 50 rows none lost is no proof at 5 %, with 60 it is.
    assert tango(0, 0, 50, -0.05) == pytest.approx(stats.norm.sf(math.sqrt(2.5 / 0.95)))
    assert tango(0, 0, 50, -0.05) > 0.05 > tango(0, 0, 60, -0.05)


def test_tango_errs_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    tables = rng.multinomial(100, [0.02, 0.07, 0.91], size=20_000)
    kinds, times = np.unique(tables[:, :2], axis=0, return_counts=True)
    passed = [tango(int(wins), int(losses), 100, -0.05) <= 0.05 for wins, losses in kinds]
    assert float(times @ passed) / 20_000 == pytest.approx(0.05, abs=0.01)


def test_rows_without_skewness_are_scipys_paired_t_test() -> None:
    rng = np.random.default_rng(1)
    new, old = rng.normal(0.2, 1, 40), rng.normal(0, 1, 40)
    expected = stats.ttest_rel(new, old, alternative="greater")
    spread = spread_of(new - old)
    found = studentized(float((new - old).mean()), spread.error, spread.units)
    assert found == pytest.approx(expected.pvalue)


def test_the_sleep_data_of_student() -> None:
    # Student (1908), Cushny & Peebles: t = 4.0621 with 9 degrees of freedom, as R prints it.
    gains = np.array([1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4])
    spread = spread_of(gains)
    assert gains.mean() / spread.error == pytest.approx(4.0621, abs=5e-5)
    assert 2 * studentized(1.58, spread.error, 10) == pytest.approx(0.002833, abs=5e-7)


def test_skewness_may_count_against_a_challenger_and_not_for_it() -> None:
    plain = studentized(0.4, 0.1, 50)
    assert studentized(0.4, 0.1, 50, skewness=-2.0) > plain
    assert studentized(0.4, 0.1, 50, skewness=2.0) == plain


def test_where_nothing_varies_the_sign_test_speaks() -> None:
    assert studentized(0.25, 0.0, 4) == 0.0625
    assert studentized(0.0, 0.0, 50) == 1.0
    assert studentized(0.1, 0.0, 1) == 0.5


def test_where_nothing_varies_no_harm_is_proven_only_by_as_many_rows_as_could_hide_it() -> None:
    """Rows of which 2 % lose show none of them in 100 with 13 %, and not with 2^-100."""
    assert studentized(0.0, 0.0, 100, null=-0.02, most=1.0) == pytest.approx(0.98**100)
    assert studentized(0.0, 0.0, 100, null=-0.02, most=10.0) == pytest.approx(0.998**100)
    assert studentized(0.0, 0.0, 10_000, null=-0.02, most=1.0) < 1e-80
    assert studentized(0.0, 0.0, 100, null=-0.02) == 1.0  # a row may lose any amount
