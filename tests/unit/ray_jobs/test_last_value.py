"""The label of the row before: only what was known when the row came."""

from datetime import timedelta

import numpy as np
import pytest

from ray_jobs.last_value import last_values, rows_before
from registry.methods.metrics import find_metric

HOURS = np.datetime64("2026-01-01", "us") + np.arange(6) * np.timedelta64(1, "h")
NOBODY = np.zeros(6, dtype=np.int64)
NOW = timedelta(0)


def test_the_row_before_is_the_one_before_in_time() -> None:
    assert rows_before(HOURS, NOBODY, NOW).tolist() == [-1, 0, 1, 2, 3, 4]


def test_a_group_has_its_own_row_before() -> None:
    groups = np.array([0, 1, 0, 0, 1, -1])
    assert rows_before(HOURS, groups, NOW).tolist() == [-1, -1, 0, 2, 1, -1]


def test_rows_of_one_time_do_not_know_each_other() -> None:
    times = HOURS[[0, 1, 1, 1, 2, 2]]
    assert rows_before(times, NOBODY, NOW).tolist() == [-1, 0, 0, 0, 3, 3]


@pytest.mark.parametrize(
    ("delay", "expected"),
    [
        (timedelta(hours=2), [-1, -1, 0, 1, 2, 3]),
        (timedelta(minutes=90), [-1, -1, 0, 1, 2, 3]),
        (timedelta(hours=9), [-1] * 6),
    ],
)
def test_a_label_that_was_not_known_yet_is_not_used(delay: timedelta, expected: list[int]) -> None:
    assert rows_before(HOURS, NOBODY, delay).tolist() == expected


def test_rows_before_agree_with_a_plain_search() -> None:
    rng = np.random.default_rng(0)
    times = np.sort(HOURS[0] + rng.integers(0, 60, 200) * np.timedelta64(1, "m"))
    groups, delay = rng.integers(-1, 5, 200), timedelta(minutes=7)
    found = rows_before(times, groups, delay)
    for row in range(200):
        known = [
            other
            for other in range(200)
            if groups[other] == groups[row] >= 0
            and times[other] + np.timedelta64(delay) <= times[row]
        ]
        assert found[row] == max(known, default=-1)


def said(metric: str, labels: np.ndarray, otherwise: np.ndarray, classes: object = None) -> object:
    rows = len(labels)
    return last_values(
        find_metric(metric),
        labels=labels,
        before=np.arange(rows) - 1,
        trained=np.arange(rows) < rows - 2,
        places=np.array([0, rows - 2, rows - 1]),
        otherwise=otherwise,
        classes=classes,  # type: ignore[arg-type]
    )


def test_numbers_are_the_number_before_and_the_first_row_falls_back() -> None:
    found = said("mae", np.arange(10, 16), np.full(3, 12.5))
    assert found.tolist() == [12.5, 13.0, 14.0]  # type: ignore[attr-defined]


def test_classes_are_the_class_before() -> None:
    labels = np.array(["a", "b", "b", "a", "b", "a"])
    found = said("accuracy", labels, np.array(["b", "b", "b"]))
    assert found.tolist() == ["b", "a", "b"]  # type: ignore[attr-defined]


LABELS = np.array(["a", "a", "b", "b", "a", "a"])
SHARES = np.tile([0.5, 0.5, 0.0], (3, 1))


def test_where_classes_are_judged_the_class_before_is_said_with_certainty() -> None:
    found = said("accuracy", LABELS, SHARES, ("a", "b", "c"))
    assert found.tolist() == [[0.5, 0.5, 0], [0, 1, 0], [1, 0, 0]]  # type: ignore[attr-defined]


def test_where_probabilities_are_judged_it_is_said_as_surely_as_it_was_right() -> None:
    """On the four training rows it was known for three, and wrong for one."""
    doubt = (1 + 1) / (3 + 2)
    found = said("log_loss", LABELS, SHARES, ("a", "b", "c"))
    expected = [[0.5, 0.5, 0], [doubt / 2, 1 - doubt / 2, 0], [1 - doubt / 2, doubt / 2, 0]]
    assert np.asarray(found) == pytest.approx(np.array(expected))


def test_a_class_that_the_challenger_does_not_know_falls_back() -> None:
    found = said("accuracy", np.array(["a", "b", "a", "b", "x", "a"]), SHARES, ("a", "b", "c"))
    assert np.asarray(found)[2].tolist() == [0.5, 0.5, 0.0]
