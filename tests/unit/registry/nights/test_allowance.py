"""Non-inferiority: promoted when proven not worse by more than a margin, within a yearly one."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from registry.gate_config import Dependence, GateConfig, GateMode
from registry.methods.comparison import Comparison
from registry.nights.allowance import settled, within_allowance
from registry.nights.betting import Sample
from registry.nights.docket import Docket, Offer
from registry.nights.night import Tonight, judged, opened
from registry.verdict import CaseState, Verdict

START = datetime(2026, 3, 1, tzinfo=UTC)
ROWS, CONTESTED, MARGIN = 4000, 0.1, 0.02
CONFIG = GateConfig(margin=MARGIN, resamples=100, planned=20, dependence=Dependence.INDEPENDENT)


class Loop:
    """Nights of models that are right on contested rows with their own luck."""

    def __init__(self, config: GateConfig, seed: int = 0) -> None:
        self.config, self.rng = config, np.random.default_rng(seed)
        self.docket, self.champion, self.epoch = Docket(), "1", 1
        self.level = {"1": 0.0}

    def spend(self, number: int, version: str, level: float) -> Verdict:
        self.level[version] = level
        now = START + timedelta(days=number)
        who = Tonight(
            model="m",
            challenger=version,
            trained_until=now - timedelta(days=1),
            champion=self.champion,
            champion_labels_until=START,
            epoch=self.epoch,
            run_id=f"night-{number}",
            mlflow_run_id="",
            now=now,
        )
        docket, gone = opened(self.docket, who, self.config)
        contested, y = self.rng.random(ROWS) < CONTESTED, np.arange(ROWS) % 2
        since = np.datetime64((now - timedelta(days=1)).replace(tzinfo=None), "us")
        times = since + np.timedelta64(20_000_000, "us") * np.arange(1, ROWS + 1)
        champion = self.says(y, contested, self.champion)
        samples: dict[str, Sample | str] = {}
        for case in docket.cases:
            own = self.says(y, contested, case.challenger)
            pair = Comparison(y=y, challenger=own, champion=champion)
            samples[case.challenger] = Sample(comparison=pair, times=times)
        self.docket, verdict = judged(docket, gone, samples, who, self.config)
        if verdict.promote:
            self.champion, self.epoch = verdict.challenger, self.epoch + 1
        return verdict

    def says(self, y: np.ndarray, contested: np.ndarray, version: str) -> np.ndarray:
        right = self.rng.random(ROWS) < 0.5 + self.level[version] / CONTESTED
        return np.where(contested & ~right, 1 - y, y)


def test_an_equal_challenger_is_promoted_when_it_is_proven_not_worse() -> None:
    loop = Loop(CONFIG, seed=1)
    verdicts = [loop.spend(number, str(number + 1), 0.0) for number in range(1, 9)]
    promoted = next(verdict for verdict in verdicts if verdict.promote)
    assert "is proven not worse than champion version 1 by more than 0.02" in promoted.reason
    assert promoted.rules[0].bound == -MARGIN
    waiting = next(verdict for verdict in verdicts if not verdict.promote)
    assert "is not proven as good as champion version 2, within 0.00" in waiting.reason


def test_one_that_is_worse_by_more_than_the_margin_is_given_up_and_never_promoted() -> None:
    for seed in range(4):
        loop = Loop(CONFIG, seed=seed)
        verdicts = [loop.spend(number, str(number + 1), -0.025) for number in range(1, 9)]
        assert not any(verdict.promote for verdict in verdicts)
        ends = [case.state for verdict in verdicts for case in verdict.cases]
        assert CaseState.GIVEN_UP in ends
        assert any("it can hardly be as good as champion version 1" in v.reason for v in verdicts)


def test_a_single_night_proves_not_worse_by_its_test() -> None:
    config = replace(CONFIG, mode=GateMode.SINGLE_NIGHT, planned=1, margin=0.04)
    verdict = Loop(config, seed=1).spend(1, "2", 0.0)
    assert verdict.promote
    assert "is not worse than champion version 1 by more than 0.04" in verdict.reason
    assert "surely exceeds the margin of -0.04" in verdict.reason
    worse = Loop(config, seed=1).spend(1, "2", -0.045)
    assert not worse.promote


def test_a_chain_of_slightly_worse_champions_ends_when_the_years_margin_is_conceded() -> None:
    loop, lost = Loop(CONFIG, seed=2), []
    for number in range(1, 40):
        # Adversarial: each is worse than the champion of its night by half of the margin.
        verdict = loop.spend(number, str(number + 1), loop.level[loop.champion] - MARGIN / 2)
        lost.append(-loop.level[loop.champion])
        if verdict.promote:
            assert verdict.rules[0].bound is not None
            assert verdict.rules[0].bound >= -MARGIN
    assert 0 < max(lost) <= 1.5 * MARGIN
    assert loop.docket.year.conceded > 0.25 * MARGIN


def test_what_is_left_of_the_year_is_the_margin_and_gains_pay_back() -> None:
    offers = (Offer(challenger="2", gain=-0.012), Offer(challenger="3", gain=0.5))
    docket = settled(Docket(offers=offers), "2")
    assert docket.offers == ()
    assert docket.year.conceded == 0.012
    assert within_allowance(CONFIG, docket).margin == pytest.approx(0.008)
    spent = settled(replace(docket, offers=(Offer(challenger="4", gain=-0.005),)), "4")
    assert within_allowance(CONFIG, spent).margin == 0.0  # less than a quarter: must be better
    regained = settled(replace(spent, offers=(Offer(challenger="5", gain=0.1),)), "5")
    assert regained.year.conceded == 0.0
    assert settled(docket, "somebody else").year.conceded == 0.012


def test_a_new_year_begins_with_the_whole_margin() -> None:
    year = replace(Docket().year, number=2026, conceded=0.01)
    terms = {"alpha": 0.05, "planned": 365}
    assert year.at(2026, **terms).conceded == 0.01
    assert year.at(2027, **terms).conceded == 0.0
