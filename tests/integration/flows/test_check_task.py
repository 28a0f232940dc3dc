"""The flow's check: new rows that fail go into quarantine; older labels only halt the run."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from feature_store import ChecksConfig, FeatureStoreConfig, FeatureView, Watermarks, connect
from flows.core import values
from flows.core.context import TaskContext, entered
from flows.core.errors import Halt
from flows.retrain import check, poll
from flows.settings import Settings, StoreConfig
from ray_jobs import FeaturesConfig, RayConfig
from registry import RegistryConfig

VIEW = FeatureView(name="meter", entities=("id",), event_time="at", features=("load",), label="y")
FEATURES = FeaturesConfig(view="meter", label_delay=timedelta(days=2))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        project=str(tmp_path),
        home=str(tmp_path),
        artifacts=f"{tmp_path}/artifacts",
        store=StoreConfig(url="sqlite://"),
        feature_store=FeatureStoreConfig(uri=f"{tmp_path}/features", format="parquet"),
        registry=RegistryConfig(tracking_uri="sqlite://", ledger_url="sqlite://"),
        ray=RayConfig(),
    )


def rows(days_ago: float, load: list[Any], y: list[Any]) -> pa.Table:
    at = datetime.now(UTC) - timedelta(days=days_ago)
    return pa.table(
        {
            "id": pa.array(range(len(y)), pa.int64()),
            "at": pa.array([at] * len(y), pa.timestamp("us", tz="UTC")),
            "load": pa.array(load, pa.float64()),
            "y": pa.array(y, pa.bool_()),
        }
    )


def checked(settings: Settings) -> None:
    """A run's tasks `poll` and `check`."""
    context = TaskContext(
        run_id="r", flow="retrain", task="check", attempt=1, attempt_id="r.check.1",
        config_text=values.dumps(settings),
    )  # fmt: skip
    with entered(context):
        snapshot = poll.function(FEATURES, "digits")
        check.function(snapshot, ChecksConfig(), FEATURES, "digits")


def test_bad_labels_that_matured_halt_the_run_and_new_rows_are_not_to_blame(
    settings: Settings,
) -> None:
    store = connect(settings.feature_store)
    store.create(VIEW, rows(0, [1.0], [True]).schema)
    watermarks = Watermarks(settings.feature_store)
    store.append("meter", rows(3, [1.0, 2.0], [None, None]))
    store.append("meter", rows(2.5, [1.0, 2.0], [True, False]))
    watermarks.advance("meter", "digits", 2)
    store.append("meter", rows(0, [1.0, 2.0], [None, None]))
    for _ in range(2):
        with pytest.raises(Halt, match=r"50\.0 % null in the rows that matured since") as halted:
            checked(settings)
        assert "mend these labels" in str(halted.value.hint)
    seen = watermarks.get("meter", "digits")
    assert seen is not None
    assert (seen.version, seen.quarantine) == (2, ())
    store.append("meter", rows(0, [None, 2.0], [None, None]))
    with pytest.raises(Halt, match=r"column load: 25\.0 % null in the new rows"):
        checked(settings)
    seen = watermarks.get("meter", "digits")
    assert seen is not None
    assert (seen.version, seen.quarantine) == (4, (3, 4))
