"""Slices: columns, quantile bins and crosses, cut once and kept."""

import numpy as np
import pytest

from registry.errors import GateError
from registry.slice_columns import (
    MAX_SLICES,
    Factor,
    SlicePlan,
    check_columns,
    check_slices,
    columns_of,
    distinct,
    factors_of,
    parts,
    planned,
)

REGION = np.array(["north"] * 60 + ["south"] * 30 + ["east"] * 6 + ["west"] * 4, dtype=object)
DEVICE = np.array(["ios", "web"] * 50, dtype=object)
PRICE = np.arange(100.0)
COLUMNS = {"region": REGION, "device": DEVICE, "price": PRICE}


def sizes(plan: SlicePlan, columns: dict[str, np.ndarray] = COLUMNS) -> dict[str, tuple[int, bool]]:
    return {part.name: (len(part.rows), part.judged) for part in parts(plan, columns)}


def test_each_value_that_is_frequent_enough_is_a_slice_and_the_others_are_one_together() -> None:
    plan = planned(["region"], COLUMNS, 10)
    assert plan.columns[0].names == ["region=north", "region=south", "region=other values"]
    assert sizes(plan) == {
        "region=north": (60, True),
        "region=south": (30, True),
        "region=other values": (10, True),
    }


def test_others_that_are_too_few_even_together_are_not_judged() -> None:
    plan = planned(["region"], COLUMNS, 11)
    assert plan.columns[0].names == ["region=north", "region=south"]
    assert sizes(plan)["region=other values"] == (10, False)


def test_the_only_rare_value_is_called_by_its_name() -> None:
    columns = {"kind": np.array(["common"] * 95 + ["rare"] * 5)}
    assert sizes(planned(["kind"], columns, 10), columns)["kind=rare"] == (5, False)


def test_bins_are_cut_once_and_later_rows_fall_into_the_same_ones() -> None:
    plan = planned(["price/4"], COLUMNS, 10)
    assert plan.columns[0].cuts == {"price": (25.0, 50.0, 75.0)}
    assert sizes(plan) == {
        "price/4=below 25": (25, True),
        "price/4=25 to 50": (25, True),
        "price/4=50 to 75": (25, True),
        "price/4=from 75": (25, True),
    }
    later = {"price": np.array([10.0, 25.0, 1000.0, np.nan])}
    assert sizes(plan, later) == {
        "price/4=below 25": (1, True),
        "price/4=25 to 50": (1, True),
        "price/4=from 75": (1, True),
        "price/4=missing": (1, False),
    }


def test_a_number_of_few_values_has_as_many_bins_as_it_can() -> None:
    two = {"n": np.array([0.0] * 60 + [1.0] * 40)}
    assert sizes(planned(["n/4"], two, 5), two) == {
        "n/4=below 1": (60, True),
        "n/4=from 1": (40, True),
    }
    one = {"n": np.array([0.0] * 90 + [1.0] * 10)}
    assert sizes(planned(["n/4"], one, 5), one) == {"n/4=any number": (100, True)}


def test_a_cross_has_a_slice_for_each_pair_that_occurs() -> None:
    plan = planned(["region*device"], COLUMNS, 10)
    assert "region*device=north*ios" in plan.columns[0].names
    assert sum(rows for rows, _ in sizes(plan).values()) == 100
    bins = planned(["price/2*device"], COLUMNS, 10)
    assert sizes(bins)["price/2*device=below 50*web"] == (25, True)


def test_a_value_that_was_never_seen_is_one_of_the_others() -> None:
    plan = planned(["region"], COLUMNS, 10)
    assert sizes(plan, {"region": np.array(["north", "mars"])}) == {
        "region=north": (1, True),
        "region=other values": (1, True),
    }


def test_missing_values_and_numbers_become_text() -> None:
    values, codes = distinct(np.array([None, float("nan"), "a", 1, float("nan")], dtype=object))
    assert values == ["missing", "a", "1"]
    assert codes.tolist() == [0, 0, 1, 2, 0]
    values, codes = distinct(np.array([3, 1, 3]))
    assert (values, codes.tolist()) == (["1", "3"], [1, 0, 1])


def test_a_column_whose_name_looks_like_bins_is_meant_itself() -> None:
    assert factors_of("price/4") == (Factor(column="price", bins=4),)
    assert factors_of("price/4", {"price/4": PRICE}) == (Factor(column="price/4"),)
    assert factors_of("a/b") == (Factor(column="a/b"),)
    assert columns_of(["price/4", "region*device"]) == [
        "price/4",
        "region*device",
        "price",
        "region",
        "device",
    ]


def test_too_many_values_are_refused_with_what_to_do() -> None:
    with pytest.raises(GateError, match="has 500 values; at most 200") as error:
        planned(["id"], {"id": np.arange(500)}, 10)
    assert "id/4" in str(error.value.hint)
    assert MAX_SLICES == 200


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("price/1", "has 1 bins"),
        ("price/99", "has 99 bins"),
        ("region*", "names no column"),
        ("", "names no column"),
    ],
)
def test_what_cannot_be_a_slice_is_refused(spec: str, message: str) -> None:
    with pytest.raises(GateError, match=message):
        check_slices([spec])


def test_a_column_that_is_not_there_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(GateError, match="no slice column 'regoin'; did you mean 'region'"):
        check_columns(["regoin*device"], COLUMNS)
    with pytest.raises(GateError, match="holds no numbers"):
        planned(["region/4"], COLUMNS, 10)
