"""Rows reach a model in the columns and the order that it was trained on."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from registry.errors import MissingFeature
from registry.inputs import as_array, as_frame

TABLE = pa.table({"id": ["x", "y"], "b": [3, None], "a": [1.0, 2.0]})


@pytest.mark.parametrize("data", [TABLE, TABLE.to_pandas()])
def test_columns_are_chosen_by_name_and_a_null_becomes_nan(data: pa.Table | pd.DataFrame) -> None:
    np.testing.assert_array_equal(as_array(data, ("a", "b")), [[1, 3], [2, np.nan]])
    assert list(as_frame(data, ("b", "a")).columns) == ["b", "a"]


def test_an_array_is_taken_as_it_is() -> None:
    rows = np.ones((2, 2))
    assert as_array(rows, ("a", "b")) is rows
    assert list(as_frame(rows, ("a", "b")).columns) == ["a", "b"]


@pytest.mark.parametrize("form", [as_array, as_frame])
def test_a_missing_column_is_named_with_the_nearest_one(form) -> None:
    table = pa.table({"amount": [1]})
    with pytest.raises(MissingFeature, match=r"no column 'amuont'.*did you mean 'amount'"):
        form(table, ("amuont",))


@pytest.mark.parametrize("form", [as_array, as_frame])
def test_an_array_of_another_width_is_refused(form) -> None:
    with pytest.raises(MissingFeature, match=r"shape \(2, 3\).*2 features"):
        form(np.ones((2, 3)), ("a", "b"))
