"""Days that differ: evidence counts for no more than what the days allow."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np

from registry.gate_config import Dependence, GateConfig
from registry.methods.comparison import Comparison
from registry.methods.days import Dispersion
from registry.nights.betting import Sample, state_of
from registry.nights.docket import Docket
from registry.nights.night import Tonight, judged, opened
from registry.verdict import CaseState, Verdict

START = datetime(2026, 3, 1, tzinfo=UTC)
ROWS, CONTESTED = 5000, 0.12
BY_DAYS = GateConfig(min_rows=100, resamples=100)
BY_ROWS = replace(BY_DAYS, dependence=Dependence.INDEPENDENT)
EQUAL = 0.5
POINT = 0.01 / CONTESTED  # of all rows


class Loop:
    """A loop over nights; each model has a skill on contested rows, and days of its own."""

    def __init__(self, config: GateConfig, seed: int = 0, spread: float = 0.0) -> None:
        self.config, self.rng, self.spread = config, np.random.default_rng(seed), spread
        self.docket, self.epoch = Docket(), 1
        self.champion: str | None = "1"
        self.skill: dict[str, float] = {"1": EQUAL}

    def spend(self, number: int, skill: float) -> Verdict:
        """One night; its newcomer is version `number` + 1."""
        version = str(number + 1)
        self.skill[version] = skill
        who = Tonight(
            model="m",
            challenger=version,
            trained_until=START + timedelta(days=number - 1, microseconds=-1),
            champion=self.champion,
            champion_labels_until=START - timedelta(microseconds=1),
            epoch=self.epoch,
            run_id=f"night-{number}",
            mlflow_run_id="",
            now=START + timedelta(days=number),
        )
        docket, gone = opened(self.docket, who, self.config)
        contested = self.rng.random(ROWS) < CONTESTED
        champion = None if self.champion is None else self.right(contested, self.champion)
        samples = {
            case.challenger: self.sample(number, champion, self.right(contested, case.challenger))
            for case in docket.cases
        }
        self.docket, verdict = judged(docket, gone, samples, who, self.config)
        if verdict.promote:
            self.champion, self.epoch = verdict.challenger, self.epoch + 1
        return verdict

    def right(self, contested: np.ndarray, version: str) -> np.ndarray:
        skill = self.skill[version] + self.spread * self.rng.standard_normal()
        return np.where(contested, self.rng.random(ROWS) < skill, True)

    def sample(self, number: int, champion: np.ndarray | None, challenger: np.ndarray) -> Sample:
        y = np.arange(ROWS) % 2
        since = np.datetime64((START + timedelta(days=number - 1)).replace(tzinfo=None), "us")
        step = np.timedelta64(86_400_000_000 // (ROWS + 1), "us")
        return Sample(
            comparison=Comparison(
                y=y,
                challenger=np.where(challenger, y, 1 - y),
                champion=None if champion is None else np.where(champion, y, 1 - y),
            ),
            times=since + step * np.arange(1, ROWS + 1),
        )


def knowing(config: GateConfig, known: Dispersion, seed: int = 3) -> Loop:
    """A loop whose earlier comparisons showed how much days differ."""
    loop = Loop(config, seed)
    before = loop.docket
    loop.spend(1, EQUAL)
    loop.docket = replace(
        loop.docket, cases=(), donor=None, dispersion=known, judged_until=before.judged_until
    )
    return loop


def test_days_that_differ_promote_no_equal_challenger() -> None:
    loop = Loop(BY_DAYS, seed=4, spread=POINT)
    assert not any(loop.spend(number, EQUAL).promote for number in range(1, 16))
    believing = Loop(BY_ROWS, seed=4, spread=POINT)  # what trusting the rows would do
    assert any(believing.spend(number, EQUAL).promote for number in range(1, 16))


def test_a_loop_that_began_with_a_first_model_learns_how_much_days_differ() -> None:
    loop = Loop(replace(BY_DAYS, expire_after=4))
    loop.champion, loop.epoch = None, 0
    loop.spend(1, EQUAL)
    loop.champion, loop.epoch = "2", 1
    for number in range(2, 20):
        loop.spend(number, EQUAL)
    assert loop.docket.dispersion.freedom >= 9


def test_the_verdict_says_how_much_days_differ_and_what_is_not_known_yet() -> None:
    first = Loop(BY_DAYS, seed=3).spend(1, 0.9)
    assert not first.promote
    assert "by rows alone over 1,000,000,000, but how much days differ is known" in first.reason
    assert "known from 0 of 12 days; until then they are taken to differ" in first.reason
    known = Dispersion(squares=250.0, freedom=100.0, rows=ROWS)
    said = knowing(BY_DAYS, known).spend(2, EQUAL + 2 * POINT).reason
    assert "but days differ 2.5 times as much as their rows say" in said


def test_a_better_challenger_is_proven_as_soon_where_days_are_known_not_to_differ() -> None:
    known = Dispersion(squares=100.0, freedom=100.0, rows=ROWS)
    for config in (BY_DAYS, BY_ROWS):
        loop, number = knowing(config, known), 2
        while not loop.spend(number, EQUAL + POINT if number == 2 else EQUAL).promote:
            number += 1
        assert number <= 6


def test_what_was_proven_once_stays_proven() -> None:
    loop, number = Loop(replace(BY_ROWS, floors={"f1": 1.0}), seed=3), 1  # a floor holds it
    while loop.spend(number, EQUAL + POINT if number == 1 else EQUAL).cases[0].state is (
        CaseState.KEPT
    ):
        number += 1
    case = loop.docket.case("2")
    assert case is not None
    loop.skill["2"] = EQUAL - POINT / 3
    loop.spend(number + 1, EQUAL)
    after = loop.docket.case("2")
    assert after is not None
    assert after.log_value < case.log_peak <= after.log_peak
    assert state_of(after, loop.config) is CaseState.PROVEN
