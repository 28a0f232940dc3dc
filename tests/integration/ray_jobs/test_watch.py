"""A promoted model that turns out harmful on fresh rows is rolled back, once, by the next runs."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from flows.core import values
from flows.core.context import Account, TaskContext, entered
from flows.retrain import settle, watching
from flows.settings import Settings, StoreConfig
from ray_jobs import (
    Dataset,
    FeaturesConfig,
    HoldoutConfig,
    RayConfig,
    RunInfo,
    TrainerConfig,
    evaluate,
    watch,
)
from registry import (
    Baseline,
    Decision,
    GateConfig,
    GateMode,
    OnHarm,
    RegistryUnreachable,
    Watched,
    WatchState,
    connect,
)
from registry.gate_config import WatchConfig

pytestmark = [pytest.mark.ray, pytest.mark.slow]

HOLDOUT = HoldoutConfig(fraction=0.25, min_rows=50)
WEAK = TrainerConfig(estimator="sklearn.dummy.DummyClassifier", params={"strategy": "prior"})
GOOD = TrainerConfig(estimator="sklearn.linear_model.LogisticRegression")
GATE = GateConfig(mode=GateMode.SINGLE_NIGHT, planned=12, baseline=Baseline.NONE)


def promoted(workshop: Any, view: str, features: FeaturesConfig, *trainers: TrainerConfig) -> None:
    """One champion after the other, whatever the gate thinks of them."""
    workshop.create(view, 800)
    for number, trainer in enumerate(trainers, start=1):
        if number > 1:
            workshop.store.append(view, workshop.rows(400, first=400 + 400 * (number - 1)))
        dataset = workshop.extract(features)
        challenger = workshop.train(dataset, trainer, features, model=view, run=f"p{number}")
        verdict = evaluate(
            challenger,
            dataset,
            GATE,
            features,
            registry=workshop.registry,
            feature_store=workshop.feature_store,
            run=RunInfo(run_id=f"p{number}", flow="retrain"),
            now=workshop.now,
        )
        forced = replace(verdict, decision=Decision.PROMOTE, promote=True, budget_left=None)
        with connect(workshop.registry) as registry:
            registry.promote(forced, actor="test", now=workshop.now)


def night(workshop: Any, view: str, features: FeaturesConfig, number: int) -> Dataset:
    """A night's 400 fresh rows."""
    rows = workshop.rows(400, first=10_000 + 400 * number, seed=number)
    workshop.store.append(view, rows)
    found: Dataset = workshop.extract(features)
    return found


def look(
    workshop: Any,
    dataset: Dataset,
    features: FeaturesConfig,
    run: str,
    gate: GateConfig = GATE,
) -> Watched:
    found = watch(
        dataset,
        features,
        gate,
        dataset.view,
        registry=workshop.registry,
        feature_store=workshop.feature_store,
        run=RunInfo(run_id=run, flow="retrain"),
        now=workshop.now,
    )
    assert found is not None
    return found


def settled(
    workshop: Any, found: Watched | None, run: str, gate: GateConfig = GATE, model: str = ""
) -> tuple[str, Account]:
    """What the flow's tasks `watching` and `settle` do in a run."""
    settings = Settings(
        project=str(workshop.home),
        home=str(workshop.home),
        artifacts=workshop.artifacts,
        store=StoreConfig(url="sqlite://"),
        feature_store=workshop.feature_store,
        registry=workshop.registry,
        ray=RayConfig(),
    )
    config = values.dumps(settings)
    context = TaskContext(
        run_id=run, flow="retrain", task="settle", attempt=1, attempt_id=f"{run}.settle.1",
        config_text=config,
    )  # fmt: skip
    with entered(context) as account:
        known = watching.function(found.model if found else model, gate)
        return settle.function(gate, known, found).reason, account


def history(workshop: Any, model: str) -> list[tuple[str, str]]:
    with connect(workshop.registry) as registry:
        assert registry.verify(model) is None
        return [(entry.action.value, entry.version) for entry in registry.entries(model)]


