"""Every flavour comes back as it was stored, once, with what was packed with it, or not at all."""

import sys
import warnings
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from registry import (
    ChampionUnloadable,
    FittedModel,
    Flavor,
    MissingFeature,
    ModelUnloadable,
    Registry,
    RegistryConfig,
    UnknownModel,
    UnsupportedModel,
    Verdict,
    connect,
)

Make = Callable[..., FittedModel]
ESTIMATOR = """
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

class Sign(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.state_ = Threshold()
        return self

    def predict(self, X):
        return self.classes_[(np.asarray(X)[:, 0] > self.state_.at).astype(int)]

class Threshold:
    def __init__(self):
        self.at = 0.0
"""


def test_a_model_is_used_through_a_table_an_array_or_a_frame(
    registry: Registry, mlflow_run: str, logistic: Make, table: pa.Table, inputs: np.ndarray
) -> None:
    fitted = logistic(extras={"features.json": '{"a": 1}', "source/features.py": "x = 'ä'\n"})
    made = registry.register("digits", fitted, mlflow_run_id=mlflow_run, key="k", tags={"t": "1"})
    loaded = registry.load("digits", made.version)
    expected = fitted.estimator.predict_proba(inputs)
    for data in (table, table.to_pandas(), inputs):
        np.testing.assert_allclose(loaded.predict_proba(data), expected)
        np.testing.assert_array_equal(loaded.predict(data), fitted.estimator.predict(inputs))
    assert (loaded.classes, loaded.features) == ((0, 1), ("a", "b", "c"))
    assert loaded.extra("features.json") == '{"a": 1}'
    assert loaded.extra("source/features.py") == "x = 'ä'\n"
    assert loaded.tags["t"] == "1"
    with pytest.raises(ModelUnloadable, match="keeps no file 'nope'"):
        loaded.extra("nope")
    with pytest.raises(MissingFeature, match="no column 'b'"):
        loaded.predict(table.drop_columns(["b"]))


def test_registering_again_under_the_same_key_gives_the_same_version(
    registry: Registry, mlflow_run: str, logistic: Make
) -> None:
    first = registry.register("digits", logistic(), mlflow_run_id=mlflow_run, key="run/train")
    again = registry.register("digits", logistic(), mlflow_run_id=mlflow_run, key="run/train")
    other = registry.register("digits", logistic(), mlflow_run_id=mlflow_run, key="run/train/2")
    assert (first.version, again.version, other.version) == ("1", "1", "2")
    assert [each.version for each in registry.models.versions("digits")] == ["2", "1"]
    assert first.mlflow_run_id == mlflow_run


