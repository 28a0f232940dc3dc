"""Years of nights through the gate's own functions (`opened`, `judged`), as a check of the twins.

python -m benchmarks.gate.production [--nights 365] [--years 2] [--rows 5000] [--spread 0.43]
"""

import argparse
import time
from datetime import UTC, datetime, timedelta

import numpy as np

from benchmarks.gate.world import POINT
from registry.gate_config import GateConfig
from registry.methods.comparison import Comparison
from registry.nights.betting import Sample
from registry.nights.docket import Docket
from registry.nights.night import Tonight, judged, opened

START = datetime(2026, 1, 1, tzinfo=UTC)
CONTESTED = 0.12


def promotions(config: GateConfig, rows: int, spread: float, nights: int, seed: int) -> int:
    """Promotions in one year of equal challengers; each is false."""
    rng, docket, champion, epoch, found = np.random.default_rng(seed), Docket(), "0", 1, 0
    y = np.arange(rows) % 2
    for night in range(1, nights + 1):
        now = START + timedelta(days=night)
        who = Tonight(
            model="m",
            challenger=str(night),
            trained_until=now - timedelta(days=1, microseconds=1),
            champion=champion,
            champion_labels_until=START,
            epoch=epoch,
            run_id=f"{night}",
            mlflow_run_id="",
            now=now,
        )
        docket, gone = opened(docket, who, config)
        contested = rng.random(rows) < CONTESTED
        day = np.datetime64((now - timedelta(days=1)).replace(tzinfo=None), "us")
        times = day + np.linspace(1, 86_000_000_000, rows).astype("timedelta64[us]")

        def said(of: np.ndarray = contested) -> np.ndarray:
            # Half of the variance of a pair's day is each model's own.
            skill = 0.5 + spread / CONTESTED / 2**0.5 * rng.standard_normal()
            return np.where(of & (rng.random(rows) >= skill), 1 - y, y)

        own = said()
        samples = {
            case.challenger: Sample(
                comparison=Comparison(y=y, challenger=said(), champion=own), times=times
            )
            for case in docket.cases
        }
        docket, verdict = judged(docket, gone, samples, who, config)
        if verdict.promote:
            champion, epoch, found = verdict.challenger, epoch + 1, found + 1
    return found


def main() -> None:
    """Print the false promotions of each year."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nights", type=int, default=365)
    parser.add_argument("--years", type=int, default=2)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--spread", type=float, default=0.43, help="points")
    parser.add_argument("--seed", type=int, default=4)
    asked = parser.parse_args()
    config, began = GateConfig(resamples=100), time.perf_counter()
    years = [
        promotions(config, asked.rows, asked.spread * POINT, asked.nights, asked.seed + year)
        for year in range(asked.years)
    ]
    print(
        f"{asked.rows:,} rows, spread {asked.spread:g} points: {sum(years)} false promotions in "
        f"{asked.years} years of {asked.nights} nights, {time.perf_counter() - began:.0f} s"
    )


if __name__ == "__main__":
    main()
