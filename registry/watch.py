"""The watch's records: a new champion beside its predecessor, on the nights after its promotion.

`registry.watching` makes one of the last one with each night's rows; `registry.watch_store` keeps
them all. Pure.
"""

from dataclasses import asdict, dataclass
from enum import StrEnum

from registry.nights.docket import Case
from registry.verdict import canonical_json, json_reader


class WatchState(StrEnum):
    """How a watch stands."""

    WATCHING = "watching"
    """Nights are left, and no harm is proven."""
    HARMFUL = "harmful"
    """The new champion is proven worse than its predecessor; nothing is looked at any more."""
    OVER = "over"
    """Its nights are over, and no harm was proven."""
    UNWATCHED = "unwatched"
    """It ended before its time: nobody can say any more whether the champion does harm."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A promotion by the gate: what is watched."""

    model: str
    """Name of the registered model."""
    epoch: int
    """Of the champion that is watched."""
    version: str
    """The champion."""
    previous: str
    """The champion before it."""


@dataclass(frozen=True, kw_only=True)
class Sums:
    """The nights' differences so far, for a metric that cannot be bet on."""

    difference: float = 0.0
    """Sum over nights of rows times the predecessor's advantage."""
    variance: float = 0.0
    """Sum over nights of squared rows times the squared standard error."""
    units: int = 0
    """Rows, or clusters of them."""


@dataclass(frozen=True, kw_only=True)
class Watch:
    """One watch, from its first night on."""

    subject: Subject
    terms: str
    """What is compared, and how; when it changes, the evidence begins anew."""
    planned: int
    """Nights that it lasts, as asked for when it began."""
    bets: Case
    """The predecessor as a challenger: the rows that judged, and what was bet on them."""
    sums: Sums | None = None
    """In place of bets, where a row's loss has no bound."""
    state: WatchState = WatchState.WATCHING
    blanks: int = 0
    """Nights whose rows could not judge it, though there were enough."""
    blank_on: str = ""
    """Digest of the dataset of the last of them: judged in vain again, it is the same night."""

    @property
    def entries(self) -> int:
        """Nights that are kept: those that judged it, and those that could not."""
        return self.bets.nights + self.blanks


@dataclass(frozen=True, kw_only=True)
class Watched:
    """How a watch stands after a run looked, in a sentence and in figures."""

    model: str
    epoch: int
    version: str
    """The champion that is watched."""
    previous: str
    """The champion before it."""
    state: WatchState
    harm: bool
    """Whether it is proven worse than the champion before it."""
    reason: str
    """In one sentence."""
    nights: int
    """Nights with fresh rows so far."""
    planned: int
    """Nights that the watch lasts."""
    metric: str
    fresh: int
    """Rows that judged tonight; 0: none, and the reason says why."""
    rows: int
    """Rows that have judged so far."""
    score: float | None = None
    """The champion's on tonight's rows."""
    previous_score: float | None = None
    """Its predecessor's on the same rows."""
    log_evidence: float | None = None
    """Natural logarithm of the evidence of harm; none: a metric that is tested each night."""
    log_needed: float | None = None
    """What it must reach."""
    p: float | None = None
    """The test's p-value, for a metric that cannot be bet on."""
    level: float | None = None
    """What it must be at most."""

    @property
    def broken_off(self) -> bool:
        """Whether it ended before its time."""
        return self.state is WatchState.UNWATCHED


@dataclass(frozen=True, kw_only=True)
class Watching:
    """Whether a run has to look at the champion, and what is known without looking."""

    due: bool
    """Fresh rows are to be scored."""
    reason: str
    """Why, or why not, in one sentence."""
    watched: Watched | None = None
    """What people have to hear of a watch that has ended: proven harm, or that it broke off."""


def watch_json(value: Watch | Watched) -> str:
    """As canonical JSON."""
    return canonical_json(asdict(value))


def watch_from_json(text: str) -> Watch:
    """Back from what `watch_json` made of a watch."""
    found: Watch = json_reader(Watch).validate_json(text)
    return found


def watched_from_json(text: str) -> Watched:
    """Back from what `watch_json` made of its figures."""
    found: Watched = json_reader(Watched).validate_json(text)
    return found
