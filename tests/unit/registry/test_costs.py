"""What a model costs is held against each bound, in words that say what was measured."""

from dataclasses import replace

import numpy as np
import pytest

from registry.costs import Costs, cost_rules, measures, median_interval, times
from registry.errors import GateError
from registry.gate_config import CostConfig, GateConfig, check_config
from registry.verdict import Rule

MINE = Costs(rows=1000, rounds_ms=(10.0, 12.0, 11.0), size_mb=4.0, memory_mb=90.0)
THEIRS = Costs(rows=1000, rounds_ms=(5.0, 4.0, 5.5))


@pytest.mark.parametrize(
    ("config", "passed", "message"),
    [
        (
            CostConfig(latency_ms=11),
            True,
            "it takes 11 ms of one core to predict 1,000 rows and may take 11 ms",
        ),
        (
            CostConfig(latency_ms=10.9),
            False,
            "it takes 11 ms of one core to predict 1,000 rows and may take 10.9 ms",
        ),
        (
            CostConfig(latency_ratio=1.5),
            False,
            "it takes 2 times as long to predict as the champion (11 ms against 5 ms for 1,000 "
            "rows) and may take 1.5 times",
        ),
        (CostConfig(size_mb=5), True, "its files have 4 MB and may have 5 MB"),
        (
            CostConfig(memory_mb=50),
            False,
            "loading it and predicting take 90 MB of memory and may take 50 MB",
        ),
    ],
)
def test_a_bound_is_held_against_what_was_measured(
    config: CostConfig, passed: bool, message: str
) -> None:
    (rule,) = cost_rules(config, MINE, THEIRS)
    assert (rule.rule, rule.passed, rule.message) == (Rule.COST, passed, message)
    assert rule.bound is not None
    assert rule.metric in vars(config)


def test_only_what_has_a_bound_is_a_rule() -> None:
    assert cost_rules(CostConfig(), MINE, THEIRS) == ()
    assert not measures(CostConfig())
    assert measures(CostConfig(memory_mb=1))
    assert not times(CostConfig(memory_mb=1))
    both = cost_rules(CostConfig(size_mb=1, latency_ms=100), MINE, None)
    assert [rule.metric for rule in both] == ["latency_ms", "size_mb"]


def test_what_could_not_be_measured_is_not_passed_and_says_why() -> None:
    (rule,) = cost_rules(CostConfig(memory_mb=50), replace(MINE, memory_mb=None), None)
    assert (rule.passed, rule.figure) == (False, None)
    lost = replace(MINE, memory_mb=None, trouble="the process ended: out of memory")
    (rule,) = cost_rules(CostConfig(memory_mb=50), lost, None)
    assert rule.message == "its memory could not be measured: the process ended: out of memory"
    (rule,) = cost_rules(CostConfig(latency_ms=5), Costs(), None)
    assert not rule.passed


def test_a_first_models_latency_is_compared_with_nobodys() -> None:
    (rule,) = cost_rules(CostConfig(latency_ratio=1.5), MINE, None)
    assert (rule.passed, rule.judged, rule.figure) == (True, False, None)


def test_a_slow_moment_of_the_machine_slows_both_and_does_not_decide() -> None:
    """One round in which everything took five times as long."""
    mine, theirs = (replace(each, rounds_ms=()) for each in (MINE, THEIRS))
    mine = replace(mine, rounds_ms=(10.0, 50.0, 10.0, 10.0, 10.0))
    theirs = replace(theirs, rounds_ms=(10.0, 50.0, 10.0, 10.0, 10.0))
    (rule,) = cost_rules(CostConfig(latency_ratio=1.1), mine, theirs)
    assert rule.figure == 1.0
    assert rule.passed


@pytest.mark.parametrize(("values", "ranks"), [(6, (1, 6)), (21, (6, 16)), (20, (6, 15))])
def test_the_interval_of_a_median_has_the_ranks_of_the_sign_test(
    values: int, ranks: tuple[int, int]
) -> None:
    """The two-sided 95 % ranks of the sign test."""
    middle, low, high = median_interval(tuple(float(n) for n in range(1, values + 1)))
    assert (low, high) == ranks
    assert middle == (values + 1) / 2


def test_five_rounds_have_a_median_and_no_interval() -> None:
    assert median_interval((3.0, 1.0, 2.0, 5.0, 4.0)) == (3.0, None, None)
    assert median_interval((3.0,)) == (3.0, None, None)


def test_the_interval_of_a_median_covers_it_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    found = [median_interval(tuple(rng.exponential(size=21))) for _ in range(1000)]
    covered = [low <= np.log(2) <= high for _, low, high in found if low is not None and high]
    assert len(covered) == 1000
    assert np.mean(covered) >= 0.94


def test_a_bound_that_no_model_keeps_is_refused() -> None:
    with pytest.raises(GateError, match=r"cost\.latency_ms is 0; it must be positive"):
        check_config(GateConfig(cost=CostConfig(latency_ms=0)))
