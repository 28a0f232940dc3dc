"""Compare the challenger with the champion on the same held-out rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from feature_store import FeatureStoreConfig
from ray_jobs.dataset import Dataset
from ray_jobs.features import FeaturesConfig
from ray_jobs.train import Challenger, RunInfo
from registry.config import RegistryConfig
from registry.gate import GateConfig, Verdict


def evaluate(
    challenger: Challenger,
    dataset: Dataset,
    gate: GateConfig,
    features: FeaturesConfig,
    *,
    registry: RegistryConfig,
    feature_store: FeatureStoreConfig,
    run: RunInfo,
    now: datetime,
    allowed_modules: Sequence[str] = (),
) -> Verdict:
    raise NotImplementedError
