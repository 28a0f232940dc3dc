from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_jobs.features import HoldoutConfig
from ray_jobs.split import as_datetime, as_time, group_codes, split
from ray_jobs.training_errors import UnfitData

START = datetime(2026, 1, 1, tzinfo=UTC)
LATER = START + timedelta(days=1000)


def days(*offsets: float) -> np.ndarray:
    return np.array([as_time(START + timedelta(days=offset)) for offset in offsets])


def test_the_newest_fraction_judges_and_everything_before_it_trains() -> None:
    found = split(days(*range(10)), HoldoutConfig(fraction=0.2, min_rows=2), now=LATER)
    assert found.train.tolist() == [True] * 8 + [False] * 2
    assert found.holdout.tolist() == [False] * 8 + [True] * 2
    assert found.train_until == START + timedelta(days=7)
    assert found.holdout_from == START + timedelta(days=8)
    assert found.holdout_until == START + timedelta(days=9)


def test_the_order_of_the_rows_does_not_matter() -> None:
    found = split(days(9, 0, 5, 1), HoldoutConfig(fraction=0.25, min_rows=1), now=LATER)
    assert found.holdout.tolist() == [True, False, False, False]


def test_a_window_holds_the_rows_of_its_length() -> None:
    config = HoldoutConfig(window=timedelta(days=3), min_rows=1)
    found = split(days(*range(10)), config, now=LATER)
    assert found.holdout.sum() == 3


def test_rows_of_one_time_stay_together_at_the_nearest_boundary() -> None:
    times = days(0, 1, 2, 3, 4, 4, 4, 4, 4, 5)
    found = split(times, HoldoutConfig(fraction=0.2, min_rows=1), now=LATER)
    assert found.holdout.tolist() == [False] * 9 + [True]
    found = split(times, HoldoutConfig(fraction=0.5, min_rows=1), now=LATER)
    assert found.holdout.sum() == 6


def test_rows_whose_labels_are_not_mature_are_on_neither_side() -> None:
    found = split(
        days(*range(10)),
        HoldoutConfig(fraction=0.25, min_rows=1),
        now=START + timedelta(days=9),
        label_delay=timedelta(days=2),
    )
    assert found.immature == 2
    assert not (found.train | found.holdout)[8:].any()
    assert found.holdout.tolist()[6:8] == [True, True]


def test_no_mature_row_is_unfit_and_says_the_delay() -> None:
    with pytest.raises(UnfitData, match=r"2 rows is older than .*label_delay") as caught:
        split(days(0, 1), HoldoutConfig(), now=START, label_delay=timedelta(days=1))
    assert caught.value.permanent
    assert caught.value.hint


def test_the_holdout_begins_after_the_champions_last_training_row() -> None:
    seen = START + timedelta(days=8)
    found = split(
        days(*range(10)), HoldoutConfig(fraction=0.5, min_rows=1), now=LATER, seen_until=seen
    )
    assert found.holdout.tolist() == [False] * 9 + [True]
    assert found.train.sum() == 9


def test_a_champion_that_has_seen_everything_leaves_nothing_to_judge_by() -> None:
    with pytest.raises(UnfitData, match="no mature row is newer"):
        split(
            days(*range(10)),
            HoldoutConfig(min_rows=1),
            now=LATER,
            seen_until=START + timedelta(days=9),
        )


def test_a_group_that_appears_before_the_window_is_left_out_of_both_sides() -> None:
    groups = group_codes(pa.chunked_array([["a", "b", "c", None, "d", "a", "d", None]]))
    found = split(
        days(*range(8)), HoldoutConfig(fraction=0.5, min_rows=1), now=LATER, groups=groups
    )
    assert found.train.tolist() == [True] * 4 + [False] * 4
    assert found.holdout.tolist() == [False] * 4 + [True, False, True, True]
    assert found.straddling == 1


def test_rows_in_the_gap_before_the_holdout_neither_train_nor_judge() -> None:
    config = HoldoutConfig(window=timedelta(days=2), min_rows=1)
    found = split(days(*range(10)), config, now=LATER, gap=timedelta(days=3))
    assert found.train.tolist() == [True] * 5 + [False] * 5
    assert found.holdout.tolist() == [False] * 8 + [True] * 2
    assert found.between == 3


