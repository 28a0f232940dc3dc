import numpy as np
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from ray_jobs.trainers.config import Task, TrainerConfig, TrainerKind
from ray_jobs.trainers.make import make
from ray_jobs.trainers.scoring import model_score, predictions, usable
from ray_jobs.trainers.trainer import Fit, TrainingSet, labels_of, task_of
from ray_jobs.training_errors import TrainingFailed, UnfitData, UnknownName

TREE = "sklearn.tree.DecisionTreeClassifier"


def training_set(task: Task = Task.CLASSIFICATION, *, classes: int = 3) -> TrainingSet:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=300), rng.normal(size=300) * 50 + 1000
    signal = a + (b - 1000) / 50
    labels = (
        signal * 100 + 7
        if task is Task.REGRESSION
        else np.array(["low", "mid", "top"])[np.digitize(signal, [-0.5, 0.5][: classes - 1])]
    )
    return TrainingSet(inputs=pa.table({"a": a, "b": b}), labels=labels, task=task)


def fit(config: TrainerConfig, rows: TrainingSet, **params: object) -> Fit:
    return make(config).fit(rows, {**config.params, **params}, device="cpu")


CONFIGS = {
    "sklearn": TrainerConfig(
        estimator="sklearn.ensemble.RandomForestClassifier", params={"n_estimators": 10}, seed=3
    ),
    "xgboost": TrainerConfig(
        kind=TrainerKind.XGBOOST,
        estimator="xgboost.XGBClassifier",
        params={"n_estimators": 10, "subsample": 0.7},
        seed=3,
    ),
    "torch": TrainerConfig(
        kind=TrainerKind.TORCH,
        estimator="ray_jobs.trainers.network:mlp",
        params={"epochs": 30, "batch_size": 32, "learning_rate": 0.01, "dropout": 0.1},
        seed=3,
    ),
}


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("kind", list(CONFIGS))
def test_a_classifier_learns_and_the_same_seed_gives_the_same_model(
    kind: str, classes: int
) -> None:
    pytest.importorskip(kind, reason="an optional trainer")
    rows = training_set(classes=classes)
    first, second = (usable(fit(CONFIGS[kind], rows).model, rows.task) for _ in range(2))
    assert first.classes == ("low", "mid", "top")[:classes]
    assert np.array_equal(predictions(first, rows.inputs), predictions(second, rows.inputs))
    assert model_score(first, rows.inputs, rows.labels, "accuracy") > 0.9


@pytest.mark.parametrize(
    ("kind", "estimator"),
    [
        ("sklearn", "sklearn.ensemble.RandomForestRegressor"),
        ("xgboost", "xgboost.XGBRegressor"),
        ("torch", "ray_jobs.trainers.network:mlp"),
    ],
)
def test_a_regression_is_learnt_in_the_labels_own_unit(kind: str, estimator: str) -> None:
    pytest.importorskip(kind, reason="an optional trainer")
    rows = training_set(Task.REGRESSION)
    params = {"epochs": 60, "learning_rate": 0.01} if kind == "torch" else {"n_estimators": 30}
    config = TrainerConfig(kind=TrainerKind(kind), estimator=estimator, params=params)
    model = usable(fit(config, rows).model, rows.task)
    assert model.classes is None
    assert model_score(model, rows.inputs, rows.labels, "r2") > 0.9


def test_another_seed_gives_another_model() -> None:
    rows = training_set()
    config = CONFIGS["sklearn"]
    first = usable(fit(config, rows).model, rows.task)
    second = usable(fit(config, rows, random_state=99).model, rows.task)
    assert not np.array_equal(predictions(first, rows.inputs), predictions(second, rows.inputs))


@pytest.mark.parametrize(
    ("config", "params", "kind", "message"),
    [
        (TrainerConfig(estimator=TREE), {"max_dept": 3}, TrainingFailed, "nearest is 'max_depth'"),
        (TrainerConfig(estimator=TREE), {"max_depth": -3}, TrainingFailed, "could not be fitted"),
        (TrainerConfig(estimator="sklearn.tree.DecisionTree"), {}, UnknownName, "nearest is"),
        (TrainerConfig(estimator="builtins.dict"), {}, UnknownName, "not among the allowed"),
        (TrainerConfig(estimator="sklearn.clone"), {}, UnknownName, "no BaseEstimator"),
    ],
)
def test_a_mistake_in_the_config_is_one_clear_sentence(
    config: TrainerConfig, params: dict[str, object], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        fit(config, training_set(), **params)
    assert "\n" not in str(caught.value)


def test_text_inputs_are_refused_with_advice() -> None:
    rows = TrainingSet(
        inputs=pa.table({"a": ["x", "y"]}), labels=np.array([0, 1]), task=Task.CLASSIFICATION
    )
    with pytest.raises(TrainingFailed, match="could not be fitted: could not convert string"):
        fit(TrainerConfig(estimator=TREE), rows)


def test_a_training_that_runs_away_is_not_a_model() -> None:
    pytest.importorskip("torch", reason="an optional trainer")
    rows = training_set(Task.REGRESSION)
    with pytest.raises(TrainingFailed, match=r"training loss is (nan|inf) after epoch"):
        fit(CONFIGS["torch"], rows, learning_rate=1e30)


def test_scikit_learn_refuses_several_workers() -> None:
    with pytest.raises(TrainingFailed, match="train in one process") as caught:
        make(TrainerConfig(workers=2))
    assert "trainer=xgboost" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (["a", "b"], "U"),
        ([1, 2], "i"),
        ([0.5, 1.0], "f"),
        ([True, False], "b"),
    ],
)
def test_labels_become_plain_arrays(values: list[object], dtype: str) -> None:
    labels = labels_of(pa.chunked_array([values]))
    assert labels.dtype.kind == dtype
    assert labels.tolist() == values


def test_dictionary_labels_become_their_values() -> None:
    column = pa.chunked_array([pa.array(["x", "y", "x"]).dictionary_encode()])
    assert labels_of(column).tolist() == ["x", "y", "x"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, None], "1 of 2 mature rows have no label"),
        ([1.0, float("nan")], "NaN or infinite"),
        ([[1], [2]], "cannot be learnt"),
    ],
)
def test_labels_that_cannot_be_learnt_are_unfit(values: list[object], message: str) -> None:
    with pytest.raises(UnfitData, match=message):
        labels_of(pa.chunked_array([values]))


def test_the_task_follows_from_the_config_then_the_estimator_then_the_labels() -> None:
    whole, real = np.array([1, 2]), np.array([1.5, 2.5])
    auto = TrainerConfig()
    fixed = TrainerConfig(task=Task.REGRESSION)
    assert task_of(fixed, whole, LogisticRegression) is Task.REGRESSION
    assert task_of(auto, real, LogisticRegression) is Task.CLASSIFICATION
    assert task_of(auto, whole, Ridge) is Task.REGRESSION
    assert task_of(auto, whole, object()) is Task.CLASSIFICATION
    assert task_of(auto, real, object()) is Task.REGRESSION
