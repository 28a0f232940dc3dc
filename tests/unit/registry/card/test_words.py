"""Figures as people read them, and scales with round ticks."""

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest

from registry.card.scale import Scale, covering
from registry.card.words import (
    between,
    counted,
    evidence,
    moment,
    number,
    percent,
    signed,
    text,
    when,
)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.94172, "0.9417"), (12.0, "12"), (1250.4, "1,250"), (5000.0, "5,000"), (None, "–"),
        (math.nan, "–"), (math.inf, "–"), (0.0, "0"), (3.2e-05, "3.2e-05"),
    ],
)  # fmt: skip
def test_a_number_has_four_digits(value: float | None, said: str) -> None:
    assert number(value) == said


def test_a_difference_has_its_sign_and_an_interval_both_ends() -> None:
    assert (signed(0.0123), signed(-0.5), signed(0.0), signed(None)) == (
        "+0.0123",
        "-0.5",
        "0",
        "–",
    )
    assert between(-0.01, 0.02) == "-0.01 to +0.02"
    assert between(0.01, 0.02, write=number) == "0.01 to 0.02"
    assert between(None, 0.02) == ""
    assert between(-math.inf, 0.02) == ""


def test_evidence_is_said_as_what_it_is_not_as_its_logarithm() -> None:
    assert [evidence(math.log(value)) for value in (0.31, 9.6, 41, 9605)] == [
        "0.31", "9.6", "41", "9,605",
    ]  # fmt: skip
    assert evidence(1000.0) == "over 1,000,000,000"
    assert evidence(-1000.0) == "under 0.001"
    assert evidence(-math.inf) == "under 0.001"
    assert (evidence(None), evidence(math.nan)) == ("–", "–")


def test_times_are_said_in_utc() -> None:
    there = datetime(2026, 7, 4, 5, 0, tzinfo=timezone(timedelta(hours=2)))
    assert when(there) == when(datetime(2026, 7, 4, 3, 0, tzinfo=UTC)) == "2026-07-04 03:00"
    assert when(None) == "–"
    assert (moment(there), moment(None)) == ("2026-07-04 03:00 UTC", "–")


def test_words_for_counts_shares_and_names() -> None:
    assert (counted(1, "night"), counted(1200, "night")) == ("1 night", "1,200 nights")
    assert (percent(0.998), percent(1.0)) == ("99.8 %", "100 %")
    assert (text("<b>'x"), text(None), text("")) == ("&lt;b&gt;&#x27;x", "–", "–")


def test_ticks_are_round_and_inside() -> None:
    assert Scale(low=-0.013, high=0.021).ticks(4) == pytest.approx((-0.01, 0.0, 0.01, 0.02))
    assert Scale(low=0.0, high=1.0).ticks(4) == pytest.approx((0.0, 0.5, 1.0))


def test_a_scale_covers_what_is_finite_and_keeps_the_rest_at_its_edge() -> None:
    scale = covering([None, math.nan, 0.0, 2.0])
    assert scale is not None
    assert (scale.low, scale.high) == pytest.approx((-0.12, 2.12))
    assert (scale.percent(99.0), scale.percent(-99.0)) == (100.0, 0.0)
    assert covering([None, math.inf]) is None
    same = covering([0.0, 0.0])
    assert same is not None
    assert same.percent(0.0) == 50.0
