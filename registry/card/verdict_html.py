"""A verdict as HTML: the sentence first, then the scores, the rules, and the night's comparisons.

It is a piece of a page, without scripts or outside requests: for the card, and for a notebook's
cell. It reads the verdict alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.card.rules_table import rules_table
from registry.card.style import CARD
from registry.card.words import NOTHING, between, counted, evidence, number, signed, text, when

if TYPE_CHECKING:  # the verdict shows itself by this module
    from registry.verdict import CaseNote, Verdict

DECISIONS = {
    "promote": ("✓ promote", "c-good"),
    "await": ("… awaits approval", "c-wait"),
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
    until = ""
    if verdict.expires_at is not None:
        until = f"<span class='c-wait'>until {when(verdict.expires_at)} UTC</span>"
    head = (
        f"<div class='c-head'><span class='c-pill {colour}'>{text(words)}</span>"
        f"<b>{text(verdict.model)} v{text(verdict.challenger)}</b>{until}"
        f"<span class='c-dim'>run {text(verdict.run_id)}</span></div>"
    )
    if verdict.reason == said:
        return head
    first, rest = claim(verdict.reason)
    more = f"<p class='c-more'>{text(rest)}</p>" if rest else ""
    return f"{head}<p class='c-said'>{text(first)}</p>{more}"


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
    count = f"{failed} of {len(verdict.rules)} failed" if failed else "all passed"
    about = f"<span class='c-dim'>({count})</span>" if verdict.rules else ""
    note = "Bars: the difference and its interval; dashed: the bound it is held against."
    drawn = any(rule.low is not None for rule in verdict.rules)
    said = f"<p class='c-dim'>{note}</p>" if drawn else ""
    return f"<h2>Rules {about}</h2>{rules_table(verdict.rules, said=verdict.reason)}{said}"


def comparisons(verdict: Verdict) -> str:
    """Every challenger that was compared tonight, the strongest evidence first."""
    if not verdict.cases:
        return ""
    ordered = sorted(verdict.cases, key=lambda case: -case.log_evidence)
    lines = "".join(_case(case, verdict.challenger) for case in ordered)
    return (
        "<h2>Comparisons with the champion</h2><div class='c-two'><table><thead><tr>"
        "<th>challenger</th><th class='c-num'>evidence</th><th class='c-num'>needed</th>"
        "<th class='c-num'>rows</th><th class='c-num'>nights</th><th>tonight</th></tr></thead>"
        f"<tbody>{lines}</tbody></table></div>"
    )


def claim(reason: str) -> tuple[str, str]:
    """What stands out, and what follows: the first sentence, of a long one what it claims."""
    first, dot, rest = reason.partition(". ")
    said, colon, why = first.partition(": ")
    if len(first) > LONG and colon:
        return said, f"{why[:1].upper()}{why[1:]}" + (f". {rest}" if dot else "")
    return (f"{first}.", rest) if dot else (reason, "")


def _case(case: CaseNote, subject: str) -> str:
    name = f"v{text(case.challenger)}"
    outlook = ""
    if case.nights_left is not None:
        outlook = f"about {counted(case.nights_left, 'more night')}"
    state = case.state.value.replace("_", " ")
    said = "; ".join(part for part in (state, outlook, case.note) if part)
    needed = NOTHING if case.log_needed is None else evidence(case.log_needed)
    return (
        f"<tr><th scope='row'>{name}{' ←' if case.challenger == subject else ''}</th>"
        f"<td class='c-num'>{evidence(case.log_evidence)}</td><td class='c-num'>{needed}</td>"
        f"<td class='c-num'>{case.rows:,}</td><td class='c-num'>{case.nights}</td>"
        f"<td>{text(said)}</td></tr>"
    )
