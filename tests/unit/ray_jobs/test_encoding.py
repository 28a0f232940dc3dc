"""Warehouse columns, as they are, with every trainer: text, nulls, decimals, pretty names."""

import tempfile
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from mlflow.models import Model
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ray_jobs.trainers.config import Task, TrainerConfig, TrainerKind
from ray_jobs.trainers.encoding import form_of, selection_notes
from ray_jobs.trainers.make import make
from ray_jobs.trainers.scoring import predictions, usable
from ray_jobs.trainers.trainer import TrainingSet
from registry import flavors
from registry.fitted import FittedModel
from registry.inputs import Form, as_frame, describe

TRAINERS = {
    "logistic": TrainerConfig(estimator="sklearn.linear_model.LogisticRegression"),
    "random_forest": TrainerConfig(
        estimator="sklearn.ensemble.RandomForestClassifier", params={"n_estimators": 20}
    ),
    "sklearn": TrainerConfig(),
    "xgboost": TrainerConfig(
        kind=TrainerKind.XGBOOST, estimator="xgboost.XGBClassifier", params={"n_estimators": 20}
    ),
    "lightgbm": TrainerConfig(
        estimator="lightgbm.LGBMClassifier", params={"n_estimators": 20, "verbose": -1}
    ),
    "catboost": TrainerConfig(estimator="catboost.CatBoostClassifier", params={"iterations": 20}),
    "torch": TrainerConfig(
        kind=TrainerKind.TORCH,
        estimator="ray_jobs.trainers.network:mlp",
        params={"epochs": 40, "batch_size": 32, "learning_rate": 0.02},
    ),
}


def warehouse(rows: int = 400, seed: int = 0) -> TrainingSet:
    """The plan alone decides, but for some noise."""
    rng = np.random.default_rng(seed)
    plan = rng.choice(["basic", "gold", "trial"], rows)
    label = np.where((plan == "gold") ^ (rng.random(rows) < 0.05), "stays", "leaves")
    missing = rng.random(rows) < 0.1
    columns = {
        "plan": pa.array(plan, mask=missing & (plan == "trial")),
        "price[usd]": pa.array(
            [Decimal(f"{v:.2f}") for v in rng.random(rows)], pa.decimal128(18, 2)
        ),
        "active": pa.array(rng.random(rows) < 0.5, mask=missing),
        "age<30": pa.array(rng.integers(0, 90, rows), mask=missing),
        "größe m²": pa.array(np.where(rng.random(rows) < 0.01, np.inf, rng.random(rows))),
        "shop": pa.array(rng.choice(["x", "y"], rows)).dictionary_encode(),
    }
    return TrainingSet(inputs=pa.table(columns), labels=label, task=Task.CLASSIFICATION)


def stored(fitted: FittedModel) -> Any:
    """The estimator after it was saved and loaded."""
    with tempfile.TemporaryDirectory() as folder:
        flavors.save(fitted, Path(folder, "m"), Model(), fitted.modules)
        return flavors.load(fitted.flavor, Path(folder, "m"), fitted.modules)


@pytest.mark.parametrize("name", list(TRAINERS))
def test_every_trainer_learns_from_text_and_says_the_same_once_it_is_stored(name: str) -> None:
    if name in {"xgboost", "lightgbm", "catboost", "torch"}:
        pytest.importorskip(name, reason="an optional trainer")
    config, rows = TRAINERS[name], warehouse()
    fit = make(config).fit(rows, config.params, device="cpu")
    model = usable(fit.model, rows.task)
    fresh = warehouse(seed=1)
    assert (model.predict(fresh.inputs) == fresh.labels).mean() > 0.9
    again = replace(model, estimator=stored(fit.model))
    said = predictions(model, fresh.inputs)
    np.testing.assert_allclose(predictions(again, fresh.inputs), said, rtol=1e-5, atol=1e-6)
    # One row alone is told the same as among others, also with a plan that nobody had.
    odd = fresh.inputs.set_column(0, "plan", pa.array(["platinum"] * fresh.inputs.num_rows))
    whole = predictions(model, odd)
    for row in range(5):
        alone = predictions(model, odd.slice(row, 1))
        np.testing.assert_allclose(alone[0], whole[row], rtol=1e-5, atol=1e-6)
    assert any("größe m²" in note and "infinite" in note for note in fit.notes)


def test_a_pipeline_gets_the_text_itself_and_a_plain_estimator_an_encoder() -> None:
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    forms = {
        Form.OWN: [pipeline, GridSearchCV(pipeline, {}), VotingClassifier([("a", pipeline)])],
        Form.TEXT: [
            LogisticRegression(),
            RandomForestClassifier(),
            StackingClassifier([("a", LogisticRegression())]),
        ],
        Form.CATEGORY: [
            HistGradientBoostingClassifier(),
            GridSearchCV(HistGradientBoostingClassifier(), {}),
        ],
    }
    for form, estimators in forms.items():
        assert [form_of(each) for each in estimators] == [form] * len(estimators)


def test_an_own_class_is_not_encoded_for() -> None:
    class Mine(LogisticRegression):  # type: ignore[misc]
        pass

    assert form_of(Mine()) is Form.OWN


@pytest.mark.parametrize("name", ["sklearn", "xgboost", "lightgbm", "catboost", "logistic"])
def test_columns_without_any_value_stop_no_fit_and_are_told(name: str) -> None:
    if name != "logistic":
        pytest.importorskip(name, reason="an optional trainer")
    rows = warehouse()
    count = rows.inputs.num_rows
    nothing = rows.inputs.append_column("new text", pa.nulls(count, pa.string()))
    nothing = nothing.append_column("new number", pa.nulls(count, pa.float64()))
    config = TRAINERS[name]
    fit = make(config).fit(replace(rows, inputs=nothing), config.params, device="cpu")
    later = rows.inputs.append_column("new text", pa.array(["a"] * count))
    later = later.append_column("new number", pa.array([1.0] * count))
    model = usable(fit.model, rows.task)
    np.testing.assert_allclose(predictions(model, later), predictions(model, nothing), atol=1e-3)
    for column in ("new text", "new number"):
        assert f"column {column}: no training row has a value" in fit.notes


def test_a_transformer_that_finds_no_column_of_its_type_is_told() -> None:
    rows = pa.table({"f": [0.5, 1.5, 2.5], "count": [1, 2, 3]})
    chosen = ColumnTransformer(
        [
            ("whole", StandardScaler(), make_column_selector(dtype_include="int64")),
            ("all", StandardScaler(), make_column_selector(dtype_include="number")),
        ]
    )
    pipeline = make_pipeline(chosen, LogisticRegression())
    pipeline.fit(as_frame(rows, describe(rows, rows.column_names, Form.OWN)), [0, 1, 1])
    assert selection_notes(pipeline) == (
        "transformer whole selects no column: numbers and booleans are float64 here",
    )
