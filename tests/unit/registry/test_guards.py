"""Guards and slices by one night's test: proven no worse, or held."""

import math
import re
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from registry.errors import GateError, UnknownMetric
from registry.gate import decide
from registry.gate_config import GateConfig, check_config, check_mode
from registry.guards import guard_rules
from registry.methods.comparison import Comparison, scored_pair
from registry.methods.evidence import log_value_of_counts
from registry.methods.metrics import find_metric
from registry.nights.no_harm import after_gains, begun
from registry.slices import clusters_for_evidence, rows_for_evidence, slice_rules
from registry.verdict import Rule, RuleResult

ROWS = 3000
RNG = np.random.default_rng(7)
Y = RNG.integers(0, 2, ROWS)


def confident(accuracy: float, seed: int, sure: float = 0.8) -> np.ndarray:
    right = np.random.default_rng(seed).random(ROWS) < accuracy
    one = np.where(right == (Y == 1), sure, 1 - sure)
    return np.stack([1 - one, one], axis=1)


def guards(challenger: np.ndarray, champion: np.ndarray, **bounds: float) -> dict[str, RuleResult]:
    comparison = Comparison(y=Y, challenger=challenger, champion=champion, classes=(0, 1))
    pair = scored_pair(comparison, find_metric("accuracy"))
    rules = guard_rules(comparison, pair, GateConfig(guards=bounds, resamples=200), looks=0)
    return {rule.metric: rule for rule in rules}


def test_a_guard_is_kept_by_the_same_model_and_missed_by_a_worse_one() -> None:
    good, bad = confident(0.9, 1), confident(0.84, 2)
    margins = {"roc_auc": 0.02, "log_loss": 0.02, "f1": 0.02}
    same = guards(good, good, **margins)
    kept = {name: rule.passed for name, rule in same.items()}
    # A row may lose any amount of log loss, so rows on which nothing differs say nothing of others.
    assert kept == {"roc_auc": True, "log_loss": False, "f1": True}
    worse = guards(bad, good, **margins)
    assert {name: rule.passed for name, rule in worse.items()} == dict.fromkeys(margins, False)
    assert worse["f1"].rule is Rule.GUARD
    assert worse["f1"].figure < -0.02 < 0
    assert "f1 changed by -0.0" in worse["f1"].message
    assert "not proven to be no worse than -0.02" in worse["f1"].message


def test_a_guard_holds_a_better_challenger_with_its_reason() -> None:
    better = confident(0.95, 3, sure=0.55)  # more often right, and unsure of it
    pair = Comparison(y=Y, challenger=better, champion=confident(0.9, 1), classes=(0, 1))
    verdict = decide(
        pair,
        GateConfig(guards={"log_loss": 0.01}, resamples=200),
        model="m",
        challenger="2",
        champion="1",
    )
    assert not verdict.promote
    assert "is better than champion version 1 but is held" in verdict.reason
    assert "log_loss changed by" in verdict.reason


def test_labels_cannot_answer_a_guard_on_probabilities() -> None:
    labels = confident(0.9, 1).argmax(axis=1)
    rule = guards(labels, labels, roc_auc=0.01)["roc_auc"]
    assert not rule.passed
    assert "needs probabilities, and the challenger gives labels" in rule.message


def test_a_harmful_slice_passes_one_night_rarely_however_many_slices_there_are() -> None:
    passed, nights = 0, 100
    rng = np.random.default_rng(8)
    config = GateConfig(
        metric="mae", slices=("part",), slice_max_drop=0.1, slice_alpha=0.1, resamples=100
    )
    for _ in range(nights):
        y, part = np.zeros(1000), np.arange(1000) % 3
        old, new = rng.normal(0, 1, 1000), rng.normal(0, 1, 1000)
        new = np.where(part == 0, np.abs(old) + 0.1 + rng.normal(0, 0.3, 1000), new * 0.5)
        comparison = Comparison(
            y=y, challenger=np.abs(new), champion=np.abs(old), slices={"part": part}
        )
        pair = scored_pair(comparison, find_metric("mae"))
        rules = slice_rules(comparison, pair, find_metric("mae"), config, looks=0)
        passed += all(rule.passed for rule in rules)
    # The harm is a little more than 0.1: at most 10 % pass, with Monte-Carlo error.
    assert passed / nights <= 0.1 + 3 * math.sqrt(0.09 / nights)


def test_earlier_looks_at_the_rows_make_a_slice_harder_to_pass() -> None:
    part = np.arange(ROWS) % 10
    comparison = Comparison(
        y=Y,
        challenger=confident(0.9, 1).argmax(axis=1),
        champion=confident(0.9, 2).argmax(axis=1),
        slices={"part": part},
    )
    pair, metric = scored_pair(comparison, find_metric("accuracy")), find_metric("accuracy")
    config = GateConfig(slices=("part",), resamples=100)
    first = slice_rules(comparison, pair, metric, config, looks=0)
    later = slice_rules(comparison, pair, metric, config, looks=9)
    assert "at most 0.05 allowed" in first[0].message
    assert "at most 0.005 allowed" in later[0].message
    assert sum(rule.passed for rule in later) < sum(rule.passed for rule in first)


def test_the_rows_that_bets_need_grow_with_the_square_of_what_is_allowed() -> None:
    wide = rows_for_evidence(0.06, GateConfig(slice_max_drop=0.04), 1.0)
    tight = rows_for_evidence(0.06, GateConfig(slice_max_drop=0.02), 1.0)
    assert tight / wide == pytest.approx(4, rel=0.05)
    assert 1000 < tight < 1300
    assert rows_for_evidence(0.06, replace(GateConfig(slice_max_drop=0.04)), 2.0) == wide


