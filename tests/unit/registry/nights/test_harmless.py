"""Slices and guards over nights: a proven challenger waits until each is proven harmless."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from registry.gate_config import Dependence, GateConfig
from registry.methods.comparison import Comparison
from registry.nights.betting import Sample
from registry.nights.docket import Docket, docket_from_json, docket_json
from registry.nights.night import Tonight, judged, opened
from registry.verdict import CaseState, Decision, Rule, RuleResult, Verdict

START = datetime(2026, 3, 1, tzinfo=UTC)
ROWS, CONTESTED, NORTH = 3000, 0.12, 0.1
EVIDENCE = GateConfig(
    dependence=Dependence.INDEPENDENT,
    min_rows=100,
    resamples=100,
    slices=("region",),
    slice_max_drop=0.03,
    planned=20,
)
BETTER, HARMFUL, EQUAL = (0.03, 0.03), (-0.058, 0.04), (0.0, 0.0)
# Proven better on its first night.
FAR_BETTER, FAR_BETTER_AND_HARMFUL = (0.058, 0.058), (-0.058, 0.058)


def night(number: int) -> datetime:
    return START + timedelta(days=number)


class Loop:
    """Nights of a champion and challengers that gain differently in the north and elsewhere."""

    def __init__(self, config: GateConfig, seed: int = 0) -> None:
        self.config, self.rng = config, np.random.default_rng(seed)
        self.docket, self.champion, self.epoch = Docket(), "1", 1
        self.gain: dict[str, tuple[float, float]] = {"1": EQUAL}
        self.rows, self.north, self.contested = ROWS, NORTH, CONTESTED

    def spend(self, number: int, version: str, gain: tuple[float, float]) -> Verdict:
        self.gain[version] = gain
        who = Tonight(
            model="m",
            challenger=version,
            trained_until=night(number - 1) - timedelta(microseconds=1),
            champion=self.champion,
            champion_labels_until=night(0) - timedelta(microseconds=1),
            epoch=self.epoch,
            run_id=f"night-{number}",
            mlflow_run_id="",
            now=night(number),
        )
        docket, gone = opened(self.docket, who, self.config)
        place = self.rng.random(self.rows)
        north, contested = place < self.north, self.rng.random(self.rows) < self.contested
        region = np.where(north, "north", np.where(place > 0.996, "isle", "south")).astype(object)
        champion = self.right(contested, north, self.champion)
        samples = {}
        for case in docket.cases:
            right = self.right(contested, north, case.challenger)
            samples[case.challenger] = self.sample(number, champion, right, region)
        self.docket, verdict = judged(docket, gone, samples, who, self.config)
        if verdict.promote:
            self.champion, self.epoch = verdict.challenger, self.epoch + 1
        return verdict

    def right(self, contested: np.ndarray, north: np.ndarray, version: str) -> np.ndarray:
        here, elsewhere = self.gain[version]
        chance = 0.5 + np.where(north, here, elsewhere) / self.contested
        return np.where(contested, self.rng.random(self.rows) < chance, True)

    def sample(
        self, number: int, champion: np.ndarray, right: np.ndarray, region: np.ndarray
    ) -> Sample:
        y = np.arange(self.rows) % 2
        since = np.datetime64(night(number - 1).replace(tzinfo=None), "us")
        step = np.timedelta64(86_400_000_000 // (self.rows + 1), "us")
        return Sample(
            comparison=Comparison(
                y=y,
                challenger=surely(y, right),
                champion=surely(y, champion),
                classes=(0, 1),
                slices={"region": region},
            ),
            times=since + step * np.arange(1, self.rows + 1),
        )


def surely(y: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Probabilities of two classes: 0.8 for the one that the model says."""
    one = np.where(right == (y == 1), 0.8, 0.2)
    return np.stack([1 - one, one], axis=1)


def slices(verdict: Verdict) -> dict[str | None, RuleResult]:
    return {rule.slice: rule for rule in verdict.rules if rule.rule is Rule.SLICE}


