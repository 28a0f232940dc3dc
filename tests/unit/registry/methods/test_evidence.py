"""Evidence against worked examples and closed forms, and its error however often one looks."""

import math

import numpy as np
import pytest
from scipy import stats
from scipy.special import betainc, betaln

from registry.methods.blocks import (
    BlockEvidence,
    Spread,
    after_block,
    log_t_ratio,
    log_value_of_sums,
    residual,
)
from registry.methods.evidence import (
    MAX_STAKE,
    Bets,
    after_rows,
    after_units,
    agreed,
    bets_anywhere,
    bets_around,
    log_mixture,
    log_value_of_counts,
    opened,
)

ONE = Bets(fractions=(0.5,), weights=(1.0,))


def test_one_bettor_is_a_product_worked_by_hand() -> None:
    evidence = after_rows(opened(ONE), np.array([1.0, 0.0, -1.0, 1.0]))
    assert evidence.value == pytest.approx(1.5 * 0.5 * 1.5)
    assert (evidence.rows, evidence.nights) == (4, 1)


def test_the_mixture_over_all_coins_is_the_closed_beta_form() -> None:
    # The uniform prior on the win probability in (1/2, 1): Robbins' mixture, with the regularised
    # incomplete beta function. A fine grid of bettors must come out at the same capital.
    wins, losses = 70, 45
    fractions = (np.arange(20_000) + 0.5) / 20_000
    bets = Bets(fractions=tuple(fractions), weights=(1 / 20_000,) * 20_000)
    got = float(log_value_of_counts(bets, np.array(wins), np.array(losses)))
    closed = (
        (wins + losses) * math.log(2)
        + betaln(wins + 1, losses + 1)
        + math.log1p(-betainc(wins + 1, losses + 1, 0.5))
        + math.log(2)
    )
    assert got == pytest.approx(closed, abs=1e-6)


def test_nights_multiply_and_the_order_of_rows_does_not_matter() -> None:
    rng = np.random.default_rng(1)
    gains = rng.choice([-1.0, 0.0, 1.0], size=600, p=[0.03, 0.93, 0.04])
    bets = bets_around(0.01, 0.06)
    once = after_rows(opened(bets), gains)
    twice = after_rows(after_rows(opened(bets), rng.permutation(gains)[:200]), np.zeros(0))
    counted = log_value_of_counts(bets, np.array((gains > 0).sum()), np.array((gains < 0).sum()))
    assert once.log_value == pytest.approx(float(counted))
    split = after_rows(after_rows(opened(bets), gains[:200]), gains[200:])
    assert split.log_value == pytest.approx(once.log_value)
    assert (split.nights, twice.nights) == (2, 2)


def test_equal_models_are_proven_better_at_most_alpha_of_the_time_however_often_one_looks() -> None:
    rng = np.random.default_rng(2)
    bets = bets_around(0.01, 0.06)
    shape = (10_000, 60)
    disagreements = rng.binomial(500, 0.06, shape)
    wins = rng.binomial(disagreements, 0.5)
    values = log_value_of_counts(
        bets, wins.cumsum(axis=1).astype(float), (disagreements - wins).cumsum(axis=1).astype(float)
    )
    ever = (values.max(axis=1) >= math.log(20)).mean()
    assert 0.02 < ever <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 10_000)


def test_an_effect_at_the_minimum_is_not_proven_and_one_above_is() -> None:
    rng = np.random.default_rng(3)
    bets = bets_around(0.02, 0.1)
    proven = 0
    for _ in range(400):
        gains = rng.choice([-1.0, 0.0, 1.0], size=4000, p=[0.045, 0.9, 0.055])
        proven += after_rows(opened(bets), gains, null=0.01).log_value >= math.log(20)
    assert proven / 400 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)
    gains = rng.choice([-1.0, 0.0, 1.0], size=20_000, p=[0.03, 0.9, 0.07])
    assert after_rows(opened(bets), gains, null=0.01).log_value > math.log(1000)


