"""Event times in the wrong unit, zone or century."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from tests.field.project import Project, day


def at(values: list[Any], unit: str = "us") -> pa.Array:
    return pa.array(values, pa.timestamp(unit, "UTC"))


def test_milliseconds_taken_for_seconds_are_refused_with_the_count(project: Project) -> None:
    assert project.create(day(1)).code == 0
    seconds = [int(time.timestamp()) for time in day(2)["at"].to_pylist()]
    seconds[7] *= 1000
    answer = project.append(day(2, at=at(seconds, "s")))
    assert answer.refused
    assert answer.says("at", "1 ")
    assert "OverflowError" not in answer.text
    assert project.ratchet("features", "list").says("churn")
    assert project.append(day(2)).code == 0
    assert project.night("checks.min_new_rows=801").says("800 new rows")


@pytest.mark.parametrize("year", [1, 1899])
def test_a_time_before_all_business_is_refused(project: Project, year: int) -> None:
    times = day(1)["at"].to_pylist()
    times[3] = datetime(year, 1, 1, tzinfo=UTC)
    answer = project.create(day(1, at=at(times)))
    assert answer.refused
    assert answer.says("at", "1 ")


def test_one_row_of_a_far_year_does_not_hide_that_the_data_is_old(project: Project) -> None:
    times = day(1)["at"].to_pylist()
    times[3] = datetime(2099, 1, 1, tzinfo=UTC)
    answer = project.create(day(1, at=at(times)))
    if answer.code == 0:
        answer = project.night("checks.max_age=36h")
    assert answer.code in (1, 3)
    assert answer.says("2099")


def test_rows_that_are_too_old_halt_with_their_age(project: Project) -> None:
    assert project.create(day(1)).code == 0
    answer = project.night("checks.max_age=36h")
    assert answer.code == 3
    assert answer.says("newest event time", "allowed 1 day, 12:00:00")


def test_times_without_a_zone_are_taken_for_utc_and_that_is_told(project: Project) -> None:
    naive = pa.array(
        [time.replace(tzinfo=None) for time in day(1)["at"].to_pylist()], pa.timestamp("us")
    )
    answer = project.create(day(1, at=naive))
    assert answer.code == 0
    assert answer.says("UTC")
    assert project.stored()["at"].to_pylist()[0] == day(1)["at"].to_pylist()[0]


def test_rows_of_the_next_hours_are_told_and_train_nothing(project: Project) -> None:
    now = datetime.now(UTC)
    times = [now + timedelta(hours=row / 40 - 6) for row in range(400)]
    answer = project.create(day(1, at=at(times)))
    if answer.code == 0:
        answer = project.night()
    assert answer.says("at")
    assert any(word in answer.text for word in ("future", "later than now"))
