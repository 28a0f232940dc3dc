"""Alerts: which events people are told of, and what the message says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Severity(StrEnum):
    """How soon somebody has to look."""

    INFO = "info"  # nothing to do
    WARNING = "warning"  # within the day: a halt, a deadline at risk
    CRITICAL = "critical"  # now: something failed, a deadline was missed


class AlertKind(StrEnum):
    """What happened."""

    FAILED = "failed"  # a run failed
    HALTED = "halted"  # a run halted: bad data, or a model that is not better
    TIMED_OUT = "timed_out"  # a task was ended at its timeout, and its run failed for it
    DEADLINE_AT_RISK = "deadline_at_risk"  # a run will probably not end in time
    DEADLINE_MISSED = "deadline_missed"  # a run had not ended in time
    SCHEDULE_DISABLED = "schedule_disabled"  # a schedule cannot be carried out
    CHAMPION_CHANGED = "champion_changed"  # by somebody outside of Ratchet
    TEST = "test"  # `ratchet alerts test`


@dataclass(frozen=True, kw_only=True)
class Alert:
    """What is said: what happened, why, since when, and what to do next."""

    key: str  # unique: the same thing is told once; `failed:<run>:<seq>`
    kind: AlertKind
    severity: Severity
    flow: str | None  # name of the flow that it is about
    subject: str  # run id, schedule name or model name
    title: str  # one line: `retrain failed`
    reason: str  # one sentence: why
    since: datetime  # when the trouble began: the fault, for the time to detection
    at: datetime  # when it was noticed
    next: str  # the command or link for the next step
