"""One night's test: the right one for metric, rows and level, and what would have been enough."""

import re
from dataclasses import replace

import numpy as np
import pytest

from registry.gate import GateConfig, decide
from registry.methods.comparison import Comparison, ScoredPair, scored_pair
from registry.methods.metrics import find_metric
from registry.one_night import Method, method_of
from registry.verdict import Decision, Verdict

LEVEL = 1e-4
RNG = np.random.default_rng(1)
Y = RNG.integers(0, 2, 4000)
P = np.where(Y == 1, 0.7, 0.3)


def probabilities(p: np.ndarray) -> np.ndarray:
    return np.column_stack([1 - p, p])


def judge(pair: Comparison, config: GateConfig | None = None, level: float = LEVEL) -> Verdict:
    return decide(
        pair, config or GateConfig(), model="m", challenger="2", champion="1", level=level
    )


def labels(right: float, rows: int, seed: int) -> np.ndarray:
    """How many of the rows are right, by a model that differs from others at random."""
    wrong = np.random.default_rng(seed).random(rows) >= right
    return np.where(wrong, 1 - Y[:rows], Y[:rows])


def pair_of(metric: str) -> ScoredPair:
    both = Comparison(
        y=Y, challenger=probabilities(P), champion=probabilities(0.5 * P + 0.25), classes=(0, 1)
    )
    return scored_pair(both, find_metric(metric))


@pytest.mark.parametrize(
    ("metric", "null", "level", "bound", "clusters", "method"),
    [
        ("accuracy", 0.0, 1e-4, None, None, Method.MCNEMAR),
        ("accuracy", 0.0, 0.05, None, None, Method.MCNEMAR),
        ("accuracy", 0.01, 1e-4, None, None, Method.BETS),
        ("accuracy", -0.05, 0.05, None, None, Method.TANGO),
        ("accuracy", 0.0, 1e-4, None, Y, Method.STUDENT),
        ("brier", 0.0, 1e-4, None, None, Method.BETS),
        ("brier", 0.0, 0.05, None, None, Method.STUDENT),
        ("log_loss", 0.0, 1e-4, None, None, Method.STUDENT),
        ("log_loss", 0.0, 1e-4, 5.0, None, Method.BETS),
        ("roc_auc", 0.0, 1e-4, None, None, Method.STUDENT),
    ],
)
def test_each_metric_and_level_has_its_method(
    metric: str,
    null: float,
    level: float,
    bound: float | None,
    clusters: np.ndarray | None,
    method: Method,
) -> None:
    found = method_of(
        find_metric(metric), pair_of(metric), clusters, null=null, level=level, bound=bound
    )
    assert found is method


@pytest.mark.parametrize("metric", ["accuracy", "log_loss", "brier", "roc_auc", "f1"])
def test_a_better_challenger_is_proven_in_every_metric_at_a_nights_level(metric: str) -> None:
    rng = np.random.default_rng(2)
    p = [1 / (1 + np.exp(-(2 * Y - 1 + rng.normal(0, noise, 4000)))) for noise in (1.0, 1.5)]
    both = Comparison(
        y=Y, challenger=probabilities(p[0]), champion=probabilities(p[1]), classes=(0, 1)
    )
    assert judge(both, GateConfig(metric=metric)).promote
    turned = replace(both, challenger=both.champion, champion=both.challenger)
    assert not judge(turned, GateConfig(metric=metric)).promote


def test_a_model_that_is_seldom_surely_wrong_is_not_proven_better_in_brier() -> None:
    rng = np.random.default_rng(4)
    promoted = 0
    for _ in range(200):
        y = rng.integers(0, 2, 400)
        sure = np.where(rng.random(400) < 0.01, 0.0, 0.55)  # of the truth; no better on average
        new = np.where(y == 1, sure, 1 - sure)
        old = np.where(y == 1, 0.545, 0.455)
        assert 0.99 * 0.45**2 + 0.01 > 0.455**2
        pair = Comparison(
            y=y, challenger=probabilities(new), champion=probabilities(old), classes=(0, 1)
        )
        promoted += judge(pair, GateConfig(metric="brier")).promote
    assert promoted == 0


def test_not_proven_says_how_many_rows_would_have_been_enough() -> None:
    rows = 4000
    pair = Comparison(y=Y, challenger=labels(0.915, rows, 5), champion=labels(0.90, rows, 6))
    verdict = judge(pair)
    assert not verdict.promote
    found = re.search(r"about ([\d,]+) rows like these would have been enough", verdict.reason)
    assert found
    said = int(found[1].replace(",", ""))
    # (3.72 + 0.84)^2 variance / difference^2
    p = np.mean(pair.challenger != pair.champion)
    expected = (3.719 + 0.842) ** 2 * (p - verdict.difference**2) / verdict.difference**2
    assert said == pytest.approx(expected, rel=0.06)
    assert "to prove a difference of this size" in verdict.reason


def test_a_challenger_that_is_no_better_is_told_what_the_useful_effect_would_need() -> None:
    pair = Comparison(y=Y, challenger=labels(0.902, 4000, 5), champion=labels(0.9, 4000, 6))
    verdict = judge(pair)
    assert verdict.difference <= 0 < verdict.high
    assert re.search(
        r"about [\d,]+ rows like these would have been enough to prove one of 0.01",
        verdict.rules[0].message,
    )


def test_of_one_that_is_surely_worse_no_more_is_said_than_that() -> None:
    pair = Comparison(y=Y, challenger=labels(0.88, 4000, 5), champion=labels(0.9, 4000, 6))
    verdict = judge(pair)
    assert verdict.reason.startswith("Version 2 is worse than champion version 1: accuracy 0.8798")
    assert verdict.reason.endswith(") lies below 0 altogether.")
    assert "enough" not in verdict.reason


def test_models_that_hardly_disagree_are_told_how_many_disagreements_it_takes() -> None:
    new = Y.copy()
    new[:2] = 1 - new[:2]
    old = Y.copy()
    old[2:11] = 1 - old[2:11]
    message = judge(Comparison(y=Y, challenger=new, champion=old)).rules[0].message
    assert "the models disagree on 11 rows, and at this level at least 14 are needed" in message


@pytest.mark.parametrize(
    ("rows", "clusters", "because"),
    [
        (13, None, "the holdout has 13 rows, and at the level of 0.0001 nothing is proven by "),
        (400, np.repeat(np.arange(8), 50), "the holdout has 8 clusters"),
    ],
)
def test_a_holdout_too_small_for_its_level_is_held_with_what_it_takes(
    rows: int, clusters: np.ndarray | None, because: str
) -> None:
    y = np.arange(rows) % 2
    pair = Comparison(y=y, challenger=y, champion=1 - y, clusters=clusters)
    config = GateConfig(min_rows=1, cluster=None if clusters is None else "shop")
    verdict = judge(pair, config)
    assert verdict.decision is Decision.HOLD
    assert because in verdict.reason
    assert "fewer than 14" in verdict.reason
    assert judge(pair, config, level=0.01).promote


def test_fourteen_rows_all_won_are_enough() -> None:
    y = np.arange(14) % 2
    assert judge(Comparison(y=y, challenger=y, champion=1 - y), GateConfig(min_rows=1)).promote
