"""What the gate knows of a model's challengers now: the object, and how a notebook shows it."""

from dataclasses import dataclass

from registry.approvals import ApprovalRequest
from registry.card.budget_meter import budget_meter, budget_words
from registry.card.comparisons_table import comparisons_table
from registry.card.evidence_chart import evidence_chart
from registry.card.verdict_html import asked, card_box, claim
from registry.card.words import moment, text
from registry.nights.docket_store import NightEntry, PastNight
from registry.verdict import CaseNote
from registry.watch import Watched


@dataclass(frozen=True, kw_only=True)
class ModelEvidence:
    """Which challengers of a model are compared, how far they are, and what waits for whom."""

    model: str
    """Name of the registered model."""
    night: NightEntry | None = None
    """The latest night; none: the gate has not judged a challenger yet."""
    history: tuple[PastNight, ...] = ()
    """Nights with the present champion, oldest first."""
    waiting: tuple[ApprovalRequest, ...] = ()
    """Versions that wait for a person's approval."""
    watched: Watched | None = None
    """How the watch over the champion stands; none: there is none, or no night yet."""

    @property
    def open(self) -> tuple[CaseNote, ...]:
        """The comparisons that go on, as the latest night left them."""
        if self.night is None:
            return ()
        docket = self.night.docket
        return tuple(case for case in self.night.verdict.cases if docket.case(case.challenger))

    def _repr_html_(self) -> str:
        return card_box(_head(self) + _comparisons(self) + _budget(self))


def _head(found: ModelEvidence) -> str:
    night = found.night
    about = "" if night is None else f"night {night.night}, {moment(night.at)}"
    head = (
        f"<div class='c-head'><b>{text(found.model)}</b>"
        f"<span>challengers and their evidence</span><span class='c-dim'>{about}</span></div>"
    )
    if night is None:
        return f"{head}<p class='c-said'>The gate has not judged a challenger yet.</p>"
    first, rest = claim(night.verdict.proof)
    more = f"<p class='c-more'>{text(rest)}</p>" if rest else ""
    asks = "".join(asked(request.verdict) for request in found.waiting)
    watch = ""
    if found.watched is not None:
        watch = f"<p><b>Watch over the champion:</b> {text(found.watched.reason)}</p>"
    return f"{head}<p class='c-said'>{text(first)}</p>{more}{asks}{watch}"


def _comparisons(found: ModelEvidence) -> str:
    if found.night is None:
        return ""
    subject = found.night.verdict.challenger
    drawn = evidence_chart(found.history, subject)
    if not found.open:
        return f"<p class='c-dim'>No comparison is open.</p>{drawn}"
    return f"<h2>Open comparisons</h2>{comparisons_table(found.open, subject)}{drawn}"


def _budget(found: ModelEvidence) -> str:
    if found.night is None or found.night.docket.year.alpha <= 0:
        return ""
    year = found.night.docket.year
    return f"<h2>Error budget of {year.number}</h2>{budget_meter(year)}<p>{budget_words(year)}.</p>"