def test_a_challenger_that_is_better_everywhere_ships_when_each_slice_is_proven() -> None:
    loop = Loop(EVIDENCE, seed=1)
    verdicts = [loop.spend(1, "2", BETTER)]
    while not verdicts[-1].promote and len(verdicts) < 12:
        verdicts.append(loop.spend(len(verdicts) + 1, str(len(verdicts) + 2), EQUAL))
    last = verdicts[-1]
    assert (last.promote, last.challenger) == (True, "2")
    north = slices(last)["region=north"]
    assert north.passed
    assert north.rows > 0.05 * ROWS * len(verdicts)
    assert "accuracy on region=north is proven not worse by more than 0.03" in north.message
    held = [one for one in verdicts[:-1] if one.challenger == "2" and "but is held" in one.reason]
    for one in held:
        assert "may still be worse by more than 0.03: evidence" in one.reason


def test_what_is_missing_is_said_with_how_much_and_about_how_many_nights() -> None:
    said = []
    for seed in range(5):
        loop = Loop(EVIDENCE, seed=seed)
        for number in range(1, 6):
            gain = BETTER if number == 1 else EQUAL
            said.append(loop.spend(number, str(number + 1), gain).reason)
    held = [reason for reason in said if "is proven better" in reason and "but is held" in reason]
    assert held
    assert any("on region=north may still be worse by more than 0.03: evidence" in r for r in held)
    assert any("of 20 needed that it is not, from" in reason for reason in held)
    assert any("at this pace about" in reason for reason in held)


def test_a_challenger_that_harms_a_slice_is_never_shipped_and_given_up_when_harm_is_proven() -> (
    None
):
    shipped, ends = 0, []
    for seed in range(5):
        loop = Loop(EVIDENCE, seed=seed)
        for number in range(1, 11):
            verdict = loop.spend(number, str(number + 1), HARMFUL if number == 1 else EQUAL)
            shipped += verdict.promote and verdict.challenger == "2"
            ends += [one for one in verdict.cases if one.challenger == "2" and one.harmed]
    assert shipped == 0
    assert len(ends) >= 2
    assert {one.state for one in ends} == {CaseState.GIVEN_UP}
    assert {one.harmed for one in ends} == {"worse on region=north by more than 0.03"}


def test_without_the_rule_the_same_challenger_is_shipped() -> None:
    loop = Loop(replace(EVIDENCE, slices=()), seed=0)
    shipped = [
        loop.spend(number, str(number + 1), HARMFUL if number == 1 else EQUAL).promote
        for number in range(1, 13)
    ]
    assert any(shipped)


def test_rare_values_are_judged_together_or_reported_and_decide_nothing() -> None:
    loop = Loop(EVIDENCE, seed=2)
    verdict = loop.spend(1, "2", BETTER)
    isle = slices(verdict)["region=isle"]
    assert (isle.judged, isle.passed, isle.figure) == (False, True, None)
    assert isle.message == (
        f"region=isle is not judged: too few rows ({isle.rows} tonight, and 50 are needed)"
    )
    plan = loop.docket.plan
    assert plan is not None
    assert plan.columns[0].names == ["region=north", "region=south"]
    few = Loop(replace(EVIDENCE, slice_min_rows=1, expire_after=400), seed=2)
    few.spend(1, "2", BETTER)
    assert few.docket.plan is not None
    assert "region=isle" in few.docket.plan.columns[0].names


def judged_slices(loop: Loop) -> list[str]:
    assert loop.docket.plan is not None
    return loop.docket.plan.names


def test_a_slice_that_cannot_be_decided_in_its_nights_is_not_judged_once_that_is_known() -> None:
    loop = Loop(replace(EVIDENCE, slice_max_drop=0.002, expire_after=2), seed=2)
    loop.spend(1, "2", EQUAL)
    assert judged_slices(loop) == ["region=north", "region=south"]
    verdict = loop.spend(2, "3", EQUAL)
    assert judged_slices(loop) == []
    said = slices(verdict)["region=south"].message
    assert "region=south is not judged alone: too few rows for 1 night in a row" in said
    assert said.endswith("; fewer cannot be decided in 2 nights)")


