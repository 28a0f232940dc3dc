from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from sqlalchemy import text

from ray_jobs import (
    Challenger,
    Dataset,
    FeaturesConfig,
    HoldoutConfig,
    RunInfo,
    TrainerConfig,
    evaluate,
)
from ray_jobs.dataset import read
from ray_jobs.trainers.scoring import model_score
from ray_jobs.training_errors import FeatureError
from registry import (
    Baseline,
    ChampionUnloadable,
    Decision,
    GateConfig,
    GateMode,
    LedgerBroken,
    RegistryUnreachable,
    UnknownMetric,
    Verdict,
    connect,
)
from registry.gate_config import Dependence
from registry.models import Models
from registry.registry import Registry
from registry.verdict import CaseNote, CaseState

pytestmark = [pytest.mark.ray, pytest.mark.slow]

HOLDOUT = HoldoutConfig(fraction=0.25, min_rows=50)
WEAK = TrainerConfig(estimator="sklearn.dummy.DummyClassifier", params={"strategy": "prior"})
GOOD = TrainerConfig(estimator="sklearn.linear_model.LogisticRegression")
STUMP = TrainerConfig(estimator="sklearn.tree.DecisionTreeClassifier", params={"max_depth": 1})
ALONE = GateConfig(mode=GateMode.SINGLE_NIGHT, planned=12, baseline=Baseline.NONE)
SUM = """
import pyarrow.compute as pc

def total(table):
    table = table.append_column("total", pc.{how}(table["a"], pc.multiply(table["b"], {weight})))
    return table.filter(pc.greater(table["a"], {least}))
"""


def judge(
    workshop: Any,
    challenger: Challenger,
    dataset: Dataset,
    features: FeaturesConfig,
    gate: GateConfig | None = None,
    run: str = "r1",
) -> Verdict:
    return evaluate(
        challenger,
        dataset,
        gate or ALONE,
        features,
        registry=workshop.registry,
        feature_store=workshop.feature_store,
        run=RunInfo(run_id=run, flow="retrain"),
        now=workshop.now,
    )


def promoted(workshop: Any, verdict: Verdict) -> None:
    with connect(workshop.registry) as registry:
        registry.promote(verdict, actor="test", now=workshop.now)


def test_a_first_model_passes_and_a_better_one_is_judged_on_rows_new_to_both(
    workshop: Any,
) -> None:
    workshop.create("steps", 600)
    features = FeaturesConfig(view="steps", holdout=HOLDOUT, slices=("side",))
    dataset = workshop.extract(features)
    weak = workshop.train(dataset, WEAK, features, model="steps", run="s1")
    first = judge(workshop, weak, dataset, features, run="s1")
    assert first.decision is Decision.PROMOTE
    assert "first model" in first.reason
    promoted(workshop, first)

    workshop.store.append("steps", workshop.rows(600, first=600))
    dataset = workshop.extract(features)
    good = workshop.train(dataset, GOOD, features, model="steps", run="s2")
    assert good.holdout_from > weak.train_until
    gate = replace(ALONE, slices=("side",))
    second = judge(workshop, good, dataset, features, gate, run="s2")
    assert second.decision is Decision.PROMOTE
    assert second.champion == "1"
    assert second.rows == good.holdout_rows == 300
    assert {rule.slice for rule in second.rules} >= {"side=left", "side=right"}
    with connect(workshop.registry) as registry:
        tags = registry.models.version("steps", good.version).tags
        assert tags["ratchet.verdict"] == "promote"
        champion = registry.load("steps", "1")
    held_out = read(dataset, ["a", "b", "y"], since=good.holdout_from)
    labels = np.asarray(held_out["y"].to_pylist())
    assert second.baseline == pytest.approx(model_score(champion, held_out, labels, "accuracy"))
    losses = pq.read_table(Path(dataset.uri) / "losses" / f"steps-v{good.version}.parquet")
    assert losses.num_rows == 300
    assert 1 - np.mean(losses["champion_loss"].to_numpy()) == pytest.approx(second.baseline)
    score = 1 - np.mean(losses["challenger_loss"].to_numpy())
    assert score == pytest.approx(second.challenger_score)
    assert {"side", "y", "ratchet_id"} <= set(losses.column_names)


