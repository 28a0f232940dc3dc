"""The flow's promotion when the champion changes after the comparison: halted, and said so."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from feature_store import FeatureStoreConfig, Watermarks
from flows.core import values
from flows.core.context import Account, TaskContext, entered
from flows.core.errors import Halt
from flows.retrain import promote
from flows.settings import Settings, StoreConfig
from ray_jobs import Dataset, RayConfig
from registry import Decision, Registry, RegistryConfig, Verdict, connect

NOW = datetime(2026, 5, 1, 3, tzinfo=UTC)
DATASET = Dataset(
    uri="file:///nowhere", digest="d", rows=1000, new_rows=1000, view="numbers", version=7,
    watermark=NOW, columns=("a",), label="y", event_time="at", definition="d", parts=1,
)  # fmt: skip


@pytest.fixture
def settings(tmp_path: Path, empty_mlflow: Path) -> Settings:
    shutil.copy(empty_mlflow, tmp_path / "mlflow.db")
    return Settings(
        project=str(tmp_path),
        home=str(tmp_path),
        artifacts=f"{tmp_path}/artifacts",
        store=StoreConfig(url="sqlite://"),
        feature_store=FeatureStoreConfig(uri=f"{tmp_path}/features"),
        registry=RegistryConfig(
            tracking_uri=f"sqlite:///{tmp_path}/mlflow.db",
            ledger_url=f"sqlite:///{tmp_path}/ledger.db",
        ),
        ray=RayConfig(),
    )


@pytest.fixture
def models(settings: Settings) -> Iterator[Registry]:
    """Two versions, and no champion yet."""
    with connect(settings.registry) as opened:
        client = opened.tracking._seam.client
        client.create_registered_model("digits")
        for _ in range(2):
            client.create_model_version("digits", "file:///nowhere")
        yield opened


def verdict(models: Registry, version: str, run: str) -> Verdict:
    """It is better than no champion."""
    tracked = models.tracking.open_run(run, "retrain", config_yaml="", config_digest="d")
    return Verdict(
        model="digits", challenger=version, champion=None, epoch=0, decision=Decision.PROMOTE,
        promote=True, reason="It is better.", metric="accuracy", challenger_score=0.9, baseline=0.8,
        difference=0.1, low=0.05, high=0.15, confidence=0.95, rows=1000, rules=(), run_id=run,
        mlflow_run_id=tracked.mlflow_run_id,
    )  # fmt: skip


def carried_out(settings: Settings, found: Verdict) -> Account:
    """What the flow's task `promote` says of itself."""
    run = found.run_id
    context = TaskContext(
        run_id=run, flow="retrain", task="promote", attempt=1, attempt_id=f"{run}.promote.1",
        config_text=values.dumps(settings),
    )  # fmt: skip
    with entered(context) as account:
        promote.function(found, DATASET)
    return account


def test_who_loses_the_race_halts_with_the_reason_and_leaves_no_trace(
    settings: Settings, models: Registry
) -> None:
    won, lost = verdict(models, "1", "r1"), verdict(models, "2", "r2")
    assert carried_out(settings, won).assets["model:digits"].version == "1"
    with pytest.raises(Halt) as halted:
        carried_out(settings, lost)
    reason = (
        "The champion changed meanwhile. Version 2 of digits was compared with the champion of "
        "epoch 0, but it is version 1 (epoch 1)."
    )
    assert halted.value.reason == reason
    assert halted.value.hint == "ratchet run retrain again=true"
    assert [entry.version for entry in models.entries("digits")] == ["1"]
    ended = models.tracking._seam.client.get_run(lost.mlflow_run_id)
    assert ended.info.status == "FINISHED"
    assert ended.data.tags["ratchet.status"] == "halted"
    assert ended.data.tags["ratchet.reason"] == reason


def test_who_loses_has_decided_on_no_data(settings: Settings, models: Registry) -> None:
    lost = verdict(models, "2", "r2")
    models.promote(verdict(models, "1", "r1"), actor="somebody", now=NOW)
    with pytest.raises(Halt):
        carried_out(settings, lost)
    assert Watermarks(settings.feature_store).get("numbers", "digits") is None
    assert len(models.entries("digits")) == 1


def test_who_has_won_wins_again_when_the_run_is_repeated_after_another(
    settings: Settings, models: Registry
) -> None:
    won = verdict(models, "1", "r1")
    carried_out(settings, won)
    models.rollback("digits", "2", actor="ann", reason="too slow", now=NOW, force=True)
    carried_out(settings, won)
    assert [entry.version for entry in models.entries("digits")] == ["1", "2"]
