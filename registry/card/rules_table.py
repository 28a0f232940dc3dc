"""The rules of a verdict as one table, with the forest plot in it.

Differences share one axis for each metric (positive: better); a rule whose figure is no
difference, such as a floor, has its figure and no picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from registry.card.scale import Scale, covering
from registry.card.words import NOTHING, between, number, percent, signed

if TYPE_CHECKING:  # the verdict shows itself by this module
    from registry.verdict import RuleResult

DIFFERENCES = ("improvement", "guard", "slice")
"""Rules whose figure is a difference between two models."""
# More slices that passed than this are folded away.
SHOWN_SLICES = 12
# More lines than this are left out, the best ones first.
MOST_LINES = 300


def rules_table(rules: Sequence[RuleResult], *, said: str = "") -> str:
    """A row for each rule, what failed first; slices that passed are folded when they are many.

    `said`: what stands above, and need not be said again.
    """
    if not rules:
        return "<p class='c-dim'>No rule was looked at.</p>"
    ordered = sorted(rules, key=_rank)
    scales = {metric: _scale(metric, ordered) for metric in dict.fromkeys(map(_metric, ordered))}
    quiet = [rule for rule in ordered if rule.rule.value == "slice" and _passes(rule)]
    folded = quiet if len(quiet) > SHOWN_SLICES else []
    shown = [rule for rule in ordered if rule not in folded]
    html = _table(shown, scales, said)
    if folded:
        most = folded[:MOST_LINES]
        left = len(folded) - len(most)
        words = f"{len(folded)} more slices passed or are not judged" + (
            f"; {left} are not shown" if left else ""
        )
        table = _table(most, scales, said)
        html += f"<details class='c-fold'><summary>{words}</summary>{table}</details>"
    return html


def result_words(rule: RuleResult) -> tuple[str, str]:
    """What came of a rule, and the class of its colour."""
    if rule.rule.value == "evidence" and rule.passed:
        return "– noted", "c-dim"
    if not rule.judged or (rule.figure is None and rule.passed):
        return "– not judged", "c-dim"
    if rule.passed:
        return "✓ passed", "c-good"
    return "✗ not proven" if is_difference(rule) else "✗ failed", "c-bad"


def rule_name(rule: RuleResult) -> str:
    """`improvement in accuracy`, `floor roc_auc`, `slice region=north`."""
    kind = rule.rule.value
    if rule.slice is not None:
        return f"{kind} {rule.slice}"
    if kind == "evidence":
        return "worth knowing" if rule.passed else "can be judged"
    if kind == rule.metric:
        return kind
    return f"{kind} in {rule.metric}" if kind == "improvement" else f"{kind} {rule.metric}"


def figures_of(rule: RuleResult) -> tuple[str, str, str]:
    """Figure, interval and bound as they are read: with a sign, as a share, or plain."""
    if is_difference(rule):
        write, interval = signed, between(rule.low, rule.high)
    elif rule.rule.value == "flips":
        write, interval = _share, between(rule.low, rule.high, write=_share)
    else:
        write, interval = number, between(rule.low, rule.high, write=number)
    figure = "" if rule.figure is None else write(rule.figure)
    return figure, interval, "" if rule.bound is None else write(rule.bound)


def is_difference(rule: RuleResult) -> bool:
    """Whether the figure is a difference between two models; positive: better."""
    return rule.rule.value in DIFFERENCES


def _passes(rule: RuleResult) -> bool:
    return rule.passed or not rule.judged


def _rank(rule: RuleResult) -> tuple[bool, bool, float]:
    """Failed, then the whole, then slices, the worst first."""
    is_slice = rule.rule.value == "slice"
    return _passes(rule), is_slice, (rule.figure or 0.0) if is_slice else 0.0


def _metric(rule: RuleResult) -> str | None:
    """The axis that the rule's figure is drawn on."""
    return rule.metric if is_difference(rule) and rule.figure is not None else None


def _share(value: float | None) -> str:
    return NOTHING if value is None or not math.isfinite(value) else percent(value)


def _scale(metric: str | None, rules: Sequence[RuleResult]) -> Scale | None:
    if metric is None:
        return None
    mine = [rule for rule in rules if _metric(rule) == metric]
    values = [v for rule in mine for v in (rule.low, rule.figure, rule.high, rule.bound)]
    return covering([0.0, *values])


def _table(rules: Sequence[RuleResult], scales: dict[str | None, Scale | None], said: str) -> str:
    lines, axis = [], None
    for rule in rules:
        metric = _metric(rule)
        if metric is not None and metric != axis:
            lines.append(_axis(metric, scales[metric]))
            axis = metric
        lines.append(_line(rule, scales[metric], said))
    return (
        "<table class='c-rules'><thead><tr><th>rule</th><th class='c-plot'></th>"
        "<th class='c-num'>figure</th><th class='c-num'>bound</th><th class='c-num'>rows</th>"
        f"<th>result</th></tr></thead><tbody>{''.join(lines)}</tbody></table>"
    )


def _axis(metric: str, scale: Scale | None) -> str:
    if scale is None:
        return ""
    ticks = "".join(
        f"<span style='left:{scale.percent(tick):.2f}%'>{signed(tick)}</span>"
        for tick in scale.ticks(3)
    )
    return (
        f"<tr class='c-axis-row c-dim'><td>difference in {escape(metric)}, right is better</td>"
        f"<td class='c-plot'><div class='c-axis'>{ticks}</div></td><td colspan='4'></td></tr>"
    )


def _line(rule: RuleResult, scale: Scale | None, said: str) -> str:
    words, colour = result_words(rule)
    figure, interval, bound = figures_of(rule)
    quiet = rule.rule.value == "slice" and rule.passed and rule.judged
    told = quiet or not rule.message or rule.message in said
    why = "" if told else f"<span class='c-why'>{escape(rule.message)}</span>"
    span = f"<span class='c-why'>{interval}</span>" if interval else ""
    return (
        f"<tr><th scope='row'>{escape(rule_name(rule))}{why}</th>"
        f"<td class='c-plot'>{_picture(rule, scale, colour)}</td>"
        f"{cell('figure', figure, span)}{cell('bound', bound)}{cell('rows', f'{rule.rows:,}')}"
        f"<td class='c-mark {colour}'>{words}</td></tr>"
    )


def cell(label: str, words: str, more: str = "") -> str:
    """A figure; where the table is a list, its label stands before it."""
    if not words:
        return "<td class='c-num'></td>"
    return f"<td class='c-num' data-label='{label}'>{words}{more}</td>"


def _picture(rule: RuleResult, scale: Scale | None, colour: str) -> str:
    if scale is None or rule.figure is None or not math.isfinite(rule.figure):
        return ""
    parts = [f"<i class='c-zero' style='left:{scale.percent(0.0):.2f}%'></i>"]
    if rule.bound and math.isfinite(rule.bound):
        parts.append(f"<i class='c-bound' style='left:{scale.percent(rule.bound):.2f}%'></i>")
    interval = between(rule.low, rule.high)
    if interval:
        assert rule.low is not None
        assert rule.high is not None
        left, right = scale.percent(rule.low), scale.percent(rule.high)
        parts.append(f"<i class='c-span' style='left:{left:.2f}%;width:{right - left:.2f}%'></i>")
    parts.append(f"<i class='c-point' style='left:{scale.percent(rule.figure):.2f}%'></i>")
    said = f"{signed(rule.figure)}{', interval ' + interval if interval else ''}"
    return f"<div class='c-row {colour}' role='img' aria-label='{said}'>{''.join(parts)}</div>"