def test_the_champion_is_scored_with_the_features_that_it_was_trained_with(
    workshop: Any,
) -> None:
    workshop.create("changed", 1000)
    name = workshop.write("sums", SUM.format(how="add", weight=0.5, least=-1.0))
    features = FeaturesConfig(
        view="changed", functions=(f"{name}:total",), columns=("total",), holdout=HOLDOUT
    )
    dataset = workshop.extract(features)
    old = workshop.train(dataset, GOOD, features, model="changed", run="c1")
    first = judge(workshop, old, dataset, features, run="c1")
    promoted(workshop, first)

    # The same column now means something that tells the champion nothing, and fewer rows go.
    workshop.write("sums", SUM.format(how="subtract", weight=2.0, least=-2.0))
    changed = workshop.extract(features)
    assert changed.definition != dataset.definition
    new = workshop.train(changed, GOOD, features, model="changed", run="c2")
    verdict = judge(workshop, new, changed, features, run="c2")
    assert verdict.decision is Decision.HOLD
    assert verdict.champion == old.version

    theirs = read(dataset, ["total", "y"], since=new.holdout_from)
    assert verdict.rows == theirs.num_rows < new.holdout_rows
    with connect(workshop.registry) as registry:
        champion = registry.load("changed", old.version)
    labels = np.asarray(theirs["y"].to_pylist())
    assert verdict.baseline == pytest.approx(model_score(champion, theirs, labels, "accuracy"))
    misread = read(changed, ["total", "y"], since=new.holdout_from)
    wrong = model_score(champion, misread, np.asarray(misread["y"].to_pylist()), "accuracy")
    assert verdict.baseline is not None
    assert verdict.baseline > wrong + 0.1