def clustered(few: int) -> dict[str | None, RuleResult]:
    """The slices of 200 clusters of 50 rows, of which `few` are of the east; +10 points in both."""
    owner, rng = np.repeat(np.arange(200), 50), np.random.default_rng(1)
    champion = rng.random(len(owner)) < 0.85
    right = champion | (rng.random(len(owner)) < 0.7)
    y = np.arange(len(owner)) % 2
    comparison = Comparison(
        y=y,
        challenger=np.where(right, y, 1 - y),
        champion=np.where(champion, y, 1 - y),
        clusters=owner,
        slices={"region": np.where(owner < few, "east", "west").astype(object)},
    )
    metric = find_metric("accuracy")
    config = GateConfig(slices=("region",), cluster="owner", resamples=100)
    rules = slice_rules(comparison, scored_pair(comparison, metric), metric, config, looks=0)
    return {rule.slice: rule for rule in rules}


@pytest.mark.parametrize("few", [1, 4])
def test_a_slice_of_clusters_that_prove_nothing_whatever_they_say_is_not_judged(few: int) -> None:
    east = clustered(few)["region=east"]
    assert (east.judged, east.passed, east.low) == (False, True, None)
    said = "1 cluster" if few == 1 else "4 clusters"
    assert f"is not judged: {said}, and nothing is proven by fewer than 5" in east.message


def test_a_slice_that_clusters_could_prove_says_how_many_would_have_been_enough() -> None:
    east = clustered(6)["region=east"]
    assert (east.judged, east.passed) == (True, False)
    found = re.search(r"about (\d+) clusters like these would have been enough", east.message)
    assert found
    assert 6 < int(found[1]) < 60
    assert clustered(2 * int(found[1]))["region=east"].passed


def test_one_block_shows_no_interval_and_proves_nothing() -> None:
    y, day = np.arange(400) % 2, np.arange(400) // 40
    right = np.arange(400) % 5 > 0
    comparison = Comparison(
        y=y,
        challenger=y,
        champion=np.where(right, y, 1 - y),
        clusters=day,
        slices={"part": np.where(day == 3, "one", "nine")},
    )
    metric = find_metric("accuracy")
    config = GateConfig(slices=("part",), block=timedelta(days=1), slice_min_rows=10, resamples=100)
    rules = slice_rules(comparison, scored_pair(comparison, metric), metric, config, looks=0)
    one = next(rule for rule in rules if rule.slice == "part=one")
    assert (one.passed, one.low, one.high) == (False, None, None)
    assert "+0.2 (no interval: one unit shows no spread)" in one.message


def test_equal_models_are_proven_harmless_by_so_many_clusters_at_best() -> None:
    config = GateConfig(slice_max_drop=0.02, slice_alpha=0.05)
    needed = clusters_for_evidence(config, 1.0)
    assert 150 < needed < 165
    drop = begun("r", allowed=0.02, bound=1.0, square=0.1)
    for count, proven in ((math.floor(needed), False), (math.ceil(1.1 * needed), True)):
        owner = np.repeat(np.arange(count), 50)
        after = after_gains(drop, np.zeros(len(owner)), owner)
        assert (after.log_value >= math.log(20)) is proven


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"margin": 0.01, "min_effect": 0.01}, "not worse and for better at once"),
        ({"margin": -0.01}, "margin is -0.01; at least 0"),
        ({"guards": {"mae": 0.1}}, "guard 'mae' is a metric of regression"),
        ({"guards": {"roc_auc": 0.0}}, "no worse at all"),
        ({"guards": {"ece": 0.01}}, "well calibrated model looks worse than it is"),
        ({"slices": ("a",), "slice_max_drop": 0.0}, "slice_max_drop is 0"),
        ({"slices": ("a/1",)}, "has 1 bins"),
        ({"slice_alpha": 0.0}, "slice_alpha is 0"),
    ],
)
def test_what_makes_no_sense_is_refused(config: dict[str, object], message: str) -> None:
    with pytest.raises(GateError, match=message):
        check_config(GateConfig(**config))  # type: ignore[arg-type]


def test_an_unknown_guard_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UnknownMetric, match="did you mean 'roc_auc'"):
        check_config(GateConfig(guards={"rocauc": 0.01}))


def test_a_margin_beyond_what_a_row_can_lose_is_refused() -> None:
    with pytest.raises(GateError, match="margin is 1, and a row's loss counts as at most 1"):
        check_mode(GateConfig(margin=1.0))


def test_many_slices_need_more_rows_each_so_that_all_of_them_are_proven_together() -> None:
    config = GateConfig(slice_max_drop=0.02, slice_alpha=0.05)
    one, twenty = (rows_for_evidence(0.06, config, 1.0, count) for count in (1, 20))
    rng, proven = np.random.default_rng(1), 0
    bets = begun("", allowed=0.02, bound=1.0, square=0.06).evidence
    assert bets is not None
    for _ in range(200):
        rows = math.ceil(twenty)
        won, lost = rng.binomial(rows, 0.03, 20), rng.binomial(rows, 0.03, 20)
        found = log_value_of_counts(
            bets.bets, won.astype(float), lost.astype(float), rows - won - lost, null=-0.02
        )
        proven += bool((found >= math.log(20)).all())
    assert one < twenty < 6 * one
    assert proven >= 0.7 * 200


def test_the_coverage_of_a_quantile_is_no_guard_as_its_error_is_none() -> None:
    config = GateConfig(metric="pinball_0.9", bound=1.0, guards={"coverage_0.9": 0.01})
    with pytest.raises(GateError, match=r"'coverage_0\.9' proves nothing") as refused:
        check_config(config)
    assert "guard pinball_0.9, row by row" in str(refused.value.hint)
    check_config(replace(config, guards={}, floors={"coverage_0.9": 0.05}))
