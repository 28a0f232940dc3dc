import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from feature_store import FeatureStore, FeatureStoreConfig, FeatureView, Snapshot, connect
from ray_jobs import Challenger, Dataset, FeaturesConfig, RunInfo, TrainerConfig, extract, train
from registry import RegistryConfig
from registry import connect as connect_registry
from registry.manifest import manifest_of
from registry.models import CARD_FILE, DIGEST_TAG

START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 6, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Workshop:
    """A feature store, a registry, an artifact store, and a project folder on the import path."""

    home: Path
    code: Path
    start: datetime = START
    now: datetime = NOW

    @property
    def feature_store(self) -> FeatureStoreConfig:
        return FeatureStoreConfig(uri=str(self.home / "features"), format="parquet")

    @property
    def store(self) -> FeatureStore:
        return connect(self.feature_store)

    @property
    def registry(self) -> RegistryConfig:
        return RegistryConfig(
            tracking_uri=f"sqlite:///{self.home / 'mlflow.db'}",
            ledger_url=f"sqlite:///{self.home / 'ledger.db'}",
        )

    @property
    def artifacts(self) -> str:
        return str(self.home / "artifacts")

    @staticmethod
    def rows(count: int, *, first: int = 0, seed: int = 0) -> pa.Table:
        """Rows one minute apart, whose class follows from the inputs with some noise."""
        rng = np.random.default_rng([seed, first])
        a, b = rng.normal(size=count), rng.normal(size=count)
        signal = a + b / 2 + rng.normal(size=count) * 0.4
        numbers = range(first, first + count)
        return pa.table(
            {
                "id": pa.array([number % 50 for number in numbers], pa.int64()),
                "at": pa.array(
                    [START + timedelta(minutes=number) for number in numbers],
                    pa.timestamp("us", tz="UTC"),
                ),
                "a": a,
                "b": b,
                "y": np.where(signal > 0, "up", "down"),
                "side": np.where(b > 0, "left", "right"),
            }
        )

    def lose(self, model: str, version: str) -> None:
        """Remove the files of a registered version."""
        with connect_registry(self.registry) as registry:
            digest = registry.models.version(model, version).tags[DIGEST_TAG]
        for card in list(self.home.rglob(CARD_FILE)):
            if manifest_of(card.parent).digest == digest:
                shutil.rmtree(card.parent)

    def write(self, name: str, text: str) -> str:
        """A module of the project; no other test has one of this name."""
        (self.code / f"{name}.py").write_text(text)
        return name

    @property
    def modules(self) -> list[str]:
        """Those that were written."""
        return [path.stem for path in self.code.glob("*.py")]

    def create(self, name: str, count: int = 0, *, label: str | None = "y") -> None:
        view = FeatureView(
            name=name, entities=("id",), event_time="at", features=("a", "b"), label=label
        )
        self.store.create(view, self.rows(1).schema)
        if count:
            self.store.append(name, self.rows(count))

    def extract(
        self,
        config: FeaturesConfig,
        *,
        exclude: tuple[int, ...] = (),
        joined: tuple[Snapshot, ...] | None = None,
    ) -> Dataset:
        snapshot = self.store.snapshot(config.view, exclude=exclude)
        return extract(
            snapshot,
            config,
            feature_store=self.feature_store,
            artifacts_uri=self.artifacts,
            allowed_modules=self.modules,
            joined=joined,
        )

    def train(
        self,
        dataset: Dataset,
        trainer: TrainerConfig,
        features: FeaturesConfig,
        *,
        model: str,
        run: str = "r1",
    ) -> Challenger:
        return train(
            dataset,
            trainer,
            features,
            model=model,
            registry=self.registry,
            run=RunInfo(run_id=run, flow="retrain"),
            now=NOW,
            allowed_modules=self.modules,
        )


@pytest.fixture(scope="module")
def workshop(
    tmp_path_factory: pytest.TempPathFactory, empty_mlflow: Path, warm_ray: Path
) -> Workshop:
    """A workshop of this module's own; the Ray beside it serves all modules of the process."""
    home = tmp_path_factory.mktemp("workshop")
    shutil.copy(empty_mlflow, home / "mlflow.db")
    return Workshop(home, warm_ray)
