"""A time that cannot be is refused; one that others wrote harms nobody."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from feature_store import (
    ChecksConfig,
    FeatureStore,
    FeatureStoreConfig,
    FeatureView,
    ImpossibleTime,
    InvalidView,
    SchemaMismatch,
    connect,
    run_checks,
)
from feature_store.checks.report import CheckReport

NOW = datetime(2026, 6, 1, tzinfo=UTC)
VIEW = FeatureView(name="churn", entities=("id",), event_time="at", features=("x",))
US = pa.timestamp("us", "UTC")


def rows(times: Any, kind: Any = US) -> pa.Table:
    at = times if isinstance(times, pa.Array) else pa.array(times, kind)
    count = len(at)
    return pa.table(
        {
            "id": pa.array(range(count), pa.int64()),
            "at": at,
            "x": pa.array([1.0] * count, pa.float64()),
        }
    )


def hours(*ago: float) -> list[datetime]:
    return [NOW - timedelta(hours=number) for number in ago]


@pytest.fixture(params=["delta", "parquet"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> FeatureStore:
    made = connect(FeatureStoreConfig(uri=str(tmp_path), format=request.param))
    made.create(VIEW, rows([]).schema)
    return made


@pytest.mark.parametrize(
    ("numbers", "kind", "says"),
    [
        ([1_763_000_000_000], pa.timestamp("s"), "the newest: the year 57,8"),
        ([1_763_000_000_000 * 10**6], US, "the newest: the year 57,8"),
        ([9 * 10**15], pa.timestamp("ms"), "the newest: the year 287,1"),
        ([datetime(2099, 1, 1, tzinfo=UTC)], US, "the newest: 2099-01-01 00:00"),
        ([datetime(2099, 1, 1).date()], pa.date32(), "the newest: 2099-01-01 00:00"),
        ([datetime(1, 1, 1, tzinfo=UTC)], US, "before 1900 (the oldest: 0001-01-01 00:00"),
        ([-(2**62)], US, "before 1900 (the oldest: the year -144,"),
    ],
)
def test_a_time_that_cannot_be_is_refused_with_column_value_and_count(
    store: FeatureStore, numbers: list[Any], kind: Any, says: str
) -> None:
    good = pa.array(hours(5, 4, 3), US).cast(kind, safe=False)
    times = pa.concat_arrays([good, pa.array(numbers, kind)])
    with pytest.raises(ImpossibleTime) as caught:
        store.append("churn", rows(times), now=NOW)
    assert "view churn: 1 of 4 rows have an event time that cannot be: column at" in str(
        caught.value
    )
    assert says in str(caught.value)
    assert caught.value.hint
    assert store.latest_version("churn") == 0


def test_a_row_of_another_time_zones_today_is_let_in(store: FeatureStore) -> None:
    assert store.append("churn", rows(hours(0, -14)), now=NOW) == 1


def test_a_time_in_another_column_may_not_wrap_either(store: FeatureStore) -> None:
    view = replace(VIEW, name="due", features=("due",))
    made = rows(hours(1)).drop(["x"])
    store.create(view, made.append_column("due", pa.array([None], US)).schema)
    due = pa.array([10**17], pa.timestamp("ms"))
    with pytest.raises(SchemaMismatch, match="column due"):
        store.append("due", made.append_column("due", due), now=NOW)


def test_a_placeholder_in_another_column_leaves_the_view_readable(store: FeatureStore) -> None:
    view = replace(VIEW, name="due", features=("due",))
    made = rows(hours(1)).drop(["x"])
    for value in (2**62, 253_402_300_799_999_999):
        table = made.append_column("due", pa.array([value], US))
        store.create(view, table.schema)
        store.append("due", table, now=NOW)
    assert store.snapshot("due").watermark == hours(1)[0]


def test_times_without_a_zone_are_those_of_the_view(store: FeatureStore) -> None:
    store.create(replace(VIEW, name="local", time_zone="Asia/Kolkata"), rows([]).schema)
    naive = [datetime(2026, 6, 1, 5, 30)]
    store.append("local", rows(naive, pa.timestamp("us")), now=NOW)
    assert store.snapshot("local").watermark == NOW
    assert store.view("local").time_zone == "Asia/Kolkata"


def test_an_unknown_zone_is_refused_with_the_nearest(store: FeatureStore) -> None:
    with pytest.raises(InvalidView, match="did you mean 'Europe/Berlin'"):
        store.create(replace(VIEW, name="other", time_zone="Europe/Berlim"))


def written_by_others(tmp_path: Path, times: list[Any]) -> FeatureStore:
    write_deltalake(str(tmp_path / "churn"), rows(hours(30, 20)))
    write_deltalake(str(tmp_path / "churn"), rows([*hours(*range(3, 100)), *times]), mode="append")
    store = connect(FeatureStoreConfig(uri=str(tmp_path)))
    store.create(VIEW)
    return store


FAR = 1_763_000_000_000 * 10**6


@pytest.mark.parametrize("times", [[FAR], [-FAR], [FAR, -FAR]])
def test_a_time_that_others_wrote_and_cannot_be_does_not_hide_the_view(
    tmp_path: Path, times: list[int]
) -> None:
    store = written_by_others(tmp_path, times)
    assert store.snapshot("churn").watermark == hours(3)[0]
    assert store.snapshot("churn", since=0).new_rows == 97 + len(times)


def checked(store: FeatureStore, **config: Any) -> CheckReport:
    plain = ChecksConfig(duplicates=None, **config)
    return run_checks(store, store.snapshot("churn", since=0), plain, now=NOW)


def test_one_row_of_the_future_does_not_make_old_data_young(tmp_path: Path) -> None:
    store = written_by_others(tmp_path, [datetime(2099, 1, 1, tzinfo=UTC)])
    assert checked(store, max_age=timedelta(hours=4)).passed
    report = checked(store, max_age=timedelta(hours=2))
    assert not report.passed
    assert "is 3:00:00 old, allowed 2:00:00" in report.reason


def test_a_few_rows_of_the_future_are_told_with_their_number(tmp_path: Path) -> None:
    report = checked(written_by_others(tmp_path, [datetime(2099, 1, 1, tzinfo=UTC), FAR]))
    assert report.passed
    assert (
        "column at: 2 % of the new rows (1 later than now, 2026-06-01 00:00 UTC (the newest: "
        "2099-01-01 00:00), train and judge nothing until then; 1 before 1900 or after 2200, which "
        "cannot be, never do), allowed 5.0 %"
    ) in report.reason


def test_many_rows_of_the_future_halt(tmp_path: Path) -> None:
    store = written_by_others(tmp_path, hours(*[-5] * 40))
    report = checked(store)
    assert not report.passed
    assert "column at: 29 % of the new rows (40 later than now" in report.reason
    assert checked(store, future=0.5).passed
    assert checked(store, future=None).passed


def test_rows_up_to_now_are_not_worth_a_word(tmp_path: Path) -> None:
    assert "later than now" not in checked(written_by_others(tmp_path, hours(0))).reason
