"""`ratchet verdict` and `evidence`: what the gate decided, and what it has not decided yet."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

import registry
from flows.bootstrap import Ratchet
from flows.cli.installation import connected_registry, opened, read_registry
from flows.cli.models import refuse_unknown, say_waiting
from flows.cli.wording import console, print_json, table
from flows.core.errors import NotFound, Pruned, Refused
from flows.core.records import Run, RunStatus
from flows.core.store import RunDetail
from flows.documents import card_json, challenger_json, dataset_json, evidence_json, verdict_of
from flows.wording import ago
from registry import Decision, Verdict
from registry.card.budget_meter import budget_words
from registry.card.comparisons_table import case_words, needed_words
from registry.card.rules_table import figures_of, result_words, rule_name
from registry.card.words import evidence as evidence_words
from registry.card.words import length, moment, when

if TYPE_CHECKING:
    from registry import Card, ModelEvidence, NightEntry, Reader

SEARCHED = 200
"""So many of the newest runs are looked at for one that has a verdict."""
DECISIONS = {
    Decision.PROMOTE: ("promote", "bold green"),
    Decision.AWAIT: ("awaits approval", "bold magenta"),
    Decision.HOLD: ("hold", "bold yellow"),
}
"""What a decision is called, and its style."""
STYLES = {"c-good": "green", "c-bad": "red", "c-wait": "yellow", "c-dim": "dim"}


def verdict(
    context: typer.Context,
    reference: Annotated[
        str,
        typer.Argument(metavar="[RUN]", help="Id, its end, or `last`: the newest with a verdict."),
    ] = "last",
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the card there, as one HTML page.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Show what the gate decided in a run: the sentence, every rule, the evidence, the data."""
    if html is not None and not html.absolute().parent.is_dir():
        raise Refused(f"there is no folder {html.absolute().parent}", hint="make it, or name one")
    with opened(context) as ratchet, read_registry(ratchet) as reader:
        run, detail, decided = _decided_in(ratchet, reader, reference)
        if html is not None:
            html.write_text(_page(ratchet, decided), encoding="utf-8")
        card = reader.card_of(decided)
        if as_json:
            print_json(card_json(run.id, card, detail))
            return
        _say(card, run, detail, ratchet, console())
        if html is not None:
            console().print(Text(f"wrote {html}", "dim"), soft_wrap=True)


def _decided_in(
    ratchet: Ratchet, reader: Reader, reference: str
) -> tuple[Run, RunDetail | None, Verdict]:
    """The run, what is left of it, and its verdict. Raises NotFound, Refused."""
    if reference == "last":
        return _newest(ratchet)
    run = ratchet.service.find(reference)
    try:
        detail = ratchet.service.show(run.id)
    except Pruned:
        detail = None
    decided = None if detail is None else verdict_of(detail)
    if decided is None:
        # A run of which only its row is left, or whose gate is no task of the flow.
        nights = reader.nights_of(run.id)
        decided = nights[-1].verdict if nights else None
    if decided is not None:
        return run, detail, decided
    if not run.status.ended:
        raise Refused(
            f"run {run.id} is still {run.status}, without a verdict", hint=f"ratchet show {run.id}"
        )
    why = f": {run.reason.rstrip('.')}" if run.reason else ""
    was = "" if run.status in (RunStatus.SUCCEEDED, RunStatus.FAILED) else "was "
    raise NotFound(
        f"run {run.id} has no verdict: it {was}{run.status}{why}", hint=f"ratchet show {run.id}"
    )


def _newest(ratchet: Ratchet) -> tuple[Run, RunDetail | None, Verdict]:
    for run in ratchet.service.runs(limit=SEARCHED):
        try:
            detail = ratchet.service.show(run.id)
        except Pruned:
            continue
        if (decided := verdict_of(detail)) is not None:
            return run, detail, decided
    raise NotFound("no run has a verdict yet", hint="ratchet run retrain")


def _page(ratchet: Ratchet, verdict: Verdict) -> str:
    """The card as it was written on its night; a new one where there is none."""
    with connected_registry(ratchet) as connected:
        kept = connected.kept_card(verdict)
        return registry.card_html(connected.card(verdict)) if kept is None else kept


# ---------------------------------------------------------------------- in the terminal


def _say(card: Card, run: Run, detail: RunDetail | None, ratchet: Ratchet, say: Console) -> None:
    decided = card.verdict
    night = "" if card.night is None else f"  night {card.night}"
    say.print(
        Text.assemble(
            (f"{decided.model} v{decided.challenger}", "bold"),
            "  ",
            DECISIONS[decided.decision],
            (f"  run {run.id}, {ago(card.at or run.ended_at, ratchet.clock.now())}{night}", "dim"),
        )
    )
    say.print(Text(decided.reason), soft_wrap=True)
    _say_rules(decided, say)
    _say_cases(decided, say)
    say.print()
    for line in (*_budget(card), *_data(card, detail)):
        say.print(Text(line), soft_wrap=True)
    say.print(Text(f"next: {_next(decided, run)}", "dim"), soft_wrap=True)