def test_a_harmful_champion_is_rolled_back_once_however_often_the_run_is_repeated(
    workshop: Any,
) -> None:
    features = FeaturesConfig(view="worse", holdout=HOLDOUT)
    promoted(workshop, "worse", features, GOOD, WEAK)
    dataset = night(workshop, "worse", features, 1)
    found = look(workshop, dataset, features, "n1")
    assert (found.version, found.previous, found.harm) == ("2", "1", True)
    assert (found.nights, found.fresh) == (1, 400)
    assert "Version 2 is worse than version 1 before it, as night 1 of 7 proves" in found.reason
    assert look(workshop, dataset, features, "n1") == found

    said, account = settled(workshop, found, "n1")
    assert said == f"{found.reason} Version 1 is live again."
    # Killed between the rollback and the task's end, it is done again.
    again, repeated = settled(workshop, found, "n1")
    assert again == said
    assert history(workshop, "worse") == [("promote", "1"), ("promote", "2"), ("rollback", "1")]
    for each in (account, repeated):
        assert list(each.assets) == ["model:worse"]
        (notice,) = each.notices.values()
        assert notice.key == "champion_harmful:worse:2"
        assert notice.reason == said
    with connect(workshop.registry) as registry:
        entry = registry.entries("worse")[-1]
        assert (entry.run_id, entry.actor, entry.reason) == ("n1", "flow retrain", found.reason)
        assert registry.champion("worse").version == "1"

    # Another run that had seen the same harm finds that somebody else was first.
    late, quiet = settled(workshop, found, "n2")
    assert "it changed meanwhile" in late
    assert not quiet.notices
    assert len(history(workshop, "worse")) == 3
    # After a rollback nothing is watched, and the job finds nothing to do.
    with connect(workshop.registry) as registry:
        assert not registry.watches.watching("worse", GATE).due
    assert look(workshop, dataset, features, "n1") == found


def test_a_rollback_that_never_came_is_made_by_the_next_run_without_scoring(
    workshop: Any,
) -> None:
    features = FeaturesConfig(view="later", holdout=HOLDOUT)
    promoted(workshop, "later", features, GOOD, WEAK)
    found = look(workshop, night(workshop, "later", features, 1), features, "n1")
    assert found.harm
    said, account = settled(workshop, None, "n2", model="later")
    assert said == f"{found.reason} Version 1 is live again."
    assert account.notices
    assert history(workshop, "later")[-1] == ("rollback", "1")
    said, account = settled(workshop, None, "n3", model="later")
    assert "Nothing to watch" in said
    assert not account.notices


def test_where_people_want_an_alert_only_the_champion_stays(workshop: Any) -> None:
    features = FeaturesConfig(view="alerted", holdout=HOLDOUT)
    promoted(workshop, "alerted", features, GOOD, WEAK)
    gate = replace(GATE, watch=WatchConfig(on_harm=OnHarm.ALERT))
    found = look(workshop, night(workshop, "alerted", features, 1), features, "n1", gate)
    for run, seen in (("n1", found), ("n2", None)):
        said, account = settled(workshop, seen, run, gate, model="alerted")
        assert said.endswith("It stays champion (gate.watch.on_harm=alert).")
        assert list(account.notices) == ["champion_harmful:alerted:2"]  # which is told once
        assert not account.assets
    assert history(workshop, "alerted") == [("promote", "1"), ("promote", "2")]


def test_a_good_champion_is_watched_for_its_nights_with_each_row_once(workshop: Any) -> None:
    features = FeaturesConfig(view="better", holdout=HOLDOUT)
    promoted(workshop, "better", features, WEAK, GOOD)
    gate = replace(GATE, watch=WatchConfig(nights=2))
    first = look(workshop, night(workshop, "better", features, 1), features, "n1", gate)
    dataset = night(workshop, "better", features, 2)
    assert (first.state, first.nights, first.rows) == (WatchState.WATCHING, 1, 400)
    second = look(workshop, dataset, features, "n2", gate)
    assert (second.state, second.nights, second.rows) == (WatchState.OVER, 2, 800)
    assert second.score is not None
    assert second.previous_score is not None
    assert second.score > second.previous_score
    with connect(workshop.registry) as registry:
        assert not registry.watches.watching("better", gate).due
        assert registry.watches.latest("better") == second
    said, account = settled(workshop, second, "n2", gate)
    assert said == second.reason
    assert not account.notices


