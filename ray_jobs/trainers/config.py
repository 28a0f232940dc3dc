"""How a model is trained, as configuration: estimator, parameters, resources, search."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class TrainerKind(StrEnum):
    """The family of the estimator: how it is fitted, saved and loaded."""

    SKLEARN = "sklearn"
    """Anything with scikit-learn's fit and predict; one worker."""

    XGBOOST = "xgboost"
    """XGBoost's scikit-learn estimators; several workers share one booster."""

    TORCH = "torch"
    """A function that builds a torch module; several workers train it data-parallel."""


class Task(StrEnum):
    """What is predicted."""

    AUTO = "auto"
    """Decided by the estimator, else by the label's type: floats mean regression."""

    CLASSIFICATION = "classification"
    """One of several classes."""

    REGRESSION = "regression"
    """A number."""


class SearchKind(StrEnum):
    """How candidates are drawn from the space."""

    RANDOM = "random"
    """`trials` draws with the trainer's seed."""

    GRID = "grid"
    """Every combination of the listed values, in order, at most `trials` of them."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A range of numbers to draw from."""

    low: float
    """Smallest value, included."""

    high: float
    """Largest value, included."""

    log: bool = False
    """Draw evenly on a logarithmic scale."""

    integer: bool = False
    """Draw whole numbers."""


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """A hyper-parameter search: each trial is a plain Ray task over k folds by time."""

    space: dict[str, tuple[Any, ...] | Interval]
    """Parameter name -> values to choose from, or an interval."""

    kind: SearchKind = SearchKind.RANDOM
    """How candidates are drawn."""

    trials: int = 20
    """How many candidates are tried."""

    metric: str | None = None
    """What the winner is best at; None: accuracy for classes, mae for numbers."""

    folds: int = 3
    """Validation windows; each is trained on the rows before it."""

    parallel: int | None = None
    """Trials at a time; None: as many as the cluster holds."""

    def __post_init__(self) -> None:
        if self.trials < 1 or self.folds < 1:
            raise ValueError(
                f"trials is {self.trials} and folds is {self.folds}; each must be at least 1"
            )


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """A trainer: which estimator, with which parameters, on which resources."""

    kind: TrainerKind = TrainerKind.SKLEARN
    """The family of the estimator."""

    estimator: str = field(
        default="sklearn.ensemble.HistGradientBoostingClassifier", metadata={"names": "code"}
    )
    """Dotted path of the estimator's class, or of a function that builds it."""

    task: Task = Task.AUTO
    """What is predicted."""

    params: dict[str, Any] = field(default_factory=dict)
    """Arguments of the estimator; for torch also epochs, batch_size, learning_rate, ..."""

    seed: int = 0
    """Same data, config and seed give the same model."""

    num_cpus: float = 1
    """CPU cores of each worker."""

    num_gpus: float = 0
    """GPUs of each worker."""

    allow_cpu: bool = False
    """Train on CPU, and say so, when the cluster has no GPU."""

    memory: float | None = None
    """GiB of memory of each worker, which Ray keeps free for it; None: not asked for."""

    rehearsal_rows: int = 200
    """Rows of the rehearsal that finds what cannot be fitted or stored; 0: no rehearsal."""

    validation: float = 0.1
    """Share of the training rows, the newest, that `params.early_stopping_rounds` is judged by."""

    workers: int = 1
    """Workers that train one model together (Ray Train when more than 1)."""

    max_failures: int = 1
    """How often a distributed training goes on from its checkpoint after losing a worker."""

    checkpoint_every: int = 1
    """Epochs (torch) or boosting rounds (xgboost) between checkpoints, with several workers."""

    search: SearchConfig | None = None
    """Hyper-parameter search before the fit; None: `params` as they are."""

    def __post_init__(self) -> None:
        """Refuse what would fail only once the data has been extracted for it."""
        if self.workers < 1:
            raise ValueError(f"workers is {self.workers}, and must be at least 1")
        if self.num_cpus < 0 or self.num_gpus < 0:
            raise ValueError("num_cpus and num_gpus must be at least 0")
        if self.memory is not None and self.memory <= 0:
            raise ValueError(f"memory is {self.memory}, and must be more than 0 (GiB)")
        if self.rehearsal_rows < 0:
            raise ValueError(f"rehearsal_rows is {self.rehearsal_rows}; 0 means no rehearsal")
        if not 0 < self.validation < 1:
            raise ValueError(f"validation is {self.validation}, and must be between 0 and 1")
