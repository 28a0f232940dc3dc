import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from ray_jobs.trainers.config import Task, TrainerConfig, TrainerKind
from ray_jobs.trainers.make import make
from ray_jobs.trainers.scoring import model_score, predictions, usable
from ray_jobs.trainers.trainer import Fit, TrainingSet, labels_of, task_of, weights_of
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
    assert task_of(fixed, whole, LogisticRegression()) is Task.REGRESSION
    assert task_of(auto, real, LogisticRegression()) is Task.CLASSIFICATION
    assert task_of(auto, whole, Ridge()) is Task.REGRESSION
    assert task_of(auto, whole, None) is Task.CLASSIFICATION
    assert task_of(auto, real, None) is Task.REGRESSION


def test_the_built_estimator_says_what_is_predicted(tmp_path, monkeypatch) -> None:
    (tmp_path / "counts_team.py").write_text(
        "from sklearn.linear_model import LogisticRegression, PoissonRegressor\n"
        "from sklearn.pipeline import make_pipeline\n"
        "from sklearn.preprocessing import StandardScaler\n"
        "def counts(**params):\n"
        "    return make_pipeline(StandardScaler(), PoissonRegressor(**params))\n"
        "def sorts(**params):\n"
        "    return make_pipeline(StandardScaler(), LogisticRegression(**params))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    counts = make(TrainerConfig(estimator="counts_team:counts"), ["counts_team"])
    assert counts.task(np.array([0, 1, 40]), {}) is Task.REGRESSION
    sorts = make(TrainerConfig(estimator="counts_team:sorts"), ["counts_team"])
    assert sorts.task(np.array([0.0, 1.0]), {}) is Task.CLASSIFICATION


def test_a_class_of_one_row_does_not_stop_the_default_trainer() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=10_200)
    labels = np.where(a > 0, 1, 0)
    labels[7] = 2
    rows = TrainingSet(inputs=pa.table({"a": a}), labels=labels, task=Task.CLASSIFICATION)
    fitted = fit(TrainerConfig(params={"max_iter": 5}), rows)
    assert "class 2 has one training row" in fitted.notes[0]
    explicit = TrainerConfig(params={"max_iter": 5, "early_stopping": True})
    with pytest.raises(TrainingFailed) as caught:
        fit(explicit, rows)
    assert "class 2 has one training row" in str(caught.value.hint)
    assert "early_stopping=false" in str(caught.value.hint)


BROKEN = """
from sklearn.base import BaseEstimator, ClassifierMixin
class Broken(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        return self.helper([])
    def helper(self, rows):
        return rows[3]
"""


