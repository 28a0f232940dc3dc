"""A verdict's difference and its confidence interval as a small picture."""

from __future__ import annotations

from flows.notebook.drawing import FONT, PLAIN
from registry import Rule, Verdict

_WIDTH, _HEIGHT, _MIDDLE, _SIDE = 420.0, 46.0, 15.0, 30.0


def interval(verdict: Verdict, colour: str) -> str:
    """The difference on a line with zero and the least useful effect; empty without one."""
    if verdict.difference is None or verdict.low is None or verdict.high is None:
        return ""
    bound = next((r.bound for r in verdict.rules if r.rule is Rule.IMPROVEMENT), None)
    marks = [verdict.low, verdict.high, verdict.difference, 0.0, bound or 0.0]
    low, high = min(marks), max(marks)
    span = (high - low) or 1.0

    def x(value: float) -> float:
        return _SIDE + (value - low) / span * (_WIDTH - 2 * _SIDE)

    lines = [_line(x(verdict.low), x(verdict.high), colour), _tick(x(0.0), "no change")]
    if bound:
        lines.append(
            _tick(x(bound), f"needed {bound:+g}", dashed=True, lower=_close(x(bound), x(0.0)))
        )
    words = (
        f"{verdict.metric} {verdict.difference:+.4f}, "
        f"{verdict.confidence:.0%} interval {verdict.low:+.4f} to {verdict.high:+.4f}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{words}" '
        f'viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" width="{_WIDTH:g}" font-family="{FONT}" '
        f'font-size="10" style="max-width:100%;height:auto;display:block;margin-top:8px">'
        f"{''.join(lines)}"
        f'<circle cx="{x(verdict.difference):.1f}" cy="{_MIDDLE:g}" r="5" fill="{colour}"/></svg>'
        f'<div class="r-dim">{words}</div>'
    )


def _line(low: float, high: float, colour: str) -> str:
    caps = "".join(f"M{x:.1f} {_MIDDLE - 5:g}v10" for x in (low, high))
    return (
        f'<path d="M0 {_MIDDLE:g}H{_WIDTH:g}" stroke="{PLAIN}" stroke-opacity=".35"/>'
        f'<path d="M{low:.1f} {_MIDDLE:g}H{high:.1f}{caps}" stroke="{colour}" '
        f'stroke-width="2.5" fill="none"/>'
    )


def _tick(x: float, words: str, *, dashed: bool = False, lower: bool = False) -> str:
    dashes = ' stroke-dasharray="2 3"' if dashed else ""
    y = _MIDDLE + (29 if lower else 17)
    anchor = "end" if x > _WIDTH - 60 else "start" if x < 60 else "middle"
    return (
        f'<path d="M{x:.1f} 3V{_MIDDLE + 8:g}" stroke="{PLAIN}"{dashes}/>'
        f'<text x="{x:.1f}" y="{y:g}" text-anchor="{anchor}" fill="currentColor" '
        f'opacity=".65">{words}</text>'
    )


def _close(a: float, b: float) -> bool:
    return abs(a - b) < 90
