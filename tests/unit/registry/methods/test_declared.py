"""A metric of a user's own is judged like ours, by what its author declared."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from registry import row_metric
from registry.errors import GateError, UnknownMetric
from registry.gate_config import GateConfig, bound_of, check_composed, check_mode
from registry.methods import metrics
from registry.methods.metrics import declare, digests_of, find_metric, row_losses, score


@row_metric(of="classes", low=-10, high=50, greater_is_better=True)
def profit(y: Any, prediction: Any) -> Any:
    """An offer costs 10, and brings 60 when it is taken."""
    return np.where(prediction == "offer", np.where(y == "offer", 50.0, -10.0), 0.0)


@row_metric(of="numbers", low=0, high=3, greater_is_better=False)
def overtime(y: Any, prediction: Any) -> Any:
    return np.abs(prediction - y)


@row_metric(of="probabilities", low=0, high=1, greater_is_better=True)
def trust(y: Any, prediction: Any) -> Any:
    return np.where(y == "offer", prediction, 1 - prediction)


NAMES = {f"team.metrics:{one.__name__}": one for one in (profit, overtime, trust)}
Y = np.array(["none", "offer", "offer", "none"])
SAID = np.array(["offer", "offer", "none", "none"])


@pytest.fixture(autouse=True)
def declared(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(metrics, "_OWN", {})
    for name, function in NAMES.items():
        declare(name, function)
    return


def test_a_gain_is_scored_as_its_mean_and_bet_on_by_its_bounds() -> None:
    name = "team.metrics:profit"
    assert score(name, Y, SAID) == pytest.approx((-10 + 50 + 0 + 0) / 4)
    assert row_losses(name, Y, SAID).tolist() == [60, 0, 50, 50]
    assert (find_metric(name).bound, find_metric(name).greater_is_better) == (60, True)
    assert bound_of(GateConfig(metric=name)) == 60


def test_a_loss_beyond_its_bound_counts_as_the_bound() -> None:
    name, y = "team.metrics:overtime", np.array([1.0, 2.0, 3.0])
    assert row_losses(name, y, np.array([1.5, 2.0, 90.0])).tolist() == [0.5, 0, 3]
    assert score(name, y, np.array([1.5, 2.0, 90.0])) == pytest.approx(3.5 / 3)


def test_the_author_sees_labels_and_the_probability_of_the_second_class() -> None:
    p = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5], [1.0, 0.0]])
    found = score("team.metrics:trust", Y, p, ("none", "offer"))
    assert found == pytest.approx((0.9 + 0.8 + 0.5 + 1.0) / 4)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (lambda y, p: float(np.mean(p)), r"gave the shape \(\) for 4 rows"),
        (lambda y, p: np.array([1.0, np.nan, np.inf, 0.0]), "gave 2 of 4 rows a value that is no"),
        (lambda y, p: 1 / 0, r"raised ZeroDivisionError: division by zero \(.*, line"),
    ],
)
def test_a_function_that_fails_is_named_with_what_it_did(values: Any, said: str) -> None:
    wrong = row_metric(of="numbers", low=0, high=1, greater_is_better=False)(values)
    declare("team.metrics:wrong", wrong)
    with pytest.raises(GateError, match=said):
        score("team.metrics:wrong", np.arange(4.0), np.arange(4.0))


def test_a_function_that_nobody_declared_is_refused_with_what_to_write() -> None:
    with pytest.raises(GateError, match="is not declared a metric") as caught:
        declare("team.metrics:plain", lambda y, p: y)
    assert "@row_metric" in str(caught.value.hint)
    with pytest.raises(UnknownMetric, match="was not declared"):
        find_metric("team.metrics:plain")


@pytest.mark.parametrize(("low", "high"), [(1, 1), (2, 1), (0, float("inf")), (float("nan"), 1)])
def test_bounds_that_are_none_are_refused(low: float, high: float) -> None:
    with pytest.raises(GateError, match="are no bounds"):
        row_metric(of="numbers", low=low, high=high, greater_is_better=True)


def test_predictions_of_an_unknown_kind_are_refused() -> None:
    with pytest.raises(GateError, match="not of 'ranks'"):
        row_metric(of="ranks", low=0, high=1, greater_is_better=True)


def test_a_source_that_was_edited_is_another_metric() -> None:
    before = digests_of(NAMES)
    declare(
        "team.metrics:profit",
        replaced := row_metric(of="classes", low=-10, high=60, greater_is_better=True)(
            lambda y, p: np.zeros(len(y))
        ),
    )
    assert replaced is not profit
    assert digests_of(NAMES) != before
    assert digests_of(["accuracy"]) == ""


def test_the_gate_checks_what_is_declared_and_leaves_the_rest_to_the_run() -> None:
    gate = GateConfig(metric="team.metrics:profit", effect=1.0, useful_effect=0.5)
    assert check_mode(gate).name == "team.metrics:profit"
    check_composed(replace(gate, metric="team.metrics:later"))
    with pytest.raises(GateError, match="metric of regression"):
        check_mode(replace(gate, guards={"team.metrics:overtime": 0.1}))
    with pytest.raises(GateError, match="beyond what a row can gain"):
        check_mode(replace(gate, effect=100.0))
