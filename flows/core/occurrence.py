"""When a trigger's times come: cron expressions in the wall time of a zone, and intervals.

A cron expression speaks of wall times, and a wall time is not always one instant:

- It does not exist (clocks went forward over it): a fixed time is placed at the first instant
  after the gap; a repeated one is left out, for no clock ever showed it.
- It exists twice (clocks went back): a fixed time is placed at the first of the two; a repeated
  one at both.

An expression repeats when its minute or its hour field begins with `*`, as in Debian's cron.
cronsim walks wall times without a zone here: within one it loses hours where clocks change by
half of one.
"""

from __future__ import annotations

import difflib
import heapq
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from flows.core.errors import ConfigError
from flows.core.schedule import Cron, Deadline, Interval, Trigger

ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
NEVER = datetime(9000, 1, 1, tzinfo=UTC)
"""After everything; a year that every zone can still be computed for."""

_A_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)


def occurrences(trigger: Trigger, since: datetime, until: datetime) -> Iterator[datetime]:
    """The times of a trigger after `since` and up to `until`, in UTC, oldest first.

    Those of a Deadline are the deadlines. An Interval without an anchor is counted from `since`.
    Raises ConfigError for a trigger that has no times, or for times that cannot be computed.
    """
    if isinstance(trigger, Interval):
        return _every(trigger, since, until)
    if isinstance(trigger, Cron | Deadline):
        return _of_cron(expression_of(trigger), _zone(trigger.zone), since, until)
    raise ConfigError(
        f"a {type(trigger).__name__} trigger has no times of its own",
        hint="use a schedule with cron, every or by",
    )


def next_after(trigger: Trigger, since: datetime) -> datetime | None:
    """The first time of a trigger after `since`; None when there is none within fifty years."""
    return next(occurrences(trigger, since, NEVER), None)


def newest(
    trigger: Trigger, since: datetime, until: datetime, count: int
) -> tuple[list[datetime], datetime | None]:
    """The newest `count` times after `since` up to `until`, and the oldest of those left out.

    Costs by `count`, not by how many times there are.
    """
    oldest = list(islice(occurrences(trigger, since, until), count + 1))
    if len(oldest) <= count:
        return oldest, None
    start = max(since, _before(trigger, until, 2 * count))
    return list(occurrences(trigger, start, until))[-count:], oldest[0]


def expression_of(trigger: Cron | Deadline) -> str:
    """The cron expression of a trigger, without aliases. Raises ConfigError."""
    if isinstance(trigger, Deadline):
        hour, minute = _time_of_day(trigger.by)
        return f"{minute} {hour} * * {trigger.days}"
    text = trigger.cron.strip()
    if text.startswith("@") and text.lower() not in ALIASES:
        raise ConfigError(f"there is no cron {text}", hint=f"one of {', '.join(ALIASES)}")
    return ALIASES.get(text.lower(), text)


def zone_of(trigger: Trigger) -> tzinfo:
    """The zone in which a trigger's dates are meant. Raises ConfigError."""
    return _zone(trigger.zone) if isinstance(trigger, Cron | Deadline) else UTC


def _zone(name: str) -> ZoneInfo:
    """The zone of an IANA name. Raises ConfigError, naming the nearest."""
    try:
        if name == "localtime":  # another one on each machine
            raise KeyError(name)
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # not there, not a name, a folder of zones
        zones = available_timezones()
        near = difflib.get_close_matches(name, zones, n=1, cutoff=0.5)
        # "Berlin" for Europe/Berlin
        near = near or sorted(zone for zone in zones if zone.endswith(f"/{name}"))[:1]
        hint = f"did you mean {near[0]}?" if near else "use an IANA name, such as Europe/Berlin"
        raise ConfigError(f"there is no time zone {name!r}", hint=hint) from None


def explained(trigger: Cron | Deadline) -> str:
    """The expression in words: "At 03:00 every day"."""
    sentence: str = CronSim(expression_of(trigger), datetime(2000, 1, 1)).explain()  # noqa: DTZ001
    return sentence