def test_rows_that_nobody_has_seen_are_waited_for(workshop: Any) -> None:
    features = FeaturesConfig(view="waiting", holdout=HOLDOUT)
    promoted(workshop, "waiting", features, WEAK, GOOD)
    found = look(workshop, workshop.extract(features), features, "n1")
    assert (found.fresh, found.nights) == (0, 0)
    assert "no row with a mature label is newer than" in found.reason
    with connect(workshop.registry) as registry:
        assert registry.watches.latest("waiting") is None


def test_rows_of_a_block_of_time_are_waited_for_until_it_is_whole(workshop: Any) -> None:
    features = FeaturesConfig(view="days", holdout=HOLDOUT)
    promoted(workshop, "days", features, WEAK, GOOD)
    gate = replace(GATE, block=timedelta(days=1))
    found = look(workshop, night(workshop, "days", features, 1), features, "n1", gate)
    assert (found.fresh, found.nights) == (0, 0)  # January 8, until 11:59
    assert "no block of time is complete since 2026-01-01 23:59" in found.reason
    night(workshop, "days", features, 2)
    found = look(workshop, night(workshop, "days", features, 3), features, "n3", gate)
    assert (found.fresh, found.nights) == (1120, 1)  # not those of January 9


def test_without_its_predecessor_the_watch_ends_and_people_are_told_once(workshop: Any) -> None:
    features = FeaturesConfig(view="gone", holdout=HOLDOUT)
    promoted(workshop, "gone", features, GOOD, WEAK)
    workshop.lose("gone", "1")
    dataset = night(workshop, "gone", features, 1)
    found = look(workshop, dataset, features, "n1")
    assert not found.harm
    assert found.state is WatchState.UNWATCHED
    assert found.reason.startswith("Version 2 is not watched any more, after 0 of 7 nights: ")
    assert "The files of version 1 of gone cannot be read: No such artifact" in found.reason
    assert look(workshop, dataset, features, "n1") == found
    # A run that had begun before finds that it has ended; a later one does not look at all.
    assert look(workshop, dataset, features, "n2") == found
    with connect(workshop.registry) as registry:
        assert not registry.watches.watching("gone", GATE).due
        assert registry.verify("gone") is None
    for run, seen in (("n1", found), ("n3", None)):
        said, account = settled(workshop, seen, run, model="gone")
        assert said == found.reason
        (notice,) = account.notices.values()
        assert (notice.key, notice.reason) == ("champion_unwatched:gone:2", found.reason)
        assert not account.assets
    assert history(workshop, "gone") == [("promote", "1"), ("promote", "2")]


def test_a_champion_whose_files_are_gone_is_for_the_gate_to_say(workshop: Any) -> None:
    features = FeaturesConfig(view="headless", holdout=HOLDOUT)
    promoted(workshop, "headless", features, WEAK, GOOD)
    workshop.lose("headless", "2")
    found = look(workshop, night(workshop, "headless", features, 1), features, "n1")
    assert (found.state, found.nights) == (WatchState.WATCHING, 0)
    assert found.reason.startswith("Version 2 is not watched tonight: The files of version 2 of")