def test_killed_between_upload_and_registration_the_upload_is_used_again(
    registry: Registry, mlflow_run: str, logistic: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = registry.models._seam.client

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(type(client), "create_model_version", killed)
        with pytest.raises(KeyboardInterrupt):
            registry.register("digits", logistic(), mlflow_run_id=mlflow_run, key="k")
    made = registry.register("digits", logistic(), mlflow_run_id=mlflow_run, key="k")
    experiment = client.get_run(mlflow_run).info.experiment_id
    assert made.version == "1"
    assert len(client.search_logged_models([experiment])) == 1


@pytest.mark.parametrize("framed", [True, False], ids=["frame", "array"])
def test_a_pipeline_with_trees_is_stored_without_pickle(
    registry: Registry,
    mlflow_run: str,
    logistic: Make,
    table: pa.Table,
    inputs: np.ndarray,
    labels: np.ndarray,
    framed: bool,
) -> None:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = table.select(["a", "b", "c"]).to_pandas() if framed else inputs
    names = np.array(["no", "yes"])[labels]
    model = make_pipeline(StandardScaler(), HistGradientBoostingClassifier(max_iter=5))
    fitted = logistic(estimator=model.fit(rows, names))
    made = registry.register("digits", fitted, mlflow_run_id=mlflow_run, key="k")
    loaded = registry.load("digits", made.version)
    np.testing.assert_allclose(loaded.predict_proba(table), model.predict_proba(rows))
    assert set(loaded.predict(table)) == {"no", "yes"}


def test_a_regression_predicts_numbers(
    registry: Registry, mlflow_run: str, logistic: Make, table: pa.Table, inputs: np.ndarray
) -> None:
    from sklearn.linear_model import LinearRegression

    model = LinearRegression().fit(inputs, inputs[:, 0])
    made = registry.register("price", logistic(estimator=model), mlflow_run_id=mlflow_run, key="k")
    loaded = registry.load("price", made.version)
    np.testing.assert_allclose(loaded.predict(table), inputs[:, 0], atol=1e-9)
    assert (loaded.classes, loaded.has_probabilities) == (None, False)
    with pytest.raises(ModelUnloadable, match="does not estimate probabilities"):
        loaded.predict_proba(table)


def test_xgboost_classes_may_be_names(
    registry: Registry,
    mlflow_run: str,
    logistic: Make,
    table: pa.Table,
    inputs: np.ndarray,
    labels: np.ndarray,
) -> None:
    xgboost = pytest.importorskip("xgboost", reason="an optional trainer")
    model = xgboost.XGBClassifier(n_estimators=3, max_depth=2).fit(inputs, labels)
    fitted = logistic(flavor=Flavor.XGBOOST, estimator=model, classes=("no", "yes"))
    made = registry.register("digits", fitted, mlflow_run_id=mlflow_run, key="k")
    loaded = registry.load("digits", made.version)
    np.testing.assert_allclose(loaded.predict_proba(table), model.predict_proba(inputs), rtol=1e-6)
    expected = np.array(["no", "yes"])[model.predict(inputs)]
    np.testing.assert_array_equal(loaded.predict(table), expected)


@pytest.mark.parametrize("objective", ["binary:logistic", "multi:softprob", "reg:squarederror"])
def test_a_bare_booster_is_a_model_too(
    registry: Registry,
    mlflow_run: str,
    logistic: Make,
    table: pa.Table,
    inputs: np.ndarray,
    labels: np.ndarray,
    objective: str,
) -> None:
    xgboost = pytest.importorskip("xgboost", reason="an optional trainer")
    settings = {"objective": objective, "max_depth": 2}
    settings |= {"num_class": 2} if objective.startswith("multi") else {}
    rows = xgboost.DMatrix(inputs, labels, feature_names=["a", "b", "c"])
    booster = xgboost.train(settings, rows, 3)
    classes = None if objective.startswith("reg") else (0, 1)
    fitted = logistic(flavor=Flavor.XGBOOST, estimator=booster, classes=classes)
    made = registry.register("digits", fitted, mlflow_run_id=mlflow_run, key="k")
    loaded = registry.load("digits", made.version)
    raw = booster.predict(rows)
    if classes is None:
        np.testing.assert_allclose(loaded.predict(table), raw, rtol=1e-6)
    else:
        second = raw[:, 1] if raw.ndim == 2 else raw
        np.testing.assert_allclose(loaded.predict_proba(table)[:, 1], second, rtol=1e-6)
        assert (loaded.predict(table) == labels).mean() > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("outputs", [1, 3], ids=["sigmoid", "softmax"])
def test_a_torch_module_is_stored_as_a_graph_that_takes_any_number_of_rows(
    registry: Registry,
    mlflow_run: str,
    logistic: Make,
    table: pa.Table,
    inputs: np.ndarray,
    outputs: int,
) -> None:
    torch = pytest.importorskip("torch", reason="an optional trainer")
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, outputs)
    )
    classes = ("no", "yes") if outputs == 1 else ("x", "y", "z")
    fitted = logistic(flavor=Flavor.TORCH, estimator=module, classes=classes)
    made = registry.register("digits", fitted, mlflow_run_id=mlflow_run, key="k")
    loaded = registry.load("digits", made.version)
    with torch.no_grad():
        logits = module(torch.from_numpy(inputs.astype("float32"))).double()
    expected = torch.softmax(logits, 1)[:, 1] if outputs > 1 else torch.sigmoid(logits)[:, 0]
    np.testing.assert_allclose(loaded.predict_proba(table)[:, 1], expected, rtol=1e-5)
    np.testing.assert_allclose(loaded.predict_proba(table[:1]).sum(), 1.0)
    assert set(loaded.predict(table)) <= set(classes)
    assert loaded.predict_proba(table[:0]).shape == (0, len(classes))


@pytest.mark.slow
def test_a_torch_regression_predicts_numbers(
    registry: Registry, mlflow_run: str, logistic: Make, table: pa.Table, inputs: np.ndarray
) -> None:
    torch = pytest.importorskip("torch", reason="an optional trainer")
    fitted = logistic(flavor=Flavor.TORCH, estimator=torch.nn.Linear(3, 1))
    made = registry.register("price", fitted, mlflow_run_id=mlflow_run, key="k")
    predicted = registry.load("price", made.version).predict(table)
    with torch.no_grad():
        expected = fitted.estimator(torch.from_numpy(inputs.astype("float32")))[:, 0]
    np.testing.assert_allclose(predicted, expected, rtol=1e-5)


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "team_models.py").write_text(ESTIMATOR)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "team_models", raising=False)
    return "team_models"


