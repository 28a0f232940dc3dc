"""Reliability: bins of equal mass, shares with their intervals, and the gap of the metric `ece`."""

import json

import numpy as np
import pytest

from registry.card.calibration import (
    calibration_from_json,
    calibration_json,
)
from registry.card.reliability import reliability
from registry.methods.metrics import find_metric, score_of
from registry.methods.predictions import Scored, classification

RNG = np.random.default_rng(11)


def binary(chance: np.ndarray, y: np.ndarray) -> Scored:
    said = np.column_stack([1 - chance, chance])
    return classification(y, said, ("no", "yes"), ("no", "yes"), "model")


def test_bins_hold_equally_many_rows_and_say_what_came_true() -> None:
    chance = RNG.random(10_000)
    y = np.where(RNG.random(10_000) < chance, "yes", "no")
    found = reliability("m", binary(chance, y))
    assert found is not None
    assert found.about == "probability of yes"
    assert [each.rows for each in found.bins] == [1000] * 10
    assert [each.said for each in found.bins] == pytest.approx(np.arange(0.05, 1, 0.1), abs=0.02)
    inside = [each.low <= each.said <= each.high for each in found.bins]
    assert sum(inside) >= 8  # the model keeps its word, and the intervals are 95 % ones
    assert found.gap < 0.03


def test_whiskers_are_wilsons_interval() -> None:
    from scipy.stats import binomtest

    y = np.array(["yes"] * 37 + ["no"] * 63)
    found = reliability("m", binary(np.full(100, 0.5), y))
    assert found is not None
    (only,) = found.bins
    interval = binomtest(37, 100).proportion_ci(method="wilson")
    assert (only.low, only.high) == pytest.approx((interval.low, interval.high), abs=1e-6)


def test_equal_probabilities_stay_in_one_bin() -> None:
    y = np.array(["yes", "no"] * 500)
    found = reliability("m", binary(np.full(1000, 0.9), y))
    assert found is not None
    (only,) = found.bins
    assert (only.said, only.came, only.rows) == (pytest.approx(0.9), 0.5, 1000)
    assert found.gap == pytest.approx(0.4)


def test_of_several_classes_the_chosen_one_is_asked_for() -> None:
    y = RNG.integers(0, 3, 300)
    said = RNG.dirichlet([1, 1, 1], 300)
    scored = classification(y, said, (0, 1, 2), (0, 1, 2), "model")
    found = reliability("m", scored)
    assert found is not None
    assert found.about == "probability of the class it chose"
    rows = sum(each.rows for each in found.bins)
    right = sum(each.rows * each.came for each in found.bins) / rows
    assert (rows, right) == (300, pytest.approx(float((said.argmax(axis=1) == y).mean())))
    assert found.gap == score_of(find_metric("ece"), scored)


def test_labels_alone_have_no_reliability_nor_have_a_few_rows() -> None:
    y = np.array([0, 1] * 50)
    assert reliability("m", classification(y, y, (0, 1), (0, 1), "model")) is None
    assert reliability("m", binary(np.array([0.3, 0.6]), np.array(["no", "yes"]))) is None


def test_it_survives_being_stored() -> None:
    found = reliability("m", binary(RNG.random(50), np.array(["no", "yes"] * 25)))
    assert found is not None
    text = json.dumps(calibration_json((found, found)))
    assert calibration_from_json(text) == (found, found)
