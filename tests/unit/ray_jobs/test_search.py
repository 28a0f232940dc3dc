from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from ray_jobs.search import SearchResult, Trial, candidates, folds, run_trial
from ray_jobs.trainers.config import Interval, SearchConfig, SearchKind, Task, TrainerConfig
from ray_jobs.trainers.make import make
from ray_jobs.trainers.trainer import TrainingSet
from ray_jobs.training_errors import TrainingFailed, UnfitData


def test_a_grid_holds_every_combination_in_order() -> None:
    config = SearchConfig(space={"a": (1, 2), "b": ("x", "y")}, kind=SearchKind.GRID)
    assert candidates(config, 0) == [
        {"a": 1, "b": "x"},
        {"a": 1, "b": "y"},
        {"a": 2, "b": "x"},
        {"a": 2, "b": "y"},
    ]


def test_random_candidates_follow_from_the_seed_and_stay_inside_the_space() -> None:
    space = {
        "rate": Interval(low=0.01, high=1.0, log=True),
        "depth": Interval(low=2, high=4, integer=True),
        "kind": ("x", "y"),
    }
    config = SearchConfig(space=space, trials=30)
    drawn = candidates(config, 7)
    assert drawn == candidates(config, 7)
    assert drawn != candidates(config, 8)
    assert len(drawn) == 30
    assert all(0.01 <= c["rate"] <= 1.0 for c in drawn)
    assert {c["depth"] for c in drawn} == {2, 3, 4}


def test_a_small_space_is_tried_once_each() -> None:
    config = SearchConfig(space={"a": (1, 2, 3)}, trials=20)
    assert sorted(c["a"] for c in candidates(config, 0)) == [1, 2, 3]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (SearchConfig(space={"a": ()}), "space.a lists no value"),
        (
            SearchConfig(space={"a": Interval(low=0, high=1)}, kind=SearchKind.GRID),
            "space.a is an interval",
        ),
    ],
)
def test_a_space_that_cannot_be_searched_is_named(config: SearchConfig, message: str) -> None:
    with pytest.raises(TrainingFailed, match=message):
        candidates(config, 0)


def test_a_fold_trains_on_no_row_in_the_gap_before_those_that_judge_it() -> None:
    times = np.arange(100).astype("datetime64[D]").astype("datetime64[us]")
    gap = timedelta(days=20)
    found = folds(times, 3, gap)
    assert len(found) == 3
    for before, after in found:
        assert len(before)
        assert times[before].max() < times[after].min() - np.timedelta64(gap)
    assert found[-1][1][-1] == 99


@pytest.mark.parametrize("days", [9, 10, 30])
def test_folds_that_a_gap_leaves_nothing_to_train_on_are_refused(days: int) -> None:
    times = np.arange(10).astype("datetime64[D]").astype("datetime64[us]")
    with pytest.raises(UnfitData, match=f"for 2 folds and a gap of {days} days"):
        folds(times, 2, timedelta(days=days))


def test_each_fold_is_judged_by_rows_later_than_those_it_trains_on() -> None:
    times = np.array([0, 1, 2, 3, 3, 3, 6, 7, 8, 9], "datetime64[us]")
    found = folds(times, 3)
    assert len(found) == 3
    for before, after in found:
        assert times[before].max() < times[after].min()
    assert found[-1][1][-1] == 9


def test_too_few_times_for_the_folds_are_unfit() -> None:
    with pytest.raises(UnfitData, match="too few event times for 3 folds"):
        folds(np.zeros(10, "datetime64[us]"), 3)


def test_the_best_trial_depends_on_the_metrics_direction() -> None:
    trials = tuple(Trial(params={"n": i}, score=s, scores=(s,)) for i, s in enumerate((0.3, 0.1)))
    assert SearchResult(metric="accuracy", trials=trials).best.params == {"n": 0}
    assert SearchResult(metric="mae", trials=trials).best.params == {"n": 1}


def test_a_candidate_that_cannot_be_fitted_is_a_note_and_the_others_count() -> None:
    times = np.arange(90).astype("datetime64[us]")
    a = np.tile([0.0, 1.0, 0.4], 30)
    rows = TrainingSet(
        inputs=pa.table({"a": a}),
        labels=np.where(a > 0.5, "up", "down"),
        task=Task.CLASSIFICATION,
    )
    trainer = make(TrainerConfig(estimator="sklearn.linear_model.LogisticRegression"))
    windows = folds(times, 2)
    trials = [run_trial(trainer, rows, windows, {"C": c}, "accuracy", "cpu") for c in (-1.0, 10.0)]
    assert "'C' parameter" in trials[0].failed
    found = SearchResult(metric="accuracy", trials=tuple(trials))
    assert found.best.params == {"C": 10.0}
    with pytest.raises(TrainingFailed, match=r"no trial of the search has a accuracy: .*'C'"):
        _ = SearchResult(metric="accuracy", trials=(trials[0],)).best
