"""The year's account pays shares that never sum to more than alpha, and never ends."""

import math

import numpy as np
import pytest

from registry.error_budget import Year, bar, carried


def test_a_year_pays_equal_shares_and_goes_on_paying_beyond_the_plan() -> None:
    year = Year(alpha=0.05, planned=365)
    shares = []
    for _ in range(3650):
        shares.append(year.share)
        year = year.after_opening()
    assert shares[:365] == [pytest.approx(0.95 * 0.05 / 365)] * 365
    assert 0 < shares[-1] < shares[365] < shares[0]
    assert year.spent == pytest.approx(sum(shares))
    assert year.spent < 0.05


def test_the_bar_is_one_over_the_share_and_no_share_is_never_enough() -> None:
    assert math.exp(bar(Year().share)) == pytest.approx(365 / (0.05 * 0.95))
    assert bar(0.0) == math.inf


def test_a_new_year_starts_anew_and_a_new_configuration_forgives_nothing() -> None:
    year = Year(number=2026)
    for _ in range(100):
        year = year.after_opening()
    same = year.at(2026, alpha=0.01, planned=12)
    assert same.spent == year.spent > 0.01
    assert (same.share, same.wealth) == (0.0, 0.0)
    fresh = year.at(2027, alpha=0.05, planned=365)
    assert (fresh.opened, fresh.spent, fresh.wealth) == (0, 0.0, 0.05)


def test_a_clock_that_goes_back_over_new_year_opens_no_second_account() -> None:
    year, paid = Year(), 0.0
    for number in range(200):
        year = year.at(2026 + number % 2, alpha=0.05, planned=20)
        if number > 0:  # the account of the later year is open from here on
            paid += year.share
        year = year.after_opening()
    assert year.number == 2027
    assert paid == pytest.approx(year.spent)
    assert paid <= 0.05


def paid_in(year: Year, nights: list[int]) -> tuple[Year, float]:
    """The account after a challenger in each of these years, and what they were paid together."""
    paid = 0.0
    for number in nights:
        year = year.at(number, alpha=0.05, planned=20)
        paid += year.share
        year = year.after_opening()
    return year, paid


@pytest.mark.parametrize("wrong", [2099, 2029, 2024, 1970])
def test_a_clock_that_was_once_wrong_pays_nothing_twice_and_heals_by_itself(wrong: int) -> None:
    year, paid = paid_in(Year(), [2026] * 30 + [wrong] * 30 + [2026] * 30 + [wrong, 2026] * 30)
    assert year.number == 2026
    assert paid == pytest.approx(year.spent)
    assert paid <= 0.05
    after, paid = paid_in(year, [2027])
    assert (after.number, after.opened) == (2027, 1)
    assert paid == pytest.approx(0.95 * 0.05 / 20)


def test_a_first_night_in_a_far_year_ruins_no_later_one() -> None:
    year, _ = paid_in(Year(), [2099] + [2026] * 20)
    assert (year.number, year.opened) == (2026, 21)
    for number in range(2027, 2030):
        year, paid = paid_in(year, [number] * 20)
        assert paid == pytest.approx(0.95 * 0.05)


def test_a_model_that_rested_for_years_starts_anew_with_the_next_one() -> None:
    year, _ = paid_in(Year(), [2026] * 10)
    year = year.after_gain(-0.01)
    rested, _ = paid_in(year, [2029])
    assert (rested.number, rested.opened, rested.conceded) == (2029, 11, 0.01)
    anew, _ = paid_in(rested, [2030])
    assert (anew.number, anew.opened, anew.conceded) == (2030, 1, 0.0)


def test_a_year_that_is_planned_for_one_challenger_goes_on_paying() -> None:
    year, shares = Year(planned=1), []
    for _ in range(8):
        shares.append(year.share)
        year = year.after_opening()
    assert min(shares) > 0
    assert sum(shares) < 0.05


def test_what_begins_anew_costs_no_more_than_its_first_share_however_often() -> None:
    """Equal models, begun anew by chance or when it looks bad: a life costs its share at most."""
    rng, share, paid = np.random.default_rng(1), 0.05, []
    for _ in range(4000):
        left, proven = share, False
        for _ in range(6):  # champions
            capital = 1.0
            for won in rng.random(30) < 0.5:
                capital *= 1.5 if won else 0.5
                proven = proven or left * capital >= 1
                if capital < 0.7 or rng.random() < 0.1:
                    break
            left = carried(left, math.log(capital))
            assert left <= share
        paid.append(proven)
    assert np.mean(paid) <= share + 3 * math.sqrt(share / 4000)