def test_a_margin_proves_non_inferiority_of_an_equal_challenger() -> None:
    gains = np.random.default_rng(4).choice([-1.0, 0.0, 1.0], size=5000, p=[0.03, 0.94, 0.03])
    evidence = after_rows(opened(bets_around(0.02, 0.06)), gains, null=-0.02)
    assert evidence.log_value > math.log(100)


@pytest.mark.parametrize("gains", [[4.0, -2.0], [0.5, np.nan], [-1.5]])
def test_a_gain_beyond_the_bound_or_that_is_no_number_is_refused(gains: list[float]) -> None:
    with pytest.raises(ValueError, match="outside"):
        after_rows(opened(ONE), np.array(gains))
    with pytest.raises(ValueError, match="outside"):
        after_units(opened(ONE), np.array(gains), np.arange(len(gains)))


def test_bets_without_any_knowledge_find_a_better_challenger_a_little_later() -> None:
    gains = np.random.default_rng(12).choice([-1.0, 0.0, 1.0], size=20_000, p=[0.025, 0.94, 0.035])
    told = after_rows(opened(bets_around(0.01, 0.06)), gains).log_value
    untold = after_rows(opened(bets_anywhere()), gains).log_value
    assert math.log(1000) < untold < told < untold + 3


def _dependent(rng: np.random.Generator, units: int, size: int) -> np.ndarray:
    """Gains of an equal challenger; the rows of a unit are won or lost together."""
    shared = rng.choice([-1.0, 1.0], units) * (rng.random(units) < 0.06)
    return np.repeat(shared, size)


def test_dependent_rows_fool_bets_on_rows_but_not_bets_on_units() -> None:
    rng = np.random.default_rng(5)
    bets = bets_around(0.01, 0.06)
    codes = np.repeat(np.arange(250), 20)
    naive = right = 0
    for _ in range(600):
        gains = _dependent(rng, 250, 20)
        naive += after_rows(opened(bets), gains).log_value >= math.log(20)
        right += after_units(opened(bets), gains, codes).log_value >= math.log(20)
    assert naive / 600 > 0.2
    assert right / 600 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 600)


def test_units_of_one_row_are_rows() -> None:
    gains = np.random.default_rng(6).choice([-1.0, 0.0, 1.0], size=300, p=[0.2, 0.3, 0.5])
    bets = bets_around(0.1, 0.6)
    units = after_units(opened(bets), gains, np.arange(300))
    assert units.log_value == pytest.approx(after_rows(opened(bets), gains).log_value)
    assert (units.total, units.squares) == (gains.sum(), (gains**2).sum())


SIZES = np.r_[np.full(400, 5), np.full(10, 200)]
CODES = np.repeat(np.arange(len(SIZES)), SIZES)


def _telling(rng: np.random.Generator, small: float, large: float) -> np.ndarray:
    """Rows in units of 5 and of 200, as many of each; what they gain goes by the size."""
    mean = np.repeat(np.where(SIZES > 5, large, small), SIZES)
    return np.where(rng.random(len(mean)) < 0.1, np.sign(rng.random(len(mean)) - 0.5 + 5 * mean), 0)


def test_units_whose_sizes_tell_of_gains_prove_no_more_than_the_rows_do() -> None:
    rng, wrong, level = np.random.default_rng(15), 0, math.log(100)
    for _ in range(300):
        evidence, found = opened(bets_anywhere()), False
        for _ in range(7):
            evidence = after_units(evidence, _telling(rng, 0.02, -0.02), CODES)
            found = found or evidence.log_value >= level
        wrong += found
    # The capital alone says "better" nearly every time.
    capital = log_mixture(evidence.bets, np.asarray(evidence.log_wealth))
    assert capital > level
    assert wrong / 300 <= 0.01 + 3 * math.sqrt(0.01 * 0.99 / 300)


