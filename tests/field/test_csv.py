"""CSV files as spreadsheets, shops and databases write them."""

from __future__ import annotations

import pyarrow as pa

from tests.field.project import Project, day

HEAD = "customer,at,plan,amount,left\n"


def text_view(project: Project) -> None:
    """A view whose customers and plans are text, from Parquet."""
    rows = day(1, 3, customer=["00001", "00002", "00003"], plan=["A", "B", "A"])
    assert project.create(rows.select(["customer", "at", "plan", "amount", "left"])).code == 0


def test_codes_keep_their_zeros_and_their_digits(project: Project) -> None:
    text_view(project)
    codes = ["00123", "1.10", "1e5", "12345678901234567890", "TRUE"]
    lines = [f"{code},2026-01-03T00:00:00Z,{code},1.5,1\n" for code in codes]
    assert project.append(HEAD + "".join(lines)).code == 0
    rows = project.stored().to_pylist()
    assert {row["customer"] for row in rows} >= set(codes)
    assert {row["plan"] for row in rows} >= set(codes)


def test_whole_numbers_first_and_a_decimal_later_are_not_cut(project: Project) -> None:
    first = [f"c{row},2026-01-02T00:00:00Z,A,{10 + row},1\n" for row in range(3)]
    assert project.create(HEAD + "".join(first)).code == 0
    answer = project.append(HEAD + "c9,2026-01-03T00:00:00Z,A,10.5,1\n")
    if answer.code == 0:
        assert 10.5 in project.stored()["amount"].to_pylist()
    else:
        assert answer.says("amount")
        assert "cast amount to int64" not in answer.text


def test_a_quoted_line_break_and_a_comma_are_text(project: Project) -> None:
    text_view(project)
    lines = 'c7,2026-01-03T00:00:00Z,"two\nlines, one ""plan""",1.5,1\n'
    assert project.append(HEAD + lines).code == 0
    assert 'two\nlines, one "plan"' in project.stored()["plan"].to_pylist()


def test_the_mark_that_excel_puts_first_is_no_part_of_a_name(project: Project) -> None:
    text_view(project)
    assert project.append("\ufeff" + HEAD + "c7,2026-01-03T00:00:00Z,A,1.5,1\n").code == 0
    assert "c7" in project.stored()["customer"].to_pylist()


def test_an_empty_number_is_missing_and_halts_the_night_once(project: Project) -> None:
    text_view(project)
    lines = [f"c{row},2026-01-03T00:00:00Z,A,{'' if row < 2 else 1.5},1\n" for row in range(4)]
    assert project.append(HEAD + "".join(lines)).code == 0
    answer = project.night("checks.min_new_rows=1")
    assert answer.code == 3
    assert answer.says("column amount", "null")


def test_a_file_with_semicolons_has_commas_in_its_numbers(project: Project) -> None:
    text_view(project)
    lines = "customer;at;plan;amount;left\nc7;2026-01-03T00:00:00Z;A,B;1,5;1\n"
    assert project.append(lines).code == 0
    (row,) = [row for row in project.stored().to_pylist() if row["customer"] == "c7"]
    assert (row["plan"], row["amount"]) == ("A,B", 1.5)


def test_a_number_that_is_none_is_named_with_its_column(project: Project) -> None:
    text_view(project)
    answer = project.append(HEAD + "c7,2026-01-03T00:00:00Z,A,n/k,1\n")
    assert answer.refused
    assert answer.says("column amount", "'n/k'", "1 of 1 rows")
    assert project.stored().num_rows == 3


def test_a_time_of_a_day_alone_is_midnight(project: Project) -> None:
    text_view(project)
    answer = project.append(HEAD + "c7,2026-01-03,A,1.5,1\n")
    assert answer.code == 0
    assert "2026-01-03 00:00:00+00:00" in map(str, project.stored()["at"].to_pylist())


def test_text_of_a_cell_that_looks_like_a_date_stays_text(project: Project) -> None:
    text_view(project)
    assert project.append(HEAD + "c7,2026-01-03T00:00:00Z,2026-01-02,1.5,1\n").code == 0
    assert "2026-01-02" in project.stored()["plan"].to_pylist()
    assert project.stored().schema.field("plan").type in (pa.string(), pa.large_string())


def test_a_file_in_latin_1_is_refused_with_the_encoding_to_use(project: Project) -> None:
    text_view(project)
    text = HEAD + "Jürgen,2026-01-03T00:00:00Z,A,1.5,1\n"
    (project.folder / "old.csv").write_bytes(text.encode("latin-1"))
    answer = project.ratchet("features", "append", "churn", "old.csv")
    assert answer.refused
    assert answer.says("old.csv", "UTF-8")


def test_a_line_that_lacks_a_value_is_named(project: Project) -> None:
    text_view(project)
    answer = project.append(HEAD + "c7,2026-01-03T00:00:00Z,A,1.5,1\nc8,2026-01-03T00:00:00Z,A,1\n")
    assert answer.refused
    assert answer.says("rows.csv", "5", "4")
    assert project.stored().num_rows == 3


def test_a_column_that_stands_twice_is_named(project: Project) -> None:
    text_view(project)
    answer = project.append("customer,at,plan,amount,amount,left\nc7,2026-01-03,A,1,2,1\n")
    assert answer.refused
    assert answer.says("amount")


def test_columns_in_another_order_are_put_where_they_belong(project: Project) -> None:
    text_view(project)
    assert project.append("left,amount,plan,at,customer\n1,1.5,B,2026-01-03,c7\n").code == 0
    (row,) = [row for row in project.stored().to_pylist() if row["customer"] == "c7"]
    assert (row["plan"], row["amount"], row["left"]) == ("B", 1.5, 1)
