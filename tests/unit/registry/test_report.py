"""A verdict's pictures show what it rests on, and leave pyplot alone."""

import io
import sys

import numpy as np

from registry.gate import GateConfig, decide
from registry.methods.comparison import Comparison
from registry.report import figures
from registry.verdict import Verdict

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
