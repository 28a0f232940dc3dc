"""Which schedules can be carried out: everything that is wrong is said when one is declared."""

from __future__ import annotations

import re
from datetime import timedelta

from flows.core.errors import ConfigError
from flows.core.occurrence import check_cron
from flows.core.schedule import (
    Cron,
    Deadline,
    Interval,
    Late,
    NewData,
    OnAsset,
    Schedule,
    Trigger,
    topic_of,
)
from flows.core.values import storable

LONGEST_ASSET, LONGEST_VIEW = 200, 200
"""Characters of the names that a schedule may wait for."""
HIGHEST = 1_000_000
"""Priority that a schedule may give, either way."""
PLACEHOLDER = re.compile(r"\{at(?::([^{}]*%[^{}]*))?\}")
"""The time of a fire inside an override: `{at:%Y-%m-%d}`, or `{at}`."""

_SECOND = timedelta(seconds=1)
_LONGEST = timedelta(days=3650)  # what can be added to any date
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


def validate(schedule: Schedule) -> None:
    """Raise ConfigError, one line with a hint, when the schedule can never be carried out."""
    try:
        _check_schedule(schedule)
        _check_trigger(schedule.trigger)
    except ConfigError as error:
        raise ConfigError(f"schedule {schedule.name}: {error}", hint=error.hint) from None


def _check_schedule(schedule: Schedule) -> None:
    if not _NAME.fullmatch(schedule.name):
        raise ConfigError(
            f"{schedule.name!r} is no name for a schedule",
            hint="use letters, digits, - _ and . (at most 100, a letter or digit first)",
        )
    if not schedule.flow:
        raise ConfigError("it names no flow", hint="add flow: NAME")
    texts = "".join((schedule.flow, topic_of(schedule.trigger) or "", *schedule.overrides))
    if storable(texts, len(texts)) != texts:
        raise ConfigError(
            "it holds a character that no database keeps", hint="leave out NUL and half characters"
        )
    if abs(schedule.priority) > HIGHEST:
        raise ConfigError(f"priority is beyond {HIGHEST:,}", hint="write a small number, such as 5")
    _check_length("grace", schedule.grace)
    if schedule.deadline is not None:
        if isinstance(schedule.trigger, Deadline):
            raise ConfigError("`by` is its deadline already", hint="leave deadline out")
        _check_length("deadline", schedule.deadline, _SECOND)


def _check_trigger(trigger: Trigger) -> None:
    if isinstance(trigger, Cron):
        check_cron(trigger)
    elif isinstance(trigger, Interval):
        _check_length("every", trigger.every, _SECOND)
        if trigger.anchor is not None and trigger.anchor.tzinfo is None:
            raise ConfigError("anchor has no time zone", hint="write 2026-01-31T06:00:00Z")
        if trigger.anchor is not None and not 1900 <= trigger.anchor.year < 3000:
            raise ConfigError(f"anchor is in the year {trigger.anchor.year}", hint="take this one")
    elif isinstance(trigger, NewData):
        _check_data(trigger)
    elif isinstance(trigger, OnAsset):
        kind, colon, name = trigger.asset.partition(":")
        if not (kind and colon and name and len(trigger.asset) <= LONGEST_ASSET):
            raise ConfigError(
                f"{trigger.asset[:80]!r} is no asset",
                hint=f"write kind:name, as model:digits, in at most {LONGEST_ASSET} characters",
            )
    elif isinstance(trigger, Deadline):
        _check_deadline(trigger)


def _check_data(trigger: NewData) -> None:
    if not trigger.view:
        raise ConfigError("it names no view", hint="new_data: NAME, one of: ratchet features list")
    if len(trigger.view) > LONGEST_VIEW:
        raise ConfigError(f"{trigger.view[:80]!r} is too long a name for a view")
    if trigger.min_rows < 1:
        raise ConfigError("min_rows is less than 1", hint="leave it out for any new row")
    _check_length("settle", trigger.settle)
    if trigger.max_wait is not None:
        _check_length("max_wait", trigger.max_wait, trigger.settle)
    if (trigger.late is Late.IGNORE) != (trigger.lateness is not None):
        raise ConfigError(
            "late=ignore and lateness need each other", hint="write late: ignore, lateness: 2d"
        )
    if trigger.lateness is not None:
        _check_length("lateness", trigger.lateness, _SECOND)


def _check_deadline(trigger: Deadline) -> None:
    if len(trigger.days.split()) != 1:
        raise ConfigError(f"days {trigger.days!r} is not one field of cron", hint="write 1-5, or *")
    check_cron(trigger)
    if not 0 < trigger.confidence < 1:
        raise ConfigError("confidence is not between 0 and 1", hint="write 0.95 for 95 %")
    _check_length("latest_start", trigger.latest_start)
    if trigger.latest_start > trigger.earliest_start:
        raise ConfigError(
            "latest_start is further before `by` than earliest_start",
            hint="both count back from `by`: earliest_start is the longer one",
        )
    if trigger.earliest_start > timedelta(days=7):
        raise ConfigError("earliest_start is more than 7 days", hint="use cron for its start")


def _check_length(name: str, value: timedelta, least: timedelta = timedelta(0)) -> None:
    if not least <= value <= _LONGEST:
        raise ConfigError(
            f"{name} is {value}; it must be at least {least}, and at most ten years",
            hint="write a duration such as 30s, 15m, 6h or 7d",
        )