def test_a_better_challenger_in_units_of_all_sizes_waits_hardly_longer_than_for_its_bets() -> None:
    waited = []
    for seed in range(100, 112):
        rng, evidence = np.random.default_rng(seed), opened(bets_around(0.01, 0.1))
        alone = 0
        while evidence.log_value < math.log(9_605):
            evidence = after_units(evidence, _telling(rng, 0.01, 0.01), CODES)
            capital = log_mixture(evidence.bets, np.asarray(evidence.log_wealth))
            alone = alone or (evidence.nights if capital >= math.log(9_605) else 0)
        waited.append(evidence.nights - alone)
    assert np.median(waited) == 0
    assert max(waited) <= 2


def test_the_agreement_is_a_normal_tail_shared_among_the_looks() -> None:
    for nights in (1, 4):
        limit = -stats.norm.logsf(3.0) - math.log(nights * (nights + 1))
        assert float(agreed(np.array(50.0), 6.0, 4.0, nights)) == pytest.approx(limit)
    assert float(agreed(np.array(1.5), 6.0, 4.0, 1)) == 1.5
    assert float(agreed(np.array(0.0), 0.0, 0.0, 0)) == 0.0  # before the first row
    assert sum(1 / (k * (k + 1)) for k in range(1, 10_000)) < 1


def test_bets_the_other_way_round_need_the_rows_to_agree_too() -> None:
    rng, bets = np.random.default_rng(17), bets_anywhere()
    worse, evidence = opened(bets), opened(bets)
    for _ in range(7):
        gains = _telling(rng, -0.02, 0.04)
        evidence = after_units(evidence, gains, CODES)
        worse = after_units(worse, -gains, CODES)
    assert log_mixture(bets, np.asarray(worse.log_wealth)) > math.log(100)
    assert worse.log_value < 0
    assert evidence.reversed(worse.log_wealth).log_value == pytest.approx(worse.log_value)


def test_a_truly_better_challenger_is_rarely_given_up() -> None:
    rng = np.random.default_rng(8)
    disagreements = rng.binomial(5000, 0.06, (20_000, 30)).cumsum(axis=1)
    wins = rng.binomial(np.diff(disagreements, axis=1, prepend=0), 0.5 + 0.5 * 0.005 / 0.06)
    wins = wins.cumsum(axis=1)
    ties = 5000 * np.arange(1, 31) - disagreements
    bets = bets_around(0.01, 0.06)
    doubt = log_value_of_counts(bets, disagreements - wins, wins, ties, null=-0.005)
    assert (doubt.max(axis=1) >= -math.log(0.005)).mean() <= 0.005


def test_an_equal_challenger_is_given_up_after_some_nights() -> None:
    rng = np.random.default_rng(13)
    wins, losses = rng.binomial(5000, 0.03, (2, 500, 30)).cumsum(axis=2)
    ties = 5000 * np.arange(1, 31) - wins - losses
    doubt = log_value_of_counts(bets_around(0.01, 0.06), losses, wins, ties, null=-0.005)
    given_up = (np.maximum.accumulate(doubt, axis=1) >= -math.log(0.005)).mean(axis=0)
    assert given_up[29] > 0.9


def test_counts_say_the_same_as_rows_also_against_a_null() -> None:
    gains = np.random.default_rng(14).choice([-1.0, 0.0, 1.0], size=900, p=[0.1, 0.7, 0.2])
    counts = [float((gains == value).sum()) for value in (1.0, -1.0, 0.0)]
    for null in (-0.02, 0.0, 0.03):
        bets = bets_around(0.05, 0.3)
        got = log_value_of_counts(bets, *map(np.asarray, counts), null=null)
        assert float(got) == pytest.approx(after_rows(opened(bets), gains, null=null).log_value)


