"""Append the next half hours of the market's file to the feature store, up to a date.

    RATCHET_ELEC_CSV=.../elec.csv python load.py 1997-05-01

The file has no dates: its rows are half hours, counted from 1996-05-07.
"""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

import feature_store
from feature_store import FeatureView
from flows.bootstrap import open_project
from flows.settings import revealed

FIRST = datetime(1996, 5, 7, tzinfo=UTC)
DAY = 48  # half hours

ELECTRICITY = FeatureView(
    name="electricity",
    entities=("market",),
    event_time="at",
    features=("period",),
    label="class",
)
PUBLISHED = FeatureView(
    name="published",
    entities=("market",),
    event_time="known_at",
    features=(
        "price",
        "price_day",
        "price_week",
        "price_yesterday",
        "rose",
        "demand",
        "demand_yesterday",
        "transfer",
    ),
)


def half_hours(csv: Path) -> pl.DataFrame:
    """The whole file, each row with the half hour that it is about."""
    return pl.read_csv(csv).select(
        pl.lit("nsw").alias("market"),
        (pl.lit(FIRST) + pl.duration(minutes=30) * pl.int_range(pl.len())).alias("at"),
        "period",
        "class",
        price="nswprice",
        demand="nswdemand",
        transfer="transfer",
    )


def published(rows: pl.DataFrame) -> pl.DataFrame:
    """What is known when a half hour has ended: itself, and the day and week that end with it."""
    return rows.select(
        "market",
        (pl.col("at") + pl.duration(minutes=30)).alias("known_at"),
        "price",
        pl.col("price").rolling_mean(DAY, min_samples=1).alias("price_day"),
        pl.col("price").rolling_mean(7 * DAY, min_samples=1).alias("price_week"),
        # The half hour that follows, as it was a day before.
        pl.col("price").shift(DAY - 1).alias("price_yesterday"),
        pl.col("class").alias("rose"),
        "demand",
        pl.col("demand").shift(DAY - 1).alias("demand_yesterday"),
        "transfer",
    )


def append(csv: Path, until: datetime) -> int:
    """Append to both views what they lack before `until`; returns the number of half hours."""
    ratchet = open_project(Path(__file__).parent)
    store = feature_store.connect(revealed(ratchet.settings.feature_store))
    store.create(PUBLISHED)
    store.create(ELECTRICITY)
    newest = store.snapshot(ELECTRICITY.name).watermark
    rows = half_hours(csv)
    batch = rows.filter(pl.col("at") < until)
    if newest is not None:
        batch = batch.filter(pl.col("at") > newest)
    if batch.is_empty():
        return 0
    ended = pl.col("known_at").is_between(batch["at"].min(), batch["at"].max(), closed="both")
    key = f"until {until:%Y-%m-%d}"
    store.append(PUBLISHED.name, published(rows).filter(ended), key=key)
    store.append(ELECTRICITY.name, batch.select(*ELECTRICITY.columns), key=key)
    ratchet.close()
    return len(batch)


if __name__ == "__main__":
    day = datetime.fromisoformat(sys.argv[1]).replace(tzinfo=UTC)
    count = append(Path(os.environ["RATCHET_ELEC_CSV"]), day)
    print(f"electricity: {count:,} half hours before {day:%Y-%m-%d}")
