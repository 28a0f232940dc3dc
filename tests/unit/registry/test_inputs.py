"""Rows reach a model in the columns, the order and the types that it was trained on."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from registry.errors import MissingFeature, UnfitColumn
from registry.fitted import Card, Flavor
from registry.inputs import (
    MAX_CATEGORIES,
    Column,
    Form,
    Kind,
    as_array,
    as_frame,
    describe,
    inferred,
    plain,
)

TABLE = pa.table({"id": ["x", "y"], "b": [3, None], "a": [1.0, 2.0]})
NUMBERS = (Column(name="a"), Column(name="b"))


@pytest.mark.parametrize("data", [TABLE, TABLE.to_pandas()])
def test_columns_are_chosen_by_name_and_a_null_becomes_nan(data: pa.Table | pd.DataFrame) -> None:
    np.testing.assert_array_equal(as_array(data, NUMBERS), [[1, 3], [2, np.nan]])
    assert list(as_frame(data, NUMBERS[::-1]).columns) == ["b", "a"]


def test_an_array_is_taken_as_it_is() -> None:
    rows = np.ones((2, 2))
    assert as_array(rows, NUMBERS) is rows
    assert list(as_frame(rows, NUMBERS).columns) == ["a", "b"]


@pytest.mark.parametrize("form", [as_array, as_frame])
def test_a_missing_column_is_named_with_the_nearest_one(form: Any) -> None:
    table = pa.table({"amount": [1]})
    with pytest.raises(MissingFeature, match=r"no column 'amuont'.*did you mean 'amount'"):
        form(table, (Column(name="amuont"),))


@pytest.mark.parametrize("form", [as_array, as_frame])
def test_an_array_of_another_width_is_refused(form: Any) -> None:
    with pytest.raises(MissingFeature, match=r"shape \(2, 3\).*2 features"):
        form(np.ones((2, 3)), NUMBERS)


DAY = datetime(1970, 1, 2, 12, tzinfo=UTC)
TYPES = {
    "bool": (pa.array([True, False, None]), [1, 0, np.nan]),
    "int": (pa.array([1, None, 3], pa.int64()), [1, np.nan, 3]),
    "unsigned": (pa.array([1, None, 3], pa.uint64()), [1, np.nan, 3]),
    "decimal": (
        pa.array([Decimal("1.50"), None, Decimal("2")], pa.decimal128(18, 2)),
        [1.5, np.nan, 2],
    ),
    "decimal256": (pa.array([Decimal("1.50"), None], pa.decimal256(40, 2)), [1.5, np.nan]),
    "float": (pa.array([1.5, np.inf, -np.inf], pa.float32()), [1.5, np.nan, np.nan]),
    "half": (pa.array(np.array([1.5, 2], np.float16)), [1.5, 2]),
    "dictionary": (pa.array([2, None, 2]).dictionary_encode(), [2, np.nan, 2]),
    "runs": (pa.array([2, 2, None]), [2, 2, np.nan]),
    "nothing": (pa.nulls(2), [np.nan, np.nan]),
    "timestamp": (pa.array([DAY, None], pa.timestamp("ns", "UTC")), [1.5, np.nan]),
    "date": (pa.array([date(1970, 1, 3), None]), [2, np.nan]),
    "time": (pa.array([time(6), None]), [0.25, np.nan]),
    "duration": (pa.array([timedelta(days=3), None], pa.duration("s")), [3, np.nan]),
}


@pytest.mark.parametrize("name", list(TYPES))
def test_every_type_that_can_be_a_number_is_one_and_what_is_missing_or_infinite_is_nan(
    name: str,
) -> None:
    values, wanted = TYPES[name]
    table = pa.table({name: values})
    columns = describe(table, (name,), Form.CATEGORY)
    for rows in (as_frame(table, columns)[name], as_array(table, columns)[:, 0]):
        np.testing.assert_array_equal(np.asarray(rows, dtype=float), wanted)
        assert rows.dtype == np.float64


@pytest.mark.parametrize("form", [Form.CATEGORY, Form.FILLED, Form.TEXT, Form.OWN])
def test_what_an_estimator_gets_does_not_depend_on_how_rows_were_cut(form: Form) -> None:
    table = pa.table(
        {
            "flag": [True, None, False],
            "count": pa.array([1, 2, None], pa.int32()),
            "money": pa.array([Decimal("1.5"), None, Decimal("2.5")]),
            "plan": ["a", None, "b"],
        }
    )
    columns = describe(table, tuple(table.column_names), form)
    whole = as_frame(table, columns)
    for row in range(3):
        alone = as_frame(table.slice(row, 1), columns)
        assert list(alone.dtypes) == list(whole.dtypes)
        pd.testing.assert_frame_equal(alone, whole.iloc[[row]].reset_index(drop=True))


TEXTS = [
    pa.array(["b", "a", None, "b"]),
    pa.array(["b", "a", None, "b"], pa.large_string()),
    pa.array(["b", "a", None, "b"], pa.string_view()),
    pa.array(["b", "a", None, "b"]).dictionary_encode(),
]


@pytest.mark.parametrize("texts", TEXTS, ids=lambda texts: str(texts.type))
def test_texts_are_the_categories_of_the_training_rows_and_another_is_missing(
    texts: pa.Array,
) -> None:
    columns = describe(pa.table({"plan": texts}), ("plan",), Form.CATEGORY)
    assert columns[0].categories == ("a", "b")
    later = pa.table({"plan": ["c", "b", None]})
    frame = as_frame(later, columns)
    assert frame["plan"].cat.codes.tolist() == [-1, 1, -1]
    assert list(frame["plan"].cat.categories) == ["a", "b"]
    assert as_array(later, columns).tolist() == [[0, 0], [0, 1], [0, 0]]
    filled = describe(pa.table({"plan": texts}), ("plan",), Form.FILLED)
    assert as_frame(later, filled)["plan"].tolist() == ["c", "b", ""]


def test_the_most_frequent_texts_are_categories() -> None:
    many = [f"v{number:03}" for number in range(MAX_CATEGORIES + 10)] + ["v259"]
    columns = describe(pa.table({"id": many}), ("id",), Form.CATEGORY)
    assert len(columns[0].categories) == MAX_CATEGORIES
    assert "v259" in columns[0].categories
    assert "v258" not in columns[0].categories


def test_whole_numbers_that_would_be_rounded_are_refused_with_value_and_count() -> None:
    table = pa.table({"account": pa.array([1, 2**53 + 1, -(2**60), None])})
    with pytest.raises(UnfitColumn, match=r"account: 2 of 4 whole.*such as 9007199254740993"):
        describe(table, ("account",), Form.CATEGORY)
    describe(pa.table({"account": [2**53]}), ("account",), Form.CATEGORY)
    unsigned = pa.table({"account": pa.array([1, 2**63 + 5], pa.uint64())})
    with pytest.raises(UnfitColumn, match=r"account: 1 of 2 whole.*such as 9223372036854775813"):
        describe(unsigned, ("account",), Form.CATEGORY)


def test_a_list_is_for_a_pipeline_that_knows_what_to_do_with_it() -> None:
    table = pa.table({"emb": [[1.0, 2.0]]})
    with pytest.raises(UnfitColumn, match=r"column emb is of type list<.*1 rows"):
        describe(table, ("emb",), Form.CATEGORY)
    columns = describe(table, ("emb",), Form.OWN)
    assert list(as_frame(table, columns)["emb"][0]) == [1.0, 2.0]


def test_a_text_where_numbers_were_is_named() -> None:
    with pytest.raises(UnfitColumn, match=r"column a is large_string.*trained on numbers.*abc"):
        as_array(pa.table({"a": ["abc"]}), (Column(name="a"),))


def test_names_that_a_booster_refuses_are_others_for_it_and_differ() -> None:
    names = ("price[usd]", "price_usd_", "age<30", "größe m²", "a.b")
    table = pa.table({name: [1.0] for name in names})
    columns = describe(table, names, Form.CATEGORY)
    given = list(as_frame(table, columns).columns)
    assert given == ["price_usd__", "price_usd_", "age_30", "größe m²", "a.b"]


def test_the_card_keeps_types_and_categories_and_an_older_card_has_none() -> None:
    table = pa.table({"plan": ["a"], "price[usd]": [1.0], "at": [DAY]})
    columns = describe(table, tuple(table.column_names), Form.CATEGORY)
    card = Card(
        flavor=Flavor.SKLEARN,
        features=tuple(table.column_names),
        classes=None,
        modules=(),
        versions={},
        columns=columns,
    )
    assert Card.from_json(card.to_json()) == card
    older = card.to_json().replace('"columns"', '"other"')
    assert Card.from_json(older).columns is None
    assert [c.kind for c in inferred(table, ("plan", "at"))] == [Kind.TEXT, Kind.TIME]


def test_encodings_are_taken_off() -> None:
    runs = pa.chunked_array([pa.RunEndEncodedArray.from_arrays([2, 3], ["a", "b"])])
    assert plain(runs).to_pylist() == ["a", "a", "b"]
