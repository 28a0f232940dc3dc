"""Every challenger that was compared on a night, in a table, and what became of it in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from registry.card.rules_table import cell
from registry.card.words import NOTHING, counted, evidence, text

if TYPE_CHECKING:  # the verdict shows itself by this module
    from registry.verdict import CaseNote


def comparisons_table(cases: Sequence[CaseNote], subject: str | None = None) -> str:
    """A row for each, the strongest evidence first; `subject`: whom the verdict is about."""
    ordered = sorted(cases, key=lambda case: -case.log_evidence)
    lines = "".join(_line(case, case.challenger == subject) for case in ordered)
    return (
        "<table class='c-rules c-cases'><thead><tr><th>challenger</th>"
        "<th class='c-num'>evidence</th><th class='c-num'>needed</th><th class='c-num'>rows</th>"
        f"<th class='c-num'>nights</th></tr></thead><tbody>{lines}</tbody></table>"
    )


def case_words(case: CaseNote) -> str:
    """ "kept; about 4 more nights at this pace", "given up; proven worse on region=north ..."."""
    outlook = ""
    if case.nights_left is not None:
        outlook = f"about {counted(case.nights_left, 'more night')} at this pace"
        if case.nights_given is not None and case.nights_left > case.nights_given:
            outlook += f", and it is given {case.nights_given:,}"
    harmed = f"proven {case.harmed}" if case.harmed else ""
    said = (case.state.value.replace("_", " "), harmed, outlook, case.note)
    return "; ".join(part for part in said if part)


def needed_words(case: CaseNote) -> str:
    """The evidence that would prove it."""
    return "no budget" if case.log_needed is None else evidence(case.log_needed)


def _line(case: CaseNote, is_subject: bool) -> str:
    name = f"v{text(case.challenger)}{' ←' if is_subject else ''}"
    nights = f"{case.nights}" if case.nights else NOTHING
    return (
        f"<tr><th scope='row'>{name}<span class='c-why'>{text(case_words(case))}</span></th>"
        f"{cell('evidence', evidence(case.log_evidence))}{cell('needed', needed_words(case))}"
        f"{cell('rows', f'{case.rows:,}')}{cell('nights', nights)}</tr>"
    )
