"""A model stays what it was when the code that it was made of is edited, renamed or deleted."""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from mlflow.models import Model

from ray_jobs.own_rows import code_notes
from ray_jobs.trainers.config import Task, TrainerConfig
from ray_jobs.trainers.make import make
from ray_jobs.trainers.trainer import TrainingSet
from registry import RegistryConfig
from registry.errors import UnsupportedModel
from registry.loaded import CODE_FILE, LoadedModel
from registry.mlflow_seam import MlflowSeam
from registry.models import CARD_FILE, EXTRA_FOLDER, Models, ModelVersion, from_files

TEAM = ("scaled_team",)
HELPER = "FACTOR = 1\n"
CLASSES = """
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from scaled_team.helper import FACTOR
class Scaled(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        return self
    def transform(self, X):
        from scaled_team import helper
        return X * FACTOR * helper.FACTOR
def pipeline(**params):
    return make_pipeline(Scaled(), LogisticRegression(**params))
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    write(tmp_path, HELPER, CLASSES)
    yield tmp_path
    forget()


def forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in TEAM]:
        del sys.modules[name]


def write(folder: Path, helper: str, classes: str) -> None:
    team = folder / "scaled_team"
    team.mkdir(exist_ok=True)
    (team / "__init__.py").write_text("")
    (team / "helper.py").write_text(helper)
    (team / "models.py").write_text(classes)
    forget()
    importlib.invalidate_caches()


def rows() -> TrainingSet:
    a = np.linspace(-1, 1, 200)
    labels = np.where(a > 0, "up", "down")
    return TrainingSet(inputs=pa.table({"a": a}), labels=labels, task=Task.CLASSIFICATION)


def stored(folder: Path) -> None:
    """What a registration writes of a model that is fitted with the code as it is now."""
    trainer = make(TrainerConfig(estimator="scaled_team.models:pipeline"), TEAM)
    fitted = trainer.fit(rows(), {}, device="cpu").model
    config = RegistryConfig(tracking_uri="http://127.0.0.1:9", ledger_url="sqlite://")
    Models(MlflowSeam(config))._write(fitted, folder, Model())


def loaded(folder: Path, version: str = "1", trusted: tuple[str, ...] = TEAM) -> LoadedModel:
    registered = ModelVersion(model="m", version=version, mlflow_run_id=None, tags={})
    return from_files(registered, folder, trusted)


@pytest.mark.parametrize(
    ("helper", "classes"),
    [
        (HELPER, CLASSES.replace("X * FACTOR", "X * -FACTOR")),
        ("FACTOR = -1\n", CLASSES),
        (HELPER, CLASSES.replace("Scaled", "Other")),
        (HELPER, "def pipeline(**params):\n    raise ValueError\n"),
    ],
    ids=["edited", "helper", "renamed", "gone"],
)
def test_a_model_says_what_it_said_whatever_became_of_its_code(
    project: Path, helper: str, classes: str
) -> None:
    files = project / "model"
    stored(files)
    before = loaded(files).predict_proba(rows().inputs)
    write(project, helper, classes)
    today: Any = importlib.import_module("scaled_team.models")
    after = loaded(files)
    np.testing.assert_array_equal(after.predict_proba(rows().inputs), before)
    assert importlib.import_module("scaled_team.models") is today
    assert {"scaled_team.models", "scaled_team.helper"} <= set(after.code)


def test_changed_code_is_told_with_the_modules(project: Path) -> None:
    stored(project / "one")
    write(project, "FACTOR = 2\n", CLASSES)
    stored(project / "two")
    champion, challenger = loaded(project / "one"), loaded(project / "two", "2")
    (note,) = code_notes(challenger, champion)
    assert note.startswith("The code of scaled_team.helper has changed since champion version 1")
    assert code_notes(champion, champion) == []
    (project / "one" / EXTRA_FOLDER / CODE_FILE).unlink()
    (older,) = code_notes(challenger, loaded(project / "one"))
    assert "does not carry its estimator's code" in older


@pytest.mark.parametrize("module", ["os.path", "sklearn.base", "flows.retrain"])
def test_code_of_a_module_that_is_not_the_users_is_not_run(project: Path, module: str) -> None:
    files = project / "model"
    stored(files)
    code = files / EXTRA_FOLDER / CODE_FILE
    code.write_text(json.dumps({**json.loads(code.read_text()), module: "raise SystemExit"}))
    with pytest.raises(UnsupportedModel, match=f"carries the module {module}"):
        loaded(files, trusted=(*TEAM, "sklearn", "flows"))
    assert (files / CARD_FILE).exists()
