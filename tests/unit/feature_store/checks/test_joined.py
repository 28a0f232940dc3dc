"""Which checks each view of a flow gets."""

from datetime import timedelta

from feature_store import ChecksConfig, Range
from feature_store.checks.joined import beside_joins, of_join

NAMES = {"id": "id", "known": "known", "p_age": "age"}


def test_a_joined_view_is_checked_by_its_own_names_and_only_where_the_join_uses_it() -> None:
    config = ChecksConfig(
        nulls={"*": 0.1, "p_age": 0.2, "load": 0.3},
        infinite={"p_age": 0.5, "load": 0.1},
        ranges={"p_age": Range(min=0), "load": Range(max=9)},
        allowed={"id": (1, 2), "age": (3,)},
        max_age=timedelta(hours=1),
        min_new_rows=10,
        label_classes=2,
    )
    its = of_join(config, NAMES)
    assert its.nulls == {"id": 0.1, "known": 0.1, "age": 0.2}
    assert its.infinite == {"age": 0.5}
    assert its.ranges == {"age": Range(min=0)}
    assert its.allowed == {"id": (1, 2)}
    assert (its.max_age, its.min_new_rows, its.label_classes) == (None, 0, 0)


def test_nulls_that_are_not_checked_are_not_checked_in_a_joined_view_either() -> None:
    assert of_join(ChecksConfig(nulls={}), NAMES).nulls == {}


def test_what_only_a_join_brings_is_left_to_its_view() -> None:
    config = ChecksConfig(nulls={"*": 0.0, "p_age": 0.5, "id": 0.1}, ranges={"p_age": Range()})
    own = beside_joins(config, [NAMES], {"id", "load"}, new=1)
    assert own.nulls == {"*": 0.0, "id": 0.1}
    assert own.ranges == {}
    assert own.min_new_rows == config.min_new_rows


def test_new_data_that_came_to_a_joined_view_is_not_too_few_rows() -> None:
    assert beside_joins(ChecksConfig(min_new_rows=50), [NAMES], (), new=0).min_new_rows == 0
