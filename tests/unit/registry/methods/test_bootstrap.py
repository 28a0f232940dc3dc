"""The interval covers the truth as often as it says, also for dependent rows."""

import numpy as np
import pytest
import scipy.stats

from registry.methods.bootstrap import Resampling, paired_difference
from registry.methods.metrics import find_metric, scored

RESAMPLING = Resampling(confidence=0.95, resamples=2000, seed=3)


def numbers(name: str, errors: np.ndarray):
    return scored(name, np.zeros(len(errors)), errors)


@pytest.mark.parametrize("name", ["mae", "rmse"])
def test_the_interval_agrees_with_scipys_paired_percentile_bootstrap(name: str) -> None:
    rng = np.random.default_rng(1)
    old, new = rng.normal(1.2, 1, 300), rng.normal(1.0, 1, 300)

    def difference(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
        if name == "mae":
            return np.abs(a).mean(axis) - np.abs(b).mean(axis)
        return np.sqrt((a**2).mean(axis)) - np.sqrt((b**2).mean(axis))

    theirs = scipy.stats.bootstrap(
        (old, new), difference, paired=True, method="percentile", n_resamples=20_000, rng=rng
    ).confidence_interval
    ours = paired_difference(
        find_metric(name), numbers(name, old), numbers(name, new), None, RESAMPLING
    )
    assert ours.low == pytest.approx(theirs.low, abs=0.02)
    assert ours.high == pytest.approx(theirs.high, abs=0.02)


def test_drawing_counts_at_once_is_the_same_bootstrap_as_drawing_rows() -> None:
    rng = np.random.default_rng(2)
    y, old, new = (rng.integers(0, 2, 500) for _ in range(3))
    metric = find_metric("accuracy")
    pair = scored("accuracy", y, old), scored("accuracy", y, new)
    fast = paired_difference(metric, *pair, None, RESAMPLING)
    # Every row its own cluster: the same statistic, by drawing rows.
    slow = paired_difference(metric, *pair, np.arange(500), RESAMPLING)
    assert fast.difference == slow.difference
    assert fast.low == pytest.approx(slow.low, abs=0.006)
    assert fast.high == pytest.approx(slow.high, abs=0.006)


def test_the_interval_of_dependent_rows_is_right_only_by_cluster() -> None:
    rng = np.random.default_rng(4)
    metric, clusters = find_metric("mae"), np.repeat(np.arange(40), 25)
    resampling = Resampling(confidence=0.9, resamples=400, seed=0)
    covered = {"rows": 0, "clusters": 0}
    repeats = 120
    for _ in range(repeats):
        # A whole cluster gains or loses together; the true difference is 0.
        gain = np.repeat(rng.normal(0, 0.2, 40), 25)
        old, new = numbers("mae", 5 + gain), numbers("mae", np.full(1000, 5.0))
        for kind, groups in (("rows", None), ("clusters", clusters)):
            interval = paired_difference(metric, old, new, groups, resampling)
            assert interval.low is not None
            assert interval.high is not None
            covered[kind] += interval.low <= 0 <= interval.high
    assert covered["clusters"] / repeats > 0.8
    assert covered["rows"] / repeats < 0.5


def test_the_same_seed_gives_the_same_interval() -> None:
    rng = np.random.default_rng(5)
    pair = numbers("mae", rng.normal(size=200)), numbers("mae", rng.normal(size=200))
    metric = find_metric("mae")
    first, again = (paired_difference(metric, *pair, None, RESAMPLING) for _ in range(2))
    assert first == again


def test_a_metric_that_most_resamples_leave_undefined_has_no_interval() -> None:
    y = np.array([1] + [0] * 30)
    p = np.linspace(0.1, 0.9, 31)
    model = scored("roc_auc", y, np.column_stack([1 - p, p]), (0, 1))
    interval = paired_difference(find_metric("roc_auc"), model, model, None, RESAMPLING)
    assert (interval.difference, interval.low, interval.high) == (0.0, None, None)
