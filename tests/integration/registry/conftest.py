"""A real MLflow on SQLite for each test, copied from one that was initialised once."""

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from registry import FittedModel, Flavor, Registry, RegistryConfig, Verdict, connect
from registry.verdict import Decision

ROWS = 300
X = np.random.default_rng(0).normal(size=(ROWS, 3))
Y = (X[:, 0] + X[:, 1] > 0).astype(int)
TABLE = pa.table({"id": np.arange(ROWS), "a": X[:, 0], "b": X[:, 1], "c": X[:, 2]})


@pytest.fixture
def config(tmp_path: Path, empty_mlflow: Path) -> RegistryConfig:
    shutil.copy(empty_mlflow, tmp_path / "mlflow.db")
    return RegistryConfig(
        tracking_uri=f"sqlite:///{tmp_path}/mlflow.db", ledger_url=f"sqlite:///{tmp_path}/ledger.db"
    )


@pytest.fixture
def registry(config: RegistryConfig) -> Iterator[Registry]:
    with connect(config) as opened:
        yield opened


@pytest.fixture
def mlflow_run(registry: Registry) -> str:
    run = registry.tracking.open_run("run-0", "retrain", config_yaml="a: 1\n", config_digest="d")
    return run.mlflow_run_id


@pytest.fixture
def logistic() -> Callable[..., FittedModel]:
    """A fitted logistic regression, with changes by keyword."""
    from sklearn.linear_model import LogisticRegression

    def make(**changes: Any) -> FittedModel:
        fitted: dict[str, Any] = {
            "flavor": Flavor.SKLEARN,
            "estimator": LogisticRegression().fit(X, Y),
            "features": ("a", "b", "c"),
            "example": TABLE,
        }
        return FittedModel(**{**fitted, **changes})

    return make


@pytest.fixture
def versions(registry: Registry) -> Callable[[int], list[str]]:
    """Registers so many empty versions of `digits`: for tests that never load them."""

    def make(count: int) -> list[str]:
        client = registry.tracking._seam.client
        client.create_registered_model("digits")
        made = [client.create_model_version("digits", "file:///nowhere") for _ in range(count)]
        return [str(version.version) for version in made]

    return make


@pytest.fixture
def verdict() -> Callable[..., Verdict]:
    """A verdict on one version, reached against the champion of one epoch."""

    def make(version: str, epoch: int, run: str | None = None, promote: bool = True) -> Verdict:
        return Verdict(
            model="digits",
            challenger=version,
            champion=None if epoch == 0 else "1",
            epoch=epoch,
            decision=Decision.PROMOTE if promote else Decision.HOLD,
            promote=promote,
            reason="It is better.",
            metric="accuracy",
            challenger_score=0.9,
            baseline=0.8,
            difference=0.1,
            low=0.05,
            high=0.15,
            confidence=0.95,
            rows=1000,
            rules=(),
            run_id=run or f"run-{version}",
            mlflow_run_id="",
        )

    return make


@pytest.fixture
def now() -> datetime:
    return datetime(2026, 5, 1, 3, 0, tzinfo=UTC)


@pytest.fixture
def table() -> pa.Table:
    """The rows that every model of these tests was fitted on, and a column too many."""
    return TABLE


@pytest.fixture
def inputs() -> np.ndarray:
    return X


@pytest.fixture
def labels() -> np.ndarray:
    return Y
