"""What keeps rows from being judged, and what a model that never saw a class costs itself."""

from dataclasses import replace

import numpy as np
import pytest

from registry.gate import decide
from registry.gate_config import GateConfig, GateMode, NewClasses, check_mode
from registry.methods.comparison import (
    Comparison,
    Unusable,
    obstacles,
    row_gains,
    scored_pair,
    unseen_words,
)
from registry.methods.metrics import find_metric, score_of
from registry.methods.predictions import Task

# Three rows of each class; the champion knows 0 and 1 only.
Y = np.array([0, 1, 2] * 3)
CHAMPION = np.array([[0.8, 0.2], [0.3, 0.7], [0.6, 0.4]] * 3)
CHALLENGER = np.array([[0.7, 0.2, 0.1], [0.2, 0.6, 0.2], [0.1, 0.3, 0.6]] * 3)
PAIR = Comparison(
    y=Y, challenger=CHALLENGER, champion=CHAMPION, classes=(0, 1, 2), champion_classes=(0, 1)
)


def first(comparison: Comparison, *, judge: bool = False) -> str | None:
    found = obstacles(comparison, Task.CLASSIFICATION, judge_new_classes=judge)
    return next(found, None)


def test_a_class_that_the_champion_never_saw_is_an_obstacle_unless_it_is_to_be_judged() -> None:
    assert first(PAIR) == (
        "the champion never saw the class 2 (3 rows): gate.new_classes=judge counts them as its "
        "errors; or drop these rows in a feature function, or train under another name (model=...)"
    )
    assert first(PAIR, judge=True) is None
    # Without its own classes the champion is taken to know the challenger's.
    assert first(replace(PAIR, champion=CHALLENGER, champion_classes=None)) is None


@pytest.mark.parametrize(
    ("metric", "loss"),
    [("accuracy", 1.0), ("brier", 0.6**2 + 0.4**2 + 1.0), ("log_loss", -np.log(2.0**-52))],
)
def test_the_champion_gives_a_class_that_it_never_saw_a_probability_of_zero(
    metric: str, loss: float
) -> None:
    found = find_metric(metric)
    pair = scored_pair(PAIR, found)
    assert pair.champion is not None
    assert found.losses is not None
    new = Y == 2
    assert found.losses(pair.champion)[new] == pytest.approx([loss] * 3)
    bounded = row_gains(pair, found, 5.0)[new]
    own = found.losses(pair.challenger)[new]
    assert bounded == pytest.approx(min(loss, 5.0) - own)


def test_metrics_of_the_whole_set_are_defined_where_a_model_knows_fewer_classes() -> None:
    pair = scored_pair(PAIR, find_metric("accuracy"))
    assert pair.champion is not None
    for name in ("roc_auc", "average_precision", "f1", "balanced_accuracy", "ece"):
        assert np.isfinite(score_of(find_metric(name), pair.champion)), name


def test_the_columns_of_probabilities_are_placed_by_class_and_not_by_number() -> None:
    turned = replace(PAIR, champion=CHAMPION[:, ::-1], champion_classes=(1, 0))
    for comparison in (PAIR, turned):
        pair = scored_pair(comparison, find_metric("accuracy"))
        assert pair.champion is not None
        assert pair.champion.needed_probabilities()[:3].tolist() == [
            [0.8, 0.2, 0.0],
            [0.3, 0.7, 0.0],
            [0.6, 0.4, 0.0],
        ]


def test_what_a_model_never_saw_is_said_with_its_rows_and_judged_where_it_is_the_challenger() -> (
    None
):
    exchanged = replace(
        PAIR, challenger=CHAMPION, champion=CHALLENGER, classes=(0, 1), champion_classes=(0, 1, 2)
    )
    assert first(exchanged) is None
    assert list(unseen_words(exchanged)) == [
        (
            3,
            "3 rows are of a class that the challenger never saw, and it is wrong on them: "
            "2 (3 rows)",
        )
    ]
    pair = scored_pair(exchanged, find_metric("accuracy"))
    assert row_gains(pair, find_metric("accuracy"))[Y == 2].tolist() == [-1.0] * 3


def test_many_new_classes_are_counted_and_the_most_frequent_ones_named() -> None:
    y = np.array(["a"] * 5 + ["b"] * 4 + ["c"] * 3 + ["d", "e", "known"])
    pair = Comparison(y=y, challenger=y, champion=y, classes=("known",), champion_classes=None)
    champion, challenger = unseen_words(pair)
    assert champion == (
        14,
        "14 rows are of classes that the champion never saw, and it is wrong on them: "
        "a (5 rows), b (4 rows), c (3 rows), 2 more",
    )
    assert challenger[1] == champion[1].replace("champion", "challenger")
    assert "the champion never saw the classes a (5 rows)" in str(first(pair))
    (alone,) = unseen_words(replace(pair, champion=None))
    assert alone == challenger


def test_only_what_is_the_challengers_own_fault_can_never_be_judged() -> None:
    broken = CHALLENGER.copy()
    broken[4, 1] = np.nan
    both = np.where(np.arange(9)[:, None] == 4, np.nan, CHAMPION)
    mine = first(replace(PAIR, challenger=broken), judge=True)
    assert mine == "1 of the challenger's predictions are missing or infinite"
    assert isinstance(mine, Unusable)
    for others in (
        replace(PAIR, challenger=broken, champion=both),
        replace(PAIR, challenger=broken, champion=broken, champion_classes=None),
        replace(PAIR, y=np.where(Y == 2, np.nan, Y.astype(float)), challenger=broken),
        replace(PAIR, y=np.zeros(9)),
        replace(PAIR, y=Y[:0], challenger=CHALLENGER[:0], champion=CHAMPION[:0]),
    ):
        found = first(others, judge=True)
        assert found is not None
        assert not isinstance(found, Unusable)


def test_new_classes_are_held_by_default_in_both_modes() -> None:
    for mode in GateMode:
        config = GateConfig(mode=mode)
        check_mode(config)
        assert config.new_classes is NewClasses.HOLD


@pytest.mark.parametrize("judge", [False, True])
def test_labels_of_another_type_than_the_models_know_are_held(judge: bool) -> None:
    words = Y.astype(str)
    said = (
        "the champion's classes are of another type than the labels (int and str): give the "
        "labels their former type, or train under another name (model=...)"
    )
    assert first(replace(PAIR, y=words), judge=judge) == said
    labels_only = Comparison(y=words, challenger=Y, champion=Y)
    assert first(labels_only, judge=judge) == said
    assert decide(labels_only, GateConfig(min_rows=1), model="m", challenger="2",
                  champion="1").reason == f"Version 2 cannot be judged: {said}."  # fmt: skip
    mine = first(
        Comparison(y=words, challenger=Y, champion=words, classes=(0, 1, 2),
                   champion_classes=("0", "1", "2")), judge=judge
    )  # fmt: skip
    assert mine == said.replace("champion", "challenger")
    assert isinstance(mine, Unusable)
    assert first(Comparison(y=words, challenger=Y), judge=judge) == mine  # a first model


def test_truth_values_and_numbers_are_of_one_type() -> None:
    truth = Y == 1
    pair = Comparison(y=truth, challenger=truth.astype(int), champion=truth.astype(float))
    assert first(pair) is None
