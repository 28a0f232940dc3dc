"""The year's account pays shares that never sum to more than alpha, and never ends."""

import math

import pytest

from registry.error_budget import Year, bar


def test_a_year_pays_equal_shares_and_goes_on_paying_beyond_the_plan() -> None:
    year = Year(alpha=0.05, planned=365, reserve=0.2)
    shares = []
    for _ in range(3650):
        shares.append(year.share)
        year = year.after_opening()
    assert shares[:365] == [pytest.approx(0.95 * 0.04 / 365)] * 365
    assert 0 < shares[-1] < shares[365] < shares[0]
    assert year.spent == pytest.approx(sum(shares))
    assert year.spent < 0.05 * 0.8


def test_the_reserve_pays_full_shares_first_and_never_ends() -> None:
    year = Year(alpha=0.05, planned=365, reserve=0.2)
    shares = []
    for _ in range(200):
        shares.append(year.share_again)
        year = year.after_opening(again=True)
    assert shares[:80] == [pytest.approx(year.share)] * 80
    assert 0 < shares[-1] < shares[0]
    assert year.spent_again < 0.05 * 0.2
    assert year.wealth > 0.05 * 0.8


def test_the_bar_is_one_over_the_share_and_no_share_is_never_enough() -> None:
    assert math.exp(bar(Year().share)) == pytest.approx(365 / (0.04 * 0.95))
    assert bar(0.0) == math.inf


def test_a_new_year_starts_anew_and_a_new_configuration_forgives_nothing() -> None:
    year = Year(number=2026)
    for _ in range(100):
        year = year.after_opening()
    same = year.at(2026, alpha=0.01, planned=12, reserve=0.2)
    assert same.spent == year.spent > 0.01 * 0.8
    assert (same.share, same.wealth) == (0.0, 0.0)
    fresh = year.at(2027, alpha=0.05, planned=365, reserve=0.2)
    assert (fresh.opened, fresh.spent, fresh.wealth) == (0, 0.0, 0.05)


def test_a_first_model_takes_a_part_of_the_reserve_however_often_one_is_tried() -> None:
    year = Year()
    assert year.share_first == pytest.approx(0.0025)
    for _ in range(50):
        year = year.after_opening(first=True)
    assert 0 < year.share_first < 0.0025
    assert year.spent_again < 0.05 * 0.2
