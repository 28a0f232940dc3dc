"""Rows that a model cannot take are its errors, named; the others still judge."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from ray_jobs.model_answers import answers
from ray_jobs.trainers.config import Task
from ray_jobs.trainers.scoring import usable
from ray_jobs.training_errors import UnfitData
from registry import LoadedModel
from registry.fitted import FittedModel, Flavor
from registry.inputs import Form, as_frame, describe


def rows(plans: list[str | None], amounts: list[float | None] | None = None) -> pa.Table:
    numbers = [float(place % 7) for place in range(len(plans))]
    return pa.table({"plan": plans, "amount": amounts or numbers})


def trained(estimator: Any, task: Task = Task.CLASSIFICATION) -> LoadedModel:
    table = rows(["A", "B"] * 50)
    columns = describe(table, ("plan", "amount"), Form.OWN)
    labels = np.array(["stays", "leaves"] * 50) if task is Task.CLASSIFICATION else np.ones(100)
    estimator.fit(as_frame(table, columns), labels)
    fitted = FittedModel(
        flavor=Flavor.SKLEARN,
        estimator=estimator,
        features=("plan", "amount"),
        columns=columns,
        example=table[:5],
    )
    return usable(fitted, task)


def strict() -> Any:
    """A pipeline that raises for a plan that it never saw, and for a missing amount."""
    one_hot = make_column_transformer((OneHotEncoder(), ["plan"]), remainder="passthrough")
    return make_pipeline(one_hot, LogisticRegression())


def test_rows_of_an_unseen_category_are_named_with_value_and_count_and_the_others_judge() -> None:
    model = trained(strict())
    judged = rows([*["A", "B"] * 100, "C", "C", "D"])
    found = answers(model, judged, "champion")
    assert found.predictions.shape == (203, 2)
    np.testing.assert_array_equal(
        found.predictions[:200], model.predict_proba(judged.slice(0, 200))
    )
    np.testing.assert_allclose(found.predictions[200], found.predictions[:200].mean(axis=0))
    assert found.taken.sum() == 200
    (note,) = found.notes
    assert "column plan: 'C' (2 of 203 rows); column plan: 'D' (1 of 203 rows)" in note


def test_infinite_and_missing_values_are_named() -> None:
    judged = rows(["A"] * 20, [*[1.0] * 17, float("inf"), None, float("nan")])
    (note,) = answers(trained(strict()), judged, "champion").notes
    assert "column amount: infinite (1 of 20 rows); column amount: missing (2 of 20 rows)" in note


class Roots(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Refuses what is below zero."""

    def fit(self, inputs: Any, labels: Any) -> "Roots":
        self.fitted_ = True
        return self

    def predict(self, inputs: Any) -> Any:
        if (inputs["amount"] < 0).any():
            raise ArithmeticError("no root of a negative number")
        return np.sqrt(inputs["amount"])


def test_rows_that_nothing_explains_are_found_by_halves() -> None:
    amounts = [4.0] * 64
    amounts[13] = amounts[40] = -1.0
    found = answers(trained(Roots(), Task.REGRESSION), rows(["A"] * 64, amounts), "challenger")
    assert set(found.predictions) == {2.0}
    assert np.flatnonzero(~found.taken).tolist() == [13, 40]
    assert "2 of 64 rows (ArithmeticError: no root of a negative number" in found.notes[0]


def test_a_column_of_another_type_is_named_alone() -> None:
    other = rows(["A", None, "Z"]).drop_columns("amount")
    other = other.append_column("amount", pa.array(["high", "low", "low"]))
    with pytest.raises(UnfitData, match=r"held-out rows: column amount is .*trained on numbers"):
        answers(trained(strict()), other, "champion")


def test_a_model_that_takes_no_row_is_said_and_no_rollback_is_the_first_advice() -> None:
    none = r"can take none of the 8 held-out rows.*'Z' .8 of 8"
    with pytest.raises(UnfitData, match=none) as told:
        answers(trained(strict()), rows(["Z"] * 8), "champion")
    assert str(told.value.hint).startswith("compare their columns")
