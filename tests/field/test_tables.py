"""Parquet files from pandas and from warehouses."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tests.field.project import Project, day

pytestmark = pytest.mark.filterwarnings("ignore:Series.values returning an ndarray")  # pyarrow's


def test_the_index_of_a_sorted_frame_is_no_feature(project: Project) -> None:
    frame = day(1).to_pandas().sort_values("left")
    frame.to_parquet(project.folder / "sorted.parquet")
    named = ("--entity", "customer", "--event-time", "at", "--label", "left")
    project.ratchet("features", "create", "churn", "sorted.parquet", *named)
    shown = project.json("features", "show", "churn")
    assert shown["features"] == ["amount", "ratio", "visits"]


def test_a_filtered_frame_is_appended_as_one_with_a_plain_index(project: Project) -> None:
    assert project.create(day(1)).code == 0
    frame = day(2).to_pandas()
    filtered = pa.Table.from_pandas(frame[frame.amount > 0])
    assert "__index_level_0__" in filtered.column_names
    assert project.append(filtered).code == 0
    assert project.append(pa.Table.from_pandas(day(3).to_pandas())).code == 0
    assert "__index_level_0__" not in project.stored().column_names


def test_a_pandas_category_is_stored_as_its_text(project: Project) -> None:
    plans = pd.Series(["A", "B"] * 200, dtype="category")
    rows = pa.Table.from_pandas(day(1).to_pandas().assign(plan=plans), preserve_index=False)
    assert pa.types.is_dictionary(rows.schema.field("plan").type)
    assert project.create(rows).code == 0
    assert set(project.stored()["plan"].to_pylist()) == {"A", "B"}


@pytest.mark.parametrize("label", [True, "left"], ids=["bool", "text"])
def test_a_label_may_be_text_or_a_bool(project: Project, label: bool | str) -> None:
    other = {True: False, "left": "stayed"}[label]
    numbers = day(1)["left"].to_pylist()
    rows = day(1, left=[label if number else other for number in numbers])
    assert project.create(rows).code == 0
    answer = project.night()
    assert answer.code == 0
    assert answer.says("promote: Version 1 is the first model")


def test_names_with_spaces_signs_and_umlauts_train(project: Project) -> None:
    rows = day(1).rename_columns(["customer", "at", "größe m²", "a.b", "price usd", "left"])
    assert project.create(rows).code == 0
    answer = project.night()
    assert answer.code == 0
    assert answer.says("promote: Version 1 is the first model")


def test_names_that_differ_by_case_alone_are_refused_in_one_line(project: Project) -> None:
    answer = project.create(day(1, Amount=[0.0] * 400))
    assert answer.refused
    assert answer.says("Amount", "amount", "case")
    assert "Exception" not in answer.text


def test_ids_beyond_two_to_the_53rd_keep_every_digit(project: Project) -> None:
    ids = [2**53 + 1 + 2 * row for row in range(400)]
    assert project.create(day(1, customer=pa.array(ids, pa.int64()))).code == 0
    assert sorted(project.stored()["customer"].to_pylist()) == ids
    assert project.night("checks.min_new_rows=401").says("400 new rows")


def test_five_thousand_columns_are_checked(project: Project) -> None:
    wide = {f"f{number}": np.zeros(60) for number in range(5000)}
    wide["f4711"] = np.where(np.arange(60) < 3, np.nan, 0.0)
    assert project.create(day(1, 60, **wide)).code == 0
    answer = project.night()
    assert answer.code == 3
    assert answer.says("column f4711: 5.0 % null")


def test_a_view_of_one_row_halts_with_the_count(project: Project) -> None:
    assert project.create(day(1, 1)).code == 0
    answer = project.night()
    assert answer.code == 3
    assert answer.says("1 ")


def test_one_class_only_is_said_and_the_next_night_goes_on(project: Project) -> None:
    assert project.create(day(1, left=[1] * 400)).code == 0
    answer = project.night("checks.label_classes=2")
    assert answer.code == 3
    assert answer.says("left", "1")
    assert project.append(day(2)).code == 0
    assert project.night("checks.label_classes=2").says("promote: Version 1")


def test_a_day_may_take_the_place_of_a_time(project: Project) -> None:
    rows = day(1)
    days = rows["at"].cast(pa.date32())
    assert project.create(rows.set_column(1, "at", days)).code == 0
    assert set(map(str, project.stored()["at"].to_pylist())) == {"2026-01-02"}
    assert project.night("checks.min_new_rows=401").says("400 new rows")


def test_a_decimal_is_a_number_to_the_models(project: Project) -> None:
    prices = [Decimal(f"{number:.2f}") for number in day(1)["amount"].to_pylist()]
    rows = day(1, amount=pa.array(prices, pa.decimal128(18, 2)))
    assert project.create(rows).code == 0
    answer = project.night()
    assert answer.code == 0
    assert answer.says("promote: Version 1 is the first model")


def test_a_column_of_lists_is_named(project: Project) -> None:
    rows = day(1, tags=pa.array([["a"], []] * 200, pa.list_(pa.string())))
    answer = project.create(rows)
    if answer.code == 0:
        answer = project.night()
    assert answer.code in (1, 3)
    assert answer.says("tags")


def test_nothing_but_a_header_is_no_version(project: Project) -> None:
    assert project.create(day(1)).code == 0
    answer = project.append(day(2).slice(0, 0))
    assert answer.code == 1 or "0 rows" in answer.text
    assert project.night("checks.min_new_rows=401").says("400 new rows")
