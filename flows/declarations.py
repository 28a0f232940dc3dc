"""The schedules that are declared, in config and beside flows, each one checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from flows.config.duration import format_duration
from flows.core import due
from flows.core.errors import ConfigError, NotFound, RatchetError
from flows.core.flow import Flow
from flows.core.occurrence import explained
from flows.core.schedule import (
    Cron,
    Deadline,
    Interval,
    NewData,
    OnAsset,
    OnRequest,
    Policies,
    Schedule,
    Trigger,
)
from flows.core.service import Flows
from flows.settings import ScheduleConfig, Settings

_TRIGGERS: Mapping[str, type[Trigger]] = {
    "cron": Cron,
    "every": Interval,
    "new_data": NewData,
    "asset": OnAsset,
    "by": Deadline,
    "on_request": OnRequest,
}
"""The key of a config that says which trigger is meant."""

Compose = Callable[[Flow, Sequence[str]], object]
"""Composes a flow's config with overrides of its own keys. Raises ConfigError."""


@dataclass(frozen=True, kw_only=True)
class Declared:
    """What is declared, and what of it makes no schedule at all; the latter stops nothing else."""

    schedules: tuple[Schedule, ...] = ()  # by name
    problems: Mapping[str, RatchetError] = field(default_factory=dict)  # by schedule, or module
    broken: frozenset[str] = frozenset()  # modules that cannot be imported here


def declared(settings: Settings, flows: Flows) -> Declared:
    """All schedules of an installation. Whether each can be carried out, `check` looks at."""
    by_name: dict[str, Schedule] = {}
    problems: dict[str, RatchetError] = {}
    for name, config in settings.schedules.items():
        try:
            by_name[name] = to_schedule(name, config)
        except ConfigError as error:
            problems[name] = error
    for flow in flows.names():
        for schedule in flows.get(flow).schedules:
            other = by_name.setdefault(schedule.name, schedule)
            if other is not schedule:
                problems[schedule.name] = ConfigError(
                    f"two schedules are called {schedule.name}: "
                    f"of {other.origin} and of {schedule.origin}",
                    hint="give one of them another name",
                )
    good = [by_name[name] for name in sorted(by_name.keys() - problems.keys())]
    return Declared(schedules=tuple(good), problems=problems)


def to_schedule(name: str, config: ScheduleConfig) -> Schedule:
    """What a config says, as a schedule. Raises ConfigError, one line that names the schedule."""
    keys = {f.name: value for f in fields(config) if (value := getattr(config, f.name)) is not None}
    kinds = [key for key in _TRIGGERS if key in keys and keys[key] is not False]
    if len(kinds) != 1:
        named = " and ".join(kinds) or "none"
        raise ConfigError(
            f"schedule {name}: it takes one trigger, and has {named}",
            hint=f"give one of {', '.join(_TRIGGERS)}",
        )
    kind = kinds[0]
    own = {f.name for f in fields(_TRIGGERS[kind])}
    shared = {"flow"} | {f.name for f in fields(Policies)}
    foreign = keys.keys() - own - shared - _TRIGGERS.keys()
    if foreign:
        raise ConfigError(
            f"schedule {name}: {min(foreign)} is no key of a schedule with {kind}",
            hint=f"with {kind} go {', '.join(sorted(own - {kind, 'view'})) or 'no other keys'}",
        )
    values: dict[str, Any] = {key: keys[key] for key in keys.keys() & own}
    if kind == "new_data":
        values["view"] = keys["new_data"]
    trigger = _TRIGGERS[kind](**values)
    return Schedule(name=name, trigger=trigger, **{key: keys[key] for key in keys.keys() & shared})


def check(schedule: Schedule, flows: Flows, compose: Compose, now: datetime) -> None:
    """Raise NotFound or ConfigError when no run could be made of it: refused now, not at 3 a.m.

    `now` fills the placeholders of its overrides.
    """
    if schedule.flow not in flows.names():
        unknown = flows.unknown(schedule.flow)
        raise NotFound(f"schedule {schedule.name}: {unknown}", hint=unknown.hint)
    try:
        compose(flows.get(schedule.flow), due.filled(schedule, now))
    except ConfigError as error:
        raise ConfigError(f"schedule {schedule.name}: {error}", hint=error.hint) from None


def in_words(trigger: Trigger) -> str:
    """When a trigger fires, on one line: `at 03:00 every day, Europe/Berlin`."""
    if isinstance(trigger, Cron):
        words = explained(trigger)
        return f"{words[0].lower()}{words[1:]}{_zone(trigger.zone)}"
    if isinstance(trigger, Interval):
        return f"every {format_duration(trigger.every)}"
    if isinstance(trigger, NewData):
        rows = f"{trigger.min_rows} new rows" if trigger.min_rows > 1 else "new rows"
        settled = f", settled for {format_duration(trigger.settle)}" if trigger.settle else ""
        wait = trigger.max_wait
        waited = f", or {format_duration(wait)} after the first" if wait is not None else ""
        return f"on {rows} in {trigger.view}{settled}{waited}"
    if isinstance(trigger, OnAsset):
        return f"on {trigger.asset}"
    if isinstance(trigger, Deadline):
        days = explained(trigger).partition(" every day")[0].partition(" on ")[2]
        return f"to end by {trigger.by}{f' on {days}' if days else ''}{_zone(trigger.zone)}"
    return "on request"


def _zone(name: str) -> str:
    return "" if name == "UTC" else f", {name}"
