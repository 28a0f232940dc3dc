"""The point-in-time join against a brute-force oracle."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store import SchemaMismatch, UnknownColumn, point_in_time_join

START = datetime(2026, 1, 1, tzinfo=UTC)
US = pa.timestamp("us", tz="UTC")


def oracle(
    spine: Sequence[tuple[Any, ...]], right: Sequence[tuple[Any, ...]], ttl: timedelta | None
) -> list[int | None]:
    """For each spine row (keys..., time), the index of the right row, by looking at all."""
    hits: list[int | None] = []
    for *keys, moment in spine:
        best: int | None = None
        for index, (*others, known) in enumerate(right):
            if None in (*keys, *others, moment, known) or keys != others or known > moment:
                continue
            if ttl is not None and moment - known > ttl:
                continue
            if best is None or known >= right[best][-1]:
                best = index
        hits.append(best)
    return hits


times = st.none() | st.integers(0, 12).map(lambda s: START + timedelta(seconds=s))
rows = st.lists(
    st.tuples(st.none() | st.integers(0, 2), st.none() | st.sampled_from(["a", "b"]), times),
    max_size=14,
)


@settings(max_examples=50, deadline=None)
@given(spine=rows, right=rows, seconds=st.none() | st.integers(0, 5))
def test_it_agrees_with_looking_at_every_row(
    spine: list[tuple[Any, ...]], right: list[tuple[Any, ...]], seconds: int | None
) -> None:
    ttl = None if seconds is None else timedelta(seconds=seconds)
    left = pa.table(
        {
            "site": pa.array([row[0] for row in spine], pa.int64()),
            "kind": pa.array([row[1] for row in spine], pa.string()),
            "at": pa.array([row[2] for row in spine], US),
            "row": pa.array(range(len(spine)), pa.int64()),
        }
    )
    known = pa.table(
        {
            "site": pa.array([row[0] for row in right], pa.int32()),
            "kind": pa.array([row[1] for row in right], pa.string()).dictionary_encode(),
            "since": pa.array([row[2] for row in right], US),
            "value": pa.array(range(len(right)), pa.int64()),
        }
    )
    joined = point_in_time_join(
        left,
        known,
        entities=["site", "kind"],
        spine_time="at",
        right_time="since",
        columns=["value"],
        ttl=ttl,
        prefix="known_",
        threads=1,
    )
    assert joined.column("row").to_pylist() == list(range(len(spine)))
    assert joined.column_names == ["site", "kind", "at", "row", "known_value"]
    assert joined.column("known_value").to_pylist() == oracle(spine, right, ttl)


def table(ids: list[int], times: list[datetime], **columns: list[Any]) -> pa.Table:
    return pa.table({"id": ids, "at": pa.array(times, US), **columns})


def test_of_equal_times_the_last_row_wins() -> None:
    size = 5000  # more than one vector of the engine
    right = table([1] * size, [START] * size, value=list(range(size)))
    spine = table([1, 1, 2], [START, START + timedelta(days=1), START])
    joined = point_in_time_join(
        spine, right, entities=["id"], spine_time="at", right_time="at", columns=["value"]
    )
    assert joined.column("value").to_pylist() == [size - 1, size - 1, None]


def test_a_feature_a_nanosecond_in_the_future_is_not_known() -> None:
    base = 1_767_225_600_000_000_000
    spine = pa.table({"id": [1, 1], "at": pa.array([base, base + 1], pa.timestamp("ns", "UTC"))})
    right = pa.table({"id": [1], "at": pa.array([base + 1], pa.timestamp("ns")), "value": [7]})
    joined = point_in_time_join(
        spine, right, entities=["id"], spine_time="at", right_time="at", columns=["value"]
    )
    assert joined.column("value").to_pylist() == [None, 7]


def test_times_of_different_units_and_zones_are_the_same_moments() -> None:
    noon = datetime(2026, 1, 2, 12, tzinfo=UTC)
    spine = pa.table({"id": [1], "at": pa.array([noon], pa.timestamp("s", "Europe/Berlin"))})
    right = pa.table(
        {
            "id": [1, 1],
            "day": pa.array([date(2026, 1, 2), date(2026, 1, 3)]),
            "value": ["today", "tomorrow"],
        }
    )
    joined = point_in_time_join(
        spine, right, entities=["id"], spine_time="at", right_time="day", columns=["value"]
    )
    assert joined.column("value").to_pylist() == ["today"]


def test_integers_are_times_too_but_have_no_ttl() -> None:
    spine = pa.table({"id": [1, 1], "tick": [4, 9]})
    right = pa.table({"id": [1], "tick": [5], "value": [1.5]})
    join = {"entities": ["id"], "spine_time": "tick", "right_time": "tick", "columns": ["value"]}
    assert point_in_time_join(spine, right, **join).column("value").to_pylist() == [None, 1.5]
    with pytest.raises(SchemaMismatch, match="ttl"):
        point_in_time_join(spine, right, ttl=timedelta(1), **join)


def test_without_entities_only_time_counts() -> None:
    spine = table([1, 2], [START, START + timedelta(days=2)])
    right = table([9, 9], [START + timedelta(days=1)] * 2, value=[1, 2])
    joined = point_in_time_join(
        spine, right, entities=[], spine_time="at", right_time="at", columns=["value"]
    )
    assert joined.column("value").to_pylist() == [None, 2]


def test_an_empty_right_table_gives_nulls_of_its_types() -> None:
    spine = table([1, 2], [START, START])
    right = table([5], [START], value=["x"]).slice(1)
    joined = point_in_time_join(
        spine, right, entities=["id"], spine_time="at", right_time="at", columns=["value"]
    )
    assert joined.column("value").to_pylist() == [None, None]
    assert joined.schema.field("value").type == pa.string()


def test_an_unknown_column_names_its_side_and_the_nearest() -> None:
    spine, right = table([1], [START], load=[1.0]), table([1], [START], value=[1.0])
    with pytest.raises(UnknownColumn, match=r"the right table.*'valu'; did you mean 'value'"):
        point_in_time_join(
            spine, right, entities=["id"], spine_time="at", right_time="at", columns=["valu"]
        )
    with pytest.raises(UnknownColumn, match=r"the spine table.*'when'"):
        point_in_time_join(
            spine, right, entities=["id"], spine_time="when", right_time="at", columns=["value"]
        )


def test_types_that_cannot_be_compared_are_named() -> None:
    spine, right = table([1], [START]), table([1], [START], value=[1.0])
    text = right.set_column(0, "id", pa.array(["1"]))
    join = {"entities": ["id"], "spine_time": "at", "right_time": "at", "columns": ["value"]}
    with pytest.raises(SchemaMismatch, match="entity id is int64 in the spine and string"):
        point_in_time_join(spine, text, **join)
    with pytest.raises(SchemaMismatch, match="the spine's time at is timestamp"):
        point_in_time_join(spine, right, **{**join, "right_time": "value"})


def test_a_name_that_the_spine_has_is_refused() -> None:
    spine = table([1], [START], value=[0.0])
    join = {"entities": ["id"], "spine_time": "at", "right_time": "at", "columns": ["value"]}
    with pytest.raises(SchemaMismatch, match="has a column value already") as caught:
        point_in_time_join(spine, spine, **join)
    assert caught.value.hint == "give the join a prefix"
    joined = point_in_time_join(spine, spine, **join, prefix="last_")
    assert joined.column("last_value").to_pylist() == [0.0]
