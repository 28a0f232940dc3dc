"""Keywords of `start` become overrides that Hydra reads back as the same values."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.core.errors import ConfigError
from flows.notebook.launch import as_overrides


class Colour(StrEnum):
    RED = "red"


def test_dictionaries_are_followed_and_plain_values_written_plainly() -> None:
    config = {"trainer": "xgboost", "gate": {"min_effect": 0.01, "floors": {"accuracy": 0.7}}}
    assert list(as_overrides(config)) == [
        "trainer=xgboost",
        "gate.min_effect=0.01",
        "gate.floors.accuracy=0.7",
    ]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, "null"),
        (True, "true"),
        (3, "3"),
        (timedelta(hours=36), "129600s"),
        (Path("data/elec.csv"), "data/elec.csv"),
        (Colour.RED, "red"),
        (["a", 1, "b c"], "[a,1,'b c']"),
        ((), "[]"),
        ("true", "'true'"),
        ("007", "'007'"),
    ],
)
def test_each_kind_of_value_is_written_so_that_it_stays_what_it_is(
    value: object, written: str
) -> None:
    assert list(as_overrides({"key": value})) == [f"key={written}"]


@given(st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="$")))
def test_hydra_reads_every_text_back(text: str) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import QuotedString

    (override,) = as_overrides({"key": text})
    value = OverridesParser.create().parse_override(override).value()
    assert (value.text if isinstance(value, QuotedString) else value) == text


def test_a_value_that_no_config_holds_is_refused_by_its_key() -> None:
    with pytest.raises(ConfigError, match=r"trainer\.params=<object object"):
        list(as_overrides({"trainer": {"params": object()}}))
