"""Extract a training set from a snapshot, distributed over Ray, reading only what is new."""

from __future__ import annotations

from collections.abc import Sequence

from ray_jobs.dataset import Dataset
from ray_jobs.features import FeaturesConfig

from feature_store import FeatureStoreConfig, Snapshot


def extract(
    snapshot: Snapshot,
    config: FeaturesConfig,
    *,
    feature_store: FeatureStoreConfig,
    artifacts_uri: str,
    allowed_modules: Sequence[str] = (),
) -> Dataset:
    raise NotImplementedError
