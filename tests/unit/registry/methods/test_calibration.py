"""The calibration error is the mean gap between what was said and what happened, bin by bin."""

import numpy as np
import pytest

from registry.methods.calibration import BINS, expected_calibration_error
from registry.methods.metrics import score, scored

RNG = np.random.default_rng(4)
ROWS = 600


def said_and_true(rows: int = ROWS) -> tuple[np.ndarray, np.ndarray]:
    p = RNG.random(rows)
    return np.column_stack([1 - p, p]), (RNG.random(rows) < p**2).astype(int)


def test_with_distinct_probabilities_it_is_the_textbooks_sum_over_equal_bins() -> None:
    p, y = said_and_true()
    bins = np.array_split(np.argsort(p[:, 1]), BINS)
    gaps = [abs(p[rows, 1].mean() - y[rows].mean()) * len(rows) / ROWS for rows in bins]
    assert score("ece", y, p, (0, 1)) == pytest.approx(sum(gaps), rel=1e-12)


def test_several_classes_are_judged_by_the_class_that_is_said() -> None:
    raw = RNG.random((ROWS, 4))
    p = raw / raw.sum(axis=1, keepdims=True)
    y = RNG.integers(0, 4, ROWS)
    said, right = p.max(axis=1), p.argmax(axis=1) == y
    bins = np.array_split(np.argsort(said), BINS)
    gaps = [abs(said[rows].mean() - right[rows].mean()) * len(rows) / ROWS for rows in bins]
    assert score("ece", y, p, (0, 1, 2, 3)) == pytest.approx(sum(gaps), rel=1e-12)


@pytest.mark.parametrize(("said", "share", "error"), [(0.8, 0.8, 0.0), (0.9, 0.6, 0.3)])
def test_one_probability_for_all_rows_is_off_by_its_distance_from_the_share(
    said: float, share: float, error: float
) -> None:
    y = (np.arange(100) < share * 100).astype(int)
    p = np.tile([1 - said, said], (100, 1))
    assert score("ece", y, p, (0, 1)) == pytest.approx(error)
    assert score("ece", y[::-1], p, (0, 1)) == pytest.approx(error)  # in any order


def test_the_order_of_rows_of_equal_probability_does_not_matter() -> None:
    p, y = said_and_true()
    p = np.round(p, 1)
    order = RNG.permutation(ROWS)
    assert score("ece", y, p, (0, 1)) == pytest.approx(score("ece", y[order], p[order], (0, 1)))


def test_a_calibrated_model_shows_what_chance_alone_leaves() -> None:
    rows = 3000
    found = [
        score("ece", (RNG.random(rows) < 0.3).astype(int), np.tile([0.7, 0.3], (rows, 1)), (0, 1))
        for _ in range(3)
    ]
    # One tie: a single bin. Spread over bins, the docstring's formula.
    assert max(found) < 0.03
    spread = []
    for _ in range(200):
        p = np.clip(0.3 + RNG.normal(0, 1e-6, rows), 0, 1)
        y = (RNG.random(rows) < 0.3).astype(int)
        spread.append(score("ece", y, np.column_stack([1 - p, p]), (0, 1)))
    assert np.mean(spread) == pytest.approx(np.sqrt(30 * 0.3 * 0.7 / (np.pi * rows)), rel=0.05)


def test_rows_that_count_nothing_leave_it_undefined() -> None:
    p, y = said_and_true(20)
    scorer = expected_calibration_error(scored("ece", y, p, (0, 1)))
    assert np.isnan(scorer(np.zeros(20)))
