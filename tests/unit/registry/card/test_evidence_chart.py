"""Evidence over nights: every challenger that was judged, the bar, and names that can be read."""

import math
from dataclasses import replace
from itertools import pairwise

from registry.card.card import Card
from registry.card.evidence_chart import (
    APART,
    evidence_chart,
    height,
    powers_of_ten,
    spread,
    tracks,
)
from registry.card.scale import Scale


def test_each_challenger_has_its_nights_and_the_bar_is_named(card: Card) -> None:
    assert tracks(card.history) == {"31": [(43, 2.0), (44, 3.7)], "33": [(44, 1.1)]}
    html = evidence_chart(card.history, "31")
    assert "needed: 9,605" in html
    assert html.count("class='c-end'") == 2


def test_who_was_never_judged_is_not_drawn(card: Card) -> None:
    last = card.history[-1]
    unjudged = replace(last, cases=tuple(replace(case, nights=0) for case in last.cases))
    assert tracks((unjudged,)) == {}
    assert evidence_chart((unjudged,), "31") == ""
    assert evidence_chart((), "31") == ""


def test_a_bar_without_budget_is_not_drawn(card: Card) -> None:
    cases = tuple(replace(case, log_needed=None) for case in card.history[-1].cases)
    html = evidence_chart((replace(card.history[-1], cases=cases),), "31")
    assert "needed" not in html
    assert "c-end" in html


def test_the_scale_holds_the_bar_and_every_point() -> None:
    lines = {"1": [(1, -3.0), (2, 12.0)], "2": [(2, -6.0)]}
    y = height(lines, math.log(9605))
    assert y.low < -6.0
    assert y.high > 12.0
    ticks = powers_of_ten(y)
    assert 2 <= len(ticks) <= 6
    assert all(abs(tick / math.log(10) - round(tick / math.log(10))) < 1e-9 for tick in ticks)


def test_no_name_covers_another() -> None:
    lines = {str(n): [(5, 0.001 * n)] for n in range(6)}
    places = sorted(spread(lines, Scale(low=-1.0, high=9.0)).values())
    assert all(below - above >= APART - 1e-9 for above, below in pairwise(places))


def test_a_hostile_version_is_only_text(card: Card) -> None:
    cases = tuple(replace(case, challenger="<i>'x") for case in card.history[-1].cases)
    html = evidence_chart((replace(card.history[-1], cases=cases),), "<i>'x")
    assert "<i>" not in html
    assert "vix<" in html
