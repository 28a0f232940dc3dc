import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ray_jobs import (
    Dataset,
    FeaturesConfig,
    HoldoutConfig,
    NotEnoughResources,
    SearchConfig,
    TrainerConfig,
    UnfitData,
)
from ray_jobs.dataset import read
from ray_jobs.trainers.config import Interval, TrainerKind
from ray_jobs.trainers.scoring import predictions
from ray_jobs.training_errors import TrainingFailed, WorkerLost
from registry import connect

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    # Ray Train sets deprecated settings of Ray Data itself.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
]

FEATURES = FeaturesConfig(view="rows", holdout=HoldoutConfig(fraction=0.25, min_rows=100))
FOREST = TrainerConfig(
    estimator="sklearn.ensemble.RandomForestClassifier", params={"n_estimators": 10}, seed=5
)
TORCH = TrainerConfig(
    kind=TrainerKind.TORCH,
    estimator="ray_jobs.trainers.network:mlp",
    params={"epochs": 4, "batch_size": 64, "hidden": [8], "learning_rate": 0.01},
)


@pytest.fixture(scope="module")
def dataset(workshop: Any) -> Dataset:
    workshop.create("rows", 800)
    made: Dataset = workshop.extract(FEATURES)
    return made


def test_a_challenger_is_registered_with_everything_that_made_it(
    workshop: Any, dataset: Dataset
) -> None:
    challenger = workshop.train(dataset, FOREST, FEATURES, model="plain")
    assert (challenger.train_rows, challenger.holdout_rows) == (600, 200)
    assert challenger.train_until == workshop.start + timedelta(minutes=599)
    assert challenger.holdout_from == workshop.start + timedelta(minutes=600)
    assert (challenger.version, challenger.device, challenger.task) == (
        "1",
        "cpu",
        "classification",
    )
    assert challenger.metrics["train_accuracy"] > 0.9
    with connect(workshop.registry) as registry:
        version = registry.models.version("plain", "1")
        loaded = registry.load("plain", "1")
    assert version.mlflow_run_id == challenger.mlflow_run_id
    assert version.tags["ratchet.train_until"] == challenger.train_until.isoformat()
    assert version.tags["ratchet.dataset"] == dataset.digest
    assert loaded.features == ("a", "b")
    assert json.loads(loaded.extra("features.json"))["view"] == "rows"


def test_training_again_in_the_same_run_gives_the_same_version(
    workshop: Any, dataset: Dataset
) -> None:
    first = workshop.train(dataset, FOREST, FEATURES, model="again")
    second = workshop.train(dataset, FOREST, FEATURES, model="again")
    assert second.version == first.version == "1"


def test_another_run_with_the_same_data_and_config_gives_the_same_model(
    workshop: Any, dataset: Dataset
) -> None:
    inputs = read(dataset, ["a", "b"])
    found = []
    for run in ("same-1", "same-2"):
        challenger = workshop.train(dataset, FOREST, FEATURES, model="same", run=run)
        with connect(workshop.registry) as registry:
            found.append(predictions(registry.load("same", challenger.version), inputs))
    assert challenger.version == "2"
    assert (found[0] == found[1]).all()


def test_a_search_refits_the_winner_and_logs_every_trial(workshop: Any, dataset: Dataset) -> None:
    space: dict[str, Any] = {
        "max_depth": (1, 6),
        "n_estimators": Interval(low=5, high=9, integer=True),
    }
    trainer = TrainerConfig(
        estimator=FOREST.estimator,
        params={"min_samples_leaf": 2},
        search=SearchConfig(space=space, trials=3, folds=2),
    )
    challenger = workshop.train(dataset, trainer, FEATURES, model="searched", run="search")
    assert challenger.params["min_samples_leaf"] == "2"
    assert set(challenger.params) == {"min_samples_leaf", "max_depth", "n_estimators"}
    client = _client(workshop)
    history = client.get_metric_history(challenger.mlflow_run_id, "trial_accuracy")
    assert len(history) == 3
    assert challenger.metrics["search_accuracy"] == max(point.value for point in history)


def test_gpus_that_do_not_exist_are_refused_unless_cpu_will_do(
    workshop: Any, dataset: Dataset
) -> None:
    pytest.importorskip("torch", reason="an optional trainer")
    asks = {"kind": TORCH.kind, "estimator": TORCH.estimator, "params": TORCH.params}
    with pytest.raises(NotEnoughResources, match="4 GPUs"):
        workshop.train(dataset, TrainerConfig(**asks, num_gpus=4), FEATURES, model="gpu")
    willing = TrainerConfig(**asks, num_gpus=4, allow_cpu=True)
    challenger = workshop.train(dataset, willing, FEATURES, model="gpu", run="gpu")
    assert challenger.device == "cpu"
    assert challenger.notes == ("4 GPUs asked for, 0 in the cluster: trained on CPU",)


def test_workers_that_can_never_run_side_by_side_are_refused(
    workshop: Any, dataset: Dataset
) -> None:
    pytest.importorskip("torch", reason="an optional trainer")
    crowd = TrainerConfig(
        kind=TORCH.kind, estimator=TORCH.estimator, params=TORCH.params, workers=3
    )
    with pytest.raises(NotEnoughResources, match="3 training workers ask for 3 CPUs and 0 GPUs"):
        workshop.train(dataset, crowd, FEATURES, model="crowd")


