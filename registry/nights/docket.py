"""The docket: what the gate keeps of a model from one night to the next. Pure records.

It holds the comparisons that are open against the present champion, the year's account, and which
rows earlier decisions have looked at. Every night makes a new docket out of the last one
(`registry.nights.night`); `registry.nights.docket_store` keeps them all.
"""

import math
from dataclasses import asdict, dataclass, field
from datetime import datetime

from registry.error_budget import Year, bar
from registry.methods.blocks import BlockEvidence, Spread
from registry.methods.days import Days, Dispersion, log_limit, phi_of
from registry.methods.evidence import Evidence
from registry.nights.no_harm import NoHarm
from registry.nights.wear import Look
from registry.slice_plan import SlicePlan
from registry.verdict import canonical_json, json_reader


@dataclass(frozen=True, kw_only=True)
class Case:
    """One challenger against the present champion, over the nights so far."""

    challenger: str
    """Its version."""
    share: float
    """Its share of the year's alpha: it is proven by evidence of 1 / share."""
    trained_until: datetime
    """Newest event time that it was trained on; a watch: and the gap, of either model."""
    opened: datetime
    """The night it was first compared, with whichever champion."""
    age: int = 0
    """Nights with new rows since then, tonight included."""
    labels_until: datetime | None = None
    """Only newer rows judge it: `trained_until` and the gap; none: from before gaps were kept."""
    after: datetime | None = None
    """Only rows newer than this judge it against the present champion."""
    judged_until: datetime | None = None
    """Newest row that has judged it against the present champion."""
    evidence: Evidence | None = None
    """Bets on rows or clusters, against "no better"; none: blocks are compared."""
    doubt: Evidence | None = None
    """The same bets the other way round, against "better by `useful`"."""
    blocks: BlockEvidence | None = None
    """Blocks of time, one observation each; none: rows or clusters are bet on."""
    useful: float | None = None
    """It is given up when it is hardly better by this; none: not known before its first rows."""
    anew: str = ""
    """Why its evidence began anew, where the configuration was changed."""
    rows: int = 0
    """Rows that judged it against the present champion."""
    nights: int = 0
    """Nights on which they did."""
    gained: float = 0.0
    """Sum of the gains of rows, in units of the bound."""
    squares: float = 0.0
    """Sum of the squared gains of what was bet on: rows or clusters."""
    slices: tuple[NoHarm, ...] = ()
    """Evidence that each slice is not harmed."""
    guards: tuple[NoHarm, ...] = ()
    """Evidence that each guard's metric is not worse."""
    days: Days = field(default_factory=Days)
    """What the days of its rows gained, in units of the bound."""
    known: Dispersion | None = None
    """How much days differed before it was opened; none: nobody asks."""
    reached: float = 0.0
    """Natural logarithm of the most that its blocks, or `log_limit`, ever came to."""

    @property
    def log_value(self) -> float:
        """Natural logarithm of the evidence that it is better."""
        if self.blocks is not None:
            return self.blocks.log_value
        return 0.0 if self.evidence is None else min(self.evidence.log_value, self.log_limit)

    @property
    def log_peak(self) -> float:
        """The most that it ever came to: a proof is not lost again on later nights."""
        if self.blocks is not None:
            return max(self.reached, self.log_value)
        if self.evidence is None:
            return 0.0
        by_rows = max(self.evidence.peak, self.evidence.log_value)
        return by_rows if self.known is None else min(by_rows, self.reached)

    @property
    def log_limit(self) -> float:
        """What its evidence counts for at most, by how much its days differ."""
        if self.known is None:
            return math.inf
        return log_limit(self.days, self.known, variance=self.variance, looks=self.nights)

    def phi(self, rows: float | None = None) -> float:
        """How many times as much as their rows say days differ; `rows`: of a day."""
        if self.known is None or not self.days.count:
            return 1.0
        usual = self.days.rows / self.days.count
        asked = usual if rows is None else rows
        return phi_of(self.days, self.known, variance=self.variance, rows=asked)

    @property
    def variance(self) -> float:
        """Mean square of what a row gained; of a cluster's rows, what they add to its sum's."""
        return self.squares / self.rows if self.rows else 0.0

    @property
    def log_needed(self) -> float:
        """Natural logarithm of the evidence that proves it."""
        return bar(self.share)


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A challenger that the gate would promote, by non-inferiority."""

    challenger: str
    """Its version."""
    gain: float
    """How much better it was seen to be, less what luck may have given; in the metric's unit."""


@dataclass(frozen=True, kw_only=True)
class Docket:
    """Everything that the gate remembers of one model."""

    terms: str = ""
    """What is compared, and how; when it changes, open comparisons begin anew."""
    unit: str = ""
    """What `rows`, `squares` and `spread` are measured in; when it changes, nothing is lent."""
    epoch: int = 0
    """Of the champion that the open comparisons are held against."""
    year: Year = field(default_factory=Year)
    """The account of the error budget."""
    cases: tuple[Case, ...] = ()
    """Open comparisons, oldest first."""
    judged_until: datetime | None = None
    """Newest row that any decision has looked at."""
    settled_until: datetime | None = None
    """Rows until here were looked at before the present champion became champion."""
    looks: tuple[Look, ...] = ()
    """Which rows earlier decisions looked at."""
    rows: int = 0
    """Rows of all comparisons so far."""
    squares: float = 0.0
    """Their squared gains: how much two models of this loop differ."""
    spread: Spread = field(default_factory=Spread)
    """What ended comparisons have shown of the spread between blocks."""
    dispersion: Dispersion = field(default_factory=Dispersion)
    """What ended comparisons have shown of how much days differ."""
    donor: str | None = None
    """The open comparison that lends its spread: one at a time, so no block or day counts twice."""
    plan: SlicePlan | None = None
    """Which slices are judged, and where numbers are cut as long as the champion stays."""
    offers: tuple[Offer, ...] = ()
    """Who would replace the present champion by non-inferiority."""

    def case(self, challenger: str) -> Case | None:
        """The open comparison of this version."""
        return next((case for case in self.cases if case.challenger == challenger), None)


def docket_json(docket: Docket) -> str:
    """As canonical JSON."""
    return canonical_json(asdict(docket))


def docket_from_json(text: str) -> Docket:
    """Back from what `docket_json` made."""
    found: Docket = json_reader(Docket).validate_json(text)
    return found
