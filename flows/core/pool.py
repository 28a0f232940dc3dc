"""Pools: what tasks share that name one, and the limits on it.

Slots are live attempts: a pool has used what the attempts that are alive in it weigh, so there
is no counter that a crash could leave wrong. Once an attempt is known to be lost, its slots are
free.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from flows.core.errors import ConfigError

_POOL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}  # in seconds
_LONGEST = 3650 * 86_400.0  # ten years: what can be taken from any date


@dataclass(frozen=True, kw_only=True)
class Rate:
    """As many starts within any time of this length."""

    count: int
    per: timedelta

    def __str__(self) -> str:
        return f"{self.count}/{self.per.total_seconds():g}s"

    @classmethod
    def parse(cls, text: str) -> Rate:
        """From `10/1m`: ten a minute; units s, m, h and d. Raises ConfigError."""
        found = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+(?:\.\d+)?)?\s*([smhd])\s*", text)
        seconds = float(found[2] or 1) * _UNITS[found[3]] if found else 0
        if found is None or not int(found[1]) or not 0 < seconds <= _LONGEST:
            raise ConfigError(f"{text!r} is no rate", hint="write it as 10/1m: ten a minute")
        return cls(count=int(found[1]), per=timedelta(seconds=seconds))


@dataclass(frozen=True, kw_only=True)
class Pool:
    """What tasks share that name it: so many slots, so many starts in a time."""

    name: str
    slots: int | None = None  # what all live attempts in it may weigh together; None: no limit
    rate: Rate | None = None  # of starts; None: no limit

    @property
    def limited(self) -> bool:
        """Whether it limits anything."""
        return self.slots is not None or self.rate is not None

    def is_full(self, usage: Usage) -> bool:
        """Whether not even a task of weight 1 may start in it."""
        if self.rate is not None and usage.started >= self.rate.count:
            return True
        return self.slots is not None and usage.used >= self.slots


def check_pool_name(name: str) -> None:
    """Raise ConfigError when a pool cannot be called so: columns hold several names in a row."""
    if not isinstance(name, str) or not _POOL_NAME.fullmatch(name):
        raise ConfigError(
            f"{str(name)[:80]!r} is no name for a pool",
            hint="use letters, digits, - _ and . (at most 100, a letter or digit first)",
        )


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What of a pool is taken now."""

    used: int = 0  # what its live attempts weigh together
    started: int = 0  # starts within its rate's time
    first: datetime | None = None  # the oldest of these starts
