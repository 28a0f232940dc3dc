"""The card as HTML: a piece for a notebook, and a page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from registry.card.budget_meter import budget_meter, budget_words
from registry.card.calibration_chart import calibration_charts
from registry.card.evidence_chart import evidence_chart
from registry.card.style import PAGE
from registry.card.verdict_html import card_box, comparisons, headline, rules, scores
from registry.card.words import NOTHING, counted, length, moment, text, when

if TYPE_CHECKING:  # the card shows itself by this module
    from registry.card.card import Card, Trained

SHOWN_DIGEST = 12


def card_html(card: Card) -> str:
    """A page of its own: no script, no outside request; light or dark as the reader's system."""
    verdict = card.verdict
    title = f"{verdict.model} v{verdict.challenger}: {verdict.decision.value}"
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width,initial-scale=1'>"
        "<meta http-equiv='Content-Security-Policy' "
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{text(title)}</title></head><body>{card_piece(card)}<style>{PAGE}</style>"
        "</body></html>"
    )


def card_piece(card: Card) -> str:
    """The same for a place in another page."""
    verdict = card.verdict
    return card_box(
        headline(verdict)
        + scores(verdict)
        + rules(verdict)
        + _evidence(card)
        + comparisons(verdict)
        + _calibration(card)
        + _budget(card)
        + _judging(card)
        + _trained(card)
        + _footer(card)
    )


def _evidence(card: Card) -> str:
    drawn = evidence_chart(card.history, card.verdict.challenger)
    if not drawn:
        return ""
    return (
        "<h2>Evidence over nights</h2><p class='c-dim'>How strongly fresh rows speak for each "
        "challenger; a challenger that is no better reaches the bar with a probability of at most "
        f"its share of the error budget.</p>{drawn}"
    )


def _calibration(card: Card) -> str:
    drawn = calibration_charts(card.calibration)
    if not drawn:
        return ""
    return (
        "<h2>Calibration</h2><p class='c-dim'>What a model says, against how often it comes true: "
        f"on the dashed line it keeps its word. Whiskers: 95 % intervals.</p>{drawn}"
    )


def _budget(card: Card) -> str:
    verdict, year = card.verdict, card.year
    if year is None or year.alpha <= 0:
        return ""
    level = ""
    if verdict.level:
        # Evidence proves at 1 / share; the test of one night has a p-value.
        needed = f": evidence of {1 / verdict.level:,.0f}" if verdict.cases else ""
        level = f"This decision's share is {verdict.level:.2g}{needed}. "
        if verdict.champion is None:
            level = f"A first model takes none of it: its own level is {verdict.level:.2g}. "
    looks = ""
    if verdict.looks:
        looks = f"{counted(verdict.looks, 'earlier decision')} looked at some of these rows. "
    return (
        f"<h2>Error budget of {year.number}</h2>{budget_meter(year)}"
        f"<p>{budget_words(year)}. {level}{looks}</p>"
        "<p class='c-dim'>Promotions of a challenger that is no better: at most "
        f"{year.alpha:g} are expected in the year.</p>"
    )


def _judging(card: Card) -> str:
    judging = card.judging
    lines = [
        ("judged by", f"{judging.rows:,} rows, fresh to {_whom(card)}"),
        ("held out", _span(judging.holdout_from, judging.holdout_until)),
        ("gap", _gap(card.verdict.gap_s)),
        ("view", _view(judging.view, judging.view_version)),
        ("sources", text(judging.sources)),
        ("dataset", _digest(judging.dataset)),
    ]
    if card.champion is not None:
        reign = card.champion
        lines.append(
            (
                "champion",
                f"v{text(reign.version)} since {moment(reign.since)} (epoch {reign.epoch}, "
                f"{text(reign.action)} by {text(reign.actor)})",
            )
        )
    return f"<h2>Data</h2>{_pairs(lines)}"


def _gap(seconds: float | None) -> str:
    if not seconds:
        return NOTHING
    return f"{length(timedelta(seconds=seconds))} between the rows that trained and these"


def _whom(card: Card) -> str:
    return "it" if card.verdict.champion is None else "both models"


def _trained(card: Card) -> str:
    if not card.trained:
        return ""
    heads = "".join(f"<th>{text(one.role)} v{text(one.version)}</th>" for one in card.trained)
    rows = [
        ("trained by run", [text(one.run_id) for one in card.trained]),
        ("estimator", [text(one.estimator) for one in card.trained]),
        ("rows", [_rows(one) for one in card.trained]),
        ("event times", [_span(one.train_from, one.train_until) for one in card.trained]),
        ("judged after", [when(one.labels_until) for one in card.trained]),
        ("view", [_view(one.view, one.view_version) for one in card.trained]),
        ("features", [_digest(one.definition) for one in card.trained]),
        ("dataset", [_digest(one.dataset) for one in card.trained]),
        ("device", [text(one.device) for one in card.trained]),
    ]
    body = "".join(
        f"<tr><th scope='row'>{name}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
        for name, cells in rows
        if any(cell != NOTHING for cell in cells)
    )
    return (
        "<h2>Who was trained on what</h2><div class='c-two'><table><thead><tr><th></th>"
        f"{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _footer(card: Card) -> str:
    verdict, parts = card.verdict, []
    if card.at is not None:
        parts.append(f"reached {moment(card.at)}")
    if card.night is not None:
        parts.append(f"night {card.night} of {text(verdict.model)}")
    if card.seal is not None:
        parts.append(f"sealed {_digest(card.seal)}")
    if verdict.mlflow_run_id:
        parts.append(f"MLflow run {_digest(verdict.mlflow_run_id)}")
    commands = f"<code>ratchet evidence {text(verdict.model)}</code> " + (
        f"<code>ratchet ledger {text(verdict.model)} --verify</code>"
    )
    return f"<p class='c-dim' style='margin-top:30px'>{' · '.join(parts)}</p><p>{commands}</p>"


def _pairs(lines: Iterable[tuple[str, str]]) -> str:
    """What is known of them."""
    body = "".join(
        f"<tr><th scope='row' style='width:120px'>{name}</th><td>{value}</td></tr>"
        for name, value in lines
        if value != NOTHING
    )
    return f"<table><tbody>{body}</tbody></table>"


def _rows(one: Trained) -> str:
    return NOTHING if one.train_rows is None else f"{one.train_rows:,}"


def _span(since: datetime | None, until: datetime | None) -> str:
    if since is None and until is None:
        return NOTHING
    return f"{when(since)} to {when(until)}"


def _view(view: str | None, version: str | None) -> str:
    if view is None:
        return NOTHING
    return text(view) if version is None else f"{text(view)} version {text(version)}"


def _digest(digest: str | None) -> str:
    if not digest:
        return NOTHING
    return f"<code title='{text(digest)}'>{text(digest[:SHOWN_DIGEST])}</code>"
