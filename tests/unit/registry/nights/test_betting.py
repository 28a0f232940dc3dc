"""What one comparison makes of its nights: clusters whose sizes tell something of their gains."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np

from registry import row_metric
from registry.gate_config import Dependence, GateConfig
from registry.methods.blocks import Spread
from registry.methods.comparison import Comparison, scored_pair
from registry.methods.evidence import log_mixture
from registry.methods.metrics import declare, find_metric
from registry.nights.betting import Sample, after_night, in_unit_of, state_of, with_capital
from registry.nights.docket import Case, Docket, docket_from_json, docket_json
from registry.verdict import CaseState

START = datetime(2026, 3, 1, tzinfo=UTC)
CONFIG = GateConfig(cluster="customer", dependence=Dependence.INDEPENDENT)
SIZES = np.r_[np.full(400, 5), np.full(15, 200)]
CODES = np.repeat(np.arange(len(SIZES)), SIZES)
CONTESTED = 0.12


def after_nights(nights: int, small: float, large: float) -> Case:
    """400 clusters of 5 rows that gain `small` a row, and 15 of 200 that gain `large`."""
    rng = np.random.default_rng(3)
    case = Case(challenger="2", share=1e-4, trained_until=START, opened=START)
    case = with_capital(case, Docket(), CONFIG)
    gain = np.repeat(np.where(SIZES > 5, large, small), SIZES)
    y = np.arange(len(gain)) % 2
    for night in range(nights):
        contested = rng.random(len(y)) < CONTESTED
        champion = ~(contested & (rng.random(len(y)) < 0.5))
        challenger = ~(contested & (rng.random(len(y)) >= 0.5 + gain / CONTESTED))
        comparison = Comparison(
            y=y,
            challenger=np.where(challenger, y, 1 - y),
            champion=np.where(champion, y, 1 - y),
            clusters=CODES,
        )
        first = np.datetime64((START + timedelta(days=night)).replace(tzinfo=None), "us")
        sample = Sample(
            comparison=comparison, times=first + np.arange(len(y)).astype("timedelta64[s]")
        )
        pair = scored_pair(comparison, find_metric(CONFIG.metric))
        case = replace(after_night(case, sample, pair, CONFIG), age=night + 1)
    return case


def test_a_challenger_that_is_worse_by_rows_is_not_proven_by_its_many_small_clusters() -> None:
    case = after_nights(9, 0.01, -0.02)  # its rows lose 0.8 points
    assert case.evidence is not None
    bets, wealth = case.evidence.bets, case.evidence.log_wealth
    assert log_mixture(bets, np.asarray(wealth)) > case.log_needed
    assert case.log_value < 0
    assert state_of(case, CONFIG) is not CaseState.PROVEN


def test_a_challenger_that_is_better_by_rows_is_not_given_up_for_its_many_small_clusters() -> None:
    case = after_nights(9, -0.01, 0.02)
    assert case.doubt is not None
    assert log_mixture(case.doubt.bets, np.asarray(case.doubt.log_wealth)) > 6
    assert state_of(case, CONFIG) is CaseState.KEPT


def test_a_better_challenger_with_clusters_of_all_sizes_is_proven() -> None:
    case = after_nights(9, 0.01, 0.01)
    assert state_of(case, CONFIG) is CaseState.PROVEN
    docket = Docket(cases=(case,))
    assert docket_from_json(docket_json(docket)).cases[0].log_value == case.log_value


def test_an_edited_metric_is_lent_nothing_that_was_measured_by_what_it_was() -> None:
    def earned(scale: float) -> GateConfig:
        @row_metric(of="numbers", low=0, high=10 * scale, greater_is_better=True)
        def profit(y: np.ndarray, prediction: np.ndarray) -> np.ndarray:
            return scale * prediction

        declare("team:profit", profit)
        return GateConfig(metric="team:profit", block=timedelta(days=1))

    known = Spread(squares=1.0, freedom=20.0)
    docket = replace(in_unit_of(earned(1), Docket()), spread=known)
    assert in_unit_of(earned(1), docket).spread == known
    assert in_unit_of(earned(100), docket).spread == Spread()  # a hundred times too small
