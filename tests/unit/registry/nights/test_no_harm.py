"""Evidence that something is not worse than allowed: its error, its power, its pace."""

import math

import numpy as np
import pytest

from registry.methods.blocks import BlockEvidence, Spread
from registry.methods.bootstrap import Interval
from registry.nights.betting import GIVE_UP
from registry.nights.no_harm import (
    NoHarm,
    after_blocks,
    after_gains,
    after_p,
    begun,
    begun_by_night,
    begun_with_blocks,
)

ALLOWED, ALPHA = 0.02, 0.05
PROVEN = math.log(1 / ALPHA)
TONIGHT = Interval(difference=0.001, low=-0.002, high=0.004)
YEARS, NIGHTS, ROWS = 200, 25, 500


def gains(rng: np.random.Generator, gain: float, disagree: float = 0.06) -> np.ndarray:
    counts = rng.multinomial(ROWS, [(disagree + gain) / 2, (disagree - gain) / 2, 1 - disagree])
    return np.repeat([1.0, -1.0, 0.0], counts)


def crossings(kept: NoHarm, gain: float, seed: int) -> tuple[float, float]:
    """Share of years in which it ever is proven, and in which harm ever is."""
    rng = np.random.default_rng(seed)
    proven, harmed = 0, 0
    for _ in range(YEARS):
        state, best, worst = kept, -math.inf, -math.inf
        for _ in range(NIGHTS):
            state = after_gains(state, gains(rng, gain), None)
            best, worst = max(best, state.log_value), max(worst, state.log_doubt)
        proven += best >= PROVEN
        harmed += worst >= math.log(200)
    return proven / YEARS, harmed / YEARS


def error_of(share: float) -> float:
    return 3 * math.sqrt(share * (1 - share) / YEARS)


@pytest.mark.parametrize("square", [None, 0.06, 0.006])
def test_a_slice_that_is_worse_by_what_is_allowed_rarely_ever_passes(square: float | None) -> None:
    kept = begun("region=north", allowed=ALLOWED, bound=1.0, square=square)
    proven, _ = crossings(kept, -ALLOWED, seed=1)
    assert proven <= ALPHA + error_of(ALPHA)


def test_a_harmless_slice_passes_soon_and_a_harmful_one_is_found_out() -> None:
    kept = begun("region=north", allowed=ALLOWED, bound=1.0, square=0.06)
    proven, harmed = crossings(kept, 0.0, seed=2)
    assert proven > 0.97
    assert harmed <= 0.005 + error_of(0.005)
    proven, harmed = crossings(kept, -2 * ALLOWED, seed=3)
    assert proven <= 0.01
    assert harmed > 0.95


def test_nights_by_their_p_values_keep_the_error_too_and_add_up() -> None:
    from scipy.special import ndtr

    rng = np.random.default_rng(4)
    proven = {0.0: 0, 1.5: 0}
    for shift in proven:
        for _ in range(YEARS):
            kept = begun_by_night("roc_auc", allowed=0.01)
            for z in rng.normal(shift, 1.0, NIGHTS):
                kept = after_p(kept, float(ndtr(-z)), TONIGHT, ROWS)
                if kept.log_value >= PROVEN:
                    proven[shift] += 1
                    break
    assert proven[0.0] / YEARS <= ALPHA + error_of(ALPHA)
    assert proven[1.5] / YEARS > 0.97


def test_a_night_without_any_variance_counts_for_a_bounded_number_of_standard_errors() -> None:
    kept = after_p(begun_by_night("ece", allowed=0.02), 0.0, TONIGHT, ROWS)
    assert math.isfinite(kept.log_value)
    assert kept.log_value > PROVEN
    assert math.isfinite(after_p(kept, 1.0, TONIGHT, ROWS).log_doubt)


def test_clusters_are_bet_on_as_units_and_blocks_as_observations() -> None:
    rng = np.random.default_rng(5)
    units = np.repeat(np.arange(50), 10)
    kept = begun("region=north", allowed=0.1, bound=1.0, square=0.06)
    same = after_gains(kept, np.zeros(ROWS), units)
    rows = after_gains(kept, np.zeros(ROWS), None)
    assert 0 < same.log_value < rows.log_value
    blocks = begun_with_blocks("region=north", allowed=0.05, blocks=BlockEvidence(spread=Spread()))
    first = after_blocks(blocks, [0.0], ROWS)
    assert first.log_value == 0.0  # one block tells nothing of the spread
    many = after_blocks(blocks, (0.01 * rng.standard_normal(8)).tolist(), ROWS)
    assert many.log_value > PROVEN
    assert many.mean == pytest.approx(0.0, abs=0.02)
    assert after_blocks(blocks, (-0.2 + 0.01 * rng.standard_normal(8)).tolist(), 1).log_doubt > 5


def test_sizes_of_clusters_that_tell_of_gains_prove_neither_harm_nor_its_absence() -> None:
    sizes = np.r_[np.full(200, 5), np.full(20, 50)]
    codes, small = np.repeat(np.arange(220), sizes), np.repeat(sizes == 5, sizes)
    up = np.where(small, 0.1, -0.3)  # its rows lose 0.1, twice what is allowed
    kept = begun("region=north", allowed=0.05, bound=1.0, square=None)
    harmed, fine = kept, kept
    for _ in range(10):
        harmed = after_gains(harmed, up, codes)
        fine = after_gains(fine, -up, codes)
    assert harmed.log_value < 0
    assert harmed.evidence is not None
    assert max(harmed.evidence.log_wealth) > PROVEN  # by its bets alone it would pass
    assert fine.log_doubt < 0
    assert max(fine.doubt) > -math.log(GIVE_UP)


def test_the_pace_says_about_how_many_nights_are_missing() -> None:
    rng = np.random.default_rng(6)
    kept = begun("region=north", allowed=ALLOWED, bound=1.0, square=0.06)
    assert kept.nights_left(PROVEN) is None
    said = [after_gains(kept, gains(rng, 0.0), None).nights_left(PROVEN) for _ in range(21)]
    assert 1 <= float(np.median([left for left in said if left is not None])) <= 6
    worse = after_gains(kept, np.full(ROWS, -0.1), None)
    assert (worse.nights_left(PROVEN), worse.above < 0) == (None, True)
    hardly = after_gains(kept, np.resize([0.5, -0.5], ROWS) + 1e-6 - ALLOWED, None)
    assert (hardly.nights_left(PROVEN), hardly.above > 0) == (None, True)


def test_blocks_in_which_a_metric_is_undefined_tell_nothing() -> None:
    blocks = begun_with_blocks("region=north", allowed=0.05, blocks=BlockEvidence(spread=Spread()))
    kept = after_blocks(blocks, [], ROWS)
    assert (kept.nights, kept.rows, kept.told, kept.above) == (1, ROWS, 0, 0.0)
    assert kept.nights_left(PROVEN) is None


def test_a_bound_is_the_unit_of_the_bets_and_the_mean_is_in_the_metrics_unit() -> None:
    kept = after_gains(begun("all", allowed=0.5, bound=2.0, square=None), np.full(10, 0.25), None)
    assert kept.mean == pytest.approx(0.5)
    assert kept.error == pytest.approx(2.0 * math.sqrt(10 * 0.25**2) / 10)
