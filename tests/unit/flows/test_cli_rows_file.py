"""A file's rows come in as they were sent, or one line says why not."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_store import SchemaMismatch
from flows.cli.rows_file import FileRows, read_rows
from flows.core.errors import Refused

UTC_US = pa.timestamp("us", tz="UTC")


@pytest.fixture
def read(tmp_path: Path) -> Any:
    """What is read of a CSV file of such text."""

    def made(text: str | bytes, kind: pa.DataType | None = None, **named: str) -> FileRows:
        path = tmp_path / "rows.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        schema = None if kind is None else pa.schema([("x", kind)])
        return read_rows(path, schema, named)

    return made


@pytest.mark.parametrize(
    ("kind", "text", "values"),
    [
        (pa.string(), "00123\n1.10\n1e5\nTRUE\nNA\n", ["00123", "1.10", "1e5", "TRUE", "NA"]),
        (pa.string(), ' a \n""\n"two\nlines"\n"a,b"\n', [" a ", "", "two\nlines", "a,b"]),
        (pa.int64(), "1\n+2\n3.0\nNA\n", [1.0, 2.0, 3.0, None]),
        (pa.int64(), "9007199254740993\n3.0\n-4.\n", [9007199254740993, 3, -4]),
        (pa.int64(), "10.5\n", [10.5]),
        (pa.float64(), " 1 \n2.5\n-inf\nnull\n", [1.0, 2.5, float("-inf"), None]),
        (pa.decimal128(10, 2), "1.10\n2\n", [Decimal("1.10"), Decimal(2)]),
        (pa.bool_(), "true\nFalse\n1\n", [True, False, True]),
        (pa.date32(), "2026-01-02\n", [date(2026, 1, 2)]),
        (
            UTC_US,
            "2026-01-02\n2026-01-02T10:00:00\n2026-01-02 10:00:00.123456789\n",
            [
                datetime(2026, 1, 2),
                datetime(2026, 1, 2, 10),
                datetime(2026, 1, 2, 10, 0, 0, 123456),
            ],
        ),
        (UTC_US, "2026-01-02T10:00:00+02:00\n", [datetime(2026, 1, 2, 8, tzinfo=UTC)]),
    ],
)
def test_values_are_read_as_the_view_has_them(
    read: Any, kind: pa.DataType, text: str, values: list[Any]
) -> None:
    column = read("x\n" + text, kind).rows["x"]
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    assert column.to_pylist() == values


def test_an_empty_cell_is_null_in_a_text_column_too(read: Any) -> None:
    assert read("x,y\n,1\na,\n", pa.string()).rows["x"].to_pylist() == [None, "a"]


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("x\n1\nabc\nabc\nde\n", pa.float64(), r"column x: 'abc' in row 2 is no double \(3 of 4"),
        ("x\n1\n\u00a0x\n", pa.int64(), r"column x: .* in row 2 is no int64 \(1 of 2 rows\)"),
        ("x\n2026-01-01\n2026-01-01T00:00:00Z\n", UTC_US, "some times have a zone and others"),
        ("x\nmaybe\n", pa.bool_(), "'maybe' in row 1 is no bool"),
        ("x,y\n1,2,3\n", pa.int64(), "Expected 2 columns, got 3"),
        ("", pa.int64(), "Empty CSV file"),
        ("x\n1\n".encode("utf-16"), pa.int64(), "is UTF-16"),
        ("x\n\xfc\n".encode("latin-1"), pa.string(), "invalid UTF8"),
        ("gr\xf6\xdfe\nx\n".encode("latin-1"), pa.string(), "names of its columns are not UTF-8"),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_its_row_and_their_number(
    read: Any, text: Any, kind: pa.DataType, said: str
) -> None:
    with pytest.raises(Refused, match=said) as caught:
        read(text, kind)
    assert "\n" not in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("1\n2\n\n", pa.int64()),
        ("1\n2.5\nNA\n", pa.float64()),
        ("00123\n45\n", pa.string()),
        ("12345678901234567890\n1\n", pa.string()),
        ("2026-01-01\n2026-01-02\n", pa.date32()),
        ("2026-01-01T00:00:00\n2026-01-02\n", pa.timestamp("us")),
        ("2026-01-01T00:00:00Z\n", UTC_US),
        ("true\nFALSE\n", pa.bool_()),
        ("true\nNULL\n", pa.bool_()),
        ("2026-01-01\nNULL\n", pa.date32()),
        ("2026-01-01T00:00:00Z\nNaT\n", UTC_US),
        ("1.5\nn/a\n<NA>\n", pa.float64()),
        ("yes\nno\n", pa.string()),
        ("0\n1\n", pa.int64()),
        ("0.5\n0.25\n", pa.float64()),
        ('""\n', pa.null()),
    ],
)
def test_a_column_without_a_type_becomes_what_it_looks_like(
    read: Any, text: str, kind: pa.DataType
) -> None:
    found = read("y,x\n" + "".join(f"a,{line}\n" for line in text.splitlines()))
    assert found.rows["x"].type == kind
    assert found.read_as == {"y": "string", "x": str(kind)}


def test_codes_that_begin_with_zero_stay_text_and_people_are_told(read: Any) -> None:
    found = read("x\n12\n00123\n")
    assert found.rows["x"].to_pylist() == ["12", "00123"]
    assert found.notes == (
        "column x is text, since 00123 begins with 0 (a number: --type x=int64)",
    )
    assert read("x\n12\n00123\n", x="int64").rows["x"].to_pylist() == [12, 123]


def test_numbers_that_become_text_by_a_few_values_are_told(read: Any) -> None:
    found = read("x,y\n1.5,a\n-,1\n2,b\n1e5,2\n")
    assert found.notes == ("column x is text, since '-' is no number (1 of 4 rows)",)


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffa,x\n1,2.5\n",
        "a;x\n1;2,5\n",
        "a;x\n1;2.5\n",
        "a\tx\n1\t2.5\n",
        '"a";"x"\r\n"1";"2,5"\r\n',
    ],
)
def test_files_of_other_programs_are_read(read: Any, text: str) -> None:
    assert read(text).rows.to_pylist() == [{"a": 1, "x": 2.5}]


def test_the_row_numbers_of_a_pandas_frame_are_left_out_and_told(read: Any, tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [3.0, 1.0, 2.0]}).sort_values("x")
    for name, found in (
        ("", read(frame.to_csv())),
        ("__index_level_0__", _parquet(tmp_path, frame)),
    ):
        assert found.rows.column_names == ["x"]
        assert found.notes == (f"left out {name!r}: row numbers of a pandas frame",)


def _parquet(folder: Path, frame: pd.DataFrame) -> FileRows:
    frame.to_parquet(folder / "rows.parquet")
    return read_rows(folder / "rows.parquet")


def test_a_type_can_be_named_for_a_column_of_parquet_that_has_none(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": pa.nulls(2)}), tmp_path / "rows.parquet")
    found = read_rows(tmp_path / "rows.parquet", named={"x": "decimal(18,2)"})
    assert found.rows["x"].type == pa.decimal128(18, 2)


@pytest.mark.parametrize(
    ("named", "said"),
    [({"y": "text"}, "has no such column; did you mean|known: x"), ({"x": "nmber"}, "no type")],
)
def test_a_type_of_no_column_and_no_type_are_refused(
    read: Any, named: dict[str, str], said: str
) -> None:
    with pytest.raises(Refused, match=said):
        read("x\n1\n", **named)


def test_columns_that_differ_by_case_are_refused(read: Any) -> None:
    with pytest.raises(SchemaMismatch, match="column Amount and amount differ by case only"):
        read("Amount,amount\n1,2\n")
