"""Evidence over nights: each challenger's, and the bar that it has to reach."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from registry.card.chart import before, below, chart, dots, grid, line, title_below
from registry.card.scale import Scale
from registry.card.words import evidence

if TYPE_CHECKING:  # the card shows itself by this module
    from registry.nights.docket_store import PastNight

# Two names closer than this part of the height would cover each other.
APART = 7.5
MOST_TICKS = 6
# More lines that ended earlier are left without names, which would cover each other.
MOST_ENDED = 12
# Evidence below 1 / 1000 is drawn there: how hopeless it is need not take the room.
LEAST = -math.log(1000.0)
# As much above the bar, what is far beyond it is drawn; else it would flatten the rest.
ABOVE = math.log(100.0)

Track = list[tuple[int, float]]


def evidence_chart(history: Sequence[PastNight], subject: str) -> str:
    """One line for each challenger, on a logarithmic scale; empty when there is nothing to show."""
    lines = tracks(history)
    if not lines:
        return ""
    needed = bar_of(history, subject)
    y = height(lines, needed)
    nights = [past.night for past in history]
    x = Scale(low=min(nights) - 0.5, high=max(nights) + 0.5)
    ticks = powers_of_ten(y)
    inside, words = grid(ticks, y), "".join(before(tick, evidence(tick), y) for tick in ticks)
    for name in sorted(lines, key=lambda name: name == subject):
        colour, width = ("var(--line)", 2.5) if name == subject else ("var(--other)", 1.5)
        inside += line(lines[name], x, y, colour, width=width)
        inside += dots(lines[name], x, y, colour, width=width + 4)
    if needed is not None and math.isfinite(needed):
        inside += line([(x.low, needed), (x.high, needed)], x, y, "var(--good)", dashes="6 5")
        words += (
            f"<span class='c-note c-good' style='top:{100 - y.percent(needed):.2f}%'>"
            f"needed: {evidence(needed)}</span>"
        )
    words += _names(lines, max(nights), y, subject) + _ended(lines, max(nights), x, y)
    words += "".join(below(night, f"{night}", x) for night in _some(nights))
    words += title_below("night")
    return chart(inside, words, f"evidence of {len(lines)} challengers over {len(nights)} nights")


def tracks(history: Sequence[PastNight]) -> dict[str, Track]:
    """Challenger to its (night, log evidence), for those that have been judged, as it is drawn."""
    bars = [case.log_needed for past in history for case in past.cases if case.log_needed]
    most = max([bar for bar in bars if math.isfinite(bar)], default=0.0)
    most = max(most, math.log(100.0)) + ABOVE
    found: dict[str, Track] = {}
    for past in history:
        for case in past.cases:
            if case.nights and math.isfinite(case.log_evidence):
                value = min(max(case.log_evidence, LEAST), most)
                found.setdefault(case.challenger, []).append((past.night, value))
    return found


def bar_of(history: Sequence[PastNight], subject: str) -> float | None:
    """The log evidence that the subject needs; none: there is no budget left, or no subject."""
    cases = [case for past in history for case in past.cases if case.challenger == subject]
    return cases[-1].log_needed if cases else None


def height(lines: Mapping[str, Track], needed: float | None) -> Scale:
    """From the least evidence, at most 1, to the bar or beyond."""
    values = [value for track in lines.values() for _, value in track] + [0.0]
    top = max(*values, needed if needed and math.isfinite(needed) else 0.0, math.log(10.0))
    return Scale(low=min(values) - 0.06 * (top - min(values)), high=top * 1.08)


def spread(lines: Mapping[str, Track], y: Scale) -> dict[str, float]:
    """Where each name stands, in percent from the top: at its line's end, none above another."""
    ends = sorted((100 - y.percent(track[-1][1]), name) for name, track in lines.items())
    places, lowest = {}, -APART
    for top, name in ends:
        places[name] = lowest = max(top, lowest + APART)
    return places


def powers_of_ten(y: Scale) -> list[float]:
    """Logarithms of powers of ten inside the scale, a few of them."""
    ten = math.log(10.0)
    powers = range(math.ceil(y.low / ten), math.floor(y.high / ten) + 1)
    step = -(-len(powers) // MOST_TICKS) if powers else 1
    return [power * ten for power in powers if power % step == 0]


def _names(lines: dict[str, Track], last: int, y: Scale, subject: str) -> str:
    """The name of each line that reaches the last night."""
    still = {name: track for name, track in lines.items() if track[-1][0] == last}
    words = ""
    for name, top in spread(still, y).items():
        colour = "var(--line)" if name == subject else "var(--other)"
        style = f"top:{top:.2f}%;color:{colour}"
        words += f"<span class='c-end' style='{style}'>v{_short(name)}</span>"
    return words


def _ended(lines: dict[str, Track], last: int, x: Scale, y: Scale) -> str:
    """The name of each line that ends earlier, above its end."""
    ends = {name: track[-1] for name, track in lines.items() if track[-1][0] != last}
    if len(ends) > MOST_ENDED:
        return ""
    return "".join(
        f"<span class='c-ended' style='left:{x.percent(night):.2f}%;"
        f"top:{100 - y.percent(value):.2f}%'>v{_short(name)}</span>"
        for name, (night, value) in ends.items()
    )


def _short(name: str) -> str:
    return "".join(each for each in name if each.isalnum() or each in ".-_")[:8]


def _some(nights: Sequence[int]) -> list[int]:
    """At most eight of them, evenly."""
    step = -(-len(nights) // 8)
    return list(nights[::-1][::step])[::-1]
