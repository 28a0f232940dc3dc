"""The verdict: what the gate decided, why in one sentence, and every figure behind it."""

import json
import os
import threading
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from typing import Any

from registry.card.verdict_html import verdict_html
from registry.card.words import moment


class Decision(StrEnum):
    """What the gate decided about a challenger."""

    PROMOTE = "promote"
    """The challenger becomes the champion."""
    AWAIT = "await"
    """Every rule holds, and a person has to approve (`ratchet approve`)."""
    HOLD = "hold"
    """The champion stays; also whenever nothing can be decided."""


class Rule(StrEnum):
    """What a figure was held against."""

    EVIDENCE = "evidence"
    """The comparison can be judged at all: enough rows, usable predictions, known classes."""
    IMPROVEMENT = "improvement"
    """The challenger is better than the champion by more than the minimum effect."""
    FLOOR = "floor"
    """The challenger's own score is good enough, whatever the champion's is."""
    GUARD = "guard"
    """The challenger is not worse than the champion in another metric by more than a margin."""
    FLIPS = "flips"
    """Not too many rows get another predicted class."""
    COST = "cost"
    """The challenger is cheap enough to serve."""
    SLICE = "slice"
    """The challenger is not much worse than the champion on one part of the rows."""


@dataclass(frozen=True, kw_only=True)
class RuleResult:
    """One rule of the gate, held against one figure."""

    rule: Rule
    metric: str
    """The metric that the figure is in."""
    slice: str | None = None
    """`column=value` of the rows looked at; none: all rows."""
    passed: bool
    judged: bool = True
    """False: too few rows, so it was reported and decided nothing."""
    figure: float | None = None
    """What was measured: a difference (positive: better), for floors the challenger's score."""
    low: float | None = None
    """Lower end of the figure's confidence interval, where it has one."""
    high: float | None = None
    """Upper end of the figure's confidence interval, where it has one."""
    bound: float | None = None
    """What the figure was held against."""
    rows: int
    """How many rows the figure stands on."""
    message: str
    """The result in one sentence."""


class CaseState(StrEnum):
    """What became of a comparison tonight."""

    KEPT = "kept"
    """Not proven yet: it stays a challenger, and the next nights' rows judge it, too."""
    PROVEN = "proven"
    """Proven better; promoted unless another rule or another challenger came before it."""
    GIVEN_UP = "given_up"
    """Hardly better by the useful effect any more, harmful, or not to be judged on any night."""
    EXPIRED = "expired"
    """Not proven within the nights that it is given."""
    CROWDED_OUT = "crowded_out"
    """More challengers than are kept, and its evidence was the weakest."""
    REJECTED = "rejected"
    """Proven better, and a person said no."""


