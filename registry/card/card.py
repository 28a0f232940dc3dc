"""The card's record: a verdict, and everything around it that a reviewer asks for."""

from dataclasses import dataclass
from datetime import datetime

from registry.card.calibration import Reliability
from registry.card.page import card_piece
from registry.error_budget import Year
from registry.nights.docket_store import PastNight
from registry.verdict import Verdict


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A version: who trained it, on what; none: the registry does not know."""

    version: str
    role: str
    """`challenger` or `champion`."""
    run_id: str | None = None
    estimator: str | None = None
    definition: str | None = None
    """Digest of its features."""
    view: str | None = None
    view_version: str | None = None
    dataset: str | None = None
    """Digest of its rows."""
    train_rows: int | None = None
    train_from: datetime | None = None
    train_until: datetime | None = None
    labels_until: datetime | None = None
    """Only newer rows judge it."""
    device: str | None = None


@dataclass(frozen=True, kw_only=True)
class Judging:
    """The data whose newest rows judged; none: the registry does not know."""

    view: str | None = None
    view_version: str | None = None
    sources: str | None = None
    """Every view and version that went into it."""
    dataset: str | None = None
    """Digest of its rows."""
    holdout_from: datetime | None = None
    holdout_until: datetime | None = None
    rows: int
    """Rows that the verdict compared."""


@dataclass(frozen=True, kw_only=True)
class Reign:
    """The champion that the verdict's challenger was compared with."""

    version: str
    epoch: int
    action: str
    """What made it champion: promote, rollback, adopt or restore."""
    since: datetime
    actor: str


@dataclass(frozen=True, kw_only=True)
class Card:
    """A verdict and everything that it rests on, as it was on its night."""

    verdict: Verdict
    at: datetime | None = None
    """When it was reached; none: no night was kept."""
    night: int | None = None
    """Number of the model's night."""
    seal: str | None = None
    """Hash of the night's entry in the chain."""
    history: tuple[PastNight, ...] = ()
    """Nights with this champion up to the verdict's, oldest first."""
    year: Year | None = None
    """The account of the error budget after the night."""
    champion: Reign | None = None
    trained: tuple[Trained, ...] = ()
    """Challenger and champion."""
    judging: Judging
    calibration: tuple[Reliability, ...] = ()
    """Champion's (or baseline's) and challenger's; empty without probabilities."""

    def _repr_html_(self) -> str:
        return card_piece(self)
