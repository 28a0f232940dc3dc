"""Levels against the tables printed in the documentation of the R package onlineFDR 2.x."""

import math

import pytest

from error_budget import Account, Lond, Lord, Saffron, Year, lord_weight, saffron_weight

# The package's example: fifteen p-values of one stream, in order (random=FALSE).
P_VALUES = (
    *(2.90e-08, 0.06743, 0.01514, 0.08174, 0.00171, 3.60e-05, 0.79149, 0.27201),
    *(0.28295, 7.59e-08, 0.69274, 0.30443, 0.00136, 0.72342, 0.54757),
)
LOND = (
    *(0.0026758385, 0.0011638206, 0.0009912499, 0.0008243606, 0.0006988870),
    *(0.0006045900, 0.0007979166, 0.0007117838, 0.0006421423, 0.0005847378),
    *(0.0007155186, 0.0006610273, 0.0006141682, 0.0005734509, 0.0005377472),
)
LORD = (
    *(0.0002675839, 0.0024664457, 0.0005732818, 0.0004872805, 0.0004059066),
    *(0.0003447286, 0.0029745013, 0.0008450114, 0.0007305648, 0.0006243143),
    *(0.0032185913, 0.0010617227, 0.0009256825, 0.0008019657, 0.0007059610),
)
SAFFRON = (
    *(0.005468627, 0.010937254, 0.010937254, 0.010937254, 0.010937254),
    *(0.021874508, 0.032811762, 0.010823845, 0.010823845, 0.010823845),
    *(0.021761099, 0.009265591, 0.009265591, 0.020202846, 0.009064367),
)


@pytest.mark.parametrize(
    ("account", "levels"), [(Lond(), LOND), (Lord(), LORD), (Saffron(), SAFFRON)]
)
def test_levels_are_those_that_onlinefdr_prints(
    account: Account, levels: tuple[float, ...]
) -> None:
    for p, level in zip(P_VALUES, levels, strict=True):
        assert account.level == pytest.approx(level, abs=6e-10)
        account = account.after(p)


def test_lond_promotes_the_three_that_onlinefdr_promotes() -> None:
    account = Lond()
    promoted = []
    for number, p in enumerate(P_VALUES, start=1):
        if p <= account.level:
            promoted.append(number)
        account = account.after(p)
    assert promoted == [1, 6, 10]


def test_weights_sum_to_at_most_one() -> None:
    assert math.fsum(lord_weight(j) for j in range(1, 200_000)) <= 1
    saffron = math.fsum(saffron_weight(j) for j in range(1, 200_000))
    # The tail beyond m is at most the integral of 0.4375 x^-1.6 from m on.
    assert saffron <= 1 <= saffron + 0.4375 * 200_000**-0.6 / 0.6 + 1e-4


@pytest.mark.parametrize("account", [Lond(), Lord(), Saffron()])
def test_wealth_is_never_negative_and_levels_fade_without_a_promotion(account: Account) -> None:
    first = account.level
    for _ in range(1000):
        account = account.after(0.9)
        assert account.wealth >= 0
    assert 0 < account.level < first / 50


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


def test_a_reward_lowers_the_bar_as_e_lond_does() -> None:
    year = Year(reward=10)
    once = year.after_promotion()
    assert year.bar(year.share) - once.bar(once.share) == pytest.approx(math.log(2))
    strict = Year().after_promotion()
    assert strict.bar(strict.share) == Year().bar(Year().share)
