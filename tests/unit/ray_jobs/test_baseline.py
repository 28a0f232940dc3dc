"""What a first model must beat: the best constant, and the form of its predictions."""

import numpy as np
import pyarrow as pa
import pytest

from ray_jobs.baseline import constant, in_form_of, simple_trainer
from ray_jobs.trainers.config import Task, TrainerKind
from ray_jobs.trainers.scoring import usable
from registry import Baseline, FittedModel, Flavor, GateConfig, GateError, score
from registry.gate_config import check_config
from registry.methods.metrics import find_metric

NUMBERS = np.random.default_rng(0).lognormal(size=501)


@pytest.mark.parametrize("metric", ["mae", "mse", "rmse", "mape", "pinball_0.9", "pinball_0.05"])
def test_no_other_constant_is_better_on_the_training_rows(metric: str) -> None:
    said = constant(find_metric(metric), NUMBERS, np.zeros(501), None)
    assert np.ptp(said) == 0
    best = score(metric, NUMBERS, said)
    for other in np.linspace(NUMBERS.min(), np.quantile(NUMBERS, 0.99), 400):
        assert score(metric, NUMBERS, np.full(501, other)) >= best - 1e-9


def test_the_constant_of_classes_is_the_most_frequent_one_or_the_frequencies() -> None:
    labels = np.array(["b", "a", "b", "b"])
    metric = find_metric("accuracy")
    assert constant(metric, labels, np.array(["a", "a"]), None).tolist() == ["b", "b"]
    shares = constant(metric, labels, np.zeros((1, 3)), ("a", "b", "c"))
    assert shares.tolist() == [[0.25, 0.75, 0.0]]


class Model:
    """Says what its one column holds."""

    def __init__(self, classes: list[str]) -> None:
        self.classes_ = np.array(classes)

    def predict(self, rows: np.ndarray) -> np.ndarray:
        return self.classes_[rows[:, 0].astype(int)]


class Sure(Model):
    """The same with probabilities."""

    def predict_proba(self, rows: np.ndarray) -> np.ndarray:
        return np.eye(len(self.classes_))[rows[:, 0].astype(int)] * 0.8 + 0.1


def said_by(model: Model, like: np.ndarray, classes: tuple[str, ...] | None) -> np.ndarray:
    rows = pa.table({"x": [0.0, 1.0]})
    fitted = FittedModel(flavor=Flavor.SKLEARN, estimator=model, features=("x",), example=rows)
    return in_form_of(usable(fitted, Task.CLASSIFICATION), rows, like, classes)


def test_a_simple_model_answers_in_the_form_of_the_challenger() -> None:
    labels, p, classes = np.array(["a", "a"]), np.zeros((2, 3)), ("c", "b", "a")
    assert said_by(Sure(["a", "b"]), labels, None).tolist() == ["a", "b"]
    assert said_by(Sure(["a", "b"]), p, classes) == pytest.approx(
        np.array([[0, 0.1, 0.9], [0, 0.9, 0.1]])
    )
    assert said_by(Model(["a", "b"]), p, classes).tolist() == [[0, 0, 1], [0, 1, 0]]


def test_a_simple_model_is_a_trainer_with_its_parameters() -> None:
    made = simple_trainer(
        GateConfig(
            baseline=Baseline.SIMPLE,
            simple={"_target_": "sklearn.linear_model.LogisticRegression", "C": 2.0},
        ),
        Task.CLASSIFICATION,
    )
    assert made.estimator == "sklearn.linear_model.LogisticRegression"
    assert (made.kind, made.params, made.num_gpus) == (TrainerKind.SKLEARN, {"C": 2.0}, 0)
    gate = GateConfig(baseline=Baseline.SIMPLE, simple={"_target_": "xgboost.XGBClassifier"})
    assert simple_trainer(gate, Task.CLASSIFICATION).kind is TrainerKind.XGBOOST


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"baseline": Baseline.SIMPLE}, "baseline is simple, and gate.simple names no model"),
        ({"simple": {"_target_": "sklearn.dummy.DummyClassifier"}}, "baseline is constant"),
        ({"baseline": Baseline.SIMPLE, "simple": {"C": 1}}, "has no _target_"),
    ],
)
def test_a_simple_baseline_that_makes_no_sense_is_refused(
    config: dict[str, object], message: str
) -> None:
    with pytest.raises(GateError, match=message) as caught:
        check_config(GateConfig(**config))  # type: ignore[arg-type]
    assert caught.value.hint
