"""Every metric agrees with scikit-learn, and says clearly what it cannot do."""

from collections.abc import Callable

import numpy as np
import pytest
import sklearn.metrics as theirs

from registry.errors import GateError, UnknownMetric
from registry.methods.metrics import METRICS, find_metric, row_losses, score, score_of, scored

RNG = np.random.default_rng(7)
ROWS = 400


def probabilities(classes: int) -> np.ndarray:
    raw = RNG.random((ROWS, classes))
    return raw / raw.sum(axis=1, keepdims=True)


LABELS = RNG.integers(0, 4, ROWS)
FOUR = probabilities(4)
BINARY = RNG.integers(0, 2, ROWS)
TWO = np.round(probabilities(2), 2)
TWO[:, 0] = 1 - TWO[:, 1]
NUMBERS = RNG.normal(size=ROWS)
GUESSES = NUMBERS + RNG.normal(size=ROWS)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("accuracy", theirs.accuracy_score(LABELS, FOUR.argmax(1))),
        ("log_loss", theirs.log_loss(LABELS, FOUR)),
        ("brier", theirs.brier_score_loss(LABELS, FOUR)),
        ("f1", theirs.f1_score(LABELS, FOUR.argmax(1), average="macro")),
        ("roc_auc", theirs.roc_auc_score(LABELS, FOUR, multi_class="ovr")),
        ("average_precision", theirs.average_precision_score(LABELS, FOUR)),
        ("precision", theirs.precision_score(LABELS, FOUR.argmax(1), average="macro")),
        ("recall", theirs.recall_score(LABELS, FOUR.argmax(1), average="macro")),
        ("balanced_accuracy", theirs.balanced_accuracy_score(LABELS, FOUR.argmax(1))),
    ],
)
def test_a_metric_of_four_classes_agrees_with_scikit_learn(name: str, expected: float) -> None:
    assert score(name, LABELS, FOUR, (0, 1, 2, 3)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("log_loss", theirs.log_loss(BINARY, TWO)),
        ("brier", theirs.brier_score_loss(BINARY, TWO[:, 1])),
        ("f1", theirs.f1_score(BINARY, TWO.argmax(1))),
        ("roc_auc", theirs.roc_auc_score(BINARY, TWO[:, 1])),
        ("average_precision", theirs.average_precision_score(BINARY, TWO[:, 1])),
        ("precision", theirs.precision_score(BINARY, TWO.argmax(1))),
        ("recall", theirs.recall_score(BINARY, TWO.argmax(1))),
        ("balanced_accuracy", theirs.balanced_accuracy_score(BINARY, TWO.argmax(1))),
    ],
)
def test_a_metric_of_two_classes_agrees_with_scikit_learn(name: str, expected: float) -> None:
    assert score(name, BINARY, TWO, (0, 1)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mae", theirs.mean_absolute_error(NUMBERS, GUESSES)),
        ("mse", theirs.mean_squared_error(NUMBERS, GUESSES)),
        ("rmse", theirs.root_mean_squared_error(NUMBERS, GUESSES)),
        ("r2", theirs.r2_score(NUMBERS, GUESSES)),
        ("mape", theirs.mean_absolute_percentage_error(NUMBERS, GUESSES)),
        ("pinball_0.9", theirs.mean_pinball_loss(NUMBERS, GUESSES, alpha=0.9)),
        ("pinball_0.25", theirs.mean_pinball_loss(NUMBERS, GUESSES, alpha=0.25)),
    ],
)
def test_a_metric_of_numbers_agrees_with_scikit_learn(name: str, expected: float) -> None:
    assert score(name, NUMBERS, GUESSES) == pytest.approx(expected, rel=1e-12)


OF_CLASSES = [n for n, m in METRICS.items() if m.task == "classification" and not m.row_wise]


@pytest.mark.parametrize("name", OF_CLASSES)
def test_weighting_rows_is_repeating_them(name: str) -> None:
    times = RNG.integers(0, 4, ROWS)
    metric = find_metric(name)
    assert metric.scorer is not None
    weighted = metric.scorer(scored(name, BINARY, TWO, (0, 1)))(times.astype(float))
    repeated = scored(name, np.repeat(BINARY, times), np.repeat(TWO, times, axis=0), (0, 1))
    assert weighted == pytest.approx(score_of(metric, repeated), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "of_theirs"),
    [
        ("f1", lambda w: theirs.f1_score(BINARY, TWO.argmax(1), sample_weight=w)),
        ("precision", lambda w: theirs.precision_score(BINARY, TWO.argmax(1), sample_weight=w)),
        ("recall", lambda w: theirs.recall_score(BINARY, TWO.argmax(1), sample_weight=w)),
        (
            "balanced_accuracy",
            lambda w: theirs.balanced_accuracy_score(BINARY, TWO.argmax(1), sample_weight=w),
        ),
        ("roc_auc", lambda w: theirs.roc_auc_score(BINARY, TWO[:, 1], sample_weight=w)),
        (
            "average_precision",
            lambda w: theirs.average_precision_score(BINARY, TWO[:, 1], sample_weight=w),
        ),
    ],
)
def test_weighted_rows_agree_with_scikit_learn(
    name: str, of_theirs: Callable[[np.ndarray], float]
) -> None:
    metric, weights = find_metric(name), RNG.random(ROWS)
    assert metric.scorer is not None
    ours = metric.scorer(scored(name, BINARY, TWO, (0, 1)))(weights)
    assert ours == pytest.approx(of_theirs(weights), rel=1e-12)


