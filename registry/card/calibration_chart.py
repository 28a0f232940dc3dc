"""The reliability diagram: what a model said, against how often it came true."""

from collections.abc import Sequence
from html import escape

from registry.card.calibration import Reliability
from registry.card.chart import before, below, chart, dots, grid, line, title_below
from registry.card.scale import Scale
from registry.card.words import number

UNIT = Scale(low=0.0, high=1.0)
TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


def calibration_charts(models: Sequence[Reliability]) -> str:
    """One diagram beside the other; empty without probabilities."""
    return f"<div class='c-pair'>{''.join(map(_figure, models))}</div>" if models else ""


def _figure(model: Reliability) -> str:
    points = [(each.said, each.came) for each in model.bins]
    inside = grid(TICKS, UNIT)
    inside += line([(0.0, 0.0), (1.0, 1.0)], UNIT, UNIT, "var(--other)", width=1, dashes="4 4")
    for each in model.bins:
        inside += line(
            [(each.said, each.low), (each.said, each.high)], UNIT, UNIT, "var(--line)", width=1.5
        )
    inside += line(points, UNIT, UNIT, "var(--line)", width=1.5)
    inside += dots(points, UNIT, UNIT, "var(--line)", width=7)
    words = "".join(before(tick, f"{tick:g}", UNIT) for tick in TICKS)
    words += "".join(below(tick, f"{tick:g}", UNIT) for tick in TICKS)
    words += title_below(model.about)
    rows = sorted(each.rows for each in model.bins)
    count = f"{rows[0]:,}" if rows[0] == rows[-1] else f"{rows[0]:,} to {rows[-1]:,}"
    said = f"mean gap {number(round(model.gap, 4))}; {count} rows a dot"
    label = f"{model.name}: {said}"
    return (
        f"<figure><figcaption><b>{escape(model.name)}</b><br><span class='c-dim'>{said}</span>"
        f"</figcaption>{chart(inside, words, label)}</figure>"
    )
