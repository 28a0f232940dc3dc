"""What cannot be judged is held or refused with its reason, and never promoted by default."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from ray_jobs import (
    Challenger,
    Dataset,
    FeaturesConfig,
    HoldoutConfig,
    RunInfo,
    TrainerConfig,
    UnfitData,
    evaluate,
    train,
)
from registry import Baseline, GateConfig, GateError, GateMode, Verdict, connect
from registry.gate_config import NewClasses

pytestmark = [pytest.mark.ray, pytest.mark.slow]

STUMP = TrainerConfig(estimator="sklearn.tree.DecisionTreeClassifier", params={"max_depth": 1})
ALONE = GateConfig(mode=GateMode.SINGLE_NIGHT, planned=12, baseline=Baseline.NONE, min_rows=50)
NIGHTLY = GateConfig(baseline=Baseline.NONE, min_rows=50, resamples=100)
OWN = """
import numpy as np
from sklearn.linear_model import LogisticRegression

class Broken(LogisticRegression):
    def predict_proba(self, X):
        found = super().predict_proba(X)
        found[3] = np.{value}
        return found

class Fewer(LogisticRegression):
    def predict_proba(self, X):
        return super().predict_proba(X)[:-1]
"""


class Loop:
    """The nights of one model, each at its own time, on rows one minute apart."""

    def __init__(self, workshop: Any, view: str, gate: GateConfig, **features: Any) -> None:
        self.workshop, self.view, self.gate, self.nights = workshop, view, gate, 0
        holdout = HoldoutConfig(fraction=0.25, min_rows=20)
        self.features = FeaturesConfig(view=view, holdout=holdout, **features)
        workshop.create(view)

    def night(
        self, rows: pa.Table, trainer: TrainerConfig = STUMP, now: datetime | None = None
    ) -> tuple[Challenger, Verdict]:
        """The rows arrive, a challenger is trained and judged, and promoted if it may be."""
        self.nights += 1
        self.workshop.store.append(self.view, rows)
        dataset = self.workshop.extract(self.features)
        challenger = self.challenger(dataset, trainer, now or self.workshop.now)
        verdict = evaluate(
            challenger,
            dataset,
            self.gate,
            self.features,
            registry=self.workshop.registry,
            feature_store=self.workshop.feature_store,
            run=self.run(),
            now=now or self.workshop.now,
        )
        if verdict.promote:
            with connect(self.workshop.registry) as registry:
                registry.promote(verdict, actor="test", now=self.workshop.now)
        return challenger, verdict

    def challenger(self, dataset: Dataset, trainer: TrainerConfig, now: datetime) -> Challenger:
        return train(
            dataset,
            trainer,
            self.features,
            model=self.view,
            registry=self.workshop.registry,
            run=self.run(),
            now=now,
            allowed_modules=self.workshop.modules,
        )

    def run(self) -> RunInfo:
        return RunInfo(run_id=f"{self.view}{self.nights}", flow="retrain")

    def champion(self) -> str | None:
        with connect(self.workshop.registry) as registry:
            version: str | None = registry.champion(self.view).version
            return version


@pytest.mark.parametrize("gate", [ALONE, NIGHTLY], ids=["single_night", "evidence"])
def test_a_challenger_that_predicts_no_number_is_held(workshop: Any, gate: GateConfig) -> None:
    loop = Loop(workshop, f"nan_{gate.mode}", gate)
    assert loop.night(workshop.rows(400))[1].promote
    own = workshop.write("own_nan", OWN.format(value="nan"))
    _, verdict = loop.night(workshop.rows(400, first=400), TrainerConfig(estimator=f"{own}:Broken"))
    assert not verdict.promote
    assert "1 of the challenger's predictions are missing or infinite" in verdict.reason
    assert loop.champion() == "1"


@pytest.mark.parametrize(
    ("estimator", "because"),
    [
        ("Fewer", "600 labels and 599 predictions"),
        ("Broken", "probabilities range from .* to inf; they must lie between 0 and 1"),
    ],
)
def test_a_challenger_that_leaves_rows_out_or_is_infinitely_sure_is_never_registered(
    workshop: Any, estimator: str, because: str
) -> None:
    loop = Loop(workshop, f"own_{estimator}", ALONE)
    loop.night(workshop.rows(400))
    own = workshop.write("own_inf", OWN.format(value="inf"))
    with pytest.raises(GateError, match=because):
        loop.night(workshop.rows(400, first=400), TrainerConfig(estimator=f"{own}:{estimator}"))
    assert loop.champion() == "1"


@pytest.mark.parametrize("gate", [ALONE, NIGHTLY], ids=["single_night", "evidence"])
def test_a_class_that_the_champion_never_saw_is_named_with_what_to_do(
    workshop: Any, gate: GateConfig
) -> None:
    loop = Loop(workshop, f"classes_{gate.mode}", gate)
    loop.night(workshop.rows(400))
    rows = workshop.rows(400, first=400)
    place = rows.column_names.index("y")
    labels = ["flat" if i % 4 == 0 else y for i, y in enumerate(rows["y"].to_pylist())]
    _, verdict = loop.night(rows.set_column(place, "y", pa.array(labels)))
    assert not verdict.promote
    assert "the champion never saw the class flat (" in verdict.reason
    assert "drop these rows in a feature function, or train under another name" in verdict.reason
    assert loop.champion() == "1"


@pytest.mark.parametrize("gate", [ALONE, NIGHTLY], ids=["single_night", "evidence"])
def test_rows_of_a_new_class_judge_both_models_where_the_gate_says_so(
    workshop: Any, gate: GateConfig
) -> None:
    loop = Loop(workshop, f"judged_{gate.mode}", replace(gate, new_classes=NewClasses.JUDGE))
    loop.night(workshop.rows(400))
    rows = workshop.rows(1200, first=400)
    for name, value in (("y", "flat"), ("a", 9.0)):
        values = [value if i % 4 == 0 else v for i, v in enumerate(rows[name].to_pylist())]
        rows = rows.set_column(rows.column_names.index(name), name, pa.array(values))
    _, verdict = loop.night(rows, TrainerConfig(estimator="sklearn.tree.DecisionTreeClassifier"))
    assert verdict.promote
    assert "rows are of a class that the champion never saw, and it is wrong on them: flat (" in (
        verdict.reason
    )
    assert loop.champion() == "2"


def test_rows_whose_labels_are_still_immature_judge_on_a_later_night_and_none_is_lost(
    workshop: Any,
) -> None:
    delay = timedelta(minutes=150)
    loop = Loop(workshop, "young", NIGHTLY, label_delay=delay)
    loop.features = replace(loop.features, holdout=HoldoutConfig(fraction=0.2, min_rows=20))

    def end(rows: int) -> datetime:
        moment: datetime = workshop.start + timedelta(minutes=rows - 1)
        return moment

    with pytest.raises(UnfitData, match=r"none of the 100 rows is older than .* \(2:30:00\)"):
        loop.night(workshop.rows(100), now=end(100))
    first, verdict = loop.night(workshop.rows(500, first=100), now=end(600))
    assert verdict.promote
    assert first.holdout_until == end(450)
    counted = []
    for rows in (850, 1100, 1350):
        made, verdict = loop.night(workshop.rows(250, first=rows - 250), now=end(rows))
        assert not verdict.promote
        assert made.holdout_until == end(rows) - delay  # younger ones judge nobody yet
        with connect(workshop.registry) as registry:
            entry = registry.docket("young")
        assert entry is not None
        case = entry.docket.case("2")
        assert case is not None
        assert case.judged_until == made.holdout_until
        counted.append(case.rows)
    # Every row since its first night has judged it once, as soon as its label was mature.
    assert [later - counted[0] for later in counted] == [0, 250, 500]
