"""What a challenger costs, and what a first model must beat, as the gate's job finds them out."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from feature_store import FeatureView
from ray_jobs import (
    Challenger,
    Dataset,
    FeaturesConfig,
    HoldoutConfig,
    RunInfo,
    TrainerConfig,
    TrainingFailed,
    evaluate,
)
from ray_jobs.memory import NotMeasured, added_mb
from registry import Baseline, GateConfig, GateMode, Rule, RuleResult, Verdict, connect
from registry.gate_config import CostConfig

pytestmark = [pytest.mark.ray, pytest.mark.slow]

HOLDOUT = HoldoutConfig(fraction=0.25, min_rows=50)
WEAK = TrainerConfig(estimator="sklearn.dummy.DummyClassifier", params={"strategy": "prior"})
GOOD = TrainerConfig(estimator="sklearn.linear_model.LogisticRegression")
HEAVY = TrainerConfig(
    estimator="sklearn.ensemble.RandomForestClassifier", params={"n_estimators": 300}
)
STUMP = TrainerConfig(estimator="sklearn.tree.DecisionTreeClassifier", params={"max_depth": 1})
ALONE = GateConfig(mode=GateMode.SINGLE_NIGHT, planned=12, baseline=Baseline.NONE)
LOGISTIC = {"_target_": "sklearn.linear_model.LogisticRegression", "max_iter": 500}


def judge(
    workshop: Any,
    challenger: Challenger,
    dataset: Dataset,
    features: FeaturesConfig,
    gate: GateConfig,
    run: str,
) -> Verdict:
    return evaluate(
        challenger,
        dataset,
        gate,
        features,
        registry=workshop.registry,
        feature_store=workshop.feature_store,
        run=RunInfo(run_id=run, flow="retrain"),
        now=workshop.now,
    )


def costs(verdict: Verdict) -> dict[str, RuleResult]:
    return {rule.metric: rule for rule in verdict.rules if rule.rule is Rule.COST}


def test_a_better_model_that_costs_too_much_to_serve_is_held(workshop: Any) -> None:
    workshop.create("costs", 1200)
    features = FeaturesConfig(view="costs", holdout=HOLDOUT)
    dataset = workshop.extract(features)
    cheap = CostConfig(latency_ms=1e6, latency_ratio=1e6, size_mb=100, memory_mb=5000)
    weak = workshop.train(dataset, WEAK, features, model="costs", run="k1")
    first = judge(workshop, weak, dataset, features, replace(ALONE, cost=cheap), "k1")
    assert first.promote
    assert not costs(first)["latency_ratio"].judged
    with connect(workshop.registry) as registry:
        registry.promote(first, actor="test", now=workshop.now)

    workshop.store.append("costs", workshop.rows(1200, first=1200))
    dataset = workshop.extract(features)
    heavy = workshop.train(dataset, HEAVY, features, model="costs", run="k2")
    second = judge(workshop, heavy, dataset, features, replace(ALONE, cost=cheap), "k2")
    assert second.promote
    found = costs(second)
    assert set(found) == {"latency_ms", "latency_ratio", "size_mb", "memory_mb"}
    for name, rule in found.items():
        assert rule.judged, name
        assert rule.figure is not None
        assert rule.figure > 0
    # 300 trees against a constant.
    assert found["latency_ratio"].figure > 2
    assert costs(first)["latency_ms"].figure < found["latency_ms"].figure
    assert costs(first)["size_mb"].figure < 0.1 < found["size_mb"].figure
    assert costs(first)["memory_mb"].figure < found["memory_mb"].figure

    dear = CostConfig(latency_ratio=2)
    third = workshop.train(dataset, replace(HEAVY, seed=1), features, model="costs", run="k3")
    held = judge(workshop, third, dataset, features, replace(ALONE, cost=dear), "k3")
    assert not held.promote
    assert "times as long to predict as the champion" in held.reason
    assert set(costs(held)) == {"latency_ratio"}
    again = workshop.train(dataset, WEAK, features, model="costs", run="k5")
    equal = judge(workshop, again, dataset, features, replace(ALONE, cost=dear), "k5")
    assert not equal.promote
    assert costs(equal)["latency_ratio"].message == "not measured, because it is held anyway"
    evidence = replace(ALONE, mode=GateMode.EVIDENCE, cost=dear, planned=1, alpha=0.5)
    night = judge(workshop, third, dataset, features, evidence, "k4")
    assert not night.promote
    assert "times as long to predict as the champion" in night.reason

    with connect(workshop.registry) as registry:
        model = registry.load("costs", third.version)
        rows = pa.table({"a": [0.0], "b": [0.0]})
        with pytest.raises(NotMeasured, match=r"took longer than 0\.01 s"):
            added_mb(model, rows, registry, limit_s=0.01)
        with pytest.raises(NotMeasured, match=r"a process that loads it ended: .*'b'"):
            added_mb(model, rows.select(["a"]), registry)


def test_a_first_model_must_beat_the_simple_one_trained_on_the_same_rows(workshop: Any) -> None:
    workshop.create("simple", 1200)
    features = FeaturesConfig(view="simple", holdout=HOLDOUT)
    dataset = workshop.extract(features)
    gate = replace(ALONE, metric="log_loss", bound=7.0, baseline=Baseline.SIMPLE, simple=LOGISTIC)
    stump = workshop.train(dataset, STUMP, features, model="simple", run="s1")
    held = judge(workshop, stump, dataset, features, gate, "s1")
    assert not held.promote
    assert "not proven better than LogisticRegression trained on the same rows" in held.reason
    # The baseline is what training the same model for real gives.
    same = workshop.train(
        dataset, replace(GOOD, params={"max_iter": 500}), features, model="simple", run="s2"
    )
    equal = judge(workshop, same, dataset, features, gate, "s2")
    assert not equal.promote
    assert equal.difference == 0
    assert equal.baseline == equal.challenger_score == held.baseline

    weak = {"_target_": "sklearn.tree.DecisionTreeClassifier", "max_depth": 1}
    better = judge(
        workshop,
        workshop.train(dataset, GOOD, features, model="simple2", run="s3"),
        dataset,
        features,
        replace(gate, simple=weak),
        "s3",
    )
    assert better.promote
    assert "DecisionTreeClassifier trained on the same rows" in better.reason

    for simple, message in (
        ({"_target_": "sklearn.linear_model.Logistic"}, "has no 'Logistic'"),
        ({"_target_": "os.system"}, "not among the allowed modules"),
        ({**LOGISTIC, "D": 1}, "has no parameter 'D'"),
    ):
        with pytest.raises(TrainingFailed, match=message) as caught:
            judge(workshop, same, dataset, features, replace(gate, simple=simple), "s4")
        assert "the baseline gate.simple" in str(caught.value)
        assert "gate.baseline=constant" in str(caught.value.hint)


def create_walk(workshop: Any, name: str) -> np.ndarray:
    """Numbers that stay close to the ones before them, and that the inputs say nothing of."""
    rng = np.random.default_rng(5)
    walk = np.cumsum(rng.normal(size=1000))
    table = workshop.rows(1000)
    table = table.set_column(table.column_names.index("y"), "y", pa.array(walk))
    view = FeatureView(name=name, entities=("id",), event_time="at", features=("a", "b"), label="y")
    workshop.store.create(view, table.schema)
    workshop.store.append(name, table)
    return walk


def test_a_first_model_must_beat_the_label_of_the_row_before(workshop: Any) -> None:
    walk = create_walk(workshop, "walk")
    features = FeaturesConfig(view="walk", holdout=HOLDOUT)
    dataset = workshop.extract(features)
    gate = replace(ALONE, metric="mae", bound=20.0, baseline=Baseline.LAST_VALUE)
    ridge = TrainerConfig(estimator="sklearn.linear_model.Ridge")
    blind = workshop.train(dataset, ridge, features, model="walk", run="w1")
    held = judge(workshop, blind, dataset, features, gate, "w1")
    assert not held.promote
    assert "not proven better than saying the label of the row before" in held.reason
    assert held.rows == 250
    assert held.baseline == pytest.approx(np.abs(np.diff(walk[-251:])).mean())

    # A row a minute, and each label is known ten minutes later.
    late = replace(features, label_delay=timedelta(minutes=10))
    again = workshop.train(dataset, ridge, late, model="walk2", run="w2")
    slow = judge(workshop, again, dataset, late, gate, "w2")
    ten = np.abs(walk[-250:] - walk[-260:-10]).mean()
    assert slow.baseline == pytest.approx(ten)
