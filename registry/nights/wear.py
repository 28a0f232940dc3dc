"""Holdout wear: which rows may still judge, and how often others looked at them before.

A row may judge a comparison once, and only while nothing about the two models depends on it: it is
newer than what either was trained on, and than the rows behind the decision that made the champion
the champion. Rows that judged *other* challengers may judge again: the year's budget is valid
whatever the dependence. A test of a single night may also use rows behind the champion's
promotion, when its level is divided by one plus the earlier looks at them: whichever of the models
that were looked at had become champion, the error stays below the whole level (Bonferroni).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

# The oldest looks are forgotten beyond so many different ends.
REMEMBERED = 60


@dataclass(frozen=True, kw_only=True)
class Look:
    """Rows that earlier decisions looked at, by event time."""

    since: datetime
    """Included."""
    until: datetime
    """Included."""
    times: int = 1
    """How many decisions did."""


def newest(*moments: datetime | None) -> datetime | None:
    """The latest of those that are known: rows must be newer than it."""
    return max((moment for moment in moments if moment is not None), default=None)


def looked_at(looks: Iterable[Look], since: datetime, until: datetime) -> int:
    """How many earlier decisions looked at some of the rows from `since` to `until`."""
    return sum(look.times for look in looks if look.since <= until and look.until >= since)


def with_look(looks: tuple[Look, ...], since: datetime, until: datetime) -> tuple[Look, ...]:
    """The looks after one more; those that end at the same row are counted together."""
    for number, look in enumerate(looks):
        if look.until == until:
            merged = replace(look, since=min(look.since, since), times=look.times + 1)
            return (*looks[:number], merged, *looks[number + 1 :])
    return (*looks, Look(since=since, until=until))[-REMEMBERED:]