def test_an_error_of_the_users_own_code_is_final_and_names_his_line(tmp_path, monkeypatch) -> None:
    (tmp_path / "broken_team.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(tmp_path)
    trainer = make(TrainerConfig(estimator="broken_team:Broken"), ["broken_team"])
    with pytest.raises(TrainingFailed, match=r"IndexError: list index out of range") as caught:
        trainer.fit(training_set(), {}, device="cpu")
    assert "(broken_team.py, line 7, in helper: return rows[3])" in str(caught.value)
    assert caught.value.permanent


def weighted(labels: np.ndarray, weights: np.ndarray) -> TrainingSet:
    return TrainingSet(
        inputs=pa.table({"a": np.arange(len(labels)) // 2 % 2.0}),
        labels=labels,
        task=Task.REGRESSION,
        weights=weights,
    )


@pytest.mark.parametrize(
    ("kind", "estimator", "params"),
    [
        ("sklearn", "sklearn.linear_model.Ridge", {}),
        ("xgboost", "xgboost.XGBRegressor", {"n_estimators": 60, "reg_lambda": 0}),
        ("lightgbm", "lightgbm.LGBMRegressor", {"verbose": -1, "min_child_samples": 1}),
        ("catboost", "catboost.CatBoostRegressor", {"iterations": 60, "l2_leaf_reg": 0}),
        ("torch", "ray_jobs.trainers.network:mlp", {"epochs": 300, "learning_rate": 0.02}),
    ],
)
def test_a_row_counts_as_much_as_its_weight(
    kind: str, estimator: str, params: dict[str, object]
) -> None:
    pytest.importorskip(kind, reason="an optional trainer")
    kinds = {"xgboost": TrainerKind.XGBOOST, "torch": TrainerKind.TORCH}
    config = TrainerConfig(
        kind=kinds.get(kind, TrainerKind.SKLEARN), estimator=estimator, params=params
    )
    rows = weighted(np.tile([0.0, 10.0], 50), np.tile([9.0, 1.0], 50))
    model = usable(fit(config, rows).model, rows.task)
    assert model.predict(rows.inputs[:1])[0] == pytest.approx(1.0, abs=0.3)


def test_weights_must_be_finite_and_not_negative() -> None:
    good = weights_of(pa.chunked_array([pa.array([1, 0, 2])]), "w")
    assert good.tolist() == [1, 0, 2]
    for values, words in [
        ([1.0, -2.0, None], "w: 2 of 3 weights are missing, infinite or negative .such as -2.0"),
        ([1.0, float("inf")], "w: 1 of 2 weights"),
        ([0.0, 0.0], "w: the weights of all 2 rows are 0"),
        (["a"], "w is large_string, and features.weight needs numbers"),
    ]:
        with pytest.raises(UnfitData, match=words):
            weights_of(pa.chunked_array([pa.array(values)]), "w")


def test_an_estimator_without_weights_refuses_them() -> None:
    rows = replace(training_set(), weights=np.ones(300))
    with pytest.raises(TrainingFailed, match="KNeighborsClassifier takes no weights"):
        fit(TrainerConfig(estimator="sklearn.neighbors.KNeighborsClassifier"), rows)


@pytest.mark.parametrize(
    ("kind", "estimator"),
    [
        ("xgboost", "xgboost.XGBClassifier"),
        ("lightgbm", "lightgbm.LGBMClassifier"),
        ("catboost", "catboost.CatBoostClassifier"),
    ],
)
def test_boosting_that_stops_early_is_judged_by_the_newest_rows(kind: str, estimator: str) -> None:
    pytest.importorskip(kind, reason="an optional trainer")
    family = TrainerKind.XGBOOST if kind == "xgboost" else TrainerKind.SKLEARN
    config = TrainerConfig(kind=family, estimator=estimator)
    rng = np.random.default_rng(0)
    rows = TrainingSet(
        inputs=pa.table({"a": rng.normal(size=300)}),
        labels=rng.integers(0, 2, 300),
        task=Task.CLASSIFICATION,
    )
    fitted = fit(config, rows, n_estimators=200, early_stopping_rounds=3)
    model = fitted.model.estimator
    best = {"xgboost": "best_iteration", "lightgbm": "best_iteration_"}.get(kind)
    rounds = model.tree_count_ if best is None else getattr(model, best)
    assert rounds < 100


def test_the_device_that_was_used_is_recorded() -> None:
    pytest.importorskip("xgboost", reason="an optional trainer")
    trainer = make(replace(CONFIGS["xgboost"], params={"n_estimators": 3}))
    asked = trainer.fit(training_set(), {"n_estimators": 3}, device="cuda")
    if asked.device == "cuda":
        pytest.skip("this machine has a GPU, and a build of XGBoost for it")
    assert asked.device == "cpu"
    assert any("cuda was asked for" in note for note in asked.notes)


def test_a_last_batch_of_one_row_joins_the_one_before() -> None:
    pytest.importorskip("torch", reason="an optional trainer")
    from ray_jobs.trainers.torch import Loop, batches_of

    sizes = [len(batch) for batch in batches_of(65, Loop(batch_size=32), 0, 0)]
    assert sizes == [32, 33]
    assert [len(b) for b in batches_of(1, Loop(batch_size=32), 0, 0)] == [1]


@pytest.mark.parametrize(
    "params",
    [
        {"missing": 0.0},
        {"objective": "binary:logitraw"},
        {"eval_metric": "auc", "scale_pos_weight": 3},
        {"subsample": 1.0, "max_depth": 2},
    ],
    ids=lambda params: next(iter(params)),
)
def test_workers_that_share_a_booster_train_the_estimators_own(params: dict[str, object]) -> None:
    xgboost = pytest.importorskip("xgboost", reason="an optional trainer")
    from ray_jobs.distributed import booster_data, matrix_of
    from ray_jobs.trainers.xgboost import XgboostTrainer, columns_of

    rng = np.random.default_rng(0)
    a = np.round(rng.normal(size=400))
    plan = rng.choice(["x", "y", "z"], 400)
    rows = TrainingSet(
        inputs=pa.table({"a": a, "plan": plan, "price[usd]": rng.normal(size=400)}),
        labels=np.where((a > 0) ^ (plan == "x"), "up", "down"),
        task=Task.CLASSIFICATION,
        weights=rng.random(400),
    )
    trainer = make(replace(CONFIGS["xgboost"], params={}))
    assert isinstance(trainer, XgboostTrainer)
    alone = trainer.fit(rows, {"n_estimators": 5, **params}, device="cpu").model.estimator
    estimator = trainer.estimator({"n_estimators": 5, **params}, "cpu")
    data = booster_data(estimator, rows, columns_of(rows), "xgboost.XGBClassifier")
    matrix = matrix_of(data, np.arange(400))
    together = xgboost.train(data["params"], matrix, num_boost_round=data["rounds"])
    own = alone.get_booster()
    assert together.get_dump() == own.get_dump()
    config = [json.loads(each.save_config())["learner"]["objective"] for each in (own, together)]
    assert config[0] == config[1]


def test_what_one_worker_alone_can_do_is_refused_with_several() -> None:
    pytest.importorskip("xgboost", reason="an optional trainer")
    from ray_jobs.distributed import booster_data
    from ray_jobs.trainers.xgboost import XgboostTrainer, columns_of

    trainer = make(replace(CONFIGS["xgboost"], params={}))
    assert isinstance(trainer, XgboostTrainer)
    estimator = trainer.estimator({"early_stopping_rounds": 3}, "cpu")
    rows = training_set(classes=2)
    with pytest.raises(TrainingFailed, match="early_stopping_rounds works with one worker only"):
        booster_data(estimator, rows, columns_of(rows), "xgboost.XGBClassifier")
