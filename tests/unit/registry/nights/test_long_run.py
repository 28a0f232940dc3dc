"""One challenger against one champion, night after night: it ends as the theory says, and when.

The best bettor's capital grows by m^2 / 2s a row, for gains of mean m and mean square s (Kelly,
1956; Waudby-Smith & Ramdas, 2024), so no way of betting reaches log(1/share) in fewer nights on
average (Wald, 1945). Ours must come close to that: whoever does not know the effect pays for it.
"""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from registry.gate_config import Dependence, GateConfig
from registry.methods.comparison import Comparison, scored_pair
from registry.methods.metrics import find_metric
from registry.nights.betting import Sample, after_night, state_of, unit_of, with_capital
from registry.nights.docket import Case, Docket
from registry.nights.night import Tonight, judged, opened
from registry.verdict import CaseNote, CaseState, Decision

START = datetime(2026, 1, 1, tzinfo=UTC)
ROWS, DISAGREE = 5000, 0.06
GATE = GateConfig(resamples=100, dependence=Dependence.INDEPENDENT)
LOOPS = 20
PROVEN = math.log(365 / (0.95 * 0.05))  # its share of alpha: 7,684
GIVEN_UP = math.log(1 / 0.005)
EARLIER = Docket(unit=unit_of(GATE), rows=100_000, squares=6_000.0)
"""A loop that has compared models before, and knows how much they differ."""


def last_night(better: float, seed: int, docket: Docket = EARLIER) -> tuple[int, CaseNote]:
    """The night on which the comparison ends, and how; every night before is held."""
    rng, number = np.random.default_rng(seed), 0
    while True:
        number += 1
        who = Tonight(
            model="m",
            challenger="2",
            trained_until=START,
            champion="1",
            champion_labels_until=START,
            epoch=1,
            run_id=f"night {number}",
            mlflow_run_id="",
            now=START + timedelta(days=number),
        )
        docket, gone = opened(docket, who, GATE)
        docket, verdict = judged(docket, gone, {"2": night(rng, better, number)}, who, GATE)
        (note,) = verdict.cases
        assert (verdict.decision is Decision.PROMOTE) == (note.state is CaseState.PROVEN)
        if note.state is not CaseState.KEPT:
            return number, note


def night(rng: np.random.Generator, better: float, number: int) -> Sample:
    """Fresh rows, of which the challenger gets `better` more right than the champion."""
    draw, y = rng.random(ROWS), rng.integers(0, 2, ROWS)
    wins, disagree = draw < (DISAGREE + better) / 2, draw < DISAGREE
    since = np.datetime64(START.replace(tzinfo=None), "us") + np.timedelta64(number, "D")
    return Sample(
        comparison=Comparison(
            y=y,
            challenger=np.where(disagree & ~wins, 1 - y, y),
            champion=np.where(wins, 1 - y, y),
        ),
        times=since + np.arange(ROWS) * np.timedelta64(10, "s"),
    )


def nights_needed(evidence: float, effect: float) -> float:
    """Wald's bound on the mean number of nights until the log evidence is reached."""
    return evidence / (ROWS * effect**2 / (2 * DISAGREE))


@pytest.mark.parametrize("better", [0.005, 0.01, 0.02])
def test_a_better_challenger_is_promoted_when_the_growth_rate_says(better: float) -> None:
    ends = [last_night(better, seed) for seed in range(LOOPS)]
    assert {note.state for _, note in ends} == {CaseState.PROVEN}
    mean, bound = np.mean([number for number, _ in ends]), nights_needed(PROVEN, better)
    assert bound <= mean <= 1.35 * bound + 1


@pytest.mark.parametrize("better", [0.0, 0.001, -0.01])
def test_an_almost_equal_challenger_is_given_up_when_the_growth_rate_says(better: float) -> None:
    ends = [last_night(better, seed) for seed in range(LOOPS)]
    assert {note.state for _, note in ends} == {CaseState.GIVEN_UP}
    mean = np.mean([number for number, _ in ends])
    bound = nights_needed(GIVEN_UP, GATE.useful_effect - better)
    assert bound <= mean <= 1.35 * bound + 1


@pytest.mark.parametrize("better", [0.0, -0.01])
def test_the_first_comparison_of_a_loop_is_given_up_by_what_its_first_night_told(
    better: float,
) -> None:
    ends = [last_night(better, seed, Docket()) for seed in range(LOOPS)]
    assert {note.state for _, note in ends} == {CaseState.GIVEN_UP}
    # Its first night bets on no doubt.
    mean = np.mean([number for number, _ in ends]) - 1
    bound = nights_needed(GIVEN_UP, GATE.useful_effect - better)
    assert bound <= mean <= 1.35 * bound + 1


def test_a_usefully_better_first_comparison_is_hardly_ever_given_up() -> None:
    ends = [last_night(GATE.useful_effect, seed, Docket())[1].state for seed in range(100)]
    # Of 100, 3 or more are given up by a probability of 1.4 % if each is by 0.5 %.
    assert ends.count(CaseState.GIVEN_UP) <= 2


def test_two_models_that_never_differ_leave_the_first_comparison_without_doubt() -> None:
    case = with_capital(
        Case(challenger="2", share=0.01, trained_until=START, opened=START), Docket(), GATE
    )
    sample = night(np.random.default_rng(0), 0.0, 1)
    assert sample.comparison.champion is not None
    same = replace(sample.comparison, challenger=sample.comparison.champion)
    metric = find_metric(GATE.metric)
    after = after_night(case, replace(sample, comparison=same), scored_pair(same, metric), GATE)
    assert (after.useful, after.rows) == (None, ROWS)
    assert state_of(after, GATE) is CaseState.KEPT
    told = after_night(after, sample, scored_pair(sample.comparison, metric), GATE)
    assert told.useful == pytest.approx(GATE.useful_effect)
    assert told.doubt is not None
    assert told.doubt.rows == 0  # these rows told how to bet, and are not bet on


def test_the_first_comparison_of_a_loop_bets_on_every_scale() -> None:
    proven = [last_night(0.01, seed, Docket()) for seed in range(LOOPS)]
    assert {note.state for _, note in proven} == {CaseState.PROVEN}
    mean = np.mean([number for number, _ in proven])
    assert mean <= 1.6 * nights_needed(PROVEN, 0.01) + 1
