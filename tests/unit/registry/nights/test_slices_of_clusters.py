"""Slices over nights whose rows come in clusters: those that bets can decide are judged."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np

from registry.gate_config import Dependence, GateConfig
from registry.methods.comparison import Comparison
from registry.nights.betting import Sample
from registry.nights.docket import Docket
from registry.nights.night import Tonight, judged, opened
from registry.slice_columns import MAX_SLICES
from registry.verdict import Verdict

START = datetime(2026, 3, 1, tzinfo=UTC)
OWNERS, EACH, CONTESTED, GAIN = 100, 80, 0.12, 0.03
CONFIG = GateConfig(
    dependence=Dependence.INDEPENDENT,
    min_rows=100,
    resamples=100,
    cluster="owner",
    slices=("region",),
)


def night(number: int) -> datetime:
    return START + timedelta(days=number)


def spend(
    docket: Docket, number: int, region: np.ndarray, config: GateConfig = CONFIG
) -> tuple[Docket, Verdict]:
    """A night of 100 owners of 50 rows; every challenger is better by 3 points on all of them."""
    rng = np.random.default_rng(number)
    who = Tonight(
        model="m",
        challenger=str(number + 1),
        trained_until=night(number - 1) - timedelta(microseconds=1),
        champion="1",
        champion_labels_until=night(0) - timedelta(microseconds=1),
        epoch=1,
        run_id=f"night-{number}",
        mlflow_run_id="",
        now=night(number),
    )
    docket, gone = opened(docket, who, config)
    rows = OWNERS * EACH
    y, contested = np.arange(rows) % 2, rng.random(rows) < CONTESTED
    champion = ~contested | (rng.random(rows) < 0.5)
    since = np.datetime64(night(number - 1).replace(tzinfo=None), "us")
    times = since + np.arange(1, rows + 1) * np.timedelta64(86_400_000_000 // (rows + 1), "us")
    samples: dict[str, Sample | str] = {}
    for case in docket.cases:
        right = ~contested | (rng.random(rows) < 0.5 + GAIN / CONTESTED)
        comparison = Comparison(
            y=y,
            challenger=np.where(right, y, 1 - y),
            champion=np.where(champion, y, 1 - y),
            clusters=np.repeat(np.arange(OWNERS), EACH),
            slices={"region": region},
        )
        samples[case.challenger] = Sample(comparison=comparison, times=times)
    return judged(docket, gone, samples, who, config)


def with_few(owners: int) -> np.ndarray:
    """So many owners live on the isle, the others on the mainland."""
    owner = np.repeat(np.arange(OWNERS), EACH)
    return np.where(owner < owners, "isle", "mainland").astype(object)


def nights_until_promoted(owners: int) -> tuple[int, Verdict]:
    docket = Docket()
    for number in range(1, 31):
        docket, verdict = spend(docket, number, with_few(owners))
        if verdict.promote:
            return number, verdict
    raise AssertionError(verdict.reason)


def test_a_slice_of_too_few_clusters_to_be_decided_holds_nobody_and_says_why() -> None:
    # 158 clusters could prove equal models harmless, which is more than 5 a night for 30 nights.
    number, verdict = nights_until_promoted(3)
    assert number < 10
    (isle,) = [rule for rule in verdict.rules if rule.slice == "region=isle"]
    assert (isle.judged, isle.rows) == (False, 3 * EACH)
    assert (
        "too few clusters (3 tonight, and 6 are needed; fewer cannot be decided in 30 nights)"
        in (isle.message)
    )


def test_a_slice_of_enough_clusters_is_judged_and_decided_before_the_comparison_expires() -> None:
    number, verdict = nights_until_promoted(6)
    assert number < CONFIG.expire_after
    (isle,) = [rule for rule in verdict.rules if rule.slice == "region=isle"]
    assert (isle.judged, isle.passed) == (True, True)


def test_a_column_that_grows_past_the_most_slices_during_a_reign_is_still_judged() -> None:
    docket, config = Docket(), replace(CONFIG, slice_max_drop=0.2, slice_min_rows=10)
    order = np.random.default_rng(0).permutation(OWNERS * EACH)
    for number in range(1, 5):
        docket, verdict = spend(docket, number, order % (60 * number), config)
    assert docket.plan is not None
    assert len(docket.plan.columns[0].own) == MAX_SLICES
    (others,) = [rule for rule in verdict.rules if rule.slice == "region=other values"]
    assert others.judged