def check_cron(trigger: Cron | Deadline) -> None:
    """Raise ConfigError when the expression or the zone is wrong, or names no day that there is."""
    _zone(trigger.zone)
    expression = expression_of(trigger)
    try:
        CronSim(expression, datetime(2000, 1, 1))  # noqa: DTZ001
    except CronSimError as error:
        raise ConfigError(
            f"cron {expression!r} cannot be: {str(error).lower()}",
            hint="five fields: minute hour day month weekday, such as '0 3 * * 1-5', or @daily",
        ) from None


def _time_of_day(text: str) -> tuple[int, int]:
    hour, colon, minute = text.partition(":")
    if colon and hour.isdecimal() and minute.isdecimal() and len(minute) == 2:
        time = int(hour), int(minute)
        if time < (24, 0) and time[1] < 60:
            return time
    raise ConfigError(f"by {text!r} is no time of day", hint="write it as hours:minutes, '06:00'")


def _every(trigger: Interval, since: datetime, until: datetime) -> Iterator[datetime]:
    anchor = (trigger.anchor or since).astimezone(UTC)
    number = (since - anchor) // trigger.every + 1
    while (at := anchor + number * trigger.every) <= until:
        yield at
        number += 1


def _of_cron(
    expression: str, zone: ZoneInfo, since: datetime, until: datetime
) -> Iterator[datetime]:
    minute, hour = expression.split()[-5:-3]
    repeated = minute.startswith("*") or hour.startswith("*")
    waiting: list[datetime] = []  # second times around, until their turn comes
    last = since
    for wall in CronSim(expression, _wall_before(since, zone)):
        instants = _instants(wall, zone, repeated)
        for at in instants:
            heapq.heappush(waiting, at)
        while instants and waiting and waiting[0] <= instants[0]:
            at = heapq.heappop(waiting)
            if at > until:
                return
            if at > last:
                last = at
                yield at


def _wall_before(since: datetime, zone: ZoneInfo) -> datetime:
    """A wall time that no clock shows again after `since`, and hardly earlier than needed."""
    soon = min(_offset(since, zone), _offset(since + _A_DAY, zone))
    return (since.astimezone(UTC) + soon).replace(tzinfo=None)


def _instants(wall: datetime, zone: ZoneInfo, repeated: bool) -> tuple[datetime, ...]:
    """When a clock in the zone shows `wall`: never, once or twice; see the module's docstring."""
    local = wall.replace(tzinfo=zone)
    before, after = _known(local.utcoffset()), _known(local.replace(fold=1).utcoffset())
    first = (wall - before).replace(tzinfo=UTC)
    if before == after:
        return (first,)
    if before > after:
        return (first, first + (before - after)) if repeated else (first,)
    return () if repeated else (_end_of_gap(first - (after - before), first, zone),)


def _end_of_gap(low: datetime, high: datetime, zone: ZoneInfo) -> datetime:
    """The first second with the offset of `high`, by halving what lies between."""
    old = _offset(low, zone)
    while high - low > _SECOND:
        middle = low + (high - low) // 2
        if _offset(middle, zone) == old:
            low = middle
        else:
            high = middle
    return high.replace(microsecond=0)


def _offset(at: datetime, zone: ZoneInfo) -> timedelta:
    return _known(at.astimezone(zone).utcoffset())


def _known(offset: timedelta | None) -> timedelta:
    assert offset is not None  # a ZoneInfo always has one
    return offset


def _before(trigger: Trigger, until: datetime, count: int) -> datetime:
    """A time so early that about `count` of the trigger's times lie between it and `until`."""
    if isinstance(trigger, Interval):
        return until - count * trigger.every
    assert isinstance(trigger, Cron | Deadline)  # the others have no times
    zone = _zone(trigger.zone)
    wall = until.astimezone(zone).replace(tzinfo=None, microsecond=0)
    backwards = CronSim(expression_of(trigger), wall, reverse=True)
    earliest: datetime = deque(islice(backwards, count), maxlen=1).pop()
    return earliest.replace(tzinfo=zone).astimezone(UTC)
