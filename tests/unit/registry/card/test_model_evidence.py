"""What the gate knows of a model's challengers, as a notebook's cell shows it."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from registry.approvals import ApprovalRequest
from registry.card.card import Card
from registry.card.evidence_chart import MOST_ENDED, evidence_chart
from registry.card.model_evidence import ModelEvidence
from registry.error_budget import Year
from registry.nights.docket import Case, Docket
from registry.nights.docket_store import NightEntry, PastNight
from registry.verdict import CaseNote, CaseState, Decision
from registry.watch import Watched, WatchState

KEPT = CaseState.KEPT
AT = datetime(2026, 11, 22, 3, 10, tzinfo=UTC)


def note(version: str, log_evidence: float, nights: int = 1, state: CaseState = KEPT) -> CaseNote:
    return CaseNote(
        challenger=version, state=state, log_evidence=log_evidence, log_needed=math.log(9605),
        rows=100, nights=nights, fresh=100, harmed="worse on x=1" if state is not KEPT else "",
    )  # fmt: skip


def case(version: str) -> Case:
    return Case(challenger=version, share=1e-4, trained_until=AT, opened=AT)


@pytest.fixture
def found(card: Card) -> ModelEvidence:
    cases = (*card.verdict.cases, note("29", -3.0, state=CaseState.GIVEN_UP))
    verdict = replace(card.verdict, model="loans", cases=cases)
    docket = Docket(epoch=4, year=Year(number=2026), cases=(case("31"), case("33")))
    night = NightEntry(
        model="loans", night=44, epoch=4, run_id="r", challenger="33", dataset="d",
        docket=docket, verdict=verdict, at=AT, hash="h",
    )  # fmt: skip
    return ModelEvidence(model="loans", night=night, history=card.history)


def test_the_open_comparisons_are_shown_and_those_that_ended_are_not(found: ModelEvidence) -> None:
    html = found._repr_html_()
    assert [each.challenger for each in found.open] == ["33", "31"]
    assert "kept; about 4 more nights at this pace" in html
    assert "v31 ←" in html
    assert "worse on x=1" not in html
    assert "needed: 9,605" in html
    assert "Error budget of 2026" in html
    assert "night 44, 2026-11-22 03:10 UTC" in html


def test_what_waits_for_a_person_and_the_watch_are_said(found: ModelEvidence) -> None:
    assert found.night is not None
    verdict = replace(found.night.verdict, decision=Decision.AWAIT, expires_at=AT)
    request = ApprovalRequest(
        model="loans", version="31", champion="27", epoch=4, run_id="r", night=44, asked_at=AT,
        expires_at=AT + timedelta(days=3), verdict=verdict,
    )  # fmt: skip
    watched = Watched(
        model="loans", epoch=4, version="27", previous="<26>", state=WatchState.WATCHING,
        harm=False, reason="Version 27 is not worse than version <26>.", nights=2, planned=7,
        metric="accuracy", fresh=1, rows=1,
    )  # fmt: skip
    html = replace(found, waiting=(request,), watched=watched)._repr_html_()
    assert "<code>ratchet approve loans 31 --reason TEXT</code>" in html
    assert "Watch over the champion:</b> Version 27 is not worse than version &lt;26&gt;." in html
    assert "ratchet approve" not in found._repr_html_()


def test_a_model_that_was_never_judged_says_so() -> None:
    html = ModelEvidence(model="<loans>")._repr_html_()
    assert "The gate has not judged a challenger yet." in html
    assert "&lt;loans&gt;" in html
    assert "Error budget" not in html


def test_overwhelming_evidence_leaves_the_scale_readable() -> None:
    nights = [
        PastNight(night=night, at=AT, cases=(note("7", 40.0 * night, night), note("8", 0.5)))
        for night in (1, 2, 3)
    ]
    html = evidence_chart(nights, "7")
    assert ">10,000<" in html
    assert "over 1,000,000,000" not in html


@pytest.mark.parametrize(("count", "named"), [(MOST_ENDED, True), (MOST_ENDED + 1, False)])
def test_lines_that_ended_earlier_are_named_as_long_as_there_is_room(
    count: int, named: bool
) -> None:
    ended = tuple(note(f"e{number}", -1.0) for number in range(count))
    nights = [
        PastNight(night=1, at=AT, cases=(*ended, note("7", 1.0))),
        PastNight(night=2, at=AT, cases=(note("7", 2.0, 2),)),
    ]
    assert ("c-ended" in evidence_chart(nights, "7")) is named