def test_tonights_outcome_has_no_say_in_which_slices_are_judged() -> None:
    loop = Loop(EVIDENCE, seed=2)
    loop.north, loop.contested = 0.03, 0.5
    verdict = loop.spend(1, "2", EQUAL)
    # In so many disputed rows, 90 rows a night of the north cannot be decided in 30 nights.
    assert 50 < slices(verdict)["region=north"].rows < 120
    assert slices(verdict)["region=north"].judged


def test_after_a_small_first_night_slices_are_judged_as_soon_as_there_are_rows() -> None:
    shipped, ends = [], []
    for seed in range(4):
        loop = Loop(EVIDENCE, seed=seed)
        loop.rows = 130
        loop.spend(1, "2", EQUAL)
        assert judged_slices(loop) == ["region=south"]
        loop.rows = ROWS
        for number in range(2, 7):
            verdict = loop.spend(number, str(number + 1), HARMFUL)
            shipped += [seed] * verdict.promote
            ends += [one.harmed for one in verdict.cases if one.harmed]
        assert "region=north" in judged_slices(loop)
    assert shipped == []
    assert set(ends) == {"worse on region=north by more than 0.03"}


def test_a_slice_that_is_new_tonight_holds_whoever_harms_it_also_on_their_first_night() -> None:
    for version, number in (("2", 1), ("3", 2)):
        loop = Loop(EVIDENCE, seed=4)
        loop.north = 0.0
        if number == 2:
            loop.spend(1, "2", EQUAL)
            assert judged_slices(loop) == ["region=south"]
        loop.north = NORTH
        verdict = loop.spend(number, version, FAR_BETTER_AND_HARMFUL)
        assert not verdict.promote
        assert not slices(verdict)["region=north"].passed


def test_a_slice_without_rows_tonight_holds_a_challenger_of_tonight() -> None:
    loop = Loop(EVIDENCE, seed=4)
    loop.spend(1, "2", EQUAL)
    loop.north = 0.0
    verdict = loop.spend(2, "3", FAR_BETTER)
    assert "is proven better than champion version 1 but is held" in verdict.reason
    assert "from 0 rows of 0 nights, no row of it has come" in verdict.reason
    # Also when another champion has come in between.
    loop.champion, loop.epoch, loop.gain["9"] = "9", 2, EQUAL
    verdict = loop.spend(3, "4", FAR_BETTER)
    assert (verdict.promote, verdict.champion) == (False, "9")
    assert "no row of it has come" in slices(verdict)["region=north"].message


def test_a_slice_whose_rows_stay_away_holds_nobody_after_half_of_the_nights_of_a_challenger() -> (
    None
):
    loop = Loop(replace(EVIDENCE, expire_after=8), seed=4)
    loop.spend(1, "2", EQUAL)
    loop.north = 0.0
    verdicts = [loop.spend(number, str(number + 1), FAR_BETTER) for number in range(2, 6)]
    assert [verdict.promote for verdict in verdicts] == [False, False, False, True]
    gone = slices(verdicts[-1])["region=north"]
    assert (gone.judged, gone.passed, gone.rows) == (False, True, 0)
    assert gone.message == (
        "region=north is not judged alone: too few rows for 4 nights in a row (0 tonight, and "
        "67 are needed; fewer cannot be decided in 8 nights)"
    )
    loop.north = NORTH
    assert slices(loop.spend(6, "7", EQUAL))["region=north"].judged


