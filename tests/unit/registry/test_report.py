"""A verdict's pictures show what it rests on, and leave pyplot alone."""

import io
import sys
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from registry.card.calibration import Bin, Reliability
from registry.card.card import Card, Judging
from registry.gate import GateConfig, decide
from registry.methods.comparison import Comparison
from registry.nights.docket_store import PastNight
from registry.report import FOREST_LINES, figures
from registry.verdict import CaseNote, CaseState, Rule, Verdict

RNG = np.random.default_rng(3)
Y = RNG.integers(0, 3, 600)
PAIR = Comparison(
    y=Y,
    challenger=np.where(RNG.random(600) < 0.9, Y, 0),
    champion=np.where(RNG.random(600) < 0.7, Y, 0),
    slices={"half": np.arange(600) // 300},
)
NUMBERS = Comparison(y=Y * 1.0, challenger=Y + 0.5, champion=Y + RNG.normal(size=600))


def verdict(comparison: Comparison, **config: object) -> Verdict:
    champion = None if comparison.champion is None else "1"
    gate = GateConfig(**config)  # type: ignore[arg-type]
    return decide(comparison, gate, model="digits", challenger="2", champion=champion)


def texts(axes: object) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]  # type: ignore[attr-defined]


def test_a_forest_plot_has_a_line_for_the_whole_and_each_slice() -> None:
    drawn = figures(verdict(PAIR, slices=("half",)), PAIR)
    assert set(drawn) == {"differences", "confusion"}
    (axes,) = drawn["differences"].axes
    assert texts(axes) == ["all rows (600)", "half=0 (300)", "half=1 (300)"]


def test_differences_in_other_metrics_have_an_axis_of_their_own() -> None:
    judged = verdict(PAIR)
    (whole,) = judged.rules
    guard = replace(whole, rule=Rule.GUARD, metric="ece", passed=False)
    flips = replace(whole, rule=Rule.FLIPS)
    upper, lower = figures(replace(judged, rules=(whole, guard, flips)))["differences"].axes
    assert upper.get_xlabel().startswith("improvement in accuracy")
    assert lower.get_xlabel().startswith("improvement in ece")
    assert (texts(upper), texts(lower)) == (["all rows (600)"], ["all rows (600)"])


def test_of_too_many_slices_the_worst_are_drawn() -> None:
    judged = verdict(PAIR)
    (whole,) = judged.rules
    slices = tuple(
        replace(whole, rule=Rule.SLICE, slice=f"n={n}", figure=n / 100) for n in range(80)
    )
    (axes,) = figures(replace(judged, rules=(whole, *slices)))["differences"].axes
    assert len(texts(axes)) == FOREST_LINES
    assert texts(axes)[:2] == ["all rows (600)", "n=0 (600)"]
    assert "n=79 (600)" not in texts(axes)


def test_a_card_adds_the_evidence_over_nights_and_the_calibration() -> None:
    judged = verdict(PAIR)
    cases = tuple(
        CaseNote(
            challenger=name, state=CaseState.KEPT, log_evidence=1.0, log_needed=9.2,
            rows=600, nights=1, fresh=600,
        )
        for name in ("2", "3")
    )  # fmt: skip
    past = PastNight(night=5, at=datetime(2026, 3, 1, tzinfo=UTC), cases=cases)
    kept = Bin(said=0.5, came=0.4, low=0.3, high=0.5, rows=60)
    model = Reliability(name="challenger v2", about="probability of 1", bins=(kept,), gap=0.1)
    card = Card(
        verdict=judged, history=(past,), calibration=(model, model), judging=Judging(rows=600)
    )
    drawn = figures(judged, None, card)
    assert set(drawn) == {"differences", "evidence", "calibration"}
    (axes,) = drawn["evidence"].axes
    assert sorted(text.get_text() for text in axes.texts) == ["needed: 9,897", "v2", "v3"]
    assert axes.get_yscale() == "log"
    assert [axes.get_title(loc="left") for axes in drawn["calibration"].axes] == [
        "challenger v2: mean gap 0.1"
    ] * 2
    for figure in drawn.values():
        figure.savefig(io.BytesIO())


def test_both_models_confusions_stand_side_by_side() -> None:
    drawn = figures(verdict(PAIR), PAIR)["confusion"]
    titles = [axes.get_title(loc="left") for axes in drawn.axes]
    assert titles == ["champion v1", "challenger v2"]


def test_residuals_name_their_mean() -> None:
    drawn = figures(verdict(NUMBERS, metric="mae"), NUMBERS)["residuals"]
    assert drawn.axes[1].get_title(loc="left") == "challenger v2: mean +0.5"


def test_a_first_model_has_no_differences() -> None:
    first = Comparison(y=Y, challenger=PAIR.challenger)
    assert set(figures(verdict(first), first)) == {"confusion"}


def test_an_undecidable_verdict_draws_nothing() -> None:
    assert figures(verdict(PAIR, min_rows=1000), PAIR) == {}


def test_a_picture_can_be_written_without_pyplot() -> None:
    had = "matplotlib.pyplot" in sys.modules
    file = io.BytesIO()
    figures(verdict(PAIR))["differences"].savefig(file)
    assert file.getvalue().startswith(b"\x89PNG")
    assert had or "matplotlib.pyplot" not in sys.modules
