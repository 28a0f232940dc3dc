"""A verdict in pictures, for MLflow and notebooks: drawn without pyplot's global state."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from registry.card.calibration import Reliability
from registry.card.card import Card
from registry.card.evidence_chart import Track, bar_of, height, spread, tracks
from registry.card.rules_table import is_difference
from registry.card.words import evidence
from registry.methods.comparison import Comparison, scored_pair
from registry.methods.metrics import find_metric
from registry.methods.predictions import Scored, Task
from registry.verdict import RuleResult, Verdict

GOOD, BAD, NEUTRAL, LINE = "#1a7f5a", "#b3362b", "#59636e", "#0969da"
# More classes than this are not labelled one by one.
LABELLED_CLASSES = 30
# More lines than this make a forest plot unreadable; the worst ones are drawn.
FOREST_LINES = 40


def figures(
    verdict: Verdict, comparison: Comparison | None = None, card: Card | None = None
) -> dict[str, Any]:
    """Name to matplotlib Figure, as far as there is something to draw.

    `differences`: the forest plot, by metric and slice; `evidence`, `calibration`: what
    the verdict's card holds; `confusion` or `residuals`: how the models err on `comparison`, which
    must be the verdict's.
    """
    drawn = {}
    measured = [rule for rule in verdict.rules if rule.low is not None and is_difference(rule)]
    if measured:
        drawn["differences"] = _forest(verdict, measured)
    if card is not None:
        drawn |= _of_card(card)
    if comparison is None or verdict.challenger_score is None:
        return drawn
    metric = find_metric(verdict.metric)
    pair = scored_pair(comparison, metric)
    models = [(f"challenger v{verdict.challenger}", pair.challenger)]
    if pair.champion is not None:
        other = "baseline" if verdict.champion is None else f"champion v{verdict.champion}"
        models.insert(0, (other, pair.champion))
    if metric.task is Task.CLASSIFICATION:
        drawn["confusion"] = _confusion(models)
    else:
        drawn["residuals"] = _residuals(models)
    return drawn


def _of_card(card: Card) -> dict[str, Any]:
    drawn = {}
    lines = tracks(card.history)
    if lines:
        drawn["evidence"] = _evidence(card, lines)
    if card.calibration:
        drawn["calibration"] = _calibration(card.calibration)
    return drawn


def _figure(
    width: float,
    height: float,
    panels: int = 1,
    rows: Sequence[float] = (),
    margins: Mapping[str, float] | None = None,
) -> tuple[Any, Any]:
    """A figure, and its panels side by side, or below each other with the heights of `rows`.

    `margins`: where words are short, searching for the best ones costs more than the drawing.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=None if margins else "constrained")
    FigureCanvasAgg(figure)
    if margins:
        figure.subplots_adjust(**margins, top=0.91)
    if rows:
        below = figure.subplots(len(rows), 1, squeeze=False, height_ratios=list(rows))
        return figure, below[:, 0]
    return figure, figure.subplots(1, panels, squeeze=False)[0]


def _forest(verdict: Verdict, measured: Sequence[RuleResult]) -> Any:
    """One line for each difference: the point, its interval, and the bound it is held against."""
    metrics = list(dict.fromkeys(rule.metric for rule in measured))
    worst = sorted(measured, key=lambda rule: (rule.passed, rule.slice is not None, rule.figure))
    shown = [rule for rule in measured if rule in worst[:FOREST_LINES]]
    groups = [[rule for rule in shown if rule.metric == metric] for metric in metrics]
    groups = [group for group in groups if group]
    lines = [len(group) + 1.5 for group in groups]
    figure, column = _figure(8, 0.9 + 0.35 * sum(lines), rows=lines)
    for axes, group in zip(column, groups, strict=True):
        for row, rule in enumerate(group):
            colour = GOOD if rule.passed else BAD
            axes.plot([rule.low, rule.high], [row, row], color=colour, linewidth=2)
            axes.plot([rule.figure], [row], "o" if rule.passed else "D", color=colour)
            axes.plot([rule.bound], [row], "|", color=NEUTRAL, markersize=14)
        axes.axvline(0.0, color=NEUTRAL, linewidth=0.8, linestyle=":")
        names = [f"{rule.slice or 'all rows'} ({rule.rows:,})" for rule in group]
        axes.set_yticks(range(len(group)), names)
        axes.set_ylim(len(group) - 0.4, -0.6)
        axes.set_xlabel(
            f"improvement in {group[0].metric}, {verdict.confidence:.0%} interval; | is the bound"
        )
    title = f"{verdict.model} v{verdict.challenger}: {verdict.decision.value}"
    column[0].set_title(title, loc="left")
    return figure


