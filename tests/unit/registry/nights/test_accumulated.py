"""A comparison is told when its nights will not be enough."""

import math
from dataclasses import replace

import pytest

from registry.nights.accumulated import claim_words
from registry.verdict import CaseNote, CaseState


def test_what_holds_a_proven_challenger_is_said_before_its_evidence() -> None:
    note = CaseNote(
        challenger="4",
        state=CaseState.PROVEN,
        log_evidence=60.0,
        log_needed=9.0,
        rows=5000,
        nights=1,
        fresh=5000,
    )
    evidence = "evidence over 1,000,000,000 of 8,103 needed, from 5,000 rows of 1 night"
    assert claim_words(note, "3", ()) == (
        f"Version 4 is proven better than champion version 3: {evidence}"
    )
    assert claim_words(note, "3", ("x=1 may still be worse", "y", "z")) == (
        "Version 4 is proven better than champion version 3 but is held: x=1 may still be worse; "
        f"and 2 more rules; over all rows {evidence}"
    )


@pytest.mark.parametrize(
    ("left", "given", "ending"),
    [
        (5, 29, "at this pace about 5 more nights; it stays a challenger"),
        (1, 1, "at this pace about 1 more night; it stays a challenger"),
        (
            80,
            29,
            "at this pace about 80 more nights; it is given 29 (gate.expire_after), so more rows "
            "are needed",
        ),
    ],
)
def test_a_pace_that_is_too_slow_for_its_nights_is_said(left: int, given: int, ending: str) -> None:
    note = CaseNote(
        challenger="4",
        state=CaseState.KEPT,
        log_evidence=1.0,
        log_needed=9.0,
        rows=5000,
        nights=1,
        fresh=5000,
        nights_left=left,
        nights_given=given,
    )
    assert claim_words(note, "3", ()).endswith(ending)


def test_evidence_is_said_in_per_cent_of_the_way_and_giving_up_names_its_figure() -> None:
    note = CaseNote(
        challenger="4",
        state=CaseState.KEPT,
        log_evidence=math.log(98),
        log_needed=math.log(9605),
        rows=5000,
        nights=1,
        fresh=5000,
    )
    assert claim_words(note, "3", ()).startswith(
        "Version 4 is not better than champion version 3 so far: 50 % of the way, "
        "evidence 98 of 9,605 needed"
    )
    given_up = replace(note, state=CaseState.GIVEN_UP, log_evidence=-3.0, useful=0.005)
    assert claim_words(given_up, "3", ()).startswith(
        "Version 4 is given up: it can hardly be better by 0.005 (gate.useful_effect) than "
        "champion version 3 (evidence 0.05 of 9,605 needed"
    )
