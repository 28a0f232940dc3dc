"""The verdict by evidence over nights, in one sentence for whoever owns the product. Pure."""

import math
from collections.abc import Sequence
from dataclasses import replace

from registry.card.words import counted
from registry.card.words import evidence as figure
from registry.draft import Draft, claimed, passed_claim
from registry.gate import Examined
from registry.methods.days import ENOUGH
from registry.verdict import CaseNote, CaseState, Rule, RuleResult, Verdict

# Evidence that days take away less than this of (natural logarithm) is not worth a word.
NOTABLE = 0.7


def accumulated(
    draft: Draft, note: CaseNote, every: tuple[CaseNote, ...], found: Examined | str, tonight: str
) -> Verdict:
    """The verdict on `note`'s challenger.

    `every`: all comparisons of the night; `found`: its figures, or why it was not judged;
    `tonight`: the night's new challenger.
    """
    others = others_words([one for one in every if one.challenger != note.challenger], tonight)
    if isinstance(found, str):
        rule = RuleResult(
            rule=Rule.EVIDENCE, metric=draft.metric, passed=False, rows=note.fresh, message=found
        )
        reason = f"Version {note.challenger} is {_unjudged(note, found)}."
        held = draft.undecidable(found)
        return replace(held, reason=f"{reason}{others}", rules=(rule,), cases=every)
    assert found.whole is not None
    assert found.baseline is not None
    proof = RuleResult(
        rule=Rule.IMPROVEMENT,
        metric=draft.metric,
        passed=note.state is CaseState.PROVEN,
        figure=found.whole.difference,
        low=found.whole.low,
        high=found.whole.high,
        bound=draft.null,
        rows=note.fresh,
        message=evidence_words(note),
    )
    rules = (proof, *found.rules)
    failed = [rule.message for rule in rules[1:] if not rule.passed]
    claim = claim_words(note, draft.champion or "", failed, draft.null)
    scores = (
        f"{draft.metric} {found.score:.4g} against {found.baseline:.4g} on tonight's "
        f"{note.fresh:,} rows"
    )
    reason = f"{claim}; {scores}.{others}"
    verdict = draft.reasoned(reason, found.score, found.baseline, found.whole, rules)
    return replace(verdict, cases=every)


def _unjudged(note: CaseNote, why: str) -> str:
    """What becomes of a challenger that tonight's rows could not judge."""
    if note.state is CaseState.GIVEN_UP:
        return f"given up: {why}"
    if note.state is CaseState.EXPIRED:
        return f"given up: not proven in its nights, and not judged tonight: {why}"
    return f"not judged tonight: {why}; it stays a challenger"


def claim_words(note: CaseNote, champion: str, failed: Sequence[str], null: float = 0.0) -> str:
    """What is said of a comparison: where it stands, and what is to be expected.

    `failed`: the rules that hold it, in words; `null`: negative for non-inferiority.
    """
    mine, pair = f"Version {note.challenger}", f"champion version {champion}"
    evidence, claim = evidence_words(note), claimed(pair, null)
    if note.state is CaseState.PROVEN:
        proven = f"{mine} is proven {passed_claim(pair, null)}"
        if not failed:
            return f"{proven}: {evidence}"
        more = f"; and {counted(len(failed) - 1, 'more rule')}" if len(failed) > 1 else ""
        return f"{proven} but is held: {failed[0]}{more}; over all rows {evidence}"
    if note.state is CaseState.GIVEN_UP and note.harmed:
        return f"{mine} is given up: it is proven {note.harmed} ({evidence})"
    if note.state is CaseState.GIVEN_UP and null < 0:
        return f"{mine} is given up: it can hardly be as good as {pair} ({evidence})"
    if note.state is CaseState.GIVEN_UP:
        by = f"by {note.useful:.3g} (gate.useful_effect)" if note.useful else "usefully"
        return f"{mine} is given up: it can hardly be better {by} than {pair} ({evidence})"
    if note.state is CaseState.EXPIRED:
        return f"{mine} is given up: not proven {claim} in its nights ({evidence})"
    if note.nights_left is None:
        return f"{mine} is not {claim} so far: {evidence}; it stays a challenger"
    nights = "night" if note.nights_left == 1 else "nights"
    stays = "it stays a challenger"
    if note.nights_given is not None and note.nights_left > note.nights_given:
        stays = f"it is given {note.nights_given:,} (gate.expire_after), so more rows are needed"
    return (
        f"{mine} is not proven {claim} yet: {evidence}; "
        f"at this pace about {note.nights_left:,} more {nights}; {stays}"
    )


def evidence_words(note: CaseNote) -> str:
    """ "40 % of the way, evidence 41 of 9,605 needed, from 5,000 rows of 1 night"."""
    nights = "1 night" if note.nights == 1 else f"{note.nights} nights"
    needed = (
        "nothing is left of the error budget"
        if note.log_needed is None
        else f"of {figure(note.log_needed)} needed"
    )
    words = f"evidence {figure(note.log_evidence)} {needed}, from {note.rows:,} rows of {nights}"
    anew = f" since {note.anew}" if note.anew else ""
    return f"{way_words(note)}{words}{anew}{days_words(note)}"


def way_words(note: CaseNote) -> str:
    """How far it has come on evidence's own scale, where nights add; empty: not at all, or there.

    Evidence of 98 of 9,605 is half of the way: nights multiply, so logarithms add up.
    """
    if note.log_needed is None or not 0 < note.log_evidence < note.log_needed:
        return ""
    return f"{100 * note.log_evidence / note.log_needed:.0f} % of the way, "


def days_words(note: CaseNote) -> str:
    """Why the evidence is less than the rows alone say; empty: it is not."""
    by_rows, differ = note.log_by_rows, note.days_differ
    if by_rows is None or differ is None or note.log_evidence >= by_rows - NOTABLE:
        return ""
    alone = f" (by rows alone {figure(by_rows)}, but "
    if note.days_known < ENOUGH:
        known = math.floor(note.days_known)
        return (
            f"{alone}how much days differ is known from {known} of {ENOUGH:.0f} days; "
            "until then they are taken to differ)"
        )
    return f"{alone}days differ {differ:.2g} times as much as their rows say)"


def others_words(others: Sequence[CaseNote], tonight: str) -> str:
    """What became of the comparisons that the verdict is not about."""
    kept = [one for one in others if one.state in (CaseState.KEPT, CaseState.PROVEN)]
    gone = [one for one in others if one not in kept]
    said = ""
    if kept:
        names = ", ".join(
            f"version {one.challenger}{' of tonight' if one.challenger == tonight else ''} "
            f"({figure(one.log_evidence)})"
            for one in sorted(kept, key=lambda one: -one.log_evidence)
        )
        said += f" Also kept, with their evidence: {names}."
    words = {
        CaseState.GIVEN_UP: "given up",
        CaseState.EXPIRED: "expired",
        CaseState.CROWDED_OUT: "crowded out",
        CaseState.REJECTED: "rejected, or rolled back from",
    }
    if gone:
        whys = [f"{words[one.state]}, {_why(one)}".removesuffix(", ") for one in gone]
        names = ", ".join(
            f"version {one.challenger} ({why})" for one, why in zip(gone, whys, strict=True)
        )
        said += f" No longer kept: {names}."
    return said


def _why(note: CaseNote) -> str:
    """What a challenger was given up for besides its evidence."""
    return note.harmed or (note.note if note.state is CaseState.GIVEN_UP else "")