def _evidence(card: Card, lines: Mapping[str, Track]) -> Any:
    """Each challenger's evidence over nights, and the bar of the verdict's."""
    figure, (axes,) = _figure(8, 3.6, margins={"left": 0.08, "right": 0.93, "bottom": 0.16})
    subject, last = card.verdict.challenger, max(past.night for past in card.history)
    needed = bar_of(card.history, subject)
    y = height(lines, needed)
    for name, track in lines.items():
        nights, values = [night for night, _ in track], [math.exp(value) for _, value in track]
        colour, width = (LINE, 2) if name == subject else (NEUTRAL, 1)
        axes.plot(nights, values, "o-", markersize=4, color=colour, linewidth=width)
    still = {name: track for name, track in lines.items() if track[-1][0] == last}
    for name, top in spread(still, y).items():
        colour = LINE if name == subject else NEUTRAL
        place = {"xycoords": "axes fraction", "va": "center", "annotation_clip": False}
        axes.annotate(f"v{name}", (1.01, 1 - top / 100), color=colour, **place)
    if needed is not None and math.isfinite(needed):
        bar = math.exp(needed)
        axes.axhline(bar, color=GOOD, linestyle="--", linewidth=1)
        place = {"xycoords": ("axes fraction", "data"), "va": "bottom"}
        axes.annotate(f"needed: {evidence(needed)}", (0.01, bar), color=GOOD, **place)
    axes.set_yscale("log")
    axes.minorticks_off()
    axes.set_ylim(math.exp(y.low), math.exp(y.high))
    axes.set_xlabel("night")
    axes.set_xticks(sorted({night for track in lines.values() for night, _ in track})[-20:])
    axes.set_title(f"{card.verdict.model}: evidence over nights", loc="left")
    return figure


def _calibration(models: Sequence[Reliability]) -> Any:
    count = len(models)
    margins = {"left": 0.15 / count, "right": 1 - 0.04 / count, "bottom": 0.12, "wspace": 0.24}
    figure, panels = _figure(4.4 * count, 4.4, count, margins=margins)
    for axes, model in zip(panels, models, strict=True):
        said, came = [b.said for b in model.bins], [b.came for b in model.bins]
        axes.plot([0, 1], [0, 1], color=NEUTRAL, linewidth=0.8, linestyle=":")
        axes.vlines(said, [b.low for b in model.bins], [b.high for b in model.bins], color=LINE)
        axes.plot(said, came, "o-", color=LINE, linewidth=1, markersize=5)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_xlabel(model.about)
        axes.set_ylabel("how often it came true")
        axes.set_title(f"{model.name}: mean gap {model.gap:.3g}", loc="left")
    return figure


def _confusion(models: Sequence[tuple[str, Scored]]) -> Any:
    figure, panels = _figure(5.2 * len(models), 4.6, len(models))
    for axes, (name, scored) in zip(panels, models, strict=True):
        classes, k = scored.classes, len(scored.classes)
        assert scored.labels is not None
        table = np.bincount(scored.y * k + scored.labels, minlength=k * k).reshape(k, k)
        shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap="Greens", vmin=0, vmax=1)
        if k <= LABELLED_CLASSES:
            axes.set_xticks(range(k), [str(label) for label in classes], rotation=90)
            axes.set_yticks(range(k), [str(label) for label in classes])
            _write_counts(axes, table, shares)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        axes.set_title(name, loc="left")
    return figure


def _write_counts(axes: Any, table: Any, shares: Any) -> None:
    for (row, column), count in np.ndenumerate(table):
        if count:
            colour = "white" if shares[row, column] > 0.6 else "black"
            axes.text(column, row, f"{count}", ha="center", va="center", color=colour, fontsize=7)


def _residuals(models: Sequence[tuple[str, Scored]]) -> Any:
    figure, panels = _figure(5.2 * len(models), 4.2, len(models))
    errors = [scored.values - scored.y for _, scored in models if scored.values is not None]
    reach = max(float(np.quantile(np.abs(error), 0.99)) for error in errors) or 1.0
    bins = np.linspace(-reach, reach, 61)
    for axes, (name, _), error in zip(panels, models, errors, strict=True):
        axes.hist(np.clip(error, -reach, reach), bins=bins, color=GOOD)
        axes.axvline(0.0, color=NEUTRAL, linewidth=0.8, linestyle=":")
        axes.set_xlabel("predicted minus true (outer 1 % clipped)")
        axes.set_ylabel("rows")
        axes.set_title(f"{name}: mean {error.mean():+.3g}", loc="left")
    return figure