def test_a_users_own_estimator_is_stored_when_its_module_is_trusted(
    registry: Registry,
    config: RegistryConfig,
    mlflow_run: str,
    logistic: Make,
    inputs: np.ndarray,
    labels: np.ndarray,
    table: pa.Table,
    own_module: str,
) -> None:
    model = __import__(own_module).Sign().fit(inputs, labels)
    with pytest.raises(UnsupportedModel, match=r"contains team_models\.S|T") as caught:
        registry.register("digits", logistic(estimator=model), mlflow_run_id=mlflow_run, key="k")
    assert "registry.trusted_modules=[team_models]" in str(caught.value.hint)
    fitted = logistic(estimator=model, modules=(own_module,))
    made = registry.register("digits", fitted, mlflow_run_id=mlflow_run, key="k")
    # Another process knows from the version itself, whose files are unchanged, whom to trust.
    with connect(config) as other:
        np.testing.assert_array_equal(
            other.load("digits", made.version).predict(table), (inputs[:, 0] > 0).astype(int)
        )


def test_a_file_kept_with_a_model_cannot_leave_its_folder(
    registry: Registry, mlflow_run: str, logistic: Make
) -> None:
    with pytest.raises(UnsupportedModel, match="no name for a file"):
        registry.register(
            "digits", logistic(extras={"../../x": ""}), mlflow_run_id=mlflow_run, key="k"
        )


@pytest.fixture
def champion_files(
    registry: Registry,
    mlflow_run: str,
    logistic: Make,
    verdict: Callable[..., Verdict],
    now: datetime,
    tmp_path: Path,
) -> Path:
    """The files of a champion, for a test to spoil."""
    made = registry.register("digits", logistic(), mlflow_run_id=mlflow_run, key="k")
    registry.promote(verdict(made.version, 0), actor="me", now=now)
    (file,) = tmp_path.rglob("model.skops")
    return file.parent


def test_the_champion_is_loaded_or_there_is_none(registry: Registry, champion_files: Path) -> None:
    loaded = registry.load_champion("digits")
    assert loaded is not None
    assert loaded.version == "1"
    assert registry.load_champion("nothing-yet") is None


def test_a_champion_whose_file_is_missing_is_unloadable(
    registry: Registry, champion_files: Path
) -> None:
    (champion_files / "model.skops").unlink()
    with pytest.raises(ChampionUnloadable, match="nothing can be compared with it") as caught:
        registry.load_champion("digits")
    assert "ratchet rollback digits" in str(caught.value.hint)


def test_a_champion_whose_folder_is_gone_is_unloadable(
    registry: Registry, champion_files: Path
) -> None:
    champion_files.rename(champion_files.with_name("elsewhere"))
    with pytest.raises(ChampionUnloadable, match=r"cannot be read|not those that were registered"):
        registry.load_champion("digits")


def test_a_champion_whose_file_was_altered_is_not_loaded(
    registry: Registry, champion_files: Path
) -> None:
    (champion_files / "ratchet.json").write_text("{}")
    with pytest.raises(ChampionUnloadable, match="are not those that were registered"):
        registry.load_champion("digits")


def test_a_library_that_cannot_read_the_model_is_named_with_both_versions(
    registry: Registry, champion_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import skops.io

    def broken(*_: object, **__: object) -> None:
        raise AttributeError("no attribute 'missing_go_to_left'")

    monkeypatch.setattr(skops.io, "load", broken)
    monkeypatch.setattr("registry.flavors.version", lambda name: "99.0")
    with pytest.raises(
        ChampionUnloadable, match=r"missing_go_to_left.*scikit-learn 1.*, here 99.0"
    ):
        registry.load_champion("digits")


def test_a_plain_mlflow_user_can_load_the_champion_and_harms_nothing(
    registry: Registry, config: RegistryConfig, champion_files: Path, table: pa.Table
) -> None:
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(config.tracking_uri)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = mlflow.pyfunc.load_model("models:/digits@champion")
            predicted = theirs.predict(table.select(["a", "b", "c"]).to_pandas())
    finally:
        mlflow.set_tracking_uri(before)
    ours = registry.load_champion("digits")
    assert ours is not None
    np.testing.assert_array_equal(ours.predict(table), predicted)


def test_a_version_of_somebody_else_says_what_it_lacks(
    registry: Registry, versions: Callable[[int], list[str]], tmp_path: Path
) -> None:
    client: Any = registry.models._seam.client
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "MLmodel").write_text("")
    client.create_registered_model("theirs")
    client.create_model_version("theirs", (tmp_path / "theirs").as_uri())
    with pytest.raises(ModelUnloadable, match="was not stored by Ratchet"):
        registry.load("theirs", "1")
    with pytest.raises(UnknownModel, match="Version 7 of theirs"):
        registry.load("theirs", "7")
