"""Influence values are the derivative of each metric, and DeLong's variance for ROC AUC."""

import numpy as np
import pytest
from scipy import stats

from registry.methods.influence import influence_of, placements
from registry.methods.metrics import METRICS, find_metric, score_of, scored
from registry.methods.predictions import Scored, Task
from registry.methods.skewed import spread_of

RNG = np.random.default_rng(3)
ROWS = 150
BINARY = RNG.integers(0, 2, ROWS)
SURE = np.round(np.clip(0.3 * BINARY + 0.5 * RNG.random(ROWS), 0.01, 0.99), 2)  # with ties
TWO = scored("f1", BINARY, np.column_stack([1 - SURE, SURE]), (0, 1))
RAW = RNG.random((ROWS, 4))
FOUR = scored("f1", RNG.integers(0, 4, ROWS), RAW / RAW.sum(axis=1, keepdims=True), (0, 1, 2, 3))
TRUTH = RNG.normal(2, 1, ROWS)
NUMBERS = scored("mae", TRUTH, TRUTH + RNG.normal(size=ROWS))
WHOLE = [name for name, metric in METRICS.items() if not metric.row_wise]


def _derivative(name: str, model: Scored) -> np.ndarray:
    """By how much the metric moves with one row's weight, by central differences."""
    metric = find_metric(name)
    assert metric.scorer is not None
    score, found = metric.scorer(model), np.empty(len(model))
    for row in range(len(model)):
        more, less = np.ones(len(model)), np.ones(len(model))
        more[row] += 1e-4
        less[row] -= 1e-4
        found[row] = (score(more) - score(less)) / 2e-4 * len(model)
    return found


@pytest.mark.parametrize("name", [name for name in WHOLE if name not in ("ece", "roc_auc")])
def test_influence_is_the_derivative_by_a_rows_weight(name: str) -> None:
    numbers = find_metric(name).task is Task.REGRESSION
    for model in (NUMBERS,) if numbers else (TWO, FOUR):
        found = influence_of(find_metric(name), model)
        assert found is not None
        assert found == pytest.approx(_derivative(name, model), abs=1e-5)
        assert found.sum() == pytest.approx(0.0, abs=1e-8)


def test_influence_on_roc_auc_is_the_derivative_up_to_delongs_degrees_of_freedom() -> None:
    found = influence_of(find_metric("roc_auc"), TWO)
    assert found is not None
    m = int((BINARY == 1).sum())
    factor = np.where(BINARY == 1, np.sqrt(m / (m - 1)), np.sqrt((ROWS - m) / (ROWS - m - 1)))
    assert found == pytest.approx(_derivative("roc_auc", TWO) * factor, abs=1e-5)


def test_influence_on_calibration_gives_the_spread_over_new_samples() -> None:
    rng = np.random.default_rng(5)
    metric = find_metric("ece")
    scores, errors = [], []
    for _ in range(300):
        p = rng.random(2000)
        y = (rng.random(2000) < p**2).astype(int)  # badly calibrated everywhere
        model = scored("ece", y, np.column_stack([1 - p, p]), (0, 1))
        found = influence_of(metric, model)
        assert found is not None
        scores.append(score_of(metric, model))
        errors.append(spread_of(found).error)
    assert np.mean(errors) == pytest.approx(np.std(scores), rel=0.12)


def test_the_mean_of_a_row_wise_metrics_influence_is_zero_and_its_sign_the_metrics() -> None:
    found = influence_of(find_metric("accuracy"), TWO)
    assert found is not None
    assert found.mean() == pytest.approx(0.0)
    assert (found > 0).tolist() == (TWO.needed_labels() == BINARY).tolist()


def _kernel(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """DeLong's kernel for every pair of a positive and a negative, by definition."""
    positive, negative = scores[labels][:, None], scores[~labels][None, :]
    return (positive > negative) + 0.5 * (positive == negative)


def test_the_variance_of_two_roc_aucs_is_delongs_with_ties() -> None:
    rng = np.random.default_rng(6)
    labels = rng.random(60) < 0.4
    new = np.round(rng.normal(0, 1, 60) + labels, 1)
    old = np.round(rng.normal(0, 1, 60) + 0.5 * labels, 1)
    kernels = _kernel(labels, new) - _kernel(labels, old)
    rows, columns = kernels.mean(axis=1), kernels.mean(axis=0)
    variance = rows.var(ddof=1) / len(rows) + columns.var(ddof=1) / len(columns)
    pair = []
    for scores in (new, old):
        p = (scores - scores.min()) / np.ptp(scores)
        model = scored("roc_auc", labels.astype(int), np.column_stack([1 - p, p]), (0, 1))
        pair.append(influence_of(find_metric("roc_auc"), model))
    error = spread_of(pair[0] - pair[1]).error
    # One degree of freedom of all rows beside those of the two classes.
    assert error == pytest.approx(np.sqrt(variance * 60 / 59))


def test_placements_mean_the_area_of_mann_and_whitney() -> None:
    positive = BINARY == 1
    placed = placements(positive, SURE, np.argsort(SURE))
    statistic = stats.mannwhitneyu(SURE[positive], SURE[~positive]).statistic
    area = statistic / positive.sum() / (~positive).sum()
    assert placed[positive].mean() == pytest.approx(area)
    assert placed[~positive].mean() == pytest.approx(area)
    assert placements(positive, SURE, np.argsort(-SURE)) == pytest.approx(placed)
