"""A chart that stretches with the page while its words keep their size.

Lines are SVG paths in percent of the area, whose strokes do not scale; a dot is a line of no
length with round ends. Words are placed over it in percent.
"""

from collections.abc import Sequence
from html import escape

from registry.card.scale import Scale

Points = Sequence[tuple[float, float]]


def chart(inside: str, words: str, label: str) -> str:
    """The area: `inside` are SVG paths, `words` the texts around them."""
    return (
        f"<div class='c-chart' role='img' aria-label='{escape(label, quote=True)}'>"
        f"<svg viewBox='0 0 100 100' preserveAspectRatio='none' aria-hidden='true'>{inside}</svg>"
        f"{words}</div>"
    )


def line(
    points: Points, x: Scale, y: Scale, colour: str, *, width: float = 2, dashes: str = ""
) -> str:
    """A line through the points."""
    if not points:
        return ""
    path = "L".join(f"{x.percent(a):.2f} {100 - y.percent(b):.2f}" for a, b in points)
    dashed = f" stroke-dasharray='{dashes}'" if dashes else ""
    return f"<path d='M{path}' stroke='{colour}' stroke-width='{width:g}'{dashed}/>"


def dots(points: Points, x: Scale, y: Scale, colour: str, *, width: float = 6) -> str:
    """A dot at each point."""
    path = "".join(f"M{x.percent(a):.2f} {100 - y.percent(b):.2f}h0" for a, b in points)
    return f"<path d='{path}' stroke='{colour}' stroke-width='{width:g}'/>" if path else ""


def grid(ticks: Sequence[float], y: Scale) -> str:
    """A thin level line at each tick."""
    path = "".join(f"M0 {100 - y.percent(tick):.2f}H100" for tick in ticks)
    return f"<path d='{path}' stroke='var(--rule)' stroke-width='1'/>" if path else ""


def below(value: float, words: str, x: Scale) -> str:
    """A word on the lower edge."""
    return f"<span class='c-x' style='left:{x.percent(value):.2f}%'>{escape(words)}</span>"


def before(value: float, words: str, y: Scale) -> str:
    """A word on the left edge."""
    return f"<span class='c-y' style='top:{100 - y.percent(value):.2f}%'>{escape(words)}</span>"


def title_below(words: str) -> str:
    """What the lower edge shows."""
    return f"<span class='c-x' style='left:50%;margin-top:15px'>{escape(words)}</span>"
