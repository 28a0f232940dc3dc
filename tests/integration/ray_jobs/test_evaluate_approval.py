"""A comparison whose verdict waits for a person, from the scores to the answers."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ray_jobs import FeaturesConfig, HoldoutConfig, RunInfo, TrainerConfig, evaluate
from registry import (
    Baseline,
    CaseState,
    Decision,
    GateConfig,
    PromotionRefused,
    Verdict,
    connect,
)
from registry.gate_config import ApprovalConfig

pytestmark = [pytest.mark.ray, pytest.mark.slow]

WEAK = TrainerConfig(estimator="sklearn.dummy.DummyClassifier", params={"strategy": "prior"})
GOOD = TrainerConfig(estimator="sklearn.linear_model.LogisticRegression")
GATE = GateConfig(baseline=Baseline.NONE, approval=ApprovalConfig(required=True))


def test_a_proven_version_waits_until_it_is_rejected_and_never_comes_back(workshop: Any) -> None:
    workshop.create("asked", 600)
    features = FeaturesConfig(view="asked", holdout=HoldoutConfig(fraction=0.25, min_rows=50))

    def night(trainer: TrainerConfig, run: str) -> Verdict:
        dataset = workshop.extract(features)
        challenger = workshop.train(dataset, trainer, features, model="asked", run=run)

        def judge(after: timedelta) -> Verdict:
            return evaluate(
                challenger,
                dataset,
                GATE,
                features,
                registry=workshop.registry,
                feature_store=workshop.feature_store,
                run=RunInfo(run_id=run, flow="retrain"),
                now=workshop.now + after,
            )

        verdict = judge(timedelta(0))
        assert judge(timedelta(hours=1)) == verdict  # repeated after a crash: the same expiry
        return verdict

    first = night(WEAK, "a1")
    assert (first.decision, first.promote, first.epoch) == (Decision.AWAIT, False, 0)
    with connect(workshop.registry) as registry:
        assert registry.models.version("asked", "1").tags["ratchet.verdict"] == "await"
        entry = registry.approve("asked", "1", actor="ann", reason="a start", now=workshop.now)
        assert (entry.epoch, entry.version) == (1, "1")

    workshop.store.append("asked", workshop.rows(600, first=600))
    second = night(GOOD, "a2")
    assert second.decision is Decision.AWAIT
    assert "Version 2 is proven better than champion version 1" in second.reason
    with connect(workshop.registry) as registry:
        registry.reject("asked", "2", actor="ann", reason="too dear", now=workshop.now)

    workshop.store.append("asked", workshop.rows(600, first=1200))
    third = night(WEAK, "a3")
    assert third.decision is Decision.HOLD
    states = {case.challenger: case.state for case in third.cases}
    assert states["2"] is CaseState.REJECTED
    with connect(workshop.registry) as registry:
        assert registry.waiting(now=workshop.now) == ()
        with pytest.raises(PromotionRefused, match="was rejected by a person"):
            registry.promote(replace(second, promote=True), actor="test", now=workshop.now)
        assert registry.verify("asked") is None
