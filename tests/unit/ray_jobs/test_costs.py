"""Timing takes turns, warms up first, and ends in time whatever it times."""

from collections.abc import Callable

import pyarrow as pa
import pytest

from ray_jobs.costs import FEW, ROUNDS, SECONDS, repeated, side_by_side

Predict = Callable[[int], None]


class Stage:
    """A clock, and models that take their time by it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[tuple[str, int]] = []

    def clock(self) -> float:
        return self.now

    def time(self, *models: Predict) -> tuple[int, tuple[tuple[float, ...], ...]]:
        """As on a machine on which nobody else works."""
        return side_by_side(models, self.clock, self.clock)

    def model(
        self, name: str, *, row_s: float, first_s: float = 0.0, call_s: float = 0.0
    ) -> Predict:
        def predict(rows: int) -> None:
            begins = name not in {called for called, _ in self.calls}
            self.calls.append((name, rows))
            self.now += rows * row_s + call_s + begins * first_s

        return predict


def test_both_are_timed_by_milliseconds_for_1000_rows() -> None:
    stage = Stage()
    models = [stage.model("new", row_s=2e-5), stage.model("old", row_s=1e-5)]
    rows, (new, old) = stage.time(*models)
    assert rows == 1000
    assert len(new) == len(old) == ROUNDS
    assert new == pytest.approx([20.0] * ROUNDS)
    assert old == pytest.approx([10.0] * ROUNDS)


def test_what_is_loaded_at_the_first_call_does_not_count() -> None:
    stage = Stage()
    _, (new,) = side_by_side(
        [stage.model("new", row_s=1e-5, first_s=3.0)], stage.clock, stage.clock
    )
    assert max(new) == pytest.approx(10.0)


def test_they_take_turns_in_both_orders() -> None:
    stage = Stage()
    side_by_side(
        [stage.model("a", row_s=1e-6), stage.model("b", row_s=1e-6)], stage.clock, stage.clock
    )
    timed = [name for name, rows in stage.calls if rows == 1000]
    assert timed[:8] == ["a", "b", "b", "a", "a", "b", "b", "a"]


def test_a_slow_model_is_timed_on_fewer_rows_and_ends_in_time() -> None:
    stage = Stage()
    rows, (slow,) = stage.time(stage.model("slow", row_s=0.002))
    assert FEW <= rows == 200
    assert slow == pytest.approx([2000.0] * len(slow))
    assert stage.now <= SECONDS + rows * 0.002


def test_the_slowest_model_is_timed_once_on_few_rows() -> None:
    stage = Stage()
    rows, (slow,) = stage.time(stage.model("slow", row_s=1.0))
    assert (rows, len(slow)) == (FEW, 1)
    assert slow[0] == pytest.approx(1_000_000)


def test_few_rows_are_repeated_and_many_are_cut() -> None:
    rows = pa.table({"x": [1, 2, 3]})
    assert repeated(rows, 7)["x"].to_pylist() == [1, 2, 3, 1, 2, 3, 1]
    assert repeated(rows, 2)["x"].to_pylist() == [1, 2]


def test_waiting_counts_for_the_time_it_takes_and_not_for_the_latency() -> None:
    stage, waited = Stage(), Stage()
    busy = stage.model("busy", row_s=1e-5)

    def wall() -> float:
        return stage.now + waited.now

    def predict(rows: int) -> None:
        busy(rows)
        waited.now += 1.0  # others use the processor

    _, (found,) = side_by_side([predict], stage.clock, wall)
    assert found == pytest.approx([10.0] * len(found))
    assert wall() <= SECONDS + 1.1
