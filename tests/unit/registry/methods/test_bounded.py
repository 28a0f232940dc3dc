"""Bets of one night: worked by hand, and right where a t-test is fooled."""

import math

import numpy as np
import pytest

from registry.methods.bounded import FIRST_SQUARE, ORDER, PIECES, bet, clusters_enough, log_capital
from registry.methods.paired import studentized
from registry.methods.skewed import spread_of


def test_two_bets_worked_by_hand() -> None:
    # First stake: sqrt(2 log 100 / (2 * 0.25)) is beyond the most, 0.95; the second one, too.
    assert bet(np.array([0.5, 0.5]), level=0.01) == pytest.approx(1 / (1 + 0.95 * 0.5) ** 2)


def test_two_clusters_worked_by_hand() -> None:
    # At most 0.95 / rows on each row, and the cluster of four gains 2, that of one 1.
    gains, clusters = np.array([0.5, 0.5, 0.5, 0.5, 1.0]), np.array([7, 7, 7, 7, 3])
    found = bet(gains, level=0.01, clusters=clusters)
    assert found == pytest.approx(1 / ((1 + 0.95 * 2 / 4) * (1 + 0.95)))


def plain(sums: np.ndarray, sizes: np.ndarray, level: float) -> float:
    """The formula, unit by unit."""
    order = np.random.default_rng(ORDER).permutation(len(sums))
    capital, best, total, squares = 0.0, 0.0, 0.0, FIRST_SQUARE * sizes.mean() ** 2
    for number, unit in enumerate(order):
        variance = squares / (number + 1) - (total / (number + 1)) ** 2
        missing = max(math.log(1 / level) - capital, 1.0)
        stake = math.sqrt(2 * missing / ((len(sums) - number) * variance))
        capital += math.log(1 + min(stake, 0.95 / sizes[unit]) * sums[unit])
        best = max(best, capital)
        total += sums[unit]
        squares += sums[unit] ** 2
    return math.exp(-best)


