"""What flows hand from task to task: what jobs made, and where it is; never the data itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class Source:
    """A view version that went into a dataset."""

    view: str
    version: int

    table: str | None = None
    """Id of its table; None: not known."""

    excluded: tuple[int, ...] = ()
    """Quarantined versions of it that were left out."""

    watermark: datetime | None = None
    """Newest event time in it, or None when there is none."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A reference to a training set: what it was made of, never the rows themselves."""

    uri: str
    """Folder with manifest.json."""

    digest: str
    """Content digest: same inputs, same digest (sha256, hex)."""

    rows: int
    """Rows in the dataset."""

    new_rows: int
    """Rows from the versions after the snapshot's `since`."""

    view: str
    """The view it was extracted from."""

    version: int
    """The view's version."""

    excluded: tuple[int, ...] = ()
    """Quarantined versions that were left out."""

    watermark: datetime | None = None
    """Newest event time in the snapshot."""

    columns: tuple[str, ...]
    """Model inputs, in order."""

    label: str
    """Column to predict."""

    event_time: str
    """Column with the time of each row."""

    definition: str
    """Digest of the feature definition and its source code."""

    parts: int
    """Number of Parquet parts."""

    reused: int = 0
    """Parts that an earlier extraction had made."""

    sources: tuple[Source, ...] = ()
    """Versions of the view and of the joined ones, in the order of the joins."""


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

    version: str
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

    labels_until: datetime | None = None
    """Only newer rows may judge it: `train_until` and the gap; None: from before gaps were kept."""

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
