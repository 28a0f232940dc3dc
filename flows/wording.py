"""How times, lengths of time, statuses and people are said, at a terminal and in a notebook."""

from __future__ import annotations

import getpass
from datetime import datetime, timedelta

_STATUSES = {
    "○": "queued pending ready declared",
    "●": "running cancelling",
    "↻": "retrying",
    "✓": "succeeded delivered active started",
    "■": "halted paused",
    "✗": "failed timed_out lost disabled missed dead",
    "⊘": "cancelled",
    "·": "skipped",
}
MARKS = {status: mark for mark, statuses in _STATUSES.items() for status in statuses.split()}
"""A sign for each status, so that no colour has to be told apart."""


def duration(seconds: float | None) -> str:
    """`0.4s`, `12s`, `1m 23s`, `2h 05m`, `3d 04h`; empty for None."""
    if seconds is None:
        return ""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02}m"
    return f"{whole // 86400}d {whole % 86400 // 3600:02}h"


def ago(at: datetime | None, now: datetime) -> str:
    """`just now`, `5m ago`, `3h ago`, `2d ago`, or the date once that says more."""
    if at is None:
        return ""
    past = now - at
    if past < timedelta(minutes=1):
        return "just now"
    if past < timedelta(hours=1):
        return f"{past // timedelta(minutes=1)}m ago"
    if past < timedelta(days=1):
        return f"{past // timedelta(hours=1)}h ago"
    if past < timedelta(days=14):
        return f"{past.days}d ago"
    return f"{at:%Y-%m-%d}"


def ahead(at: datetime | None, now: datetime) -> str:
    """`now`, `in 5m`, `in 3h`, `in 2d`, or the date once that says more."""
    if at is None:
        return ""
    left = at - now
    if left < timedelta(minutes=1):
        return f"in {max(0, round(left.total_seconds()))}s" if left > timedelta(0) else "now"
    if left < timedelta(hours=1):
        return f"in {left // timedelta(minutes=1)}m"
    if left < timedelta(days=2):
        return f"in {left // timedelta(hours=1)}h"
    if left < timedelta(days=14):
        return f"in {left.days}d"
    return f"{at:%Y-%m-%d}"


def whoami() -> str:
    """Who is at the keyboard, as far as the machine knows."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under an id without a name
        return "somebody"
