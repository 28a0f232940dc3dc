"""Slices: columns, quantile bins and crosses, planned anew every night."""

import numpy as np
import pytest

from registry.errors import GateError
from registry.slice_columns import (
    MAX_SLICES,
    Factor,
    check_columns,
    check_slices,
    columns_of,
    distinct,
    factors_of,
    parts,
    planned,
)
from registry.slice_plan import SlicePlan

REGION = np.array(["north"] * 60 + ["south"] * 30 + ["east"] * 6 + ["west"] * 4, dtype=object)
DEVICE = np.array(["ios", "web"] * 50, dtype=object)
PRICE = np.arange(100.0)
COLUMNS = {"region": REGION, "device": DEVICE, "price": PRICE}


def sizes(plan: SlicePlan, columns: dict[str, np.ndarray] = COLUMNS) -> dict[str, tuple[int, bool]]:
    return {part.name: (len(part.rows), part.judged) for part in parts(plan, columns)}


def test_each_value_that_is_frequent_enough_is_a_slice_and_the_others_are_one_together() -> None:
    plan = planned(["region"], [COLUMNS], 10)
    assert plan.columns[0].names == ["region=north", "region=south", "region=other values"]
    assert sizes(plan) == {
        "region=north": (60, True),
        "region=south": (30, True),
        "region=other values": (10, True),
    }


def test_others_that_are_too_few_even_together_are_not_judged() -> None:
    plan = planned(["region"], [COLUMNS], 11)
    assert plan.columns[0].names == ["region=north", "region=south"]
    assert sizes(plan)["region=other values"] == (10, False)


def test_the_only_rare_value_is_called_by_its_name() -> None:
    columns = {"kind": np.array(["common"] * 95 + ["rare"] * 5)}
    assert sizes(planned(["kind"], [columns], 10), columns)["kind=rare"] == (5, False)


def test_bins_are_cut_once_and_later_rows_fall_into_the_same_ones() -> None:
    plan = planned(["price/4"], [COLUMNS], 10)
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
    assert sizes(planned(["n/4"], [two], 5), two) == {
        "n/4=below 1": (60, True),
        "n/4=from 1": (40, True),
    }
    one = {"n": np.array([0.0] * 90 + [1.0] * 10)}
    assert sizes(planned(["n/4"], [one], 5), one) == {"n/4=any number": (100, True)}


def test_a_cross_has_a_slice_for_each_pair_that_occurs() -> None:
    plan = planned(["region*device"], [COLUMNS], 10)
    assert "region*device=north*ios" in plan.columns[0].names
    assert sum(rows for rows, _ in sizes(plan).values()) == 100
    bins = planned(["price/2*device"], [COLUMNS], 10)
    assert sizes(bins)["price/2*device=below 50*web"] == (25, True)


def test_a_value_that_was_never_seen_is_one_of_the_others() -> None:
    plan = planned(["region"], [COLUMNS], 10)
    assert sizes(plan, {"region": np.array(["north", "mars"])}) == {
        "region=north": (1, True),
        "region=other values": (1, True),
    }


def regions(**rows: int) -> dict[str, np.ndarray]:
    """A night with so many rows of each region."""
    return {"region": np.repeat(np.array(list(rows), dtype=object), list(rows.values()))}


def nights(*every: dict[str, np.ndarray], patience: int = 3) -> SlicePlan:
    """The plan after these nights; 10 rows make a slice."""
    plan = None
    for columns in every:
        plan = planned([next(iter(columns))], [columns], 10, known=plan, patience=patience)
    assert plan is not None
    return plan


def test_a_value_is_a_slice_of_its_own_from_the_night_on_that_has_enough_rows_of_it() -> None:
    small = regions(north=8, south=7)
    assert nights(small).names == ["region=other values"]
    full = regions(north=60, south=30)
    assert nights(small, full).names == ["region=north", "region=south"]
    new = regions(north=60, east=10)
    assert nights(full, new).names == ["region=east", "region=north", "region=south"]
    assert nights(full, new, small).names == ["region=east", "region=north", "region=south"]


def test_the_others_are_judged_on_when_values_leave_them_only_if_enough_is_left() -> None:
    before = regions(north=60, east=8, west=8)
    assert nights(before).names == ["region=north", "region=other values"]
    one_left = regions(north=60, east=20, west=8)
    assert nights(before, one_left).names == ["region=east", "region=north"]
    enough_left = regions(north=60, east=20, west=8, mars=8)
    assert nights(before, enough_left).names[-1] == "region=other values"
    # A thin night alone does not end them.
    thin = regions(north=60, west=8)
    assert nights(before, thin, thin).names[-1] == "region=other values"
    assert nights(before, thin, thin, thin).names == ["region=north"]


def test_a_value_that_is_too_rare_for_so_many_nights_is_not_judged_until_its_rows_come() -> None:
    full, thin = regions(north=60, south=30), regions(north=60, south=4)
    assert "region=south" in nights(full, thin, thin).names
    assert "region=south" in nights(full, thin, thin, full, thin, thin).names
    gone = nights(full, thin, thin, thin)
    assert gone.names == ["region=north"]
    (south,) = [part for part in parts(gone, thin) if part.name == "region=south"]
    assert (len(south.rows), south.judged, south.thin) == (4, False, 3)
    none = regions(north=60)
    (south,) = [part for part in parts(gone, none) if part.name == "region=south"]
    assert (len(south.rows), south.judged, south.thin) == (0, False, 3)
    assert "region=south" in nights(full, thin, thin, thin, full).names
    # After as long again it is not spoken of any more.
    assert nights(full, *[thin] * 6).columns[0].gone == {}


