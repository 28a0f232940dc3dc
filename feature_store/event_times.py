"""Event times that can be: what no row is appended with, and what no reader stumbles over.

One row whose seconds were taken for milliseconds lies in the year 57,000: beyond what Python's
dates hold, and newer than whatever comes later. Such rows are refused when they are appended; those
that other writers put into a table count for nothing.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from feature_store.errors import ImpossibleTime

EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
"""No row is about anything before."""
LATEST = datetime(2200, 1, 1, tzinfo=UTC)
"""Nor about anything after, whatever the clock says."""
AHEAD = timedelta(days=1)
"""So far in the future may an appended row lie: clocks differ, and so do time zones."""

_HELD = (datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_A_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_A_YEAR = 31_556_952  # seconds, on average
_INT64 = 2**63 - 1


def refuse_impossible(view: str, column: str, times: pa.ChunkedArray, now: datetime) -> None:
    """Raise `ImpossibleTime` for rows before 1900, or more than a day after `now`.

    Asked before any cast: one to another unit may turn such a time into an ordinary one.
    """
    numbers, a_second = _numbers(times)
    latest = min(now + AHEAD, LATEST)
    early = pc.sum(pc.less(numbers, _bound(EARLIEST, a_second))).as_py() or 0
    late = pc.sum(pc.greater(numbers, _bound(latest, a_second))).as_py() or 0
    if not early and not late:
        return
    oldest, newest = (_words(found.as_py() / a_second) for found in pc.min_max(numbers).values())
    parts = [f"{early:,} before 1900 (the oldest: {oldest})"] if early else []
    parts += [f"{late:,} more than a day in the future (the newest: {newest})"] if late else []
    raise ImpossibleTime(
        f"view {view}: {early + late:,} of {len(times):,} rows have an event time that cannot be: "
        f"column {column}, {' and '.join(parts)}",
        hint=f"correct {column} (milliseconds taken for seconds? a placeholder such as 2099?), "
        "and append again",
    )


def readable(times: pa.ChunkedArray) -> pa.ChunkedArray:
    """The times, null where Python's dates cannot hold them."""
    return _between(times, *_HELD)


def plausible(times: pa.ChunkedArray) -> pa.ChunkedArray:
    """The times, null where they cannot be."""
    return _between(times, EARLIEST, LATEST)


def _between(times: Any, first: datetime, last: datetime) -> Any:
    numbers, a_second = _numbers(times)
    inside = pc.and_(
        pc.greater_equal(numbers, _bound(first, a_second)),
        pc.less_equal(numbers, _bound(last, a_second)),
    )
    return pc.if_else(inside, times, pa.scalar(None, times.type))


def _numbers(times: Any) -> tuple[Any, int]:
    """Whole units since 1970, and how many of them are a second."""
    if pa.types.is_date32(times.type):
        times = times.cast(pa.timestamp("s"))
    elif pa.types.is_date64(times.type):
        times = times.cast(pa.timestamp("ms"))
    return times.cast(pa.int64()), _A_SECOND[times.type.unit]


def _bound(moment: datetime, a_second: int) -> pa.Scalar:
    units = (moment - _EPOCH) // timedelta(seconds=1) * a_second
    return pa.scalar(max(min(units, _INT64), -_INT64), pa.int64())


def _words(seconds: float) -> str:
    try:
        return (_EPOCH + timedelta(seconds=seconds)).isoformat(" ", "minutes")[:16]
    except OverflowError:
        return f"the year {1970 + int(seconds // _A_YEAR):,}"
