"""The interval covers the truth as often as it says, also for dependent rows."""

import numpy as np
import pytest
import scipy.stats

from registry.methods import bootstrap
from registry.methods.bootstrap import Resampling, paired_difference
from registry.methods.metrics import find_metric, scored
from registry.methods.predictions import Scored

RESAMPLING = Resampling(confidence=0.95, resamples=2000, seed=3)


def numbers(name: str, errors: np.ndarray):
    return scored(name, np.zeros(len(errors)), errors)


def classes(name: str, y: np.ndarray, labels: np.ndarray) -> Scored:
    return scored(name, y, labels, (0, 1))


@pytest.mark.parametrize("name", ["mae", "rmse"])
def test_the_interval_is_scipys_paired_bca_bootstrap(name: str) -> None:
    rng = np.random.default_rng(1)
    old, new = rng.exponential(1.5, 60), rng.exponential(1.0, 60)

    def difference(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
        if name == "mae":
            return np.abs(a).mean(axis) - np.abs(b).mean(axis)
        return np.sqrt((a**2).mean(axis)) - np.sqrt((b**2).mean(axis))

    def theirs(method: str) -> np.ndarray:
        found = scipy.stats.bootstrap(
            (old, new), difference, paired=True, method=method, n_resamples=20_000, rng=rng
        )
        return np.array(found.confidence_interval)

    drawing = Resampling(confidence=0.95, resamples=20_000, seed=3)
    found = paired_difference(
        find_metric(name), numbers(name, old), numbers(name, new), None, drawing
    )
    ours, spread = np.array([found.low, found.high]), np.ptp(theirs("BCa"))
    assert ours == pytest.approx(theirs("BCa"), abs=0.02 * spread)
    assert np.abs(ours - theirs("percentile")).max() > 0.025 * spread


def test_bca_covers_where_the_percentile_interval_does_not() -> None:
    rng, covered = np.random.default_rng(8), {"bca": 0, "percentile": 0}
    repeats, drawing = 200, Resampling(confidence=0.9, resamples=400, seed=0)
    for _ in range(repeats):
        # The square root of a mean of very skewed squares; the truth is sqrt(24) = 4.9.
        gains = rng.exponential(size=40) ** 2
        pair = numbers("rmse", gains), numbers("rmse", np.zeros(40))
        found = paired_difference(find_metric("rmse"), *pair, None, drawing)
        squares = gains[rng.integers(0, 40, (400, 40))] ** 2
        low, high = np.quantile(np.sqrt(squares.mean(axis=1)), [0.05, 0.95])
        covered["bca"] += found.low <= np.sqrt(24) <= found.high
        covered["percentile"] += low <= np.sqrt(24) <= high
    assert covered["bca"] > covered["percentile"] + 0.03 * repeats


def test_drawing_the_cells_of_a_table_is_the_same_bootstrap_as_drawing_rows() -> None:
    rng = np.random.default_rng(9)
    y = (rng.random(300) < 0.2).astype(int)
    old, new = (np.where(rng.random(300) < wrong, 1 - y, y) for wrong in (0.2, 0.1))
    pair = classes("f1", y, old), classes("f1", y, new)
    fast = paired_difference(find_metric("f1"), *pair, None, RESAMPLING)

    def f1(truth: np.ndarray, said: np.ndarray) -> float:
        return 2 * (truth & said).sum() / (truth.sum() + said.sum())

    def difference(rows: np.ndarray) -> float:
        return f1(y[rows], new[rows]) - f1(y[rows], old[rows])

    drawn = [difference(rng.integers(0, 300, 300)) for _ in range(1000)]
    assert fast.error == pytest.approx(np.std(drawn), rel=0.1)
    slow = paired_difference(find_metric("f1"), *pair, np.arange(300), RESAMPLING)
    assert slow.error == pytest.approx(fast.error, rel=0.1)
    assert (slow.low, slow.high) == pytest.approx((fast.low, fast.high), abs=0.02)


@pytest.mark.parametrize(
    "name", ["accuracy", "log_loss", "f1", "roc_auc", "average_precision", "balanced_accuracy"]
)
def test_many_rows_are_not_drawn_and_come_to_the_same(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, rows = np.random.default_rng(10), 3000
    y = (rng.random(rows) < 0.3).astype(int)
    pair = []
    for noise in (1.4, 1.0):
        p = 1 / (1 + np.exp(-(2 * y - 1 + rng.normal(0, noise, rows))))
        pair.append(scored(name, y, np.column_stack([1 - p, p]), (0, 1)))
    metric, drawing = find_metric(name), Resampling(confidence=0.95, resamples=1000, seed=1)
    by_influence = paired_difference(metric, *pair, None, drawing)
    monkeypatch.setattr(bootstrap, "MANY_UNITS", rows)
    drawn = paired_difference(metric, *pair, None, drawing)
    assert by_influence != drawn
    assert by_influence.error == pytest.approx(drawn.error, rel=0.08)
    ends = by_influence.low, by_influence.high
    assert ends == pytest.approx((drawn.low, drawn.high), abs=0.25 * drawn.error)


@pytest.mark.parametrize("name", ["roc_auc", "f1", "average_precision"])
def test_intervals_of_metrics_of_the_whole_set_cover(name: str) -> None:
    rng = np.random.default_rng(11)
    covered, repeats = 0, 200
    for _ in range(repeats):
        y = (rng.random(2500) < 0.3).astype(int)
        shared = 2 * y - 1 + rng.normal(size=2500)
        pair = []
        for _ in range(2):  # equally good, so the true difference is 0
            p = 1 / (1 + np.exp(-(shared + rng.normal(size=2500))))
            pair.append(scored(name, y, np.column_stack([1 - p, p]), (0, 1)))
        found = paired_difference(find_metric(name), *pair, None, RESAMPLING)
        covered += found.low <= 0 <= found.high
    assert covered / repeats == pytest.approx(0.95, abs=0.046)


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