def test_a_training_row_at_the_very_border_of_the_gap_is_left_out_with_all_of_its_time() -> None:
    config = HoldoutConfig(window=timedelta(days=1), min_rows=1)
    found = split(days(0, 1, 5, 5, 5, 9), config, now=LATER, gap=timedelta(days=4))
    assert found.train.tolist() == [True, True, False, False, False, False]


def test_a_gap_that_leaves_nothing_to_train_on_is_unfit_and_says_its_figures() -> None:
    with pytest.raises(UnfitData) as caught:
        split(days(*range(10)), HoldoutConfig(min_rows=1), now=LATER, gap=timedelta(days=30))
    assert str(caught.value).startswith(
        "no row is left to train on: the 8 mature rows before the holdout begin at 2026-01-01 "
        "00:00, the holdout at 2026-01-09 00:00, and features.holdout.gap keeps 30 days between"
    )
    assert caught.value.permanent


def test_a_group_seen_in_the_gap_does_not_judge() -> None:
    groups = group_codes(pa.chunked_array([["a", "b", "c", "c", "d"]]))
    config = HoldoutConfig(window=timedelta(days=2), min_rows=1)
    found = split(days(*range(5)), config, now=LATER, gap=timedelta(days=1), groups=groups)
    assert found.train.tolist() == [True, True, False, False, False]
    assert found.holdout.tolist() == [False, False, False, False, True]


def test_too_few_rows_name_both_figures_and_the_setting() -> None:
    with pytest.raises(UnfitData, match=r"has 2 rows, features.holdout.min_rows asks for 3"):
        split(days(*range(10)), HoldoutConfig(fraction=0.2, min_rows=3), now=LATER)


def test_rows_of_a_single_time_cannot_be_split() -> None:
    with pytest.raises(UnfitData, match="same event time"):
        split(days(1, 1, 1), HoldoutConfig(min_rows=1), now=LATER)


@settings(max_examples=150, deadline=None)
@given(
    offsets=st.lists(st.integers(0, 40), min_size=2, max_size=80),
    fraction=st.floats(0.01, 0.99),
    delay=st.integers(0, 10),
    gap=st.integers(0, 6),
    seen=st.none() | st.integers(0, 40),
    codes=st.none() | st.randoms(use_true_random=False),
)
def test_the_rules_of_the_split_hold_for_any_rows(
    offsets: list[int], fraction: float, delay: int, gap: int, seen: int | None, codes: object
) -> None:
    times = days(*offsets)
    now = START + timedelta(days=38)
    seen_until = None if seen is None else START + timedelta(days=seen)
    groups = None if codes is None else np.array([codes.randint(-1, 6) for _ in offsets])  # type: ignore[attr-defined]
    try:
        found = split(
            times,
            HoldoutConfig(fraction=fraction, min_rows=1),
            now=now,
            label_delay=timedelta(days=delay),
            gap=timedelta(days=gap),
            seen_until=seen_until,
            groups=groups,
        )
    except UnfitData:
        return
    assert not (found.train & found.holdout).any()
    assert found.train.any()
    between = np.timedelta64(timedelta(days=gap))
    assert times[found.train].max() < times[found.holdout].min() - between
    mature = times <= as_time(now - timedelta(days=delay))
    assert not ((found.train | found.holdout) & ~mature).any()
    if seen_until is not None:
        assert times[found.holdout].min() > as_time(seen_until)
    if groups is not None:
        trained = set(groups[found.train & (groups >= 0)].tolist())
        assert not trained & set(groups[found.holdout].tolist())
    left_out = mature & ~found.train & ~found.holdout
    assert left_out.sum() == found.straddling + found.between


def test_a_time_survives_the_way_there_and_back() -> None:
    moment = datetime(2026, 3, 4, 5, 6, 7, 89, tzinfo=UTC)
    assert as_datetime(as_time(moment)) == moment


def test_rows_whose_time_cannot_be_are_on_neither_side() -> None:
    ends = np.array([-(2**62), 2**62]).view("datetime64[us]")
    times = np.concatenate([days(*range(10)), ends])
    found = split(times, HoldoutConfig(fraction=0.2, min_rows=1), now=LATER)
    assert not (found.train | found.holdout)[10:].any()
    assert found.train_from == START
    assert [as_datetime(end).year for end in ends] == [1, 9999]
