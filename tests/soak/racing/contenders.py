"""A small training loop, whose runs all make challengers of one model, and the real promotion."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

import registry
from flows.core.context import current
from flows.core.flow import flow, task, when
from flows.retrain import FLAKY, halt, promote
from flows.settings import Settings
from ray_jobs import Dataset
from registry import Baseline, Comparison, FittedModel, Flavor, GateConfig, GateMode, Verdict
from registry.gate import decide

MODEL = "contested"
NAMES = ("a", "b", "c")
GATE = GateConfig(mode=GateMode.SINGLE_NIGHT, baseline=Baseline.CONSTANT, margin=0.1)
"""For a team that wants freshness: whoever is proven to be no worse takes the champion's place."""


@dataclass(frozen=True, kw_only=True)
class ContendConfig:
    """conf/flow/contend.yaml, typed."""

    number: int  # the challenger's


def rows(seed: int, count: int) -> tuple[pa.Table, Any]:
    """Inputs, and the label of each: noisy, so that no model is perfect."""
    chance = np.random.default_rng(seed)
    x = chance.normal(size=(count, len(NAMES)))
    y = (x[:, 0] + x[:, 1] + chance.normal(scale=0.5, size=count) > 0).astype(int)
    return pa.table(dict(zip(NAMES, x.T, strict=True))), y


@task(retry=FLAKY)
def gather(number: int) -> Dataset:
    """What the challenger is trained on: 400 rows that its number makes."""
    table, y = rows(number, 400)
    content = b"".join(column.to_numpy().tobytes() for column in table.columns) + y.tobytes()
    return Dataset(
        uri="memory:contested",
        digest=hashlib.sha256(content).hexdigest(),
        rows=len(y),
        new_rows=len(y),
        view=MODEL,
        version=number,
        watermark=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number),
        columns=NAMES,
        label="y",
        event_time="at",
        definition="",
        parts=1,
    )


@task(retry=FLAKY)
def challenge(dataset: Dataset) -> str:
    """Train a challenger and register it, once, however often its number is run."""
    from sklearn.linear_model import LogisticRegression

    table, y = rows(dataset.version, dataset.rows)
    inputs = np.column_stack([table[name].to_numpy() for name in NAMES])
    fitted = FittedModel(
        flavor=Flavor.SKLEARN,
        estimator=LogisticRegression().fit(inputs, y),
        features=NAMES,
        example=table.slice(0, 5),
    )
    with registry.connect(Settings.of(current().config).registry) as models:
        made = models.register(
            MODEL, fitted, mlflow_run_id=_tracked(models), key=f"challenger {dataset.version}"
        )
    return made.version


@task(retry=FLAKY)
def compare(version: str) -> Verdict:
    """The gate's verdict on the challenger and the champion as it is now, on the same rows."""
    table, y = rows(0, 1000)
    with registry.connect(Settings.of(current().config).registry) as models:
        live = models.champion(MODEL)
        champion = None if live.version is None else models.load(MODEL, live.version)
        comparison = Comparison(
            y=y,
            challenger=models.load(MODEL, version).predict(table),
            champion=None if champion is None else champion.predict(table),
            constant=np.ones_like(y) if champion is None else None,
        )
        return decide(
            comparison,
            GATE,
            model=MODEL,
            challenger=version,
            champion=live.version,
            epoch=live.epoch,
            run_id=current().run_id,
            mlflow_run_id=_tracked(models),
        )


@flow(config="contend", max_runs=8)
def contend(cfg: ContendConfig) -> None:
    """Gather, challenge, compare, then promote or halt as `retrain` does."""
    dataset = gather(cfg.number)
    verdict = compare(challenge(dataset))
    when(verdict.promote).then(promote(verdict, dataset))
    when(~verdict.promote).then(halt(verdict, dataset))


def _tracked(models: registry.Registry) -> str:
    here = current()
    tracked = models.tracking.open_run(
        here.run_id, here.flow, config_yaml=here.config_yaml, config_digest=here.config_digest
    )
    return tracked.mlflow_run_id
