"""How long a run may take: bounds that hold as often as they say."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from scipy import stats

from flows.core.duration_bound import LONGEST, duration_bound, t_quantile


def minutes(*values: float) -> list[timedelta]:
    return [timedelta(minutes=value) for value in values]


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 5, 7, 10, 17, 49, 200])
@pytest.mark.parametrize("p", [0.01, 0.3, 0.5, 0.6, 0.75, 0.9, 0.95, 0.99, 0.999])
def test_the_t_quantile_is_that_of_scipy(p, degrees):
    assert t_quantile(p, degrees) == pytest.approx(stats.t.ppf(p, degrees), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("count", [3, 5, 12, 18, 19, 50])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_one_more_run_ends_within_the_bound_as_often_as_promised(count, confidence):
    seeded, rounds, held = random.Random(count), 4000, 0
    for _ in range(rounds):
        *history, one_more = (
            timedelta(seconds=seeded.lognormvariate(6, 0.5)) for _ in range(count + 1)
        )
        bound = duration_bound(history, confidence)
        assert bound is not None
        held += one_more <= bound
    error = 3 * (confidence * (1 - confidence) / rounds) ** 0.5
    assert held / rounds >= confidence - error


def test_with_enough_history_the_bound_is_one_of_its_values_whatever_their_shape():
    history = minutes(*range(1, 51))
    assert duration_bound(history, 0.95) == timedelta(minutes=49)
    assert duration_bound(history[:19], 0.95) == timedelta(minutes=19)
    assert duration_bound(history, 0.5) == timedelta(minutes=26)


def test_with_less_it_is_beyond_the_longest():
    bound = duration_bound(minutes(10, 11, 12), 0.95)
    assert bound is not None
    assert timedelta(minutes=12) < bound < timedelta(minutes=20)


@pytest.mark.parametrize("history", [[], minutes(10), minutes(10, 11)])
def test_with_fewer_than_three_nothing_is_said(history):
    assert duration_bound(history, 0.95) is None


def test_equal_durations_are_their_own_bound_and_none_is_no_trouble():
    same, none = duration_bound(minutes(10) * 5, 0.95), duration_bound([timedelta(0)] * 3, 0.95)
    assert same == pytest.approx(timedelta(minutes=10), rel=1e-6)
    assert none == pytest.approx(timedelta(milliseconds=1), rel=1e-3)


def test_wild_durations_do_not_predict_centuries():
    assert duration_bound(minutes(0.001, 1, 100_000), 0.99) == LONGEST
