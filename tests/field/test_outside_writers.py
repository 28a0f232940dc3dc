"""What dbt, Databricks and people with a notebook do to a table between two nights."""

from __future__ import annotations

import shutil

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from tests.field.project import Project, day


def three_days(project: Project) -> None:
    """A night on one day, and two days that came after it."""
    assert project.create(day(1)).code == 0
    assert project.night().code == 0
    for number in (2, 3):
        assert project.append(day(number)).code == 0


def test_files_that_were_compacted_and_vacuumed_are_read(project: Project) -> None:
    three_days(project)
    table = DeltaTable(project.table)
    table.optimize.compact()
    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    answer = project.night()
    assert answer.code in (0, 3)
    assert answer.says("verdict: ")
    assert project.append(day(4)).code == 0
    assert project.night().says("verdict: ")


def test_a_table_made_anew_counts_as_new_and_the_nights_after_go_on(project: Project) -> None:
    three_days(project)
    assert project.night().says("verdict: ")
    shutil.rmtree(project.table)
    assert project.create(day(5)).code == 0
    assert project.night().says("verdict: ")
    assert project.append(day(6)).code == 0
    assert project.night().says("verdict: ")


def test_rows_that_somebody_else_appends_are_new(project: Project) -> None:
    assert project.create(day(1)).code == 0
    assert project.night().code == 0
    write_deltalake(project.table, day(2), mode="append")
    assert project.night("checks.min_new_rows=401").says("400 new rows, at least 401 needed")


def test_rows_that_somebody_deletes_are_gone_and_nothing_is_new(project: Project) -> None:
    assert project.create(day(1)).code == 0
    assert project.night().code == 0
    DeltaTable(project.table).delete("customer = 'c001-00000'")
    answer = project.night()
    assert answer.code in (0, 3)
    assert project.stored().num_rows == 399
    assert project.append(day(2)).code == 0
    assert project.night("checks.min_new_rows=401").says("400 new rows, at least 401 needed")


def test_rows_that_are_rewritten_are_new_and_the_others_are_not(project: Project) -> None:
    assert project.create(day(1)).code == 0
    assert project.night().code == 0
    DeltaTable(project.table).update(updates={"visits": "0.5"}, predicate="customer < 'c001-00010'")
    answer = project.night("checks.min_new_rows=401")
    assert answer.code == 3
    assert answer.says("10 new rows, at least 401 needed")


def test_two_models_over_one_view_have_each_what_is_new_to_them(project: Project) -> None:
    assert project.create(day(1)).code == 0
    assert project.night("model=first").says("promote: Version 1")
    assert project.append(day(2)).code == 0
    assert project.night("model=second", "checks.min_new_rows=801").says("800 new rows")
    assert project.night("model=first", "checks.min_new_rows=801").says("400 new rows")


def test_a_clustered_table_is_read_as_it_was(project: Project) -> None:
    three_days(project)
    DeltaTable(project.table).optimize.z_order(["amount"])
    assert project.night("checks.min_new_rows=801").says("800 new rows, at least 801 needed")


def test_an_upsert_brings_what_it_changed_and_what_it_added(project: Project) -> None:
    assert project.create(day(1)).code == 0
    assert project.night().code == 0
    changed = day(1).slice(0, 5).to_pydict() | {"visits": [9.0] * 5}
    came = pa.concat_tables([pa.table(changed, day(1).schema), day(2).slice(0, 7)])
    table = DeltaTable(project.table)
    merge = table.merge(came, "old.customer = new.customer", "new", "old")
    merge.when_matched_update_all().when_not_matched_insert_all().execute()
    assert project.night("checks.min_new_rows=401").says("12 new rows, at least 401 needed")