@dataclass(frozen=True, kw_only=True)
class CaseNote:
    """One comparison of the night, as the verdict shows it."""

    challenger: str
    """Version of the challenger."""
    state: CaseState
    log_evidence: float
    """Natural logarithm of the evidence that it is better than the champion."""
    log_needed: float | None
    """What it must reach; none: nothing is left of its budget."""
    rows: int
    """Rows that have judged it against this champion."""
    nights: int
    """Nights on which they did."""
    fresh: int
    """Rows that judged it tonight."""
    nights_left: int | None = None
    """At its pace so far; none: it has none."""
    nights_given: int | None = None
    """Nights until it expires."""
    note: str = ""
    """What kept it from being judged tonight."""
    useful: float | None = None
    """It is given up when it is hardly better by this, in the metric's unit."""
    anew: str = ""
    """Why its evidence began anew, where the configuration was changed."""
    log_by_rows: float | None = None
    """Natural logarithm of the evidence if its rows were independent; none: nobody asks."""
    days_differ: float | None = None
    """Variance between days, in multiples of what their rows say; none: nobody asks."""
    days_known: float = 0.0
    """Degrees of freedom that it was measured with."""
    harmed: str = ""
    """The slice or guard that it is proven to harm, in words; then it is given up."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The gate's decision about one challenger, with everything that it rests on."""

    model: str
    """Name of the registered model."""
    challenger: str
    """Version of the challenger."""
    champion: str | None
    """Version of the champion that it was compared with; none: the first model."""
    epoch: int
    """The champion's epoch when it was compared: the fence of the promotion."""
    decision: Decision
    promote: bool
    """Whether the decision is to promote; what a flow branches on."""
    reason: str
    """The decision in one sentence."""
    metric: str
    """The metric of the comparison."""
    challenger_score: float | None
    """The challenger's score; none when it could not be computed."""
    baseline: float | None
    """The champion's score on the same rows; none without a champion."""
    difference: float | None
    """How much better the challenger is in the metric; negative: worse."""
    low: float | None
    """Lower end of the difference's confidence interval."""
    high: float | None
    """Upper end of the difference's confidence interval."""
    confidence: float
    """Confidence of every interval in this verdict, two-sided."""
    rows: int
    """How many rows were compared."""
    rules: tuple[RuleResult, ...]
    """Every rule that was looked at, passed or not."""
    run_id: str
    """The run that asked."""
    mlflow_run_id: str
    """The same run in MLflow."""
    cases: tuple[CaseNote, ...] = ()
    """Every comparison of the night; the verdict's challenger may be an older one."""
    level: float | None = None
    """Share of the year's alpha that this decision used."""
    budget_left: float | None = None
    """What is left of the year's alpha."""
    looks: int = 0
    """Earlier decisions that looked at some of these rows."""
    gap_s: float | None = None
    """Seconds between the newest row that trained either model and the oldest that may judge;
    none: from before it was kept."""
    expires_at: datetime | None = None
    """Until when it may be approved, where a person has to."""
    metric_digest: str | None = None
    """Of the source of a metric of the project's own, by which it was judged; none: it is ours."""

    @property
    def next_step(self) -> str | None:
        """What a person types who agrees; None: it waits for nobody."""
        if self.decision is not Decision.AWAIT:
            return None
        return f"ratchet approve {self.model} {self.challenger} --reason TEXT"

    @property
    def waits(self) -> str:
        """Until when it waits for a person, and what to type; empty: it waits for nobody."""
        if self.next_step is None:
            return ""
        until = "" if self.expires_at is None else f" until {moment(self.expires_at)}"
        return f"It waits for approval{until}: {self.next_step}"

    @property
    def proof(self) -> str:
        """The reason, without what it waits for."""
        return self.reason.removesuffix(f" {self.waits}") if self.waits else self.reason

    def _repr_html_(self) -> str:
        return verdict_html(self)


def verdict_json(verdict: Verdict) -> str:
    """The verdict as canonical JSON: sorted keys, no spaces, so that it can be hashed."""
    return canonical_json(asdict(verdict))


def verdict_from_json(text: str) -> Verdict:
    """Back from what `verdict_json` made."""
    found: Verdict = json_reader(Verdict).validate_json(text)
    return found


def verdict_tags(verdict: Verdict) -> dict[str, str]:
    """What a model version shows about its verdict."""
    figures: dict[str, Any] = {
        "score": verdict.challenger_score,
        "baseline": verdict.baseline,
        "difference": verdict.difference,
        "low": verdict.low,
        "high": verdict.high,
        "budget_left": verdict.budget_left,
    }
    return {
        "ratchet.verdict": verdict.decision.value,
        "ratchet.reason": verdict.reason,
        "ratchet.run": verdict.run_id,
        "ratchet.metric": verdict.metric,
        "ratchet.rows": str(verdict.rows),
        **{
            f"ratchet.{name}": f"{value:.6g}"
            for name, value in figures.items()
            if value is not None
        },
    }


@cache
def json_reader(kind: Any) -> Any:
    """What validates JSON into a type, made once.

    Without pydantic's plugins: looking for them among all that is installed takes longer than
    everything else here.
    """
    from pydantic import TypeAdapter

    with _LOCK:
        before = os.environ.get(_PLUGINS)
        os.environ[_PLUGINS] = "__all__"
        try:
            return TypeAdapter(kind)
        finally:
            if before is None:
                del os.environ[_PLUGINS]
            else:
                os.environ[_PLUGINS] = before


_PLUGINS, _LOCK = "PYDANTIC_DISABLE_PLUGINS", threading.Lock()


def canonical_json(value: dict[str, Any]) -> str:
    """One text for one value: sorted keys, no spaces, no NaN, times in UTC."""
    return json.dumps(
        value,
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
        default=_moment,
    )


def _moment(value: object) -> str:
    if not isinstance(value, datetime):
        raise TypeError(f"{type(value).__name__} is not JSON")
    return value.astimezone(UTC).isoformat(timespec="microseconds")