@pytest.mark.parametrize("cluster", [None, "id"])
def test_groups_of_training_rows_are_left_out_and_clusters_reach_the_gate(
    workshop: Any, cluster: str | None
) -> None:
    name = f"grouped-{cluster}"
    workshop.create(name)
    table = workshop.rows(400)
    groups = [i // 7 if i % 2 else i % 5 for i in range(400)]  # half of them recur all the time
    position = table.column_names.index("id")
    workshop.store.append(name, table.set_column(position, "id", [groups]))
    features = FeaturesConfig(view=name, holdout=HOLDOUT, group="id")
    dataset = workshop.extract(features)
    challenger = workshop.train(dataset, GOOD, features, model=name)
    gate = replace(ALONE, min_rows=10, cluster=cluster)
    verdict = judge(workshop, challenger, dataset, features, gate)
    assert verdict.rows == challenger.holdout_rows < 100
    losses = pq.read_table(Path(dataset.uri) / "losses" / f"{name}-v1.parquet")
    before = read(dataset, ["id"], until=challenger.train_until)
    held_out = read(dataset, ["id"], since=challenger.holdout_from)
    judged = np.isin(held_out["ratchet_id"].to_numpy(), losses["ratchet_id"].to_numpy())
    kept = held_out["id"].to_numpy()[judged].tolist()
    assert len(kept) == verdict.rows
    assert not set(kept) & set(before["id"].to_pylist())
    assert f"{len(kept)} rows are of {len(set(kept))} groups (id)" in verdict.reason


def test_without_its_files_the_champion_is_never_replaced_by_default(workshop: Any) -> None:
    workshop.create("lost", 400)
    features = FeaturesConfig(view="lost", holdout=HOLDOUT)
    dataset = workshop.extract(features)
    champion = workshop.train(dataset, WEAK, features, model="lost", run="l1")
    promoted(workshop, judge(workshop, champion, dataset, features, run="l1"))
    challenger = workshop.train(dataset, GOOD, features, model="lost", run="l2")
    with connect(workshop.registry) as registry:
        files = registry.models.download("lost", "1", workshop.home / "copy")
    stored = [
        path
        for path in workshop.home.rglob("features.json")
        if path.read_text() == (files / "extra/features.json").read_text()
        and "copy" not in path.parts
    ]
    for path in stored:
        path.unlink()
    with pytest.raises(ChampionUnloadable) as caught:
        judge(workshop, challenger, dataset, features, run="l2")
    assert caught.value.hint


def test_a_champion_promoted_meanwhile_is_not_judged_by_rows_that_it_has_seen(
    workshop: Any,
) -> None:
    workshop.create("race", 400)
    features = FeaturesConfig(view="race", holdout=HOLDOUT)
    dataset = workshop.extract(features)
    slow = workshop.train(dataset, GOOD, features, model="race", run="slow")
    late = replace(features, holdout=HoldoutConfig(fraction=0.1, min_rows=20))
    fast = workshop.train(dataset, WEAK, late, model="race", run="fast")
    promoted(
        workshop, judge(workshop, fast, dataset, late, replace(ALONE, min_rows=20), run="fast")
    )
    verdict = judge(workshop, slow, dataset, features, replace(ALONE, min_rows=20), run="slow")
    assert (slow.holdout_rows, verdict.rows) == (100, 40)
    newest = replace(slow, holdout_until=fast.train_until)
    held = judge(workshop, newest, dataset, features, run="slower")
    assert not held.promote
    assert "no row is newer than 2026-01-01 05:59" in held.reason


def test_a_champion_of_another_view_cannot_be_compared_row_by_row(workshop: Any) -> None:
    for view in ("here", "there"):
        workshop.create(view, 400)
        features = FeaturesConfig(view=view, holdout=HOLDOUT)
        dataset = workshop.extract(features)
        # The champion of "here" would else have seen every row of "there".
        trainer = replace(GOOD, seed=len(view))
        challenger = workshop.train(dataset, trainer, features, model="moved", run=view)
        if view == "here":
            promoted(workshop, judge(workshop, challenger, dataset, features, run=view))
    with pytest.raises(FeatureError, match="was trained on view here, this challenger on there"):
        judge(workshop, challenger, dataset, features, run="there")


def test_an_unknown_metric_is_refused_before_anything_is_scored(workshop: Any) -> None:
    workshop.create("metric", 400)
    features = FeaturesConfig(view="metric", holdout=HOLDOUT)
    dataset = workshop.extract(features)
    challenger = workshop.train(dataset, GOOD, features, model="metric")
    with pytest.raises(UnknownMetric, match="accuracy"):
        judge(workshop, challenger, dataset, features, GateConfig(metric="acuracy"))


def test_a_first_model_that_says_always_the_same_is_not_promoted(workshop: Any) -> None:
    workshop.create("dull", 600)
    features = FeaturesConfig(view="dull", holdout=HOLDOUT)
    dataset = workshop.extract(features)
    gate = replace(ALONE, baseline=Baseline.CONSTANT)
    weak = workshop.train(dataset, WEAK, features, model="dull", run="d1")
    held = judge(workshop, weak, dataset, features, gate, run="d1")
    assert not held.promote
    assert "not proven better than saying always the same" in held.reason
    good = workshop.train(dataset, GOOD, features, model="dull", run="d2")
    first = judge(workshop, good, dataset, features, gate, run="d2")
    assert first.promote
    assert first.looks == 1  # the first judged by these rows, too
    assert first.baseline == pytest.approx(0.5, abs=0.1)


def test_what_is_not_proven_tonight_is_scored_again_and_promoted_on_a_later_night(
    workshop: Any,
) -> None:
    # Seven nights of one day: what days that differ cost is another matter.
    gate = GateConfig(min_rows=50, resamples=100, dependence=Dependence.INDEPENDENT)
    features = FeaturesConfig(view="nights", holdout=HoldoutConfig(fraction=0.2, min_rows=50))
    workshop.create("nights", 600)
    dataset = workshop.extract(features)
    first = workshop.train(dataset, STUMP, features, model="nights", run="n1")
    promoted(workshop, judge(workshop, first, dataset, features, gate, run="n1"))
    seen, verdict = 600, None
    for night in range(2, 9):
        workshop.store.append("nights", workshop.rows(250, first=seen, seed=1))
        seen += 250
        dataset = workshop.extract(features)
        trainer = GOOD if night == 2 else STUMP  # a little better, and once only
        made = workshop.train(dataset, trainer, features, model="nights", run=f"n{night}")
        verdict = judge(workshop, made, dataset, features, gate, run=f"n{night}")
        if verdict.promote:
            break
        again = judge(workshop, made, dataset, features, gate, run=f"n{night}")
        assert again == verdict  # a repeated run counts no row twice
        with connect(workshop.registry) as registry:
            entry = registry.docket("nights")
        assert entry is not None
        assert entry.night == night
        kept = entry.docket.case("2")
        assert kept is not None
        assert kept.nights == night - 1
        assert kept.judged_until == made.holdout_until
    assert verdict is not None
    assert verdict.promote
    assert verdict.challenger == "2"
    assert night > 2
    assert "Version 2 is proven better than champion version 1" in verdict.reason
    promoted(workshop, verdict)
    with connect(workshop.registry) as registry:
        assert registry.champion("nights").version == "2"
        assert registry.verify("nights") is None
        tags = registry.models.version("nights", "2").tags
        assert tags["ratchet.verdict"] == "promote"


def test_only_whole_blocks_judge_and_the_rows_of_a_part_wait_for_its_rest(workshop: Any) -> None:
    gate = GateConfig(block=timedelta(hours=6), min_rows=50, resamples=100)
    features = FeaturesConfig(view="parts", holdout=HOLDOUT)
    workshop.create("parts", 1080)
    dataset = workshop.extract(features)
    first = workshop.train(dataset, STUMP, features, model="parts", run="p1")
    promoted(workshop, judge(workshop, first, dataset, features, run="p1"))

    def night(number: int, rows: int, until: int) -> tuple[Challenger, Verdict]:
        """So many more rows, a minute each, until that minute."""
        workshop.store.append("parts", workshop.rows(rows, first=until - rows, seed=number))
        dataset = workshop.extract(features)
        made = workshop.train(dataset, STUMP, features, model="parts", run=f"p{number}")
        return made, judge(workshop, made, dataset, features, gate, run=f"p{number}")

    made, verdict = night(2, 990, 2070)  # the block from 30:00 to 36:00 has rows until 34:29
    assert made.train_until == workshop.start + timedelta(hours=25, minutes=51)
    assert "no block of time is complete since 2026-01-02 05:59: newer rows wait" in verdict.reason
    assert "for the rest of theirs (gate.block); it stays a challenger" in verdict.reason
    made, verdict = night(3, 450, 2520)  # now until 41:59
    assert made.train_until == workshop.start + timedelta(hours=31, minutes=29)
    fresh = {case.challenger: case.fresh for case in verdict.cases}
    assert fresh == {"2": 720, "3": 360}  # from 30:00, and from 36:00
    with connect(workshop.registry) as registry:
        entry = registry.docket("parts")
    assert entry is not None
    blocks = [case.blocks.blocks for case in entry.docket.cases if case.blocks is not None]
    assert blocks == [2, 1]


def test_an_older_challenger_whose_files_are_gone_is_given_up_and_stops_nobody(
    workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = GateConfig(min_rows=50, resamples=100, baseline=Baseline.NONE)
    features = FeaturesConfig(view="older", holdout=HoldoutConfig(fraction=0.2, min_rows=50))
    workshop.create("older", 600)
    load = Models.load

    def night(run: str) -> Verdict:
        dataset = workshop.extract(features)
        made = workshop.train(dataset, STUMP, features, model="older", run=run)
        return judge(workshop, made, dataset, features, gate, run=run)

    def answers(self: Models, name: str, version: str, **known: Any) -> Any:
        if version == "2":
            raise RegistryUnreachable("The storage does not answer.")
        return load(self, name, version, **known)

    def note_of(verdict: Verdict) -> CaseNote:
        return next(one for one in verdict.cases if one.challenger == "2")

    promoted(workshop, night("o1"))
    workshop.store.append("older", workshop.rows(250, first=600, seed=1))
    assert note_of(night("o2")).state is CaseState.KEPT
    workshop.store.append("older", workshop.rows(250, first=850, seed=1))
    with monkeypatch.context() as outage:
        outage.setattr(Models, "load", answers)
        verdict = night("o3")
    assert (verdict.challenger, verdict.rows > 0) == ("3", True)
    assert (note_of(verdict).state, note_of(verdict).fresh) == (CaseState.KEPT, 0)
    assert note_of(verdict).note == "it cannot be scored tonight: The storage does not answer"

    workshop.lose("older", "2")
    workshop.store.append("older", workshop.rows(250, first=1100, seed=1))
    verdict = night("o4")
    assert (verdict.challenger, verdict.rows > 0) == ("4", True)
    assert note_of(verdict).state is CaseState.GIVEN_UP
    said = "it cannot be scored: The files of version 2 of older cannot be read: No such artifact"
    assert note_of(verdict).note.startswith(said)
    with connect(workshop.registry) as registry:
        entry = registry.docket("older")
    assert entry is not None
    assert entry.docket.case("2") is None


def test_a_run_that_loaded_the_old_champion_judges_again_by_the_new_one(
    workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = GateConfig(min_rows=50, resamples=100, baseline=Baseline.NONE)
    features = FeaturesConfig(view="slow", holdout=HoldoutConfig(fraction=0.2, min_rows=50))
    workshop.create("slow", 600)
    dataset = workshop.extract(features)
    made = workshop.train(dataset, STUMP, features, model="slow", run="s1")
    promoted(workshop, judge(workshop, made, dataset, features, gate, run="s1"))
    workshop.store.append("slow", workshop.rows(250, first=600, seed=1))
    dataset = workshop.extract(features)
    second, quick, late = (
        workshop.train(dataset, STUMP, features, model="slow", run=run)
        for run in ("s2", "s3", "s4")
    )
    held = judge(workshop, second, dataset, features, gate, run="s2")
    refused, calls = Registry.refused, []

    def meanwhile(self: Registry, model: str) -> Mapping[str, str]:
        """The late run has loaded its champion; before it judges, another one is promoted."""
        calls.append(model)
        if len(calls) == 1:
            forced = replace(held, decision=Decision.PROMOTE, promote=True, budget_left=None)
            promoted(workshop, forced)
            assert judge(workshop, quick, dataset, features, gate, run="s3").epoch == 2
        return refused(self, model)

    monkeypatch.setattr(Registry, "refused", meanwhile)
    verdict = judge(workshop, late, dataset, features, gate, run="s4")
    assert (verdict.champion, verdict.epoch) == ("2", 2)
    with connect(workshop.registry) as registry:
        entry = registry.docket("slow")
        assert registry.verify("slow") is None
    assert entry is not None
    assert entry.docket.epoch == 2
    assert [case.challenger for case in entry.docket.cases] == ["3", "4"]


def test_a_docket_that_was_cut_off_is_not_judged_by(workshop: Any) -> None:
    gate = GateConfig(min_rows=50, resamples=100, baseline=Baseline.NONE)
    features = FeaturesConfig(view="cut", holdout=HoldoutConfig(fraction=0.2, min_rows=50))
    workshop.create("cut", 600)
    dataset = workshop.extract(features)
    made = workshop.train(dataset, STUMP, features, model="cut", run="c1")
    promoted(workshop, judge(workshop, made, dataset, features, gate, run="c1"))
    with connect(workshop.registry) as registry, registry._engine.begin() as connection:
        connection.execute(text("DROP TRIGGER docket_entry_no_delete"))
        connection.execute(text("DELETE FROM docket_entry WHERE model = 'cut'"))
    made = workshop.train(dataset, STUMP, features, model="cut", run="c2")
    with pytest.raises(LedgerBroken, match="history of cut ends too early: MLflow remembers night"):
        judge(workshop, made, dataset, features, gate, run="c2")
    with connect(workshop.registry) as registry:
        assert registry.docket("cut") is None


def test_two_runs_that_judge_at_once_keep_two_nights_and_count_rows_once(workshop: Any) -> None:
    gate = GateConfig(min_rows=50, resamples=100)
    features = FeaturesConfig(view="both", holdout=HoldoutConfig(fraction=0.2, min_rows=50))
    workshop.create("both", 600)
    dataset = workshop.extract(features)
    first = workshop.train(dataset, STUMP, features, model="both", run="b1")
    promoted(workshop, judge(workshop, first, dataset, features, gate, run="b1"))
    made_rows = 0
    for night in (2, 3):
        workshop.store.append("both", workshop.rows(250, first=250 * night + 100, seed=1))
        dataset = workshop.extract(features)
        names = ["b2"] if night == 2 else ["b3", "b4", "b5"]
        made = {
            name: workshop.train(dataset, STUMP, features, model="both", run=name) for name in names
        }
        asked = [(workshop, made[name], dataset, features, gate, name) for name in names]
        with ThreadPoolExecutor() as threads:
            list(threads.map(judge, *zip(*asked, strict=True)))
        made_rows = made["b2"].holdout_rows if night == 2 else made_rows
    with connect(workshop.registry) as registry:
        entry = registry.docket("both")
        assert registry.verify("both") is None
    assert entry is not None
    assert entry.night == 5
    cases = {case.challenger: case for case in entry.docket.cases}
    assert set(cases) == {"2", "3", "4", "5"}
    assert (cases["2"].nights, cases["2"].age) == (2, 2)
    assert cases["2"].rows == made_rows + 250
    assert {cases[version].nights for version in ("3", "4", "5")} == {1}
