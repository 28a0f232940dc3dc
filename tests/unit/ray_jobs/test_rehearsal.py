"""What cannot be fitted or stored is found on a few rows, before the fit."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from ray_jobs.rehearsal import rehearse, sample_of
from ray_jobs.trainers.config import Task, TrainerConfig
from ray_jobs.trainers.make import make
from ray_jobs.trainers.trainer import Fit, TrainingSet
from ray_jobs.training_errors import TrainingFailed
from registry import RegistryConfig
from registry.errors import UnsupportedModel
from registry.mlflow_seam import MlflowSeam
from registry.models import Models

LOGISTIC = TrainerConfig(estimator="sklearn.linear_model.LogisticRegression")


def training_set(count: int = 3000) -> TrainingSet:
    a = np.linspace(-1, 1, count)
    labels = np.where(a > 0, "up", "down")
    labels[1234 % count] = "odd"
    return TrainingSet(inputs=pa.table({"a": a}), labels=labels, task=Task.CLASSIFICATION)


@pytest.fixture
def models() -> Models:
    return Models(
        MlflowSeam(RegistryConfig(tracking_uri="http://127.0.0.1:9", ledger_url="sqlite://"))
    )


def counted(config: TrainerConfig, fits: list[int], allowed: tuple[str, ...] = ()) -> Any:
    def fit(rows: TrainingSet, params: Mapping[str, Any]) -> Fit:
        fits.append(len(rows.labels))
        return make(config, allowed).fit(rows, params, device="cpu")

    return fit


def test_a_few_rows_of_every_class_are_fitted_stored_loaded_and_predicted(models: Models) -> None:
    fits: list[int] = []
    rehearse(LOGISTIC, training_set(), [{}], counted(LOGISTIC, fits), models)
    (count,) = fits
    assert 200 <= count <= 230


def test_few_rows_need_no_rehearsal(models: Models) -> None:
    fits: list[int] = []
    rehearse(LOGISTIC, training_set(200), [{}], counted(LOGISTIC, fits), models)
    assert fits == []


def test_a_sample_has_some_of_each_class_in_the_order_of_time() -> None:
    rows = training_set()
    chosen = sample_of(rows, 50)
    assert set(rows.labels[chosen]) == {"up", "down", "odd"}
    assert (np.diff(chosen) > 0).all()


def test_what_is_refused_on_few_and_on_more_rows_is_refused_at_once(models: Models) -> None:
    fits: list[int] = []
    with pytest.raises(TrainingFailed, match=r"Got -1.0.*rehearsal on 2,0\d\d of 3,000 rows"):
        rehearse(LOGISTIC, training_set(), [{"C": -1.0}], counted(LOGISTIC, fits), models)
    assert len(fits) == 2


def test_an_estimator_that_needs_more_rows_gets_them(models: Models) -> None:
    config = TrainerConfig(
        estimator="sklearn.neighbors.KNeighborsClassifier", params={"n_neighbors": 700}
    )
    fits: list[int] = []
    rehearse(config, training_set(), [config.params], counted(config, fits), models)
    assert len(fits) == 2


def test_of_a_search_one_candidate_that_works_is_enough(models: Models) -> None:
    fits: list[int] = []
    tried = [{"C": -1.0}, {"C": 1.0}, {"C": -2.0}]
    rehearse(LOGISTIC, training_set(), tried, counted(LOGISTIC, fits), models)
    assert len(fits) == 3


def test_a_lambda_is_named_before_the_fit(models: Models) -> None:
    def fit(rows: TrainingSet, params: Mapping[str, Any]) -> Fit:
        fitted = make(LOGISTIC).fit(rows, params, device="cpu")
        model = make_pipeline(FunctionTransformer(lambda x: x), LogisticRegression())
        model.fit(rows.inputs.to_pandas(), rows.labels)
        object.__setattr__(fitted.model, "estimator", model)
        return fitted

    with pytest.raises(
        UnsupportedModel, match=r"func is .*<lambda> of test_rehearsal.py, line \d+"
    ):
        rehearse(LOGISTIC, training_set(), [{}], fit, models)


def test_a_rehearsal_on_fewer_than_no_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="rehearsal_rows is -5; 0 means no rehearsal"):
        TrainerConfig(rehearsal_rows=-5)