def _say_rules(decided: Verdict, say: Console) -> None:
    if not decided.rules:
        return
    lines = table(
        "rule", "result", "figure", "interval", "bound", "rows",
        right=("figure", "bound", "rows"), give=("rule",),
    )  # fmt: skip
    whys = []
    for rule in decided.rules:
        words, colour = result_words(rule)
        result = Text(_plain(words, say), STYLES[colour])
        lines.add_row(Text(rule_name(rule)), result, *figures_of(rule), f"{rule.rows:,}")
        if not (rule.passed and rule.judged) and rule.message not in decided.reason:
            whys.append(Text(f"{rule_name(rule)}: {rule.message}", STYLES[colour]))
    say.print()
    say.print(lines)
    for why in whys:
        say.print(why, soft_wrap=True)


def _say_cases(decided: Verdict, say: Console) -> None:
    if not decided.cases:
        return
    lines = table(
        "challenger", "evidence", "needed", "rows", "nights", "tonight",
        right=("evidence", "needed", "rows", "nights"), give=("tonight",),
    )  # fmt: skip
    for case in sorted(decided.cases, key=lambda case: -case.log_evidence):
        figures = (evidence_words(case.log_evidence), needed_words(case), f"{case.rows:,}")
        name = f"v{case.challenger}{' *' if case.challenger == decided.challenger else ''}"
        lines.add_row(Text(name), *figures, str(case.nights), Text(case_words(case)))
    say.print()
    say.print(lines)


def _budget(card: Card) -> list[str]:
    year, level = card.year, card.verdict.level
    if year is None:
        return []
    share = ""
    if level and card.verdict.champion is not None:
        share = f"; this decision's share: {level:.2g}"
    elif level:
        share = f"; a first model takes none of it, its own level: {level:.2g}"
    return [f"error budget of {year.number}: {budget_words(year)}{share}"]


def _data(card: Card, detail: RunDetail | None) -> list[str]:
    """Which data judged, who was trained on what, and who was champion, as far as is known."""
    lines, decided = [], card.verdict
    dataset = None if detail is None else dataset_json(detail)
    trained = None if detail is None else challenger_json(detail)
    if dataset is not None:
        lines.append(
            f"data: {dataset['view']} version {dataset['version']}, {dataset['rows']:,} rows "
            f"(dataset {dataset['digest'][:12]}); {decided.rows:,} of them judged"
        )
    if trained is not None:
        lines.append(
            f"v{trained['version']} was trained on {trained['train_rows']:,} rows until "
            f"{trained['train_until'][:16].replace('T', ' ')}"
            f" (features {trained['definition'][:12]})"
        )
    if decided.gap_s:
        gap = length(timedelta(seconds=decided.gap_s))
        lines.append(f"gap between the rows that trained and those that judge: {gap}")
    if card.champion is not None:
        reign = card.champion
        lines.append(
            f"champion then: v{reign.version} since {moment(reign.since)}, "
            f"epoch {reign.epoch} ({reign.action} by {reign.actor})"
        )
    return lines


def _next(decided: Verdict, run: Run) -> str:
    if decided.next_step is not None:
        return decided.next_step
    if decided.promote:
        return f"ratchet champion {decided.model}"
    return f"ratchet evidence {decided.model}" if decided.cases else f"ratchet show {run.id}"


def _plain(words: str, say: Console) -> str:
    """A result in ASCII, where the terminal knows no more."""
    return words.partition(" ")[2] if say.options.ascii_only else words


def evidence(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of a registered model.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the challengers that are not proven yet, and what is left of the error budget."""
    with opened(context) as ratchet, read_registry(ratchet) as reader:
        refuse_unknown(reader, model)
        now = ratchet.clock.now()
        compared = reader.evidence(model, now=now)
        if as_json:
            print_json(evidence_json(compared))
        elif compared.night is None:
            console().print(f"the gate has not judged a challenger of {model} yet")
            console().print(Text("next: ratchet run retrain", "dim"))
        else:
            _say_evidence(compared, compared.night, now)
            say_waiting(reader, model, now)
            console().print(Text(f"next: ratchet ledger {model} --verify", "dim"))


def _say_evidence(compared: ModelEvidence, night: NightEntry, now: datetime) -> None:
    say, docket = console(), night.docket
    say.print(
        Text.assemble(
            (night.model, "bold"),
            f" night {night.night}, {ago(night.at, now)}",
            (f"  champion of epoch {docket.epoch}", "dim"),
        )
    )
    say.print(Text(night.verdict.proof), soft_wrap=True)
    if compared.open:
        lines = table(
            "challenger", "evidence", "needed", "rows", "nights", "rows until", "tonight",
            right=("evidence", "needed", "rows", "nights"), give=("tonight",),
        )  # fmt: skip
        for note in sorted(compared.open, key=lambda note: -note.log_evidence):
            case = docket.case(note.challenger)
            until = when(case.judged_until) if case and case.judged_until else ""
            figures = (evidence_words(note.log_evidence), needed_words(note), f"{note.rows:,}")
            words = Text(case_words(note))
            lines.add_row(f"v{note.challenger}", *figures, str(note.nights), until, words)
        say.print(lines)
    else:
        say.print("no comparison is open")
    year = docket.year
    say.print(f"error budget of {year.number}: {budget_words(year)}", soft_wrap=True)
