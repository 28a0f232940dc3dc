"""A verdict as HTML: the sentence first, then the scores, the rules, and the night's comparisons.

It is a piece of a page, without scripts or outside requests: for the card, and for a notebook's
cell. It reads the verdict alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.card.comparisons_table import comparisons_table
from registry.card.rules_table import rules_table
from registry.card.style import CARD
from registry.card.words import between, moment, number, signed, text

if TYPE_CHECKING:  # the verdict shows itself by this module
    from registry.verdict import Verdict

DECISIONS = {
    "promote": ("✓ promote", "c-good"),
    "await": ("… awaits approval", "c-ask"),
    "hold": ("■ hold", "c-wait"),
}
"""What a decision is called, and the class of its colour."""
# A longer sentence is cut where its reasons begin.
LONG = 120


def verdict_html(verdict: Verdict, *, said: str | None = None) -> str:
    """The verdict as a piece of HTML; `said`: a sentence that stands above it already."""
    return card_box(
        headline(verdict, said=said) + scores(verdict) + rules(verdict) + comparisons(verdict)
    )


def card_box(inner: str) -> str:
    """What is in it, with the card's style."""
    return f"<style>{CARD}</style><div class='r-card'>{inner}</div>"


def headline(verdict: Verdict, *, said: str | None = None) -> str:
    """The decision, whom it is about, and why; the first sentence stands out."""
    words, colour = DECISIONS.get(verdict.decision.value, (verdict.decision.value, "c-wait"))
    head = (
        f"<div class='c-head'><span class='c-pill {colour}'>{text(words)}</span>"
        f"<b>{text(verdict.model)} v{text(verdict.challenger)}</b>"
        f"<span class='c-dim'>run {text(verdict.run_id)}</span></div>"
    )
    if verdict.reason == said:
        return head + asked(verdict)
    first, rest = claim(verdict.proof)
    more = f"<p class='c-more'>{text(rest)}</p>" if rest else ""
    return f"{head}<p class='c-said'>{text(first)}</p>{more}{asked(verdict)}"


def asked(verdict: Verdict) -> str:
    """Until when it waits for a person, and what to type; empty: it waits for nobody."""
    if verdict.next_step is None:
        return ""
    until = "" if verdict.expires_at is None else f" until {moment(verdict.expires_at)}"
    reject = verdict.next_step.replace("approve", "reject", 1)
    return (
        f"<p class='c-asked'><b>Version {text(verdict.challenger)} waits for approval{until}:</b> "
        f"<code>{text(verdict.next_step)}</code> or <code>{text(reject)}</code></p>"
    )


def scores(verdict: Verdict) -> str:
    """Both scores, and their difference, as far as they exist."""
    if verdict.challenger_score is None:
        return ""
    other = "baseline" if verdict.champion is None else f"champion v{verdict.champion}"
    mine = f"{verdict.metric}, challenger v{verdict.challenger}"
    shown = [(mine, number(verdict.challenger_score))]
    if verdict.baseline is not None:
        shown.append((other, number(verdict.baseline)))
    if verdict.difference is not None:
        interval = between(verdict.low, verdict.high)
        words = "difference" + (
            f"; {verdict.confidence:.0%} interval {interval}" if interval else ""
        )
        shown.append((words, signed(verdict.difference)))
    shown.append(("held-out rows", f"{verdict.rows:,}"))
    cells = "".join(
        f"<div><b>{value}</b><span class='c-dim'>{text(label)}</span></div>"
        for label, value in shown
    )
    return f"<div class='c-scores'>{cells}</div>"


def rules(verdict: Verdict) -> str:
    """Every rule, with the forest plot."""
    failed = sum(not rule.passed for rule in verdict.rules)
    unjudged = sum(not rule.judged for rule in verdict.rules)
    count = f"{failed} of {len(verdict.rules)} not passed" if failed else "all passed"
    count += f", {unjudged} not judged" if unjudged else ""
    about = f"<span class='c-dim'>({count})</span>" if verdict.rules else ""
    note = (
        "Bars: the difference and its interval; dashed: the bound it is held against. Intervals "
        "explain; the proof asks for more."
    )
    drawn = any(rule.low is not None for rule in verdict.rules)
    said = f"<p class='c-dim'>{note}</p>" if drawn else ""
    return f"<h2>Rules {about}</h2>{rules_table(verdict.rules, said=verdict.reason)}{said}"


def comparisons(verdict: Verdict) -> str:
    """Every challenger that was compared tonight, the strongest evidence first."""
    if not verdict.cases:
        return ""
    table = comparisons_table(verdict.cases, verdict.challenger)
    return f"<h2>Comparisons with the champion</h2>{table}"


def claim(reason: str) -> tuple[str, str]:
    """What stands out, and what follows: the first sentence, of a long one what it claims."""
    first, dot, rest = reason.partition(". ")
    said, colon, why = first.partition(": ")
    if len(first) > LONG and colon:
        return said, f"{why[:1].upper()}{why[1:]}" + (f". {rest}" if dot else "")
    return (f"{first}.", rest) if dot else (reason, "")