def test_the_few_rows_of_a_value_that_is_gone_are_judged_with_the_others() -> None:
    full = regions(north=60, south=30, east=9)
    thin = regions(north=60, south=4, east=9)
    plan = nights(full, thin, thin, thin)
    assert sizes(plan, thin)["region=other values"] == (13, True)
    assert sizes(plan, thin)["region=south"] == (4, False)


def test_runs_on_the_same_rows_are_one_night() -> None:
    plan = nights(regions(north=60, south=30), patience=2)
    for _ in range(5):
        columns = regions(north=60)
        plan = planned(["region"], [columns], 10, known=plan, patience=2, nights=0)
    assert "region=south" in plan.names


def test_enough_rows_in_any_comparison_make_a_slice() -> None:
    most, fewer = regions(north=60, south=9), regions(north=20, south=10)
    assert planned(["region"], [most, fewer], 10).names == ["region=north", "region=south"]
    assert planned(["region"], [most], 10).names == ["region=north"]


def test_numbers_are_cut_by_the_first_rows_that_fill_the_bins() -> None:
    plan = planned(["price/4"], [{"price": np.arange(39.0)}], 10)
    assert plan.names == ["price/4=any number"]
    plan = planned(["price/4"], [{"price": np.arange(100.0)}], 10, known=plan)
    cut = ["price/4=25 to 50", "price/4=50 to 75", "price/4=below 25", "price/4=from 75"]
    assert plan.names == cut
    later = {"price": np.arange(1000.0)}
    assert planned(["price/4"], [later], 10, known=plan).names == cut


def test_a_new_champion_keeps_the_slices_and_cuts_numbers_anew_when_there_are_enough() -> None:
    plan = nights(regions(north=60, south=30)).anew()
    plan = planned(["region"], [regions(north=60)], 10, known=plan, patience=3)
    assert plan.names == ["region=north", "region=south"]
    old = planned(["price/4"], [{"price": np.arange(100.0)}], 10).anew()
    few = planned(["price/4"], [{"price": np.arange(200.0, 239.0)}], 10, known=old)
    assert few.columns[0].cuts == {"price": (25.0, 50.0, 75.0)}
    cut = planned(["price/4"], [{"price": np.arange(200.0, 300.0)}], 10, known=few)
    assert cut.columns[0].cuts == {"price": (225.0, 250.0, 275.0)}
    kept = planned(["price/4"], [{"price": np.arange(100.0)}], 10, known=cut)
    assert kept.columns[0].cuts == cut.columns[0].cuts


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
        planned(["id"], [{"id": np.arange(500)}], 10)
    assert "id/4" in str(error.value.hint)
    assert MAX_SLICES == 200


def test_values_that_a_column_gains_later_and_has_no_room_for_are_judged_with_the_others() -> None:
    once = planned(["id"], [{"id": np.arange(150)}], 1)
    later = {"id": np.concatenate([np.arange(150, 300), [299]])}
    full = planned(["id"], [later], 1, known=once, patience=9)
    assert len(full.columns[0].own) == MAX_SLICES
    assert once.columns[0].own.keys() < full.columns[0].own.keys()
    # Those with the most rows come first.
    assert "id=299" in full.names
    assert sizes(full, later)["id=other values"] == (100, True)
    again = planned(["id"], [later], 1, known=full, patience=9)
    assert again.names == full.names
    # When values go, others have room.
    for _ in range(8):
        again = planned(["id"], [later], 1, known=again, patience=9)
    assert again.names == sorted(f"id={value}" for value in range(150, 300))


def test_a_value_whose_rows_are_of_too_few_clusters_is_one_of_the_others() -> None:
    columns, owner = regions(north=60, south=60, east=60), np.arange(180) // 10
    owner[60:120] = 100 + np.arange(60) % 3
    plan = planned(["region"], [columns], 10, clusters=[owner], fewest=3.2)
    assert (plan.names, plan.clusters) == (["region=east", "region=north"], 4)
    assert sizes(plan, columns)["region=south"] == (60, False)
    assert "region=south" in planned(["region"], [columns], 10, clusters=[owner], fewest=3).names
    # Six clusters of one value and three of another one are enough together.
    both = planned(["region"], [columns], 10, clusters=[owner], fewest=9)
    assert both.names == ["region=other values"]
    apart = planned(["region"], [columns], 10, clusters=[np.arange(180) % 8], fewest=9)
    assert apart.names == []


def test_numbers_are_not_cut_before_their_clusters_can_fill_the_bins() -> None:
    columns, owner = {"price": np.arange(100.0)}, np.arange(100) % 11
    few = planned(["price/4"], [columns], 10, clusters=[owner], fewest=3)
    assert few.names == ["price/4=any number"]
    cut = planned(["price/4"], [columns], 10, clusters=[np.arange(100) % 12], fewest=3)
    assert len(cut.names) == 4


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
        planned(["region/4"], [COLUMNS], 10)
