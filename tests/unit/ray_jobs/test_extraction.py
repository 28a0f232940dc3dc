"""Parts of a dataset have one shape."""

import pytest

from ray_jobs.dataset import DatasetPart
from ray_jobs.extraction import _require_one_shape
from ray_jobs.training_errors import FeatureError


def part(name: str, kind: str, rows: int = 1) -> DatasetPart:
    return DatasetPart(
        name=name,
        rows=rows,
        bytes=1,
        sha256="",
        version=1,
        source=f"/s/{name}",
        time_from=None,
        time_until=None,
        inputs=("z",),
        schema={"z": kind},
    )


def test_parts_of_other_types_are_named_before_anything_is_trained() -> None:
    with pytest.raises(FeatureError, match=r"column z is int64 for some.*string for others.*a of"):
        _require_one_shape([part("a", "int64"), part("b", "string")])


def test_decimals_are_not_mixed_with_numbers_that_may_be_larger() -> None:
    with pytest.raises(FeatureError, match=r"column z is int64 for some.*decimal128"):
        _require_one_shape([part("a", "int64"), part("b", "decimal128(10, 2)")])


@pytest.mark.parametrize(
    ("one", "other"),
    [("int32", "int64"), ("int64", "double"), ("string", "large_string"), ("null", "bool")],
)
def test_widths_and_missing_columns_may_differ(one: str, other: str) -> None:
    _require_one_shape([part("a", one), part("b", other), part("c", "list<string>", rows=0)])
