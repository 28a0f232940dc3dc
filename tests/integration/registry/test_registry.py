"""The whole registry: train, compare, promote, export, roll back, as flows do it."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from registry import (
    Comparison,
    ExportFailed,
    FittedModel,
    GateConfig,
    Registry,
    RegistryConfig,
    connect,
    decide,
)


@pytest.fixture
def exporting(config: RegistryConfig, tmp_path: Path) -> Iterator[Registry]:
    with connect(replace(config, export_uri=str(tmp_path / "live"))) as opened:
        yield opened


def test_two_nights_a_promotion_an_export_and_a_rollback(
    exporting: Registry,
    logistic: Callable[..., FittedModel],
    table: pa.Table,
    inputs: np.ndarray,
    labels: np.ndarray,
    now: datetime,
    tmp_path: Path,
) -> None:
    from sklearn.dummy import DummyClassifier

    weak = DummyClassifier(strategy="prior").fit(inputs, labels)
    for night, fitted in enumerate([logistic(estimator=weak), logistic()]):
        run = exporting.tracking.open_run(
            f"night-{night}", "retrain", config_yaml="", config_digest="d"
        )
        made = exporting.register("digits", fitted, mlflow_run_id=run.mlflow_run_id, key=run.run_id)
        challenger = exporting.load("digits", made.version)
        champion, status = exporting.load_champion("digits"), exporting.champion("digits")
        comparison = Comparison(
            y=labels,
            challenger=challenger.predict_proba(table),
            classes=challenger.classes,
            champion=None if champion is None else champion.predict_proba(table),
            champion_classes=None if champion is None else champion.classes,
        )
        verdict = decide(
            comparison,
            GateConfig(metric="log_loss", floors={"accuracy": 0.3}),
            model="digits",
            challenger=made.version,
            champion=status.version,
            epoch=status.epoch,
            run_id=run.run_id,
            mlflow_run_id=run.mlflow_run_id,
        )
        exporting.record_verdict(verdict, comparison)
        exporting.promote(verdict, actor="retrain", now=now)
    pointer = tmp_path / "live" / "digits" / "CURRENT.json"
    assert json.loads(pointer.read_text())["version"] == "2"
    exporting.rollback("digits", actor="ann", reason="complaints", now=now)
    assert json.loads(pointer.read_text())["version"] == "1"
    history = [(e.epoch, e.version, e.action.value) for e in exporting.entries("digits")]
    assert history == [(1, "1", "promote"), (2, "2", "promote"), (3, "1", "rollback")]
    shown = exporting.entries("digits")[1].to_json()
    assert shown["verdict"]["promote"] is True
    assert shown["verdict"]["baseline"] == pytest.approx(verdict.baseline)
    assert exporting.ledger_models() == ("digits",)


def test_a_failed_export_leaves_the_promotion_and_is_made_good_by_a_repeat(
    exporting: Registry,
    mlflow_run: str,
    logistic: Callable[..., FittedModel],
    verdict: Callable[..., object],
    now: datetime,
    tmp_path: Path,
) -> None:
    made = exporting.register("digits", logistic(), mlflow_run_id=mlflow_run, key="k")
    (tmp_path / "live").write_text("a file in the way")
    judged = verdict(made.version, 0)
    with pytest.raises(ExportFailed) as caught:
        exporting.promote(judged, actor="me", now=now)  # type: ignore[arg-type]
    assert not caught.value.permanent
    assert exporting.champion("digits").version == "1"
    (tmp_path / "live").unlink()
    exporting.promote(judged, actor="me", now=now)  # type: ignore[arg-type]
    assert (tmp_path / "live" / "digits" / "v1" / "MANIFEST.json").exists()
    assert len(exporting.entries("digits")) == 1


def test_connecting_opens_nothing(tmp_path: Path) -> None:
    path = tmp_path / "nothing"
    with connect(
        RegistryConfig(tracking_uri=f"sqlite:///{path}/m.db", ledger_url=f"sqlite:///{path}/l.db")
    ):
        assert not path.exists()


def test_threads_that_open_a_registry_at_once_share_one_database(registry: Registry) -> None:
    engines: list[object] = []
    start = threading.Barrier(4)

    def first_use() -> None:
        start.wait()
        registry.entries("digits")
        engines.append(registry._engine)

    threads = [threading.Thread(target=first_use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(engines) == 4
    assert len(set(map(id, engines))) == 1
