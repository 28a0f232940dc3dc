"""Checks before training: each says the column, the figure and the bound in one sentence."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from feature_store import (
    CheckReport,
    ChecksConfig,
    ExtraColumns,
    FeatureStore,
    FeatureStoreConfig,
    FeatureView,
    InvalidConfig,
    Range,
    Scope,
    UnknownColumn,
    connect,
    run_checks,
)
from feature_store.checks.figures import Wanted, measure

START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = START + timedelta(days=10)
VIEW = FeatureView(
    name="meter", entities=("id",), event_time="at", features=("load", "site"), label="peak"
)
OFF = ChecksConfig(
    schema=False, nulls={}, infinite={}, duplicates=None, min_new_rows=0, future=None
)


def rows(count: int = 4, *, day: int = 0, **columns: list[Any]) -> pa.Table:
    table = pa.table(
        {
            "id": pa.array(range(count), pa.int64()),
            "at": pa.array([START + timedelta(days=day)] * count, pa.timestamp("us", tz="UTC")),
            "load": pa.array([float(i) for i in range(count)], pa.float64()),
            "site": pa.array(["north", "south"] * count, pa.string())[:count],
            "peak": pa.array([True, False] * count, pa.bool_())[:count],
        }
    )
    for name, values in columns.items():
        position = table.schema.get_field_index(name)
        kind = table.schema.field(name).type
        table = table.set_column(position, name, pa.array(values, kind))
    return table


@pytest.fixture(params=["delta", "parquet"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> FeatureStore:
    opened = connect(FeatureStoreConfig(uri=str(tmp_path), format=request.param))
    opened.create(VIEW, rows(1).schema)
    return opened


Check = Callable[..., CheckReport]


@pytest.fixture
def check(store: FeatureStore) -> Check:
    """Append rows after one good day, and check them as new."""

    def run(table: pa.Table, config: ChecksConfig, **kwargs: Any) -> CheckReport:
        store.append("meter", rows())
        store.append("meter", table, **kwargs)
        return run_checks(store, store.snapshot("meter", since=1), config, now=NOW)

    return run


def messages(report: CheckReport) -> list[str]:
    return [result.message for result in report.failures]


def test_good_rows_pass_with_the_defaults(check: Check) -> None:
    report = check(rows(day=1), ChecksConfig())
    assert report.passed
    assert report.failures == ()
    assert report.reason == "5 checks passed on 4 rows of meter version 2"
    assert [result.message for result in report.results] == [
        "5 columns of meter as declared",
        "4 new rows, at least 1 needed",
        "5 columns: at most 0.0 % null, allowed 0.0 %",
        "1 columns: at most 0.0 % infinite, allowed 0.0 %",
        "columns id, at: 0.0 % duplicate keys in the new rows, allowed 0.0 %",
    ]


def test_nulls_name_the_column_the_figure_and_the_bound(check: Check) -> None:
    report = check(rows(day=1, load=[None, 1.0, float("nan"), 2.0]), ChecksConfig())
    assert not report.passed
    assert report.reason == "column load: 50.0 % null in the new rows, allowed 0.0 %"
    result = report.failures[0]
    assert (result.check, result.column, result.figure, result.bound) == ("nulls", "load", 0.5, 0.0)


def test_a_column_may_have_its_own_bound_of_nulls(check: Check) -> None:
    config = replace(OFF, nulls={"*": 0.0, "load": 0.5, "site": 0.2})
    table = rows(day=1, load=[None, None, 1.0, 2.0], site=[None, "a", "b", "c"])
    assert messages(check(table, config)) == [
        "column site: 25.0 % null in the new rows, allowed 20.0 %"
    ]


def test_many_named_columns_that_pass_are_one_line(tmp_path: Path) -> None:
    store = connect(FeatureStoreConfig(uri=str(tmp_path), format="parquet"))
    table = rows()
    for number in range(9):
        table = table.append_column(f"f{number}", pa.array([1.0] * 4))
    store.create(VIEW, table.schema)
    store.append("meter", table)
    config = replace(OFF, nulls={f"f{number}": 0.5 for number in range(9)})
    (result,) = run_checks(store, store.snapshot("meter"), config, now=NOW).results
    assert result.message == "9 columns: at most 0.0 % null, allowed 50.0 %"


def test_a_missing_column_appended_as_nulls_is_found(check: Check) -> None:
    renamed = rows(day=1).rename_columns(["id", "at", "laod", "site", "peak"])
    report = check(renamed, ChecksConfig(), merge_schema=True)
    assert messages(report) == [
        "column laod: double in version 2, not among the 5 columns of meter",
        "column load: 100.0 % null in the new rows, allowed 0.0 %",
    ]
    assert report.reason.startswith("column laod: double in version 2")


def test_extra_columns_can_be_allowed(check: Check) -> None:
    wider = rows(day=1).append_column("wind", pa.array([1.0] * 4))
    report = check(wider, ChecksConfig(extra_columns=ExtraColumns.ALLOW), merge_schema=True)
    assert report.passed


def test_a_long_list_of_failures_is_cut_in_the_reason(check: Check) -> None:
    nothing: list[Any] = [None] * 4
    table = rows(day=1, load=nothing, site=nothing, peak=nothing, id=nothing)
    report = check(table, replace(OFF, nulls={"*": 0.0}))
    assert len(report.failures) == 4
    assert report.reason.endswith("; and 1 more")


def test_ranges_say_what_was_seen(check: Check) -> None:
    table = rows(day=1, load=[-2.0, 5.0, None, float("nan")])
    assert messages(check(table, replace(OFF, ranges={"load": Range(min=0, max=4)}))) == [
        "column load: -2 to 5 in the new rows, allowed 0 to 4 (2 of 4 rows outside)"
    ]


@pytest.mark.parametrize(
    ("span", "figure", "bound"),
    [(Range(min=1), 0.0, 1.0), (Range(max=2), 3.0, 2.0), (Range(min=0, max=2), 3.0, 2.0)],
)
def test_a_range_gives_the_worst_value_and_its_bound(
    check: Check, span: Range, figure: float, bound: float
) -> None:
    result = check(rows(day=1), replace(OFF, ranges={"load": span})).failures[0]
    assert (result.figure, result.bound) == (figure, bound)


def test_infinity_is_out_of_range(check: Check) -> None:
    table = rows(day=1, load=[0.0, 1.0, 2.0, float("inf")])
    assert not check(table, replace(OFF, ranges={"load": Range(max=9)})).passed


@pytest.mark.parametrize("load", [float("inf"), float("-inf")])
def test_infinite_numbers_are_named_with_column_and_count(check: Check, load: float) -> None:
    report = check(rows(day=1, load=[0.0, load, load, 3.0]), ChecksConfig())
    assert messages(report) == [
        "column load: 50.0 % infinite in the new rows (2 of 4 rows), allowed 0.0 %"
    ]
    assert (report.failures[0].check, report.failures[0].figure) == ("infinite", 0.5)


def test_a_column_may_have_its_own_bound_of_infinite_numbers(check: Check) -> None:
    config = replace(OFF, infinite={"load": 0.5})
    assert check(rows(day=1, load=[0.0, float("inf"), 1.0, 2.0]), config).passed


@pytest.mark.parametrize("span", [Range(max=float("inf")), Range(min=float("-inf"), max=9)])
def test_a_bound_may_be_infinite_and_is_none_then(check: Check, span: Range) -> None:
    report = check(rows(day=1), replace(OFF, ranges={"load": span}))
    assert report.passed
    assert report.failures == ()


def test_the_report_of_infinite_numbers_in_range_can_be_stored(check: Check) -> None:
    table = rows(day=1, load=[0.0, 1.0, 2.0, float("inf")])
    (result,) = check(table, replace(OFF, ranges={"load": Range(max=float("inf"))})).results
    assert (result.passed, result.figure, result.bound) == (True, None, None)


def test_a_bound_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not NaN"):
        Range(min=float("nan"))


BIG = 2**53 + 1


@pytest.mark.parametrize(
    ("span", "outside"),
    [
        (Range(max=2**53), 1),
        (Range(min=2**53 + 2), 4),
        (Range(max=0.5), 3),
        (Range(min=-1e300, max=1e300), 0),
        (Range(min=1e300), 4),
    ],
)
def test_large_integers_are_compared_with_every_digit(
    check: Check, span: Range, outside: int
) -> None:
    result = check(rows(day=1, id=[0, 1, 2, BIG]), replace(OFF, ranges={"id": span})).results[0]
    assert f"({outside} of 4 rows outside)" in result.message or not outside
    assert result.passed == (not outside)


def test_a_large_integer_that_is_allowed_is_allowed(check: Check) -> None:
    table = rows(day=1, id=[BIG, BIG, BIG - 1, BIG])
    assert messages(check(table, replace(OFF, allowed={"id": (BIG,)}))) == [
        f"column id: '{BIG - 1}' in 1 of 4 rows of the new rows, allowed {BIG}"
    ]


@pytest.mark.parametrize("choices", [(False,), (83,)])
def test_what_yaml_reads_otherwise_is_refused_for_a_text_column(
    check: Check, choices: tuple[Any, ...]
) -> None:
    with pytest.raises(
        InvalidConfig, match=r"checks\.allowed\.site: the column is string"
    ) as caught:
        check(rows(day=1), replace(OFF, allowed={"site": choices}))
    assert "put it in quotes" in str(caught.value.hint)


@pytest.mark.parametrize("choices", [(False, "SE"), ("A12", 83)])
def test_choices_of_two_kinds_are_refused_before_any_data_is_looked_at(
    choices: tuple[Any, ...],
) -> None:
    with pytest.raises(ValueError, match=r"allowed\.site holds texts and .*: put texts in quotes"):
        ChecksConfig(allowed={"site": choices})


@pytest.mark.parametrize(
    ("column", "choices"),
    [
        ("id", (True,)),
        ("id", ("1.5",)),
        ("load", ("many",)),
        ("peak", (1,)),
        ("peak", ("yes",)),
        ("at", ("yesterday",)),
    ],
)
def test_a_choice_of_another_type_than_its_column_is_a_config_error(
    check: Check, column: str, choices: tuple[Any, ...]
) -> None:
    with pytest.raises(
        InvalidConfig, match=rf"checks\.allowed\.{column}: the column is "
    ) as caught:
        check(rows(day=1), replace(OFF, allowed={column: choices}))
    assert caught.value.hint


def test_choices_are_read_as_their_column_has_them(check: Check) -> None:
    config = replace(
        OFF,
        allowed={
            "id": ("0", "1", "2", "3"),
            "load": ("0", "1", "2.0", "3"),
            "peak": ("true", "False"),
            "at": ("2026-01-02T00:00:00Z",),
        },
    )
    assert messages(check(rows(day=1), config)) == []


def test_a_batch_that_was_delivered_again_is_told_without_a_key(check: Check) -> None:
    report = check(rows(), ChecksConfig())
    assert messages(report) == [
        "columns id, at: 100.0 % duplicate keys in the new rows (4 of 4 rows came before), "
        "allowed 0.0 %"
    ]


def test_of_new_rows_those_that_repeat_and_those_that_came_before_are_counted_once(
    check: Check,
) -> None:
    again = pa.concat_tables([rows(2), rows(2), rows(4, day=1)])
    (result,) = check(again, replace(OFF, duplicates=0.5)).results
    assert (result.passed, result.figure) == (True, 0.5)
    assert "(4 of 8 rows came before)" in result.message


def test_rows_of_other_times_are_no_duplicates(check: Check) -> None:
    assert check(rows(day=1), replace(OFF, duplicates=0.0)).passed


def test_what_is_missing_or_infinite_in_a_list_counts(tmp_path: Path) -> None:
    store = connect(FeatureStoreConfig(uri=str(tmp_path)))
    lists = [[1.0, float("nan")], [None], [float("inf")], None]
    table = rows().set_column(2, "load", pa.array(lists, pa.list_(pa.float64())))
    store.create(VIEW, table.schema)
    store.append("meter", table)
    assert messages(run_checks(store, store.snapshot("meter"), ChecksConfig(), now=NOW)) == [
        "column load: 75.0 % null in the new rows, allowed 0.0 %",
        "column load: 25.0 % infinite in the new rows (1 of 4 rows), allowed 0.0 %",
    ]


def test_of_two_columns_whose_names_differ_by_case_the_right_one_is_checked() -> None:
    table = pa.table({"Amount": [1.0, 2.0], "amount": [1e9, None]})
    found = measure(ds.dataset(table), {"Amount": Wanted(), "amount": Wanted()})
    assert (found["Amount"].missing, found["amount"].missing) == (0, 1)


def test_thousands_of_columns_are_read_a_few_at_once() -> None:
    table = pa.table({f"c{number}": [1.0, None] for number in range(1_000)})
    read = []

    class Watched:
        def to_batches(self, columns: list[str], **among: Any) -> Any:
            read.append(len(columns))
            return ds.dataset(table).to_batches(columns=columns, **among)

    found = measure(Watched(), {name: Wanted() for name in table.column_names})
    assert read == [200] * 5
    assert {figures.missing for figures in found.values()} == {1}


def test_a_range_within_bounds_or_of_nulls_passes(check: Check) -> None:
    table = rows(day=1, id=[None] * 4)
    config = replace(OFF, ranges={"load": Range(min=0, max=3), "id": Range(min=0)})
    assert check(table, config).passed


def test_a_range_of_a_text_fails(check: Check) -> None:
    assert messages(check(rows(day=1), replace(OFF, ranges={"site": Range(min=0)}))) == [
        "column site: string in the new rows, allowed at least 0"
    ]


def test_a_value_that_is_not_allowed_is_shown(check: Check) -> None:
    table = rows(day=1, site=["north", "it's", None, "it's"])
    config = replace(OFF, allowed={"site": ("north", "south"), "id": (0, 1, 2, 3), "peak": (True,)})
    assert messages(check(table, config)) == [
        'column site: "it\'s" in 2 of 4 rows of the new rows, allowed north, south',
        "column peak: 'false' in 2 of 4 rows of the new rows, allowed True",
    ]


def test_allowed_words_for_a_number_column_are_a_config_error(check: Check) -> None:
    with pytest.raises(InvalidConfig, match=r"checks\.allowed\.id: the column is int64") as caught:
        check(rows(day=1), replace(OFF, allowed={"id": ("one",)}))
    assert caught.value.permanent


def test_duplicate_keys_are_counted(check: Check) -> None:
    table = rows(day=1, id=[1, 1, 1, 2])
    assert messages(check(table, ChecksConfig())) == [
        "columns id, at: 50.0 % duplicate keys in the new rows, allowed 0.0 %"
    ]


def test_with_scope_all_a_batch_that_came_twice_is_found(check: Check) -> None:
    config = ChecksConfig(scope=Scope.ALL)
    report = check(rows(), config)
    assert messages(report) == ["columns id, at: 50.0 % duplicate keys in version 2, allowed 0.0 %"]
    assert report.rows == 8


def test_with_scope_new_bad_rows_of_the_past_are_not_looked_at(store: FeatureStore) -> None:
    store.append("meter", rows(load=[None] * 4))
    store.append("meter", rows(day=1))
    snapshot = store.snapshot("meter", since=1)
    assert run_checks(store, snapshot, ChecksConfig(), now=NOW).passed
    assert not run_checks(store, snapshot, ChecksConfig(scope=Scope.ALL), now=NOW).passed
    without = store.snapshot("meter", since=1, exclude=(1,))
    assert run_checks(store, without, ChecksConfig(scope=Scope.ALL), now=NOW).passed


def test_too_few_new_rows_fail(check: Check) -> None:
    assert messages(check(rows(2, day=1), replace(OFF, min_new_rows=3))) == [
        "2 new rows, at least 3 needed"
    ]


def test_an_empty_view_fails_for_want_of_rows(store: FeatureStore) -> None:
    config = ChecksConfig(max_age=timedelta(days=1))
    report = run_checks(store, store.snapshot("meter"), config, now=NOW)
    assert messages(report) == [
        "0 new rows, at least 1 needed",
        "meter has no event time yet, allowed age 1 day, 0:00:00",
    ]


def test_a_view_declared_without_a_schema_fails_for_want_of_rows(tmp_path: Path) -> None:
    store = connect(FeatureStoreConfig(uri=str(tmp_path)))
    store.create(VIEW)
    report = run_checks(store, store.snapshot("meter"), ChecksConfig(), now=NOW)
    assert messages(report) == ["0 new rows, at least 1 needed"]


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (1, "1 new rows per version, allowed 2 to 8 (the median of earlier versions is 4)"),
        (9, "9 new rows per version, allowed 2 to 8 (the median of earlier versions is 4)"),
        (8, None),
        (2, None),
    ],
)
def test_volume_is_compared_with_the_median_of_earlier_versions(
    store: FeatureStore, count: int, message: str | None
) -> None:
    for day, size in enumerate((4, 50, 3, 4)):
        store.append("meter", rows(size, day=day))
    store.append("meter", rows(count, day=5))
    store.append("meter", rows(count, day=6))
    snapshot = store.snapshot("meter", since=4, exclude=(2,))
    report = run_checks(store, snapshot, replace(OFF, volume_factor=2.0), now=NOW)
    assert messages(report) == ([] if message is None else [message])
    assert len(report.results) == 1


def test_volume_needs_three_earlier_versions(check: Check) -> None:
    report = check(rows(100, day=1), replace(OFF, volume_factor=2.0))
    assert report.passed
    assert report.results == ()


def test_a_stale_watermark_says_how_old_it_is(check: Check) -> None:
    report = check(rows(day=1), replace(OFF, max_age=timedelta(days=2)))
    assert messages(report) == [
        "the newest event time, 2026-01-02T00:00:00+00:00, is 9 days, 0:00:00 old, "
        "allowed 2 days, 0:00:00"
    ]
    assert report.failures[0].figure == timedelta(days=9).total_seconds()


def test_a_label_of_one_class_is_not_enough(check: Check) -> None:
    config = replace(OFF, label_classes=2)
    assert messages(check(rows(day=1, peak=[True, None, True, True]), config)) == [
        "column peak: 1 class in the new rows, at least 2 needed"
    ]


@pytest.mark.parametrize(
    "config",
    [
        ChecksConfig(nulls={"laod": 0.0}),
        ChecksConfig(ranges={"laod": Range(min=0)}),
        ChecksConfig(allowed={"laod": (1,)}),
    ],
)
def test_a_config_that_names_an_unknown_column_is_an_error(
    check: Check, config: ChecksConfig
) -> None:
    with pytest.raises(UnknownColumn, match="'laod'; did you mean 'load'") as caught:
        check(rows(day=1), config)
    assert caught.value.permanent


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"nulls": {"load": 5.0}}, "nulls.load is 5, and a share lies between 0 and 1"),
        ({"infinite": {"*": 2.0}}, r"infinite.\* is 2, and a share"),
        ({"duplicates": -1.0}, "duplicates is -1, and a share"),
        ({"future": float("nan")}, "future is nan, and a share"),
        ({"volume_factor": 0.0}, "volume_factor is 0, and must be at least 1"),
    ],
)
def test_a_share_that_all_rows_or_none_would_pass_is_refused(
    wrong: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        replace(OFF, **wrong)


def test_a_range_that_no_value_lies_in_is_refused() -> None:
    with pytest.raises(ValueError, match="min is 5 and max is 1: no value lies between"):
        Range(min=5, max=1)


def overwritten(tmp_path: Path, table: pa.Table, config: ChecksConfig) -> CheckReport:
    store = connect(FeatureStoreConfig(uri=str(tmp_path)))
    store.create(VIEW, rows(1).schema)
    uri = str(tmp_path / "meter")
    write_deltalake(uri, table, mode="overwrite", schema_mode="overwrite")
    assert DeltaTable(uri).version() == 1
    return run_checks(store, store.snapshot("meter", since=0), config, now=NOW)


def test_a_retyped_column_is_named_with_both_types(tmp_path: Path) -> None:
    table = rows().set_column(2, "load", pa.array(["1", "2", "3", "4"]))
    report = overwritten(tmp_path, table, ChecksConfig(ranges={"load": Range(min=0)}))
    assert messages(report) == [
        "column load: string in version 1, expected double",
        "column load: string in the new rows, allowed at least 0",
    ]


def test_a_dropped_column_is_named_once(tmp_path: Path) -> None:
    config = ChecksConfig(ranges={"load": Range(min=0)}, label_classes=2)
    report = overwritten(tmp_path, rows().drop_columns(["load"]), config)
    assert messages(report) == ["column load: missing in version 1, expected double"]


def test_a_dropped_column_is_found_without_the_schema_check_too(tmp_path: Path) -> None:
    config = replace(OFF, nulls={"*": 0.0}, duplicates=0.0)
    report = overwritten(tmp_path, rows().drop_columns(["id"]), config)
    assert messages(report) == [
        "column id: missing in the new rows",
        "column id: missing in the new rows",
    ]
    assert [result.check for result in report.failures] == ["nulls", "duplicates"]


def test_only_the_columns_that_are_checked_are_read(store: FeatureStore) -> None:
    store.append("meter", rows())
    snapshot = store.snapshot("meter")
    path = store.parts(snapshot)[0].uri
    group = pq.ParquetFile(path).metadata.row_group(0)
    content = bytearray(Path(path).read_bytes())
    for index in range(group.num_columns):
        chunk = group.column(index)
        if chunk.path_in_schema != "load":  # whoever reads another column stumbles
            start = chunk.dictionary_page_offset or chunk.data_page_offset
            content[start : start + chunk.total_compressed_size] = b"\xff" * (
                chunk.total_compressed_size
            )
    Path(path).write_bytes(content)
    config = replace(OFF, nulls={"load": 0.0}, ranges={"load": Range(min=0)})
    assert run_checks(store, snapshot, config, now=NOW).passed
    with pytest.raises(OSError):
        store.read(snapshot, ["site"])


@pytest.mark.parametrize("kind", ["us", "ns"])
def test_labels_that_are_not_mature_yet_are_not_looked_at(tmp_path: Path, kind: str) -> None:
    store = connect(FeatureStoreConfig(uri=str(tmp_path), format="parquet"))

    def at_once(table: pa.Table) -> pa.Table:
        return table.set_column(1, "at", table.column("at").cast(pa.timestamp(kind, tz="UTC")))

    store.create(VIEW, at_once(rows(1)).schema)
    store.append("meter", at_once(rows(4, day=0)))
    store.append("meter", at_once(rows(4, day=8, peak=[None] * 4)))
    config = replace(OFF, nulls={"*": 0.0}, label_classes=2)

    def checked(days: int, since: int) -> CheckReport:
        snapshot = store.snapshot("meter", since=since)
        return run_checks(store, snapshot, config, now=NOW, label_delay=timedelta(days=days))

    assert messages(checked(1, since=0)) == [
        "column peak: 50.0 % null in the new rows, allowed 0.0 %"
    ]
    assert checked(3, since=0).passed
    assert messages(checked(1, since=1)) == [
        "column peak: 100.0 % null in the new rows, allowed 0.0 %",
        "column peak: 0 classes in the new rows, at least 2 needed",
    ]
    assert checked(3, since=1).passed


def daily(
    store: FeatureStore, labels: list[list[Any]], config: ChecksConfig, **kwargs: Any
) -> list[CheckReport]:
    """The report of each day: its rows are new, and labels mature after two days."""
    reports, seen = [], 0
    for day, found in enumerate(labels):
        store.append("meter", rows(len(found), day=day, peak=found))
        snapshot = store.snapshot("meter", since=seen)
        now = START + timedelta(days=day, hours=6)
        delay = timedelta(days=2)
        reports.append(run_checks(store, snapshot, config, now=now, label_delay=delay, **kwargs))
        seen = snapshot.version
    return reports


def test_labels_that_mature_after_their_rows_were_new_are_looked_at_then(
    store: FeatureStore,
) -> None:
    good, bad = [True, False, True, False], [None, None, True, True]
    config = replace(OFF, nulls={"*": 0.0}, label_classes=2)
    reports = daily(store, [good, good, bad, good, good, good, good], config)
    # Day 2 is mature on day 4.
    assert [report.passed for report in reports] == [True, True, True, True, False, True, True]
    failed = reports[4]
    assert messages(failed) == [
        "column peak: 50.0 % null in the rows that matured since version 4, allowed 0.0 %",
        "column peak: 1 class in the rows that matured since version 4, at least 2 needed",
    ]
    assert failed.new_failures == ()
    assert "column peak: no label is mature yet in the new rows" in [
        result.message for result in failed.results
    ]
    kept = replace(OFF, nulls={"peak": 0.5})
    assert all(report.passed for report in daily(store, [good] * 5, kept))


def test_new_rows_are_to_blame_for_their_own_failures_only(store: FeatureStore) -> None:
    store.append("meter", rows(4, day=0, peak=[None] * 4))
    store.append("meter", rows(4, day=1))
    store.append("meter", rows(4, day=2, load=[None, 1.0, 2.0, 3.0]))
    report = run_checks(
        store,
        store.snapshot("meter", since=2),
        replace(OFF, nulls={"*": 0.0}),
        now=START + timedelta(days=2, hours=6),
        label_delay=timedelta(days=2),
    )
    assert [(result.column, result.older) for result in report.failures] == [
        ("load", False),
        ("peak", True),
    ]
    assert [result.column for result in report.new_failures] == ["load"]


def test_after_a_compaction_or_a_row_of_the_future_every_mature_label_is_looked_at(
    tmp_path: Path,
) -> None:
    store = connect(FeatureStoreConfig(uri=str(tmp_path)))
    store.create(VIEW, rows(1).schema)
    for day in (0, 30):
        store.append("meter", rows(4, day=day, peak=[None if day == 0 else True] * 4))
    now = START + timedelta(days=31)

    def checked(since: int) -> list[str]:
        snapshot, delay = store.snapshot("meter", since=since), timedelta(days=3)
        config = replace(OFF, nulls={"*": 0.0})
        return messages(run_checks(store, snapshot, config, now=now, label_delay=delay))

    store.append("meter", rows(4, day=31))
    assert checked(2) == []  # day 0 was mature when version 2 was checked
    DeltaTable(str(tmp_path / "meter")).optimize.compact()
    assert checked(2) == [
        "column peak: 100.0 % null in the rows that matured since version 2, allowed 0.0 %"
    ]
    write_deltalake(str(tmp_path / "meter"), rows(4, day=99_999), mode="append")
    store.append("meter", rows(4, day=31))
    assert checked(5) == [
        "column peak: 100.0 % null in the rows that matured since version 5, allowed 0.0 %"
    ]


def test_of_labels_the_mature_ones_are_counted_and_of_features_all(store: FeatureStore) -> None:
    store.append("meter", rows(4, day=0, peak=[None, True, False, True]))
    store.append("meter", rows(4, day=8, peak=[None] * 4, load=[None, 1.0, 2.0, 3.0]))
    snapshot = store.snapshot("meter", since=0)
    config = replace(OFF, nulls={"*": 0.0})
    report = run_checks(store, snapshot, config, now=NOW, label_delay=timedelta(days=3))
    assert sorted(messages(report)) == [
        "column load: 12.5 % null in the new rows, allowed 0.0 %",
        "column peak: 25.0 % null in the new rows that are mature (4 are not yet), allowed 0.0 %",
    ]
    other = run_checks(
        store, snapshot, config, now=NOW, label="load", label_delay=timedelta(days=3)
    )
    assert messages(other) == ["column peak: 62.5 % null in the new rows, allowed 0.0 %"]
