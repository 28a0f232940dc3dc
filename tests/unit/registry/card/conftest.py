"""A card with everything that one can hold."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from registry.card.card import Card, Judging, Reign, Trained
from registry.card.reliability import reliability
from registry.error_budget import Year
from registry.methods.predictions import classification
from registry.nights.docket_store import PastNight
from registry.verdict import CaseNote, CaseState, Decision, Rule, RuleResult, Verdict

AT = datetime(2026, 11, 22, 3, 10, tzinfo=UTC)
NEEDED = math.log(9605)


def rule(kind: Rule, **changes: object) -> RuleResult:
    """A rule that passed."""
    made = RuleResult(rule=kind, metric="accuracy", passed=True, rows=5000, message="")
    return replace(made, **changes)  # type: ignore[arg-type]


def note(version: str, log_evidence: float, nights: int = 1, **changes: object) -> CaseNote:
    """A comparison that is kept."""
    made = CaseNote(
        challenger=version,
        state=CaseState.KEPT,
        log_evidence=log_evidence,
        log_needed=NEEDED,
        rows=5000 * nights,
        nights=nights,
        fresh=5000,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


RULES = (
    rule(
        Rule.IMPROVEMENT,
        figure=0.009,
        low=0.004,
        high=0.014,
        bound=0.0,
        message="evidence 41 of 9,605 needed, from 10,000 rows of 2 nights",
        passed=False,
    ),
    rule(Rule.GUARD, metric="ece", figure=-0.004, low=-0.009, high=0.001, bound=-0.02),
    rule(Rule.FLOOR, metric="roc_auc", figure=0.9412, bound=0.9, message="roc_auc is 0.9412"),
    rule(Rule.FLIPS, figure=0.061, low=0.055, high=0.067, bound=0.1),
    rule(Rule.COST, metric="latency_ms", figure=12.4, bound=20.0, message="takes 12.4 ms"),
    rule(
        Rule.SLICE,
        slice="region=<b>north",
        figure=-0.031,
        low=-0.05,
        high=-0.01,
        bound=-0.02,
        passed=False,
        message="on region=<b>north it is worse",
    ),
    rule(
        Rule.SLICE,
        slice="region=south",
        rows=12,
        judged=False,
        message="region=south is not judged: fewer than 50 rows",
    ),
)


@pytest.fixture
def card() -> Card:
    """Held on its second night, with a hostile name in each place that takes one."""
    verdict = Verdict(
        model="elec<script>alert(1)</script>",
        challenger="31",
        champion="27",
        epoch=4,
        decision=Decision.HOLD,
        promote=False,
        reason="Version 31 is not proven better than champion version 27 yet: evidence 41 of 9,605 "
        "needed, from 10,000 rows of 2 nights; accuracy 0.9412 against 0.9321. Also kept: v33.",
        metric="accuracy",
        challenger_score=0.9412,
        baseline=0.9321,
        difference=0.009,
        low=0.004,
        high=0.014,
        confidence=0.95,
        rows=5000,
        rules=RULES,
        run_id="run-'31'",
        mlflow_run_id="0f9a6d54a8f2",
        cases=(note("33", 1.1), note("31", 3.7, 2, nights_left=4)),
        level=1 / 9605,
        budget_left=0.045,
        looks=2,
    )
    rng = np.random.default_rng(5)
    y, chance = rng.integers(0, 2, 1000), rng.random(1000)
    said = np.column_stack([1 - chance, chance])
    scored = classification(y, said, (0, 1), (0, 1), "model")
    models = [reliability(name, scored) for name in ("champion v27", "challenger v31")]
    trained = Trained(
        version="31",
        role="challenger",
        run_id="run-31",
        estimator="sklearn.<i>Forest",
        definition="9f" * 32,
        view="hourly",
        view_version="312",
        dataset="ab" * 32,
        train_rows=182_400,
        train_from=AT - timedelta(days=300),
        train_until=AT - timedelta(days=2),
        device="cpu",
    )
    return Card(
        verdict=verdict,
        at=AT,
        night=44,
        seal="c0ffee" * 10,
        history=(
            PastNight(night=43, at=AT - timedelta(days=1), cases=(note("31", 2.0),)),
            PastNight(night=44, at=AT, cases=verdict.cases),
        ),
        year=replace(Year(number=2026), opened=44, spent=0.005),
        champion=Reign(version="27", epoch=4, action="promote", since=AT, actor="flow <retrain>"),
        trained=(trained, Trained(version="27", role="champion")),
        judging=Judging(
            view="hourly",
            view_version="317",
            sources="hourly version 317, weather version 12",
            dataset="cd" * 32,
            holdout_from=AT - timedelta(days=1),
            holdout_until=AT,
            rows=5000,
        ),
        calibration=tuple(each for each in models if each is not None),
    )
