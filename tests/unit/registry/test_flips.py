"""A challenger that changes too many predictions is held, however good it is."""

import numpy as np
import pytest
from scipy.stats import binomtest

from registry.errors import GateError
from registry.flips import clopper_pearson, flips_rule, rows_needed
from registry.gate import decide
from registry.gate_config import GateConfig
from registry.methods.comparison import Comparison, ScoredPair, scored_pair
from registry.methods.metrics import find_metric
from registry.verdict import Rule, RuleResult

Y = np.arange(2000) % 2


def changed(share: float, rows: int = 2000) -> ScoredPair:
    """Two models whose classes differ on this share of the rows."""
    new = np.where(np.arange(rows) < share * rows, 1 - Y[:rows], Y[:rows])
    both = Comparison(y=Y[:rows], challenger=new, champion=Y[:rows])
    return scored_pair(both, find_metric("accuracy"))


def rule(pair: ScoredPair, bound: float, clusters: np.ndarray | None = None) -> RuleResult:
    found = flips_rule(pair, GateConfig(max_flips=bound), clusters)
    assert found is not None
    return found


@pytest.mark.parametrize(("hits", "rows"), [(0, 40), (3, 40), (40, 40), (17, 1000)])
def test_the_interval_of_a_share_is_scipys_exact_one(hits: int, rows: int) -> None:
    theirs = binomtest(hits, rows).proportion_ci(0.95, method="exact")
    assert clopper_pearson(hits, rows, 0.95) == pytest.approx(tuple(theirs), rel=1e-9, abs=1e-12)


def test_the_upper_end_of_the_interval_is_what_must_keep_the_bound() -> None:
    found = rule(changed(0.04), 0.05)
    assert found.figure == pytest.approx(0.04)
    assert found.high is not None
    assert 0.049 < found.high < 0.05
    assert found.passed
    assert not rule(changed(0.045), 0.05).passed


def test_the_message_says_share_interval_and_bound() -> None:
    assert rule(changed(0.25), 0.05).message == (
        "25.00% of the rows get another class (95% interval 23.12% to 26.96%) "
        "and surely no more than 5.00% may"
    )


def test_too_few_rows_to_ever_pass_are_told_how_many_it_takes() -> None:
    found = rule(changed(0.0, rows=200), 0.01)
    assert not found.passed
    assert "which takes 368 independent rows to show" in found.message
    assert rows_needed(0.01, 0.95) == 368
    assert rule(changed(0.0, rows=368), 0.01).passed
    assert not rule(changed(0.0, rows=366), 0.01).passed


def test_rows_of_one_cluster_count_as_one() -> None:
    pair, units = changed(0.04), np.arange(2000) // 40
    alone, together = rule(pair, 0.05), rule(pair, 0.05, units)
    assert alone.high is not None
    assert together.high is not None
    # Two of fifty clusters changed, all of their rows: nearly the interval of 2 in 50.
    assert together.high == pytest.approx(clopper_pearson(2, 50, 0.95)[1], abs=0.01)
    assert alone.passed
    assert not together.passed


def test_without_any_flip_each_cluster_is_one_row() -> None:
    found = rule(changed(0.0), 0.05, np.arange(2000) // 40)
    assert found.high == pytest.approx(clopper_pearson(0, 50, 0.95)[1])


def test_with_blocks_of_time_the_figure_of_the_night_decides() -> None:
    from datetime import timedelta

    config = GateConfig(max_flips=0.05, block=timedelta(days=1))
    found = flips_rule(changed(0.045), config)
    assert found is not None
    assert (found.passed, found.low, found.high) == (True, None, None)


def test_the_interval_covers_the_true_share_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    config, covered = GateConfig(max_flips=0.5), 0
    for _ in range(400):
        # Clusters of ten rows that flip together, with a probability of 20 %.
        flipped = np.repeat(rng.random(100) < 0.2, 10)
        rows = Y[:1000]
        both = Comparison(y=rows, challenger=np.where(flipped, 1 - rows, rows), champion=rows)
        pair = scored_pair(both, find_metric("accuracy"))
        found = flips_rule(pair, config, np.arange(1000) // 10)
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0.2 <= found.high
    assert covered >= 0.94 * 400


def test_nothing_is_asked_without_a_bound_and_of_a_first_model() -> None:
    assert flips_rule(changed(0.5), GateConfig()) is None
    first = decide(
        Comparison(y=Y, challenger=Y, constant=np.zeros(2000, dtype=int)),
        GateConfig(max_flips=0.01),
        model="m",
        challenger="1",
    )
    assert first.promote
    assert Rule.FLIPS not in {rule.rule for rule in first.rules}


def test_a_better_challenger_that_flips_too_much_is_held() -> None:
    rng = np.random.default_rng(1)
    old = np.where(rng.random(2000) < 0.3, 1 - Y, Y)
    verdict = decide(
        Comparison(y=Y, challenger=Y, champion=old),
        GateConfig(max_flips=0.1),
        model="m",
        challenger="2",
        champion="1",
    )
    assert not verdict.promote
    assert "get another class" in verdict.reason


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (GateConfig(metric="mae", max_flips=0.1), "counts changed classes, and numbers"),
        (GateConfig(max_flips=0.0), "max_flips is 0; it is a share"),
        (GateConfig(max_flips=1.5), "max_flips is 1.5; it is a share"),
    ],
)
def test_a_bound_that_makes_no_sense_is_refused(config: GateConfig, message: str) -> None:
    with pytest.raises(GateError, match=message):
        decide(Comparison(y=Y, challenger=Y, champion=Y), config, model="m", challenger="1")
