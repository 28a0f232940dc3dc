"""A verdict in pictures, for MLflow and notebooks: drawn without pyplot's global state."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from registry.methods.comparison import Comparison, scored_pair
from registry.methods.metrics import find_metric
from registry.methods.predictions import Scored, Task
from registry.verdict import RuleResult, Verdict

GOOD, BAD, NEUTRAL = "#1a7f5a", "#b3362b", "#59636e"
# More classes than this are not labelled one by one.
LABELLED_CLASSES = 30


def figures(verdict: Verdict, comparison: Comparison | None = None) -> dict[str, Any]:
    """Name to matplotlib Figure: `differences` where there is a champion, and how the models err.

    `comparison` must be the verdict's; without it, only what the verdict itself holds is drawn.
    """
    drawn = {}
    measured = [rule for rule in verdict.rules if rule.low is not None]
    if measured:
        drawn["differences"] = _forest(verdict, measured)
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


def _figure(width: float, height: float, panels: int = 1) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, panels, squeeze=False)[0]


def _forest(verdict: Verdict, measured: Sequence[RuleResult]) -> Any:
    """One line for each difference: the point, its interval, and the bound it is held against."""
    figure, (axes,) = _figure(8, 1.4 + 0.35 * len(measured))
    for row, rule in enumerate(measured):
        colour = GOOD if rule.passed else BAD
        axes.plot([rule.low, rule.high], [row, row], color=colour, linewidth=2)
        axes.plot([rule.figure], [row], "o", color=colour)
        axes.plot([rule.bound], [row], "|", color=NEUTRAL, markersize=14)
    axes.axvline(0.0, color=NEUTRAL, linewidth=0.8, linestyle=":")
    names = [f"{rule.slice or 'all rows'} ({rule.rows:,})" for rule in measured]
    axes.set_yticks(range(len(measured)), names)
    axes.invert_yaxis()
    axes.set_xlabel(
        f"improvement in {verdict.metric}, {verdict.confidence:.0%} interval; | is the bound"
    )
    axes.set_title(f"{verdict.model} v{verdict.challenger}: {verdict.decision.value}", loc="left")
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