@pytest.mark.parametrize(
    ("t", "nu", "d"), [(2.0, 5.0, 1.5), (8.0, 20.0, 5.0), (0.5, 3.0, 0.3), (30.0, 7.0, 10.0)]
)
def test_the_t_ratio_is_that_of_scipy(t: float, nu: float, d: float) -> None:
    got = float(log_t_ratio(np.array(t), np.array(nu), np.array(d)))
    assert got == pytest.approx(stats.nct.logpdf(t, nu, d) - stats.t.logpdf(t, nu), abs=1e-6)


def _night_sums(shock: float, nights: int, mean: float, seed: int) -> tuple[np.ndarray, ...]:
    gains = mean + shock * np.random.default_rng(seed).standard_normal((4_000, nights))
    return (
        np.broadcast_to(np.arange(1.0, nights + 1), gains.shape),
        gains.cumsum(axis=1),
        (gains**2).cumsum(axis=1),
    )


@pytest.mark.parametrize("freedom", [0.0, 10.0])
def test_blocks_keep_alpha_at_every_look_and_borrowed_spread_too(freedom: float) -> None:
    counts, totals, squares = _night_sums(0.004, 30, 0.0, 9)
    lent = 0.004**2 * np.random.default_rng(10).chisquare(max(freedom, 1), (4_000, 1))
    borrowed = np.broadcast_to(lent * (freedom > 0), counts.shape)
    values = log_value_of_sums(counts, totals, squares, borrowed, np.full(counts.shape, freedom))
    ever = (values.max(axis=1) >= math.log(20)).mean()
    assert 0.01 < ever <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 4_000)


def test_a_worse_challenger_is_proven_better_even_less_often() -> None:
    counts, totals, squares = _night_sums(0.004, 30, -0.001, 11)
    zero = np.zeros(counts.shape)
    values = log_value_of_sums(counts, totals, squares, zero, zero)
    assert (values.max(axis=1) >= math.log(20)).mean() < 0.02


def test_one_block_alone_says_nothing_and_borrowed_spread_makes_it_speak() -> None:
    alone = after_block(BlockEvidence(spread=Spread()), 0.01)
    assert alone.log_value == 0.0
    told = after_block(BlockEvidence(spread=Spread(squares=20 * 0.002**2, freedom=20)), 0.01)
    assert told.log_value > math.log(20)


def test_a_finished_comparison_lends_its_spread() -> None:
    evidence = BlockEvidence(spread=Spread())
    for gain in (0.01, 0.02, 0.06):
        evidence = after_block(evidence, gain)
    lent = residual(evidence)
    assert lent.freedom == 2
    assert lent.squares == pytest.approx(2 * np.var([0.01, 0.02, 0.06], ddof=1))


@pytest.mark.parametrize("gain", [0.0, 0.01, 0.1, 1 / 3])
def test_blocks_that_are_all_equal_tell_nothing_however_many_and_lend_nothing(gain: float) -> None:
    evidence = BlockEvidence(spread=Spread())
    for _ in range(30):  # of 8 blocks of 0.01 the rounding leaves 1e-19
        evidence = after_block(evidence, gain)
        assert evidence.log_value == 0.0
        assert residual(evidence) == Spread()


@pytest.mark.parametrize("null", [-0.01, 0.0, 0.2])
@pytest.mark.parametrize("rows", [1, 15, 16, 17, 1_000, 200_003])
def test_many_different_gains_add_up_as_one_by_one(rows: int, null: float) -> None:
    gains = np.random.default_rng(rows).uniform(-1, 1, rows)
    gains[0] = -1.0
    bets = bets_anywhere()
    stakes = np.minimum(bets.fractions, MAX_STAKE / (1 + max(null, 0.0)))
    found = after_rows(opened(bets), gains, null=null).log_wealth
    for stake, wealth in zip(stakes, found, strict=True):
        assert wealth == pytest.approx(math.fsum(np.log1p(stake * (gains - null))), rel=1e-9)
