"""One feature store of each kind, empty, and rows to put into it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from feature_store import FeatureStore, FeatureStoreConfig, FeatureView, connect

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(params=["delta", "parquet"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> FeatureStoreConfig:
    return FeatureStoreConfig(uri=str(tmp_path / "features"), format=request.param)


@pytest.fixture
def view() -> FeatureView:
    return FeatureView(
        name="meter", entities=("id",), event_time="at", features=("load",), label="peak"
    )


@pytest.fixture
def rows() -> Callable[..., pa.Table]:
    """Rows of a given day: `rows(3, day=1)`; ids count from `first`."""

    def make(count: int, *, day: int = 0, first: int = 0) -> pa.Table:
        return pa.table(
            {
                "id": pa.array(range(first, first + count), pa.int64()),
                "at": pa.array(
                    [START + timedelta(days=day, microseconds=i) for i in range(count)],
                    pa.timestamp("us", tz="UTC"),
                ),
                "load": pa.array([i / 2 for i in range(count)], pa.float64()),
                "peak": pa.array(["no", "yes"] * count, pa.string())[:count],
            }
        )

    return make


@pytest.fixture
def store(
    config: FeatureStoreConfig, view: FeatureView, rows: Callable[..., pa.Table]
) -> FeatureStore:
    """A store with the view `meter` declared and no rows."""
    opened = connect(config)
    opened.create(view, rows(1).schema)
    return opened
