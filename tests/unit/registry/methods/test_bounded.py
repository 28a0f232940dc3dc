"""Bets of one night: worked by hand, and right where a t-test is fooled."""

import math

import numpy as np
import pytest

from registry.methods.bounded import bet
from registry.methods.paired import studentized
from registry.methods.skewed import spread_of


def test_two_bets_worked_by_hand() -> None:
    # First stake: sqrt(2 log 100 / (2 * 0.25)) is beyond the most, 0.95; the second one, too.
    assert bet(np.array([0.5, 0.5]), level=0.01) == pytest.approx(1 / (1 + 0.95 * 0.5) ** 2)


def test_a_stake_follows_the_variance_of_the_rows_before() -> None:
    gains = np.array([0.1, -0.2, 0.1, 0.3] * 500)
    capital, best, seen = 1.0, 1.0, [0.0]
    squares = 0.25
    for number, gain in enumerate(gains):
        mean = sum(seen) / (number + 1)
        variance = squares / (number + 1) - mean**2
        stake = min(math.sqrt(2 * math.log(1000) / (2000 * variance)), 0.95)
        capital *= 1 + stake * gain
        best = max(best, capital)
        seen.append(gain)
        squares += gain**2
    assert bet(gains, level=0.001) == pytest.approx(1 / best)


def _seldom_very_wrong(rng: np.random.Generator, rows: int) -> np.ndarray:
    """A little better on most rows, entirely wrong on 1 in 100: no better on average."""
    wrong = rng.random(rows) < 0.01
    return np.where(wrong, -0.8, 0.8 / 99 + rng.normal(0, 0.01, rows).clip(-0.05, 0.05))


def test_a_model_that_is_seldom_very_wrong_passes_a_t_test_but_no_bets() -> None:
    rng = np.random.default_rng(1)
    fooled = passed = 0
    for _ in range(2000):
        gains = _seldom_very_wrong(rng, 400)
        spread = spread_of(gains)
        p = studentized(gains.mean(), spread.error, spread.units, skewness=spread.skewness)
        fooled += p <= 1e-4
        passed += bet(gains, level=1e-4) <= 1e-4
    assert fooled / 2000 > 0.01
    assert passed == 0


def test_equal_models_pass_at_most_as_often_as_the_level_says() -> None:
    rng = np.random.default_rng(2)
    passed = sum(
        bet(rng.choice([-1.0, 0.0, 1.0], 300, p=[0.1, 0.8, 0.1]), level=0.05) <= 0.05
        for _ in range(4000)
    )
    assert 0.005 < passed / 4000 <= 0.05


def test_a_better_model_passes_nearly_as_often_as_by_a_t_test() -> None:
    rng = np.random.default_rng(3)
    bets = plain = 0
    for _ in range(200):
        gains = rng.choice([-1.0, 0.0, 1.0], 5000, p=[0.02, 0.94, 0.04])
        spread = spread_of(gains)
        plain += studentized(gains.mean(), spread.error, spread.units) <= 1e-4
        bets += bet(gains, level=1e-4) <= 1e-4
    assert plain > bets > 0.85 * plain


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
    assert bet(np.zeros(0), level=0.01) == 1.0
