"""Extraction of five million rows through Ray, beside polars alone with the same work."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

import feature_store
from benchmarks.local_ray import local_ray
from benchmarks.measure import Setting, seconds, side_by_side
from benchmarks.report import Aim, Figure, Kind
from benchmarks.trade_features import transform
from feature_store import FeatureStoreConfig, FeatureView, Snapshot
from ray_jobs import FeaturesConfig, extract

ROWS, QUICK_ROWS = 5_000_000, 1_000_000
APPENDS = 5  # versions of the view, one file each
COLUMNS = 20  # entity, event time, label, and measurements
X = tuple(f"x{number}" for number in range(COLUMNS - 3))
AIM = Aim(kind=Kind.RATIO_AT_MOST, bound=2.0)  # at least half of polars' speed
START = datetime(2026, 1, 1, tzinfo=UTC)
VIEW = FeatureView(name="trades", entities=("account",), event_time="at", features=X, label="label")
FEATURES = FeaturesConfig(view="trades", functions=("benchmarks.trade_features:trades",))


def figures(setting: Setting) -> Iterator[Figure]:
    """Seconds from the snapshot to the written training set."""
    rows = setting.of(ROWS, QUICK_ROWS)
    config = FeatureStoreConfig(uri=str(setting.folder / "features"))
    store = feature_store.connect(config)
    _fill(store, rows)
    snapshot = store.snapshot(VIEW.name)
    files = [part.uri for part in store.parts(snapshot)]
    fresh = count()

    def through_ray() -> float:
        place = setting.folder / f"ratchet-{next(fresh)}"  # nothing to reuse
        taken = seconds(lambda: _extract(snapshot, config, place))
        shutil.rmtree(place)
        return taken

    def alone() -> float:
        file = setting.folder / "polars.parquet"
        taken = seconds(lambda: _alone(files, file))
        file.unlink()
        return taken

    with local_ray(setting.folder):
        samples = side_by_side(
            {"own": through_ray, "polars": alone}, repeats=setting.of(7, 3), warm_up=1
        )
    yield Figure(
        name=f"extraction of {rows:,} rows × {COLUMNS} columns",
        unit="s",
        own=samples["own"],
        beside={"polars alone": samples["polars"]},
        aim=AIM,
    )


def _extract(snapshot: Snapshot, config: FeatureStoreConfig, place: Path) -> None:
    dataset = extract(
        snapshot,
        FEATURES,
        feature_store=config,
        artifacts_uri=str(place),
        allowed_modules=("benchmarks",),
    )
    assert 0.8 < dataset.rows / snapshot.rows < 0.95


def _alone(files: list[str], file: Path) -> None:
    transform(pl.scan_parquet(files)).sink_parquet(file, compression="zstd")


def _fill(store: feature_store.FeatureStore, rows: int) -> None:
    """Random numbers, which zstd cannot make much smaller."""
    store.create(VIEW)
    rng = np.random.default_rng(0)
    each = rows // APPENDS
    for number in range(APPENDS):
        moments = np.arange(number * each, (number + 1) * each) * 1_000_000
        begun = int((START - datetime.fromtimestamp(0, UTC)) / timedelta(microseconds=1))
        table = {
            "account": rng.integers(0, 50_000, each),
            "at": pa.array(moments + begun, pa.timestamp("us", "UTC")),
            "label": rng.integers(0, 2, each),
            **{name: rng.standard_normal(each) for name in X},
        }
        store.append(VIEW.name, pa.table(table))
