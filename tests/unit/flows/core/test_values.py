"""What goes into the state store comes out equal, and nothing else goes in."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum, StrEnum
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.core import values
from flows.core.errors import NotStorable


class Colour(StrEnum):
    RED = "red"


class Level(Enum):
    LOW = 1


@dataclass(frozen=True, kw_only=True)
class Leaf:
    name: str
    at: datetime
    score: float | None = None
    colour: Colour = Colour.RED


@dataclass(frozen=True, kw_only=True)
class Tree:
    leaves: tuple[Leaf, ...] = ()
    wait: timedelta = timedelta(0)
    level: Level = Level.LOW
    counts: dict[str, int] = field(default_factory=dict)
    pair: tuple[str, int] | None = None
    kind: Literal["oak", "elm"] = "oak"
    anything: Any = None


LEAVES = st.builds(
    Leaf,
    name=st.text(),
    at=st.datetimes(timezones=st.just(UTC)),
    score=st.none() | st.floats(allow_nan=False, allow_infinity=False),
)
TREES = st.builds(
    Tree,
    leaves=st.lists(LEAVES, max_size=3).map(tuple),
    wait=st.timedeltas(timedelta(0), timedelta(days=30)),
    counts=st.dictionaries(st.text(), st.integers()),
    pair=st.none() | st.tuples(st.text(), st.integers()),
    kind=st.sampled_from(["oak", "elm"]),
    anything=st.none() | st.lists(st.integers()) | st.dictionaries(st.text(), st.booleans()),
)


@given(TREES)
def test_a_dataclass_comes_back_equal(tree):
    assert values.loads(values.dumps(tree), Tree) == tree


@given(TREES)
def test_the_text_is_json_that_any_tool_reads(tree):
    assert json.loads(values.dumps(tree))["kind"] == tree.kind


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (object(), "builtins.object is not a small typed value"),
        ({1, 2}, "set is not a small typed value"),
        (b"x", "bytes is not a small typed value"),
        (float("nan"), "nan is not a storable number"),
        (float("inf"), "inf is not a storable number"),
        (datetime(2026, 1, 1), "has no time zone"),
        ({1: "a"}, "the dictionary key 1 is not a string"),
        ("x" * 1_000_001, "too large for the state store"),
    ],
)
def test_what_is_not_a_small_typed_value_is_refused_with_its_kind(value, sentence):
    with pytest.raises(NotStorable, match=sentence):
        values.dumps(value)


@pytest.mark.parametrize(
    ("text", "annotation", "sentence"),
    [
        ('"a"', int, "expected int, found str"),
        ("true", int, "expected int, found bool"),
        ("1", str, "expected str, found int"),
        ('{"nome":"x"}', Leaf, "Leaf has no field 'nome'"),
        ('{"name":"x"}', Leaf, "Leaf cannot be read back"),
        ('"ash"', Literal["oak", "elm"], "'ash' is not one of 'oak', 'elm'"),
        ("[1]", dict[str, int], "expected dict, found list"),
        ('"x"', int | None, "expected int, found str: 'x'; or null"),
        ('"x"', int | bool | None, "expected int, .*; expected bool, .*; or null"),
        ('{"a": 1', int, "no JSON text"),
        ("[" * 100_000, int, "no JSON text"),
    ],
)
def test_stored_text_that_does_not_fit_its_reader_is_refused(text, annotation, sentence):
    with pytest.raises(NotStorable, match=sentence):
        values.loads(text, annotation)


def test_an_integer_is_a_float_where_a_float_is_asked_for():
    assert isinstance(values.loads("3", float), float)


def test_a_numpy_number_is_stored_as_a_number():
    assert values.dumps(np.float64(0.5)) == "0.5"


def test_what_is_said_holds_no_password_of_a_url_also_where_it_is_cut() -> None:
    url = "postgresql://me:hunter2@db/x"
    assert values.message(f"cannot reach {url}") == "cannot reach postgresql://me:***@db/x"
    assert values.message(ConnectionError(url)) == "postgresql://me:***@db/x"
    for longest in range(1, 40):
        assert "hunt" not in values.message(f"at {url}", longest)
    assert values.message("x" * 200_000, 5) == "xxxxx"
