"""When a verdict waits, what it says, and where a request for approval stands."""

from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from flows.core import values
from registry.answers import Answer, AnswerKind
from registry.approvals import ApprovalRequest, Standing, awaiting, standing
from registry.errors import GateError
from registry.gate_config import ApprovalConfig, GateConfig, check_config
from registry.verdict import (
    CaseNote,
    CaseState,
    Decision,
    Verdict,
    canonical_json,
    verdict_from_json,
    verdict_json,
)

NOW = datetime(2026, 11, 22, 3, 10, tzinfo=UTC)
BETTER = Verdict(
    model="digits", challenger="7", champion="4", epoch=2, decision=Decision.PROMOTE, promote=True,
    reason="Version 7 is proven better than champion version 4.", metric="accuracy",
    challenger_score=0.9, baseline=0.8, difference=0.1, low=0.05, high=0.15, confidence=0.95,
    rows=100, rules=(), run_id="r", mlflow_run_id="",
)  # fmt: skip
REQUIRED = ApprovalConfig(required=True)
WAITS = awaiting(BETTER, REQUIRED, NOW)


def test_a_verdict_that_would_promote_waits_with_an_expiry_and_says_what_to_type() -> None:
    assert (WAITS.decision, WAITS.promote) == (Decision.AWAIT, False)
    assert WAITS.expires_at == NOW + timedelta(days=3)
    assert WAITS.reason == (
        "Version 7 is proven better than champion version 4. It waits for approval until "
        "2026-11-25 03:10 UTC: ratchet approve digits 7 --reason TEXT"
    )
    assert WAITS.next_step == "ratchet approve digits 7 --reason TEXT"
    assert BETTER.next_step is None


def test_what_is_held_or_needs_nobody_is_left_as_it_is() -> None:
    held = replace(BETTER, decision=Decision.HOLD, promote=False)
    assert awaiting(held, REQUIRED, NOW) is held
    assert awaiting(BETTER, ApprovalConfig(), NOW) is BETTER


def test_a_verdict_that_waits_survives_being_stored_and_handed_on() -> None:
    assert verdict_from_json(verdict_json(WAITS)) == WAITS
    assert '"expires_at":"2026-11-25T03:10:00.000000+00:00"' in verdict_json(WAITS)
    assert values.loads(values.dumps(WAITS), Verdict) == WAITS
    elsewhere = timezone(timedelta(hours=5))
    assert WAITS.expires_at is not None
    same = replace(WAITS, expires_at=WAITS.expires_at.astimezone(elsewhere))
    assert verdict_json(same) == verdict_json(WAITS)
    with pytest.raises(TypeError, match="object is not JSON"):
        canonical_json({"what": object()})


def test_what_was_stored_before_there_were_approvals_can_still_be_read() -> None:
    old = {k: v for k, v in asdict(BETTER).items() if k != "expires_at"}
    assert verdict_from_json(canonical_json(old)) == BETTER


def test_an_approval_that_nobody_could_give_in_time_is_refused() -> None:
    config = GateConfig(approval=ApprovalConfig(required=True, expires_after=timedelta(0)))
    with pytest.raises(GateError, match="nobody could answer in time"):
        check_config(config)


REQUEST = ApprovalRequest(
    model="digits", version="7", champion="4", epoch=2, run_id="r", night=9, asked_at=NOW,
    expires_at=NOW + timedelta(days=3), verdict=WAITS,
)  # fmt: skip


def answered(kind: AnswerKind, *, epoch: int = 2, version: str = "7") -> Answer:
    return Answer(
        model="digits", epoch=epoch, version=version, night=9, run_id="r", answer=kind,
        actor="ann", reason="so", at=NOW, number=1, prev_hash="", hash="",
    )  # fmt: skip


def noted(state: CaseState, version: str = "7") -> Verdict:
    """A later night about another version, with a note on this one."""
    note = CaseNote(
        challenger=version, state=state, log_evidence=0.0, log_needed=1.0, rows=9, nights=2, fresh=1
    )
    return replace(BETTER, challenger="8", cases=(note,))


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ({}, Standing.WAITING),
        ({"answers": [answered(AnswerKind.APPROVE)]}, Standing.ANSWERED),
        ({"answers": [answered(AnswerKind.REJECT)]}, Standing.ANSWERED),
        ({"answers": [answered(AnswerKind.REJECT, epoch=1)]}, Standing.ANSWERED),
        ({"answers": [answered(AnswerKind.APPROVE, epoch=1)]}, Standing.WAITING),
        ({"answers": [answered(AnswerKind.REJECT, version="8")]}, Standing.WAITING),
        ({"epoch": 3}, Standing.OUTDATED),
        ({"later": [WAITS]}, Standing.WAITING),
        ({"later": [replace(BETTER, decision=Decision.HOLD)]}, Standing.WITHDRAWN),
        ({"later": [noted(CaseState.GIVEN_UP)]}, Standing.WITHDRAWN),
        ({"later": [noted(CaseState.GIVEN_UP, "6")]}, Standing.WAITING),
        ({"later": [noted(CaseState.KEPT)]}, Standing.WAITING),
        ({"now": NOW + timedelta(days=3)}, Standing.EXPIRED),
        ({"now": NOW + timedelta(days=3), "epoch": 3}, Standing.OUTDATED),
    ],
)
def test_where_a_request_stands(seen: dict[str, object], expected: Standing) -> None:
    facts: dict[str, object] = {"later": (), "answers": (), "epoch": 2, "now": NOW}
    assert standing(REQUEST, **(facts | seen)) is expected  # type: ignore[arg-type]


def test_the_proof_is_the_reason_without_what_it_waits_for() -> None:
    assert REQUEST.proof == BETTER.reason
