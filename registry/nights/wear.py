"""Holdout wear: which rows may still judge, and how often others looked at them before.

A row may judge a comparison once, and only while nothing about the two models depends on it: it is
newer than what either was trained on, and than the rows behind the decision that made the champion
the champion. Rows that judged *other* challengers may judge again: the year's budget is valid
whatever the dependence. A test of a single night may also use rows behind the champion's
promotion, when its level is divided by one plus the earlier looks at them: whichever of the models
that were looked at had become champion, the error stays below the whole level (Bonferroni).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

# Beyond so many different ends looks are counted together; none is forgotten.
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
    """The looks after one more, by their ends; those that end at the same row are one."""
    same = [look for look in looks if look.until == until]
    others = [look for look in looks if look.until != until]
    every = sorted([*others, _together(*same, Look(since=since, until=until))], key=_end)
    return _thinned(every) if len(every) > REMEMBERED else tuple(every)


def _thinned(looks: list[Look]) -> tuple[Look, ...]:
    """One fewer: two neighbours count together, so rows of one of them count the looks at both.

    Those are taken that add least to a count from their end on, relative to it: older looks become
    coarse, newer ones stay exact (exponential histogram: Datar, Gionis, Indyk & Motwani, SIAM J.
    Comput. 31, 2002). What is counted is never less than what was looked at.
    """
    later, cost = 0, []
    for first, second in pairwise(reversed(looks)):
        later += first.times
        cost.append((first.times + second.times) / (later + second.times))
    place = len(looks) - 2 - cost.index(min(cost))
    return (*looks[:place], _together(*looks[place : place + 2]), *looks[place + 2 :])


def _together(*looks: Look) -> Look:
    return Look(
        since=min(look.since for look in looks),
        until=max(look.until for look in looks),
        times=sum(look.times for look in looks),
    )


def _end(look: Look) -> datetime:
    return look.until
