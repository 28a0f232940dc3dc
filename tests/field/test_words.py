"""Names and YAML as people write them."""

from __future__ import annotations

import pytest

from tests.field.project import Project, day


@pytest.mark.parametrize("name", ["team/churn", "churn: eu", ""])
def test_a_model_name_that_the_registry_cannot_take_never_trains(
    project: Project, name: str
) -> None:
    assert project.create(day(1)).code == 0
    answer = project.night(f"model='{name}'")
    assert answer.code in (1, 2)
    assert answer.says("model")
    assert "train" not in answer.text.split("error")[0]


def test_norway_in_a_list_of_countries_is_refused_with_the_quotes(project: Project) -> None:
    project.write(
        "conf/checks/mine.yaml",
        """
        defaults: [default, _self_]
        allowed: {country: [NO, SE]}
        """,
    )
    assert project.create(day(1, country=["NO", "SE"] * 200)).code == 0
    answer = project.night("checks=mine")
    assert answer.code in (1, 2)
    assert answer.says("country", "quotes")


def test_codes_in_a_list_are_refused_with_the_quotes(project: Project) -> None:
    project.write(
        "conf/checks/mine.yaml",
        """
        defaults: [default, _self_]
        allowed: {code: [00123, 00456]}
        """,
    )
    assert project.create(day(1, code=["00123", "00456"] * 200)).code == 0
    answer = project.night("checks=mine")
    assert answer.code in (1, 2, 3)
    assert answer.says("code", "quotes")


def test_a_label_that_no_column_has_is_told_before_the_run(project: Project) -> None:
    assert project.create(day(1)).code == 0
    answer = project.night("features.label=lef")
    assert answer.code in (1, 2)
    assert answer.says("lef")


def test_a_view_that_is_not_there_is_one_line_with_the_next_step(project: Project) -> None:
    answer = project.night()
    assert answer.code == 1
    assert answer.says("churn", "next: ")


def test_an_unknown_override_names_the_nearest(project: Project) -> None:
    answer = project.night("gate.min_row=40")
    assert answer.code in (1, 2)
    assert answer.says("min_row", "min_rows")


def test_a_file_that_is_no_parquet_is_one_line(project: Project) -> None:
    (project.folder / "rows.parquet").write_text("customer,at\n")
    named = ("--entity", "customer", "--event-time", "at", "--label", "left")
    answer = project.ratchet("features", "create", "churn", "rows.parquet", *named)
    assert answer.refused
    assert answer.says("error: rows.parquet cannot be read")


def test_a_time_of_day_without_quotes_is_told_of_them(project: Project) -> None:
    project.write(
        "conf/config.yaml",
        f"""
        defaults: [ratchet, _self_]
        home: {project.home}
        schedules: {{nightly: {{flow: retrain, cron: "0 3 * * *", by: 18:30}}}}
        """,
    )
    answer = project.ratchet("check")
    assert answer.code != 0
    assert answer.says("by", "quotes")


def test_a_spreadsheet_is_refused_with_what_to_save_it_as(project: Project) -> None:
    (project.folder / "rows.xlsx").write_bytes(b"PK")
    named = ("--entity", "customer", "--event-time", "at")
    answer = project.ratchet("features", "create", "churn", "rows.xlsx", *named)
    assert answer.refused
    assert answer.says("rows.xlsx", "save it as Parquet")
