"""One night's test: the right one for metric, rows and level, and what would have been enough."""

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from registry.gate import GateConfig, decide
from registry.methods.bounded import bet
from registry.methods.comparison import Comparison, ScoredPair, scored_pair
from registry.methods.metrics import find_metric
from registry.one_night import Method, interval_of, loss_bound, method_of, p_value
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


DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("metric", "null", "level", "said", "clusters", "method"),
    [
        ("accuracy", 0.0, 1e-4, {}, None, Method.MCNEMAR),
        ("accuracy", 0.0, 0.05, {}, None, Method.MCNEMAR),
        ("accuracy", 0.01, 1e-4, {}, None, Method.BETS),
        ("accuracy", -0.05, 0.05, {}, None, Method.TANGO),
        ("accuracy", 0.0, 1e-4, {}, Y, Method.BETS),
        ("accuracy", -0.02, 0.05, {}, Y, Method.BETS),
        ("accuracy", 0.0, 1e-4, {"block": DAY}, Y, Method.STUDENT),
        ("brier", 0.0, 1e-4, {}, None, Method.BETS),
        ("brier", 0.0, 0.05, {}, None, Method.BETS),
        ("log_loss", 0.0, 1e-4, {}, None, Method.STUDENT),
        ("log_loss", 0.0, 1e-4, {"bound": 5.0}, None, Method.BETS),
        ("log_loss", 0.0, 0.05, {"bound": 5.0}, None, Method.BETS),
        ("log_loss", 0.0, 1e-4, {"bound": 5.0}, Y, Method.BETS),
        ("roc_auc", 0.0, 1e-4, {"bound": 5.0}, None, Method.STUDENT),
        ("roc_auc", 0.0, 1e-4, {}, Y, Method.STUDENT),
    ],
)
def test_each_metric_and_level_has_its_method(
    metric: str,
    null: float,
    level: float,
    said: dict[str, Any],
    clusters: np.ndarray | None,
    method: Method,
) -> None:
    config = GateConfig(metric=metric, **said)
    pair = pair_of(metric)
    assert method_of(find_metric(metric), pair, clusters, config, null=null, level=level) is method


def test_the_bound_of_the_gate_is_that_of_its_metric_and_of_no_guard() -> None:
    config = GateConfig(metric="log_loss", bound=5.0)
    bounds = {
        name: loss_bound(find_metric(name), pair_of(name), config)
        for name in ("log_loss", "accuracy", "brier")
    }
    assert bounds == {"log_loss": 5.0, "accuracy": 1.0, "brier": 1.0}
    guard = replace(config, metric="accuracy", bound=None)
    assert loss_bound(find_metric("log_loss"), pair_of("log_loss"), guard) is None


@pytest.mark.parametrize("rule", ["slice", "guard"])
def test_a_slice_and_a_guard_use_the_bound(rule: str) -> None:
    """One row in 400 is surely wrong; the challenger's mean loss is worse by more than allowed."""
    rng, passed = np.random.default_rng(6), 0
    said = {"slices": ("part",)} if rule == "slice" else {"guards": {"log_loss": 0.02}}
    config = GateConfig(metric="log_loss", bound=30.0, slice_max_drop=0.02, resamples=100, **said)
    for _ in range(40):
        p = np.where(rng.random(400) < 1 / 400, 1e-13, 0.7)
        new = np.where(Y[:400] == 1, p, 1 - p)
        old = np.where(Y[:400] == 1, 0.68, 0.32) + rng.normal(0, 0.001, 400)
        both = Comparison(
            y=Y[:400],
            challenger=probabilities(new),
            champion=probabilities(old),
            classes=(0, 1),
            slices={"part": np.zeros(400)},
        )
        found = [each for each in judge(both, config).rules if each.rule.value == rule]
        passed += sum(each.passed for each in found)
    assert passed <= 2  # five per cent; by a t-test 16 of 40, those without such a row


def test_clusters_whose_size_tells_of_their_gains_are_no_proof_by_bets_alone() -> None:
    """Better for many small customers, as much worse for the few large ones: equal on all rows."""
    rng, by_bets, proven = np.random.default_rng(7), 0, 0
    for _ in range(40):
        codes = np.repeat(np.arange(440), np.where(np.arange(440) < 400, 5, 50))
        gain = np.where(codes < 400, 0.2, -0.2)
        draw = rng.random(len(codes))
        gains = (draw < 0.3 + gain / 2) * 1.0 - (draw > 0.7 + gain / 2)
        y = np.zeros(len(codes))
        both = Comparison(y=y, challenger=(gains < 0) * 1.0, champion=(gains > 0) * 1.0)
        pair = scored_pair(replace(both, classes=(0.0, 1.0)), find_metric("accuracy"))
        config = GateConfig(cluster="customer", resamples=100)
        whole = interval_of(find_metric("accuracy"), pair.champion, pair.challenger, codes, config)
        p = p_value(find_metric("accuracy"), pair, codes, whole, config, null=0.0, level=LEVEL)
        by_bets += bet(gains, level=LEVEL, clusters=codes) <= LEVEL
        proven += p <= LEVEL
    assert by_bets >= 38
    assert proven == 0


def test_not_proven_says_how_many_clusters_would_have_been_enough() -> None:
    rng = np.random.default_rng(8)

    def night(clusters: int) -> Verdict:
        rows = clusters * 10
        y, luck = np.zeros(rows), rng.random(rows)
        codes = np.repeat(np.arange(clusters), 10)
        pair = Comparison(
            y=np.where(np.arange(rows) % 2, 1.0, y),
            challenger=np.where(luck < 0.02, 1 - np.arange(rows) % 2, np.arange(rows) % 2) * 1.0,
            champion=np.where(luck > 0.90, 1 - np.arange(rows) % 2, np.arange(rows) % 2) * 1.0,
            clusters=codes,
        )
        return judge(pair, GateConfig(cluster="customer", resamples=100))

    verdict = night(50)
    assert not verdict.promote
    found = re.search(r"about ([\d,]+) clusters like these would have been enough", verdict.reason)
    assert found, verdict.reason
    assert 110 < int(found[1]) < 220
    assert sum(night(int(found[1])).promote for _ in range(20)) >= 12


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


def test_a_drop_that_few_rows_show_seldom_passes_a_guard() -> None:
    """f1 of 100 rows, 40 positive, of which the challenger misses one in fifty."""
    rng, passed = np.random.default_rng(5), 0
    metric, config = find_metric("f1"), GateConfig(resamples=100)
    for _ in range(200):
        y = np.repeat([0, 1], [60, 40])
        miss = (rng.random(100) < 0.04) & (y == 1)
        new, old = np.where(miss, 0, y), y
        comparison = Comparison(y=y, challenger=new, champion=old)
        pair = scored_pair(comparison, metric)
        assert pair.champion is not None
        whole = interval_of(metric, pair.champion, pair.challenger, None, config)
        p = p_value(metric, pair, None, whole, config, null=-0.018, level=0.05)
        passed += p <= 0.05
    assert passed <= 200 * 0.05