def test_precision_and_recall_of_what_is_never_said_are_0_as_in_scikit_learn() -> None:
    y, never = np.array([0, 1, 1, 0]), np.zeros(4, dtype=int)
    assert score("precision", y, never) == 0 == theirs.precision_score(y, never, zero_division=0)
    assert score("recall", y, never) == 0
    assert score("balanced_accuracy", y, never) == 0.5


def test_average_precision_without_a_positive_row_is_undefined() -> None:
    metric = find_metric("average_precision")
    only = scored("average_precision", np.zeros(4, dtype=int), TWO[:4], (0, 1))
    assert np.isnan(score_of(metric, only))


@pytest.mark.parametrize("name", ["rmse", "r2"])
def test_weighting_numbers_is_repeating_them(name: str) -> None:
    times = RNG.integers(0, 4, ROWS)
    metric = find_metric(name)
    assert metric.scorer is not None
    weighted = metric.scorer(scored(name, NUMBERS, GUESSES))(times.astype(float))
    assert weighted == pytest.approx(
        score(name, np.repeat(NUMBERS, times), np.repeat(GUESSES, times)), rel=1e-12
    )


@pytest.mark.parametrize("name", [name for name, each in METRICS.items() if each.row_wise])
def test_the_mean_of_the_row_losses_is_the_score(name: str) -> None:
    metric = find_metric(name)
    numbers = (np.abs(NUMBERS), np.abs(GUESSES))
    rows = (LABELS, FOUR, (0, 1, 2, 3)) if metric.task == "classification" else numbers
    losses = row_losses(name, *rows)
    assert losses.shape == (ROWS,)
    assert metric.from_loss(losses.mean()) == pytest.approx(score(name, *rows))


@pytest.mark.parametrize("name", ["pinball_0", "pinball_1", "pinball_x", "pinball", "pinball_nan"])
def test_a_quantile_that_is_none_is_an_unknown_metric(name: str) -> None:
    with pytest.raises(UnknownMetric, match=f"no metric '{name}'; did you mean 'pinball_0.9'"):
        find_metric(name)


def test_a_pinball_loss_is_smallest_at_its_quantile() -> None:
    y = np.arange(101.0)
    found = {guess: score("pinball_0.9", y, np.full(101, guess)) for guess in y}
    assert min(found, key=lambda guess: found[guess]) == 90


def test_a_misspelt_metric_names_the_nearest_one() -> None:
    with pytest.raises(UnknownMetric, match="'accurracy'; did you mean 'accuracy'"):
        find_metric("accurracy")


def test_a_metric_of_the_whole_set_has_no_row_losses() -> None:
    with pytest.raises(GateError, match="roc_auc is a metric of the whole set") as caught:
        row_losses("roc_auc", BINARY, TWO, (0, 1))
    assert "log_loss" in str(caught.value.hint)


def test_log_loss_of_labels_says_that_it_needs_probabilities() -> None:
    with pytest.raises(GateError, match="needs a probability for each class"):
        score("log_loss", LABELS, LABELS)


def test_a_class_that_the_model_does_not_know_counts_as_probability_zero() -> None:
    y = np.array(["a", "b", "c"])
    known = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]])
    assert score("accuracy", y, known, ("a", "b")) == pytest.approx(2 / 3)
    assert row_losses("log_loss", y, known, ("a", "b"))[2] == pytest.approx(36.04, abs=0.01)


def test_columns_in_another_order_than_the_alphabet_are_understood() -> None:
    y = np.array(["yes", "no"])
    assert score("accuracy", y, np.array([[0.9, 0.1], [0.2, 0.8]]), ("yes", "no")) == 1.0


@pytest.mark.parametrize(
    ("predictions", "message"),
    [
        (np.array([[0.5, 0.6], [0.5, 0.5]]), "add up to 1.1"),
        (np.array([[2.0, -1.0], [0.5, 0.5]]), "must lie between 0 and 1"),
        (np.array([[1.0], [1.0]]), r"shape \(2, 1\)"),
        (np.array(["a", "b"]), "different types"),
    ],
)
def test_what_are_no_probabilities_is_said(predictions: np.ndarray, message: str) -> None:
    with pytest.raises(GateError, match=message):
        score("log_loss", np.array([0, 1]), predictions, (0, 1))


def test_a_metric_of_numbers_refuses_text() -> None:
    with pytest.raises(GateError, match="not numbers"):
        score("mae", np.array(["a", "b"]), np.array([1.0, 2.0]))


def test_different_lengths_are_named() -> None:
    with pytest.raises(GateError, match="2 labels and 1 predictions"):
        score("mae", np.zeros(2), np.zeros(1))