def test_a_storage_that_does_not_answer_ends_no_watch(
    workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = FeaturesConfig(view="outage", holdout=HOLDOUT)
    promoted(workshop, "outage", features, WEAK, GOOD)
    dataset = night(workshop, "outage", features, 1)
    with monkeypatch.context() as outage:
        outage.setattr("mlflow.artifacts.download_artifacts", refused)
        with pytest.raises(RegistryUnreachable, match="503 Server Error") as caught:
            look(workshop, dataset, features, "n1")
    assert not caught.value.permanent  # the task is tried again
    assert look(workshop, dataset, features, "n1").nights == 1


def refused(**_: object) -> str:
    raise OSError("503 Server Error: SERVICE UNAVAILABLE")


def test_rows_that_cannot_judge_for_as_many_nights_as_it_lasts_end_the_watch(
    workshop: Any,
) -> None:
    features = FeaturesConfig(view="blind", holdout=HOLDOUT)
    promoted(workshop, "blind", features, WEAK, GOOD)
    gate = replace(GATE, watch=WatchConfig(nights=2))
    states = []
    for number in (1, 2):
        rows = workshop.rows(400, first=10_000 + 400 * number, seed=number)
        place = rows.column_names.index("y")
        workshop.store.append("blind", rows.set_column(place, "y", pa.array(["up"] * 400)))
        found = look(workshop, workshop.extract(features), features, f"n{number}", gate)
        states.append(found.state)
    assert states == [WatchState.WATCHING, WatchState.UNWATCHED]
    assert "2 nights could not judge it, the last one because the holdout has one class only" in (
        found.reason
    )


def test_a_champion_that_an_outsider_moved_is_not_touched(workshop: Any) -> None:
    features = FeaturesConfig(view="moved_away", holdout=HOLDOUT)
    promoted(workshop, "moved_away", features, GOOD, WEAK)
    found = look(workshop, night(workshop, "moved_away", features, 1), features, "n1")
    with connect(workshop.registry) as registry:
        client = registry.models._seam.client
        client.delete_registered_model_alias("moved_away", "champion")
    said, account = settled(workshop, found, "n1")
    assert "It stays champion." in said
    assert "alias" in said
    assert [notice.reason for notice in account.notices.values()] == [said]
    assert history(workshop, "moved_away")[-1] == ("promote", "2")


def test_each_model_is_scored_with_its_own_features(workshop: Any) -> None:
    code = """
import pyarrow.compute as pc

def total(table):
    return table.append_column("total", pc.add(table["a"], pc.multiply(table["b"], {weight})))
"""
    name = workshop.write("totals", code.format(weight=0.5))
    features = FeaturesConfig(
        view="own", functions=(f"{name}:total",), columns=("total",), holdout=HOLDOUT
    )
    promoted(workshop, "own", features, GOOD)
    workshop.write("totals", code.format(weight=-2.0))
    workshop.store.append("own", workshop.rows(400, first=800))
    dataset = workshop.extract(features)
    challenger = workshop.train(dataset, GOOD, features, model="own", run="p2")
    verdict = evaluate(
        challenger, dataset, GATE, features, registry=workshop.registry,
        feature_store=workshop.feature_store, run=RunInfo(run_id="p2", flow="retrain"),
        now=workshop.now,
    )  # fmt: skip
    with connect(workshop.registry) as registry:
        forced = replace(verdict, decision=Decision.PROMOTE, promote=True, budget_left=None)
        registry.promote(forced, actor="test", now=workshop.now)
    dataset = night(workshop, "own", features, 1)
    found = look(workshop, dataset, features, "n1")
    assert found.harm
    assert found.previous_score is not None
    assert found.previous_score > 0.8  # with tonight's features it would guess


def test_dependent_rows_judge_once(workshop: Any) -> None:
    workshop.create("groups", 0)
    features = FeaturesConfig(view="groups", holdout=HOLDOUT, slices=("id",))

    def grouped(count: int, first: int) -> pa.Table:
        table = workshop.rows(count, first=first, seed=first)
        ids = np.arange(first, first + count) // 4
        position = table.column_names.index("id")
        return table.set_column(position, "id", [pa.array(ids)])

    workshop.store.append("groups", grouped(800, 0))
    for run in ("p1", "p2"):
        if run == "p2":
            workshop.store.append("groups", grouped(400, 800))
        dataset = workshop.extract(features)
        challenger = workshop.train(dataset, GOOD, features, model="groups", run=run)
        verdict = evaluate(
            challenger, dataset, GATE, features, registry=workshop.registry,
            feature_store=workshop.feature_store, run=RunInfo(run_id=run, flow="retrain"),
            now=workshop.now,
        )  # fmt: skip
        with connect(workshop.registry) as registry:
            forced = replace(verdict, decision=Decision.PROMOTE, promote=True, budget_left=None)
            registry.promote(forced, actor="test", now=workshop.now)
    gate = replace(GATE, cluster="id")
    workshop.store.append("groups", grouped(402, 1200))
    first = look(workshop, workshop.extract(features), features, "n1", gate)
    workshop.store.append("groups", grouped(398, 1602))
    second = look(workshop, workshop.extract(features), features, "n2", gate)
    # Two rows of the second night are of a group that judged on the first.
    assert (first.fresh, second.fresh) == (402, 396)
