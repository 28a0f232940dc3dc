"""Train a challenger on a dataset, and register it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ray_jobs.dataset import Dataset
from ray_jobs.features import FeaturesConfig
from ray_jobs.trainers.config import TrainerConfig
from registry.config import RegistryConfig


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """The run that a job works for, as it is recorded beside the model."""

    run_id: str
    """The run's id."""

    flow: str
    """The flow's name."""

    config_yaml: str = ""
    """The run's resolved config."""

    config_digest: str = ""
    """Its digest."""

    link: str | None = None
    """Where a person finds the run (console URL)."""


@dataclass(frozen=True, kw_only=True)
class Challenger:
    """A registered candidate: which rows made it, which rows may judge it, and how it did."""

    model: str
    """Registered model name."""

    version: int
    """Version in the registry."""

    mlflow_run_id: str
    """MLflow run with its parameters, metrics and files."""

    model_uri: str
    """MLflow model URI."""

    train_rows: int
    """Rows it was trained on."""

    train_from: datetime
    """Oldest event time trained on."""

    train_until: datetime
    """Newest event time trained on, included."""

    holdout_from: datetime
    """Oldest event time held out."""

    holdout_until: datetime
    """Newest event time held out, included."""

    holdout_rows: int
    """Rows held out."""

    definition: str
    """Digest of its feature definition."""

    metrics: dict[str, float]
    """Metrics of the fit (on training rows and of the search), by name."""

    device: str
    """"cpu" or "cuda"."""

    notes: tuple[str, ...] = ()
    """What a reader should know, such as "no GPU in the cluster: trained on CPU"."""

    params: dict[str, str]
    """Parameters of the fit, after the search."""

    task: str
    """"classification" or "regression"."""

    seconds: float
    """Seconds spent fitting."""

    seed: int
    """Seed of the fit."""


def train(
    dataset: Dataset,
    trainer: TrainerConfig,
    features: FeaturesConfig,
    *,
    model: str,
    registry: RegistryConfig,
    run: RunInfo,
    now: datetime,
    champion_train_until: datetime | None = None,
    allowed_modules: Sequence[str] = (),
) -> Challenger:
    """Fit `trainer` on the dataset's training rows and register the model as a challenger."""
    raise NotImplementedError