def test_an_estimator_of_the_projects_own_is_found_on_the_workers(
    workshop: Any, dataset: Dataset
) -> None:
    module = workshop.write(
        "own_models",
        """
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

class Patient(LogisticRegression):
    pass

def pipeline(C=1.0):
    return make_pipeline(StandardScaler(), Patient(C=C))
""",
    )
    trainer = TrainerConfig(estimator=f"{module}:pipeline", params={"C": 0.5})
    challenger = workshop.train(dataset, trainer, FEATURES, model="own", run="own")
    with connect(workshop.registry) as registry:
        loaded = registry.load("own", challenger.version)
    assert type(loaded.estimator[-1]).__name__ == "Patient"


def test_an_estimator_that_refuses_is_named_and_a_dying_worker_is_not_the_config(
    workshop: Any, dataset: Dataset
) -> None:
    broken = TrainerConfig(estimator=FOREST.estimator, params={"max_depth": "deep"})
    with pytest.raises(TrainingFailed, match="RandomForestClassifier could not be fitted"):
        workshop.train(dataset, broken, FEATURES, model="broken", run="broken")
    module = workshop.write(
        "dying_models",
        """
import os
from sklearn.dummy import DummyClassifier

class Dying(DummyClassifier):
    def fit(self, X, y):
        os.kill(os.getpid(), 9)
""",
    )
    dying = TrainerConfig(estimator=f"{module}:Dying")
    with pytest.raises(WorkerLost) as caught:
        workshop.train(dataset, dying, FEATURES, model="dying", run="dying")
    assert not caught.value.permanent


def test_labels_of_one_class_and_missing_labels_are_unfit(workshop: Any) -> None:
    for name, label in (("one_class", "up"), ("no_label", None)):
        workshop.create(name)
        table = workshop.rows(400)
        labels = pa.array([label] * 300 + ["up", "down"] * 50, pa.string())
        workshop.store.append(name, table.set_column(table.column_names.index("y"), "y", labels))
        features = FeaturesConfig(view=name, holdout=HoldoutConfig(fraction=0.25, min_rows=10))
        made = workshop.extract(features)
        with pytest.raises(UnfitData, match=r"one class only|have no label"):
            workshop.train(made, FOREST, features, model=name)


@pytest.mark.alone
def test_two_torch_workers_go_on_from_the_checkpoint_when_one_is_killed(
    workshop: Any, dataset: Dataset
) -> None:
    pytest.importorskip("torch", reason="an optional trainer")
    notes = workshop.home / "epochs.txt"
    module = workshop.write(
        "fragile_networks",
        f"""
import os, pathlib
import ray.train
from torch import nn

NOTES = pathlib.Path({str(notes)!r})

class Fragile(nn.Module):
    def __init__(self, inputs, outputs, dies):
        super().__init__()
        self.layer = nn.Linear(inputs, outputs)
        self.dies = dies
        self.batches = 0

    def forward(self, rows):
        if self.training:
            self.count()
        return self.layer(rows)

    def count(self):
        self.batches += 1
        rank = ray.train.get_context().get_world_rank()
        if self.dies:
            with NOTES.open("a") as file:
                file.write(f"{{rank}}\\n")
        if self.dies and rank == 1 and self.batches == 16:  # 5 batches an epoch: in the fourth
            if not NOTES.with_suffix(".killed").exists():
                NOTES.with_suffix(".killed").touch()
                os.kill(os.getpid(), 9)

def fragile(inputs, outputs, dies=True):
    return Fragile(inputs, outputs, dies)
""",
    )

    def trainer(**params: Any) -> TrainerConfig:
        return TrainerConfig(
            kind=TrainerKind.TORCH,
            estimator=f"{module}:fragile",
            params={"epochs": 6, "batch_size": 120, "learning_rate": 0.1, **params},
            rehearsal_rows=0,  # it asks for its rank, and a rehearsal has none
            workers=2,
            num_cpus=1,
        )

    killed = workshop.train(dataset, trainer(), FEATURES, model="fragile", run="killed")
    assert notes.with_suffix(".killed").exists()
    batches = notes.read_text().count("1\n")
    assert 30 < batches < 16 + 30, "it went on from a checkpoint, not from the beginning"
    whole = workshop.train(dataset, trainer(dies=False), FEATURES, model="whole", run="whole")
    inputs = read(dataset, ["a", "b"])
    with connect(workshop.registry) as registry:
        found = [predictions(registry.load(c.model, c.version), inputs) for c in (killed, whole)]
    assert (found[0] == found[1]).all(), "an interrupted training ends in the same model"
    assert killed.metrics["train_accuracy"] > 0.8
    assert not list((Path(dataset.uri) / "checkpoints").iterdir())


@pytest.mark.alone
def test_two_xgboost_workers_make_one_booster(workshop: Any, dataset: Dataset) -> None:
    pytest.importorskip("xgboost", reason="an optional trainer")
    trainer = TrainerConfig(
        kind=TrainerKind.XGBOOST,
        estimator="xgboost.XGBClassifier",
        params={"n_estimators": 12, "max_depth": 3},
        workers=2,
        checkpoint_every=5,
    )
    challenger = workshop.train(dataset, trainer, FEATURES, model="boosted", run="boosted")
    assert challenger.metrics["train_accuracy"] > 0.8
    with connect(workshop.registry) as registry:
        loaded = registry.load("boosted", challenger.version)
    assert loaded.classes == ("down", "up")
    assert loaded.estimator.get_booster().num_boosted_rounds() == 12


def _client(workshop: Any) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=workshop.registry.tracking_uri)