def test_a_slice_that_comes_back_goes_on_with_what_was_told_of_it() -> None:
    loop = Loop(replace(EVIDENCE, expire_after=6, planned=10**30), seed=2)
    told = []
    for number, north in enumerate([NORTH, 0, 0, 0, NORTH], start=1):
        loop.north = north
        loop.spend(number, str(number + 1), (0.01, 0.02))
        case = loop.docket.case("2")
        assert case is not None
        told.append({kept.name: kept for kept in case.slices}["region=north"])
        assert ("region=north" in judged_slices(loop)) == (number != 4)
    assert told[0] == told[3]
    assert told[4].nights == 2


def test_guards_hold_what_is_worse_in_another_metric_and_add_up_over_nights() -> None:
    config = replace(EVIDENCE, slices=(), guards={"brier": 0.01, "roc_auc": 0.02})
    loop = Loop(config, seed=3)
    verdict = loop.spend(1, "2", BETTER)
    guards = {rule.metric: rule for rule in verdict.rules if rule.rule is Rule.GUARD}
    assert set(guards) == {"brier", "roc_auc"}
    assert guards["roc_auc"].low is not None
    number = 1
    while not verdict.promote and number < 12:
        number += 1
        verdict = loop.spend(number, str(number + 1), EQUAL)
    assert verdict.promote
    worse = Loop(replace(config, min_effect=0.0), seed=4)
    for number in range(1, 9):
        last = worse.spend(number, str(number + 1), (-0.04, -0.04))
        assert not last.promote
    ends = [one for one in last.cases if one.state is CaseState.GIVEN_UP]
    assert ends


@pytest.mark.parametrize("guard", ["roc_auc", "average_precision"])
def test_a_guard_that_is_undefined_on_a_night_proves_nothing_either_way(guard: str) -> None:
    config = replace(EVIDENCE, slices=(), metric="brier", guards={guard: 0.05})
    loop = Loop(config, seed=3)
    who = Tonight(
        model="m",
        challenger="2",
        trained_until=night(0),
        champion="1",
        champion_labels_until=night(0),
        epoch=1,
        run_id="r",
        mlflow_run_id="",
        now=night(1),
    )
    docket, gone = opened(loop.docket, who, config)
    # Two positives: a tenth of the resamples has none.
    y = (np.arange(300) < 2).astype(int)
    sure = np.clip(0.02 + 0.3 * y + 0.02 * loop.rng.normal(size=300), 0.001, 0.999)
    pair = Comparison(
        y=y,
        challenger=np.stack([1 - sure, sure], axis=1),
        champion=np.stack([1 - sure**1.1, sure**1.1], axis=1),
        classes=(0, 1),
    )
    times = np.datetime64("2026-03-01T01:00:00", "us") + np.arange(300)
    docket, verdict = judged(docket, gone, {"2": Sample(comparison=pair, times=times)}, who, config)
    assert (verdict.cases[0].state, verdict.cases[0].harmed) == (CaseState.KEPT, "")
    (rule,) = [rule for rule in verdict.rules if rule.rule is Rule.GUARD]
    assert not rule.passed
    assert rule.message.endswith("from 0 rows of 0 nights, no night's rows could tell yet")


def test_a_guard_that_labels_cannot_answer_holds_with_its_reason() -> None:
    config = replace(EVIDENCE, slices=(), guards={"roc_auc": 0.02})
    loop = Loop(config, seed=3)
    who = Tonight(
        model="m",
        challenger="2",
        trained_until=night(0),
        champion="1",
        champion_labels_until=night(0),
        epoch=1,
        run_id="r",
        mlflow_run_id="",
        now=night(1),
    )
    docket, gone = opened(loop.docket, who, config)
    y = np.arange(ROWS) % 2
    pair = Comparison(y=y, challenger=y, champion=np.where(np.arange(ROWS) < 600, 1 - y, y))
    times = np.datetime64("2026-03-01T01:00:00", "us") + np.arange(ROWS)
    _, verdict = judged(docket, gone, {"2": Sample(comparison=pair, times=times)}, who, config)
    assert verdict.decision is Decision.HOLD
    assert "is proven better than champion version 1 but is held" in verdict.reason
    assert "the guard roc_auc needs probabilities, and the challenger gives labels" in (
        verdict.reason
    )