def test_a_stake_is_for_what_is_missing_and_left_by_the_variance_of_the_rows_before() -> None:
    rng = np.random.default_rng(0)
    gains = rng.choice([0.1, -0.2, 0.1, 0.3], PIECES)
    assert bet(gains, level=0.001) == pytest.approx(plain(gains, np.ones(PIECES), 0.001))
    clusters = np.repeat(np.arange(PIECES // 4), 4)
    found = bet(gains, level=0.001, clusters=clusters)
    sums = gains.reshape(-1, 4).sum(axis=1)
    assert found == pytest.approx(plain(sums, np.full(PIECES // 4, 4.0), 0.001))


def test_many_rows_in_pieces_prove_about_as_often_as_one_by_one() -> None:
    rng = np.random.default_rng(1)
    fast = slow = 0
    for _ in range(100):
        gains = rng.choice([-1.0, 0.0, 1.0], 2000, p=[0.018, 0.94, 0.042])
        fast += bet(gains, level=1e-4) <= 1e-4
        slow += plain(gains, np.ones(2000), 1e-4) <= 1e-4
    assert 40 < slow < 90
    assert abs(fast - slow) <= 5


def _seldom_very_wrong(rng: np.random.Generator, rows: int) -> np.ndarray:
    """A little better on most rows, entirely wrong on 1 in 100: no better on average."""
    wrong = rng.random(rows) < 0.01
    return np.where(wrong, -0.8, 0.8 / 99 + rng.normal(0, 0.01, rows).clip(-0.05, 0.05))


def test_a_model_that_is_seldom_very_wrong_passes_a_t_test_but_no_bets() -> None:
    rng = np.random.default_rng(1)
    fooled = passed = 0
    for _ in range(1000):
        gains = _seldom_very_wrong(rng, 400)
        spread = spread_of(gains)
        p = studentized(gains.mean(), spread.error, spread.units, skewness=spread.skewness)
        fooled += p <= 1e-4
        passed += bet(gains, level=1e-4) <= 1e-4
    assert fooled / 1000 > 0.01
    assert passed == 0


@pytest.mark.parametrize("level", [0.05, 0.001])
def test_equal_models_pass_at_most_as_often_as_the_level_says(level: float) -> None:
    rng, nights = np.random.default_rng(2), 20_000
    gains = rng.choice([-1.0, 0.0, 1.0], (nights, 300), p=[0.1, 0.8, 0.1])
    passed = (log_capital(gains, np.ones(300), level=level) >= -math.log(level)).mean()
    assert 0.3 * level < passed <= level + 3 * math.sqrt(level / nights)


def test_many_nights_at_once_are_each_as_alone() -> None:
    gains = np.random.default_rng(2).uniform(-1, 1.2, (5, 150)).clip(-1, 1)
    together = np.exp(-log_capital(gains, np.ones(150), level=0.01))
    assert together.tolist() == pytest.approx([bet(night, level=0.01) for night in gains])


@pytest.mark.parametrize("level", [0.05, 0.01])
@pytest.mark.parametrize("sizes", ["equal", "unequal"])
@pytest.mark.parametrize("loses", ["as one", "seldom, and then all"])
def test_equal_models_on_clusters_pass_at_most_as_often_as_the_level_says(
    level: float, sizes: str, loses: str
) -> None:
    rng, passed = np.random.default_rng(3), 0
    for _ in range(1500):
        count = np.full(60, 5) if sizes == "equal" else rng.integers(1, 30, 60)
        codes = np.repeat(np.arange(60), count)
        gains = (
            rng.choice([-1.0, 1.0], 60)[codes]
            if loses == "as one"
            else np.where(rng.random(60) < 0.02, -1.0, 0.02 / 0.98)[codes]
        )
        passed += bet(gains, level=level, clusters=codes) <= level
    assert passed / 1500 <= level + 3 * math.sqrt(level * (1 - level) / 1500)


def test_a_t_test_of_clusters_that_seldom_lose_all_is_fooled_and_bets_are_not() -> None:
    rng, fooled, passed = np.random.default_rng(4), 0, 0
    codes = np.repeat(np.arange(100), 10)
    for _ in range(1000):
        means = np.where(rng.random(100) < 0.02, -1.0, 0.02 / 0.98) + rng.normal(0, 0.003, 100)
        gains = np.clip(means, -1, 1)[codes]
        spread = spread_of(gains, codes)
        p = studentized(gains.mean(), spread.error, spread.units, skewness=spread.skewness)
        fooled += p <= 1e-4
        passed += bet(gains, level=1e-4, clusters=codes) <= 1e-4
    assert fooled > 100  # of 1,000, where 0.1 is right: every time that no cluster is lost
    assert passed == 0


def test_worse_first_and_as_much_better_later_is_no_proof() -> None:
    rng = np.random.default_rng(5)
    drift = np.where(np.arange(3000) < 1500, -0.05, 0.05)
    passed = 0
    for _ in range(1000):
        draw = rng.random(3000)
        gains = (draw < 0.1 + drift / 2) * 1.0 - (draw > 0.9 + drift / 2)
        passed += bet(gains, level=0.01) <= 0.01
    assert passed / 1000 < 0.025


def test_a_better_model_passes_nearly_as_often_as_by_a_t_test() -> None:
    rng = np.random.default_rng(3)
    bets = student = 0
    for _ in range(300):
        gains = rng.choice([-1.0, 0.0, 1.0], 5000, p=[0.0225, 0.94, 0.0375])
        spread = spread_of(gains)
        student += studentized(gains.mean(), spread.error, spread.units) <= 1e-4
        bets += bet(gains, level=1e-4) <= 1e-4
    assert student > 150
    assert student > bets > 0.85 * student


@pytest.mark.parametrize(("effect", "level"), [(0.05, 1e-4), (0.05, 0.002), (0.02, 0.002)])
def test_so_many_clusters_prove_it_about_four_times_in_five(effect: float, level: float) -> None:
    rng = np.random.default_rng(6)

    def night(clusters: int) -> tuple[np.ndarray, np.ndarray]:
        codes = np.repeat(np.arange(clusters), 25)
        gain = np.clip(rng.normal(effect, 0.1, clusters), -0.29, 0.29)[codes]
        draw = rng.random(len(codes))
        return (draw < 0.15 + gain / 2) * 1.0 - (draw > 0.85 + gain / 2), codes

    gains, codes = night(2000)
    needed = clusters_enough(gains, codes, wanted=effect, level=level)
    assert needed is not None
    proven = 0
    for _ in range(150):
        found, units = night(needed)
        proven += bet(found, level=level, clusters=units) <= level
    assert proven / 150 == pytest.approx(0.82, abs=0.13)
    assert clusters_enough(gains, codes, wanted=-effect, level=level) is None


def test_a_margin_and_a_minimum_move_the_null() -> None:
    equal = np.random.default_rng(4).choice([-1.0, 0.0, 1.0], 4000, p=[0.02, 0.96, 0.02])
    assert bet(equal, level=1e-4, null=-0.02) < 1e-4
    assert bet(equal, level=1e-4) > 1e-4
    better = np.where(np.arange(4000) % 20 == 0, 1.0, 0.0)
    assert bet(better, level=1e-4, null=0.01) < 1e-4
    assert bet(better, level=1e-4, null=0.06) > 0.01


def test_a_gain_beyond_the_bound_is_refused_and_no_rows_prove_nothing() -> None:
    with pytest.raises(ValueError, match="outside"):
        bet(np.array([2.0]), level=0.01)
    with pytest.raises(ValueError, match="outside"):
        bet(np.array([0.5, -1.5]), level=0.01, clusters=np.array([1, 1]))
    assert bet(np.zeros(0), level=0.01) == 1.0
