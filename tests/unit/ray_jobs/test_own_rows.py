"""A model's own features come from the joined views as the night pinned them."""

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pytest

from feature_store import FeatureStoreConfig, FeatureView, Watermarks, connect
from ray_jobs.definition import FeatureDefinition, JoinDefinition
from ray_jobs.feature_code import FeatureCode
from ray_jobs.own_rows import _joined
from ray_jobs.references import Dataset, Source

VIEW = FeatureView(name="profile", entities=("id",), event_time="at", features=("age",))
MODEL = "churn"


@pytest.fixture
def config(tmp_path: Path) -> FeatureStoreConfig:
    """A store with a joined view of three versions, of which the second was set aside."""
    config = FeatureStoreConfig(uri=str(tmp_path), format="parquet")
    store = connect(config)
    store.create(VIEW)
    for age in (30.0, -999.0, 40.0):
        at = pa.array([datetime(2026, 1, 1, tzinfo=UTC)], pa.timestamp("us", tz="UTC"))
        store.append("profile", pa.table({"id": [1], "at": at, "age": [age]}))
    Watermarks(config).advance("profile", MODEL, 3, quarantine=(2,))
    return config


def definition() -> FeatureDefinition:
    join = JoinDefinition(
        view="profile", entities=("id",), event_time="at", columns=("age",), ttl_s=None, prefix=""
    )
    fields: dict[str, Any] = dict.fromkeys(("view", "event_time", "label", "engine"), "x")
    fields |= dict.fromkeys(("entities", "features", "columns", "slices"), ())
    code = FeatureCode(functions=(), modules={})
    return FeatureDefinition(**fields, joins=(join,), group=None, code=code)


def ages(config: FeatureStoreConfig, *sources: Source) -> list[Any]:
    store = connect(config)

    made_of = SimpleNamespace(sources=(Source(view="spine", version=1), *sources))
    dataset = cast("Dataset", made_of)
    (snapshot,) = _joined(definition(), dataset, store, Watermarks(config), MODEL)
    return store.read(snapshot, ["age"])["age"].to_pylist()


def test_the_version_that_the_dataset_was_made_of_is_read(config: FeatureStoreConfig) -> None:
    assert ages(config, Source(view="profile", version=1)) == [30.0]
    assert ages(config, Source(view="profile", version=3, excluded=(2,))) == [30.0, 40.0]


def test_a_view_that_only_the_other_model_joins_is_read_without_what_was_set_aside(
    config: FeatureStoreConfig,
) -> None:
    assert ages(config) == [30.0, 40.0]