def test_slices_and_guards_of_blocks_are_observations_of_blocks() -> None:
    config = replace(EVIDENCE, block=timedelta(hours=6), guards={"roc_auc": 0.03}, effect=0.02)
    loop = Loop(config, seed=5)
    verdict = loop.spend(1, "2", BETTER)
    case = loop.docket.case("2")
    assert case is not None
    assert {kept.blocks.blocks for kept in (*case.slices, *case.guards) if kept.blocks} == {4}
    assert {rule.low for rule in verdict.rules if rule.rule is Rule.SLICE} == {None}


class OneClassInTheNorth(Loop):
    """In the north every label is the same, so no AUC is defined there."""

    def sample(
        self, number: int, champion: np.ndarray, right: np.ndarray, region: np.ndarray
    ) -> Sample:
        whole = super().sample(number, champion, right, region)
        y = np.where(region == "north", 1, whole.comparison.y)
        pair = replace(
            whole.comparison, y=y, challenger=surely(y, right), champion=surely(y, champion)
        )
        return replace(whole, comparison=pair)


def test_a_slice_in_which_the_metric_is_undefined_proves_nothing_and_says_so() -> None:
    config = replace(EVIDENCE, metric="roc_auc", block=timedelta(hours=6), effect=0.02)
    loop = OneClassInTheNorth(config, seed=5)
    north = slices(loop.spend(1, "2", FAR_BETTER))["region=north"]
    assert not north.passed
    assert "evidence 1 of 20 needed that it is not" in north.message
    assert north.message.endswith(", no night's rows could tell yet")


def test_a_new_champion_and_another_config_begin_the_slices_anew() -> None:
    loop = Loop(EVIDENCE, seed=1)
    loop.spend(1, "2", EQUAL)
    before = loop.docket.case("2")
    assert before is not None
    assert [kept.nights for kept in before.slices] == [1, 1]
    loop.config = replace(EVIDENCE, slice_max_drop=0.04)
    loop.spend(2, "3", EQUAL)
    after = loop.docket.case("2")
    assert after is not None
    assert [kept.nights for kept in after.slices] == [1, 1]
    assert after.nights == 2
    loop.config = replace(EVIDENCE, slices=("region", "region*region"))
    loop.spend(3, "4", EQUAL)
    assert loop.docket.plan is not None
    assert loop.docket.plan.specs == ("region", "region*region")
    loop.champion, loop.epoch = "9", 2
    loop.gain["9"] = EQUAL
    loop.spend(4, "5", EQUAL)
    anew = loop.docket.case("4")
    assert anew is None or {kept.nights for kept in anew.slices} == {1}


def test_a_docket_of_before_is_read_and_a_new_one_survives_being_stored() -> None:
    loop = Loop(replace(EVIDENCE, guards={"brier": 0.01, "roc_auc": 0.02}), seed=1)
    loop.spend(1, "2", EQUAL)
    text = docket_json(loop.docket)
    assert docket_from_json(text) == loop.docket
    assert len(text) < 6000
    old = json.loads(text)
    for name in ("plan", "offers"):
        del old[name]
    del old["year"]["conceded"]
    for case in old["cases"]:
        del case["slices"], case["guards"]
    read = docket_from_json(json.dumps(old))
    assert (read.plan, read.offers, read.year.conceded) == (None, (), 0.0)
    loop.docket = read
    loop.spend(2, "3", EQUAL)
    case = loop.docket.case("2")
    assert case is not None
    assert (case.nights, [kept.nights for kept in case.slices]) == (2, [1, 1])


@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_night_is_judged_the_same_again(seed: int) -> None:
    one, other = Loop(EVIDENCE, seed=seed), Loop(EVIDENCE, seed=seed)
    assert one.spend(1, "2", BETTER) == other.spend(1, "2", BETTER)
    assert one.docket == other.docket
