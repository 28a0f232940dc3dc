"""Nights of the gate: evidence adds up, rows count once, and the budget holds."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from registry.errors import GateError
from registry.gate_config import GateConfig, GateMode, check_mode
from registry.methods.comparison import Comparison
from registry.nights.betting import Sample
from registry.nights.docket import Docket, docket_from_json, docket_json
from registry.nights.night import Tonight, fresh_after, judged, opened
from registry.verdict import CaseState, Verdict, verdict_from_json, verdict_json

START = datetime(2026, 3, 1, tzinfo=UTC)
ROWS = 5000


def night(number: int) -> datetime:
    return START + timedelta(days=number)


def tonight(number: int, version: str, champion: str | None = "1", epoch: int = 1) -> Tonight:
    return Tonight(
        model="m",
        challenger=version,
        trained_until=night(number - 1),
        champion=champion,
        champion_trained_until=None if champion is None else night(0),
        epoch=epoch,
        run_id=f"night-{number}",
        mlflow_run_id="",
        now=night(number),
    )


class Loop:
    """A loop over simulated nights: each model is right with its own skill on contested rows."""

    def __init__(self, config: GateConfig, seed: int = 0, rows: int = ROWS) -> None:
        self.config, self.rng, self.rows = config, np.random.default_rng(seed), rows
        self.docket, self.champion, self.epoch = Docket(), "1", 1
        self.skill: dict[str, float] = {"1": 0.5}

    def spend(self, number: int, version: str, skill: float) -> Verdict:
        """One night: `skill` is the share of contested rows (12 %) that the newcomer gets right."""
        self.skill[version] = skill
        who = tonight(number, version, self.champion, self.epoch)
        docket, gone = opened(self.docket, who, self.config)
        contested = self.rng.random(self.rows) < 0.12
        champion = self.right(contested, self.champion)
        samples = {
            case.challenger: self.sample(number, champion, self.right(contested, case.challenger))
            for case in docket.cases
        }
        self.docket, verdict = judged(docket, gone, samples, who, self.config)
        if verdict.promote:
            self.champion, self.epoch = verdict.challenger, self.epoch + 1
        return verdict

    def right(self, contested: np.ndarray, version: str) -> np.ndarray:
        luck = self.rng.random(self.rows) < self.skill[version]
        return np.where(contested, luck, True)

    def sample(self, number: int, champion: np.ndarray, challenger: np.ndarray) -> Sample:
        y = np.arange(self.rows) % 2
        since = np.datetime64(night(number - 1).replace(tzinfo=None), "us")
        step = np.timedelta64(86_400_000_000 // (self.rows + 1), "us")
        return Sample(
            comparison=Comparison(
                y=y,
                challenger=np.where(challenger, y, 1 - y),
                champion=np.where(champion, y, 1 - y),
            ),
            times=since + step * np.arange(1, self.rows + 1),
        )


EVIDENCE = GateConfig(min_rows=100, resamples=100)
BETTER = 0.5 + 0.01 / 0.12  # one point more of all rows
EQUAL = 0.5


def test_a_better_challenger_is_proven_over_nights_beside_the_new_ones() -> None:
    loop = Loop(EVIDENCE, seed=3)
    first = loop.spend(1, "2", BETTER)
    assert not first.promote
    assert "not proven better than champion version 1 yet" in first.reason
    assert "of 9,605 needed, from 5,000 rows of 1 night" in first.reason
    assert "more night" in first.reason
    verdicts = [first]
    for number in range(2, 9):
        verdicts.append(loop.spend(number, str(number + 1), EQUAL))
        if verdicts[-1].promote:
            break
    last = verdicts[-1]
    assert last.promote
    assert last.challenger == "2"
    assert "Version 2 is proven better than champion version 1" in last.reason
    assert "of tonight" in last.reason
    note = next(case for case in last.cases if case.challenger == "2")
    assert note.state is CaseState.PROVEN
    assert note.rows == 5000 * len(verdicts)
    assert last.level == pytest.approx(0.95 * 0.04 / 365)


def test_a_promotion_that_never_came_is_decided_again_on_the_next_night() -> None:
    loop = Loop(EVIDENCE, seed=1)
    verdict = loop.spend(1, "2", 0.9)
    assert verdict.promote
    loop.champion, loop.epoch = "1", 1  # the run was cancelled before it promoted
    again = loop.spend(2, "3", EQUAL)
    assert (again.promote, again.challenger) == (True, "2")
    assert again.cases[0].nights == 2


def test_after_a_rollback_rows_that_were_looked_at_do_not_judge_again() -> None:
    loop = Loop(EVIDENCE, seed=1)
    loop.spend(1, "2", 0.9)
    loop.spend(2, "3", EQUAL)
    loop.champion, loop.epoch = "1", 3
    docket, _ = opened(loop.docket, tonight(3, "4", "1", 3), EVIDENCE)
    bounds = {fresh_after(case, docket, tonight(3, "4", "1", 3), EVIDENCE) for case in docket.cases}
    assert bounds == {max(bounds)}
    assert loop.docket.judged_until is not None
    assert max(bounds) >= loop.docket.judged_until


def test_after_a_promotion_the_others_begin_anew_against_the_new_champion() -> None:
    loop = Loop(EVIDENCE, seed=3)
    number = 1
    while not loop.spend(number, str(number + 1), BETTER if number == 1 else EQUAL).promote:
        number += 1
    before = {case.challenger for case in loop.docket.cases}
    spent = loop.docket.year.spent_again
    verdict = loop.spend(number + 1, str(number + 2), EQUAL)
    cases = {case.challenger: case for case in loop.docket.cases}
    assert "2" in before
    assert "2" not in cases
    assert all(case.nights == 1 for case in cases.values())
    assert loop.docket.year.spent_again > spent
    assert verdict.champion == "2"
    assert loop.docket.settled_until == night(number - 1) + timedelta(
        microseconds=86_400_000_000 // (ROWS + 1) * ROWS
    )


def test_equal_challengers_are_given_up_crowded_out_or_expire_and_none_is_promoted() -> None:
    loop = Loop(replace(EVIDENCE, keep=2, expire_after=6), seed=5)
    verdicts = [loop.spend(number, str(number + 1), EQUAL) for number in range(1, 25)]
    assert not any(verdict.promote for verdict in verdicts)
    assert max(len(verdict.cases) for verdict in verdicts) <= 4
    ends = {case.state for verdict in verdicts for case in verdict.cases}
    assert CaseState.CROWDED_OUT in ends
    assert ends & {CaseState.GIVEN_UP, CaseState.EXPIRED}
    assert loop.docket.year.opened == 24
    assert loop.docket.year.wealth == pytest.approx(0.05 - 24 * 0.95 * 0.04 / 365)


def test_a_version_that_a_person_rejected_is_compared_no_more_and_the_verdict_says_so() -> None:
    loop = Loop(EVIDENCE, seed=1)
    assert loop.spend(1, "2", 0.9).promote
    loop.champion, loop.epoch = "1", 1  # somebody rejected it instead
    who = replace(tonight(2, "3"), rejected=frozenset({"2", "9"}))
    docket, gone = opened(loop.docket, who, EVIDENCE)
    assert [case.challenger for case in docket.cases] == ["3"]
    assert [(note.challenger, note.state) for note in gone] == [("2", CaseState.REJECTED)]
    after, verdict = judged(docket, gone, {"3": "no row is new"}, who, EVIDENCE)
    assert "No longer kept: version 2 (rejected)" in verdict.reason
    assert after.case("2") is None
    assert opened(after, replace(tonight(3, "4"), rejected=who.rejected), EVIDENCE)[1] == []


def test_a_night_without_rows_that_are_new_to_it_says_so_and_changes_no_evidence() -> None:
    loop = Loop(EVIDENCE)
    loop.spend(1, "2", BETTER)
    who = tonight(2, "3")
    docket, gone = opened(loop.docket, who, EVIDENCE)
    after, verdict = judged(docket, gone, {"3": "no row is new"}, who, EVIDENCE)
    assert "Version 3 is not judged tonight: no row is new; it stays" in verdict.reason
    before, now = loop.docket.case("2"), after.case("2")
    assert before is not None
    assert now is not None
    assert (now.evidence, now.rows, now.age) == (before.evidence, before.rows, before.age)


def test_rows_that_have_judged_a_comparison_never_judge_it_again() -> None:
    loop = Loop(EVIDENCE)
    loop.spend(1, "2", BETTER)
    who = tonight(2, "3")
    docket, gone = opened(loop.docket, who, EVIDENCE)
    old = loop.docket.case("2")
    assert old is not None
    assert fresh_after(old, docket, who, EVIDENCE) == old.judged_until
    again = loop.sample(1, np.ones(ROWS, dtype=bool), np.ones(ROWS, dtype=bool))
    with pytest.raises(GateError, match="given rows that judged it before"):
        judged(docket, gone, {"2": again}, who, EVIDENCE)


def test_too_few_rows_wait_for_the_next_night_instead_of_being_spent() -> None:
    config = replace(EVIDENCE, min_rows=6000)
    loop = Loop(config)
    verdict = loop.spend(1, "2", BETTER)
    assert "the holdout has 5,000 rows and the gate asks for 6,000" in verdict.reason
    case = loop.docket.case("2")
    assert case is not None
    assert case.judged_until is None
    assert loop.docket.judged_until is None


def test_a_floor_holds_what_is_proven_and_the_comparison_goes_on() -> None:
    config = replace(EVIDENCE, floors={"accuracy": 0.999})
    loop = Loop(config, seed=1)
    verdict = loop.spend(1, "2", 0.9)
    assert not verdict.promote
    assert "is proven better than champion version 1 but is held (accuracy is" in verdict.reason
    assert loop.docket.case("2") is not None


def test_blocks_of_time_are_one_observation_each_and_need_their_spread() -> None:
    config = replace(EVIDENCE, block=timedelta(days=1), metric="f1")
    loop = Loop(config, seed=2)
    first = loop.spend(1, "2", 0.8)
    assert first.cases[0].log_evidence == 0.0  # one block tells nothing of the spread
    promoted = next(
        number for number in range(2, 20) if loop.spend(number, str(number + 1), EQUAL).promote
    )
    assert 3 <= promoted <= 12
    assert loop.champion == "2"


def test_losses_beyond_the_bound_count_as_the_bound() -> None:
    config = GateConfig(metric="mae", bound=2.0, effect=0.1, useful_effect=0.05, resamples=100)
    rng = np.random.default_rng(0)
    y = rng.normal(size=4000)
    times = np.datetime64("2026-03-01T01:00:00", "us") + np.arange(4000)
    champion = y + rng.normal(0, 1.0, 4000)
    champion[:3] = 1e9
    pair = Comparison(y=y, challenger=y + rng.normal(0, 0.5, 4000), champion=champion)
    who = tonight(1, "2")
    docket, gone = opened(Docket(), who, config)
    after, verdict = judged(docket, gone, {"2": Sample(comparison=pair, times=times)}, who, config)
    assert verdict.promote
    case = after.case("2")
    assert case is not None
    assert abs(case.gained) <= 4000
    assert after.squares / after.rows < 0.2


def test_a_single_night_spends_its_share_and_divides_it_by_the_looks_at_the_same_rows() -> None:
    config = replace(EVIDENCE, mode=GateMode.SINGLE_NIGHT, planned=12)
    loop = Loop(config, seed=4)
    first = loop.spend(1, "2", BETTER)
    again = loop.spend(1, "3", BETTER)
    share = 0.05 * 0.95 / 12
    assert (first.level, first.looks) == (pytest.approx(share), 0)
    assert (again.level, again.looks) == (pytest.approx(share / 2), 1)
    assert loop.docket.cases == ()
    assert again.budget_left == pytest.approx(0.05 - 2 * share)


def test_a_first_model_must_beat_a_constant_and_keep_its_floors() -> None:
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 400)
    times = np.datetime64("2026-03-01T01:00:00", "us") + np.arange(400)
    who = replace(tonight(1, "1", None, 0), champion_trained_until=None)
    docket, gone = opened(Docket(), who, EVIDENCE)

    def verdict(challenger: np.ndarray, constant: np.ndarray | None) -> Verdict:
        pair = Comparison(y=y, challenger=challenger, constant=constant)
        return judged(docket, gone, {"1": Sample(comparison=pair, times=times)}, who, EVIDENCE)[1]

    zeros, good = np.zeros(400, dtype=int), np.where(rng.random(400) < 0.9, y, 1 - y)
    assert verdict(good, zeros).promote
    assert "over saying always the same" in verdict(good, zeros).reason
    held = verdict(rng.integers(0, 2, 400), zeros)
    assert not held.promote
    assert "not proven better than saying always the same" in held.reason
    assert verdict(zeros, None).promote


def test_docket_and_verdict_survive_being_stored() -> None:
    loop = Loop(replace(EVIDENCE, block=timedelta(hours=6)), seed=2)
    verdict = loop.spend(1, "2", BETTER)
    loop.spend(2, "3", BETTER)
    assert docket_from_json(docket_json(loop.docket)) == loop.docket
    assert verdict_from_json(verdict_json(verdict)) == verdict
    loop = Loop(EVIDENCE)
    loop.spend(1, "2", EQUAL)
    assert docket_from_json(docket_json(loop.docket)) == loop.docket


def test_other_terms_begin_every_comparison_anew_with_rows_it_has_not_used() -> None:
    loop = Loop(EVIDENCE)
    loop.spend(1, "2", BETTER)
    used = loop.docket.case("2")
    changed = replace(EVIDENCE, min_effect=0.001)
    docket, _ = opened(loop.docket, tonight(2, "3"), changed)
    case = docket.case("2")
    assert used is not None
    assert case is not None
    assert (case.rows, case.after) == (0, used.judged_until)
    assert case.log_value == 0.0


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"metric": "log_loss"}, "log_loss has no bound"),
        ({"metric": "roc_auc"}, "no row alone is evidence"),
        ({"useful_effect": 0.02}, "useful_effect is 0.02 and its effect 0.01"),
        ({"effect": 2.0}, "beyond what a row can gain"),
        ({"bound": -1.0}, "bound is -1"),
        ({"alpha": 0.0}, "alpha is 0"),
        ({"planned": 0}, "planned is 0"),
        ({"cluster": "shop", "block": timedelta(days=1)}, "both a cluster and a block"),
        ({"block": timedelta(0)}, "longer than nothing"),
    ],
)
def test_a_gate_that_makes_no_sense_is_refused(config: dict[str, object], message: str) -> None:
    with pytest.raises(GateError, match=message):
        check_mode(GateConfig(**config))  # type: ignore[arg-type]


def test_the_pace_is_about_what_is_needed() -> None:
    waits, said = [], []
    for seed in range(12):
        loop = Loop(EVIDENCE, seed=seed)
        verdict = loop.spend(1, "2", BETTER)
        note = verdict.cases[0]
        if note.nights_left is not None:
            said.append(1 + note.nights_left)
        number = 1
        while not verdict.promote and number < 30:
            number += 1
            verdict = loop.spend(number, str(number + 1), EQUAL)
        waits.append(number)
    assert max(waits) < 20
    assert 2 <= float(np.median(waits)) <= 5
    assert 2 <= float(np.median(said)) <= 8
    assert math.isfinite(sum(said))
