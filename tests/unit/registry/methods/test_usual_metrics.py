"""Metrics with a number in their name, ratios and deviances: as scikit-learn has them."""

import numpy as np
import pytest
import sklearn.metrics as theirs

from registry.errors import GateError, UnknownMetric
from registry.methods.influence import influence_of
from registry.methods.metrics import find_metric, score, scored

RNG = np.random.default_rng(11)
ROWS = 300
COUNTS = RNG.poisson(3, ROWS).astype(float)
MEANS = np.maximum(0.1, COUNTS + RNG.normal(size=ROWS))
POSITIVE = COUNTS + 0.5
BINARY = RNG.integers(0, 2, ROWS)
RISK = np.round(np.clip(0.3 * BINARY + 0.6 * RNG.random(ROWS), 0, 1), 2)
TWO = np.column_stack([1 - RISK, RISK])
RAW = RNG.random((ROWS, 3))
THREE, LABELS = RAW / RAW.sum(axis=1, keepdims=True), RNG.integers(0, 3, ROWS)


@pytest.mark.parametrize(
    ("name", "truth", "expected"),
    [
        ("poisson_deviance", COUNTS, theirs.mean_poisson_deviance(COUNTS, MEANS)),
        ("tweedie_1", COUNTS, theirs.mean_poisson_deviance(COUNTS, MEANS)),
        ("tweedie_1.5", COUNTS, theirs.mean_tweedie_deviance(COUNTS, MEANS, power=1.5)),
        ("tweedie_2", POSITIVE, theirs.mean_gamma_deviance(POSITIVE, MEANS)),
        ("tweedie_3", POSITIVE, theirs.mean_tweedie_deviance(POSITIVE, MEANS, power=3)),
        ("wape", COUNTS, np.abs(COUNTS - MEANS).sum() / COUNTS.sum()),
        ("coverage_0.9", COUNTS, abs((COUNTS <= MEANS).mean() - 0.9)),
    ],
)
def test_a_metric_of_numbers_is_as_it_is_known(
    name: str, truth: np.ndarray, expected: float
) -> None:
    assert score(name, truth, MEANS) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("f_2", theirs.fbeta_score(BINARY, TWO.argmax(1), beta=2)),
        ("f_0.5", theirs.fbeta_score(BINARY, TWO.argmax(1), beta=0.5)),
        ("f_1", theirs.f1_score(BINARY, TWO.argmax(1))),
        ("mcc", theirs.matthews_corrcoef(BINARY, TWO.argmax(1))),
    ],
)
def test_a_metric_of_two_classes_is_as_it_is_known(name: str, expected: float) -> None:
    assert score(name, BINARY, TWO, (0, 1)) == pytest.approx(expected, rel=1e-12)


def test_several_classes_are_as_scikit_learn_has_them() -> None:
    said = THREE.argmax(1)
    f2 = theirs.fbeta_score(LABELS, said, beta=2, average="macro")
    assert score("f_2", LABELS, THREE, (0, 1, 2)) == pytest.approx(f2)
    mcc = theirs.matthews_corrcoef(LABELS, said)
    assert score("mcc", LABELS, THREE, (0, 1, 2)) == pytest.approx(mcc)


def test_recall_at_precision_is_the_best_point_of_the_precision_recall_curve() -> None:
    precision, recall, _ = theirs.precision_recall_curve(BINARY, RISK)
    for least in (0.6, 0.8, 0.95):
        expected = recall[precision >= least].max()
        found = score(f"recall_at_precision_{least}", BINARY, TWO, (0, 1))
        assert found == pytest.approx(expected)


def test_lift_is_the_rate_among_the_highest_over_the_rate_of_all() -> None:
    order = np.argsort(-np.arange(100.0))
    y = np.zeros(100, dtype=int)
    y[order[:10]] = [1, 1, 1, 1, 0, 0, 0, 1, 1, 1]
    y[order[50:53]] = 1
    p = np.arange(100.0) / 100
    said = np.column_stack([1 - p, p])
    assert score("lift_at_0.1", y, said, (0, 1)) == pytest.approx((7 / 10) / (10 / 100))
    alike = np.full((100, 2), 0.5)
    assert score("lift_at_0.1", y, alike, (0, 1)) == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["wape", "coverage_0.8", "f_2", "mcc"])
def test_influence_is_the_derivative_by_a_rows_weight(name: str) -> None:
    numbers = name in ("wape", "coverage_0.8")
    model = scored(name, COUNTS, MEANS) if numbers else scored(name, BINARY, TWO, (0, 1))
    metric = find_metric(name)
    assert metric.scorer is not None
    by_weight, found = metric.scorer(model), influence_of(metric, model)
    assert found is not None
    for row in range(0, ROWS, 17):
        more, less = np.ones(ROWS), np.ones(ROWS)
        more[row] += 1e-4
        less[row] -= 1e-4
        moved = (by_weight(more) - by_weight(less)) / 2e-4 * ROWS
        assert found[row] == pytest.approx(moved, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "labels", "said"),
    [
        ("poisson_deviance", [1.0, -1.0, 2.0], "1 of 3 labels are negative"),
        ("tweedie_2", [1.0, 0.0, 2.0], "1 of 3 labels are 0 or negative"),
    ],
)
def test_labels_that_a_deviance_is_not_defined_of_are_counted(
    name: str, labels: list[float], said: str
) -> None:
    with pytest.raises(GateError, match=said):
        score(name, np.array(labels), np.ones(3))


def test_a_predicted_mean_of_nothing_is_a_large_loss_and_no_error() -> None:
    assert np.isfinite(score("poisson_deviance", np.array([1.0, 2.0]), np.array([0.0, -1.0])))


@pytest.mark.parametrize("name", ["coverage_2", "f_0", "tweedie_0.5", "lift_at_x", "f_nan"])
def test_a_number_that_makes_no_sense_is_no_metric(name: str) -> None:
    with pytest.raises(UnknownMetric):
        find_metric(name)
