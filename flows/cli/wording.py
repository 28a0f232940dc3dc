"""How the terminal says things: durations, times, marks and colours."""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime, timedelta
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDE = 200
"""Columns of what is not a terminal, where nobody folds lines."""

COLOURS = {
    "queued": "dim",
    "pending": "dim",
    "ready": "dim",
    "running": "cyan",
    "cancelling": "yellow",
    "retrying": "yellow",
    "succeeded": "green",
    "halted": "yellow",
    "failed": "red",
    "timed_out": "red",
    "lost": "red",
    "cancelled": "magenta",
    "skipped": "dim",
    "delivered": "green",
    "active": "green",
    "paused": "yellow",
    "disabled": "red",
    "declared": "dim",
    "started": "green",
    "missed": "yellow",
    "dead": "red",
}
MARKS = {
    "queued": "○",
    "pending": "○",
    "ready": "○",
    "running": "●",
    "cancelling": "●",
    "retrying": "↻",
    "succeeded": "✓",
    "halted": "■",
    "failed": "✗",
    "timed_out": "✗",
    "lost": "✗",
    "cancelled": "⊘",
    "skipped": "·",
    "delivered": "✓",
    "active": "✓",
    "paused": "■",
    "disabled": "✗",
    "declared": "○",
    "started": "✓",
    "missed": "✗",
    "dead": "✗",
}
_PLAIN_MARKS = {"○": "o", "●": "*", "↻": "~", "✓": "+", "■": "#", "✗": "x", "⊘": "/", "·": "-"}


def console(*, stderr: bool = False) -> Console:
    """A console; colours only on a terminal, and none when NO_COLOR is set."""
    made = Console(stderr=stderr, highlight=False, soft_wrap=False)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = WIDE
    return made


def print_json(data: Any) -> None:
    """One JSON document on stdout."""
    text = json.dumps(data, indent=2, ensure_ascii=False, default=str)
    sys.stdout.write(text + "\n")


def table(*columns: str, right: tuple[str, ...] = (), give: tuple[str, ...] = ()) -> Table:
    """A table without borders.

    Where the terminal is too narrow, the columns in `give` get narrower before all others.
    """
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in columns:
        made.add_column(
            name,
            justify="right" if name in right else "left",
            no_wrap=name not in give,
            overflow="fold" if name in give else "ellipsis",
        )
    return made


def cut(text: str, style: str = "") -> Text:
    """A cell on one line, cut where its column ends."""
    return Text(" ".join(text.split()), style, no_wrap=True, overflow="ellipsis")


def marked(status: str, into: Console) -> Text:
    """The status with its mark, coloured."""
    return Text(f"{mark(status, into)} {status}", style=COLOURS.get(status, ""))


def mark(status: str, into: Console) -> str:
    """One sign for a status, in ASCII where the terminal knows no more."""
    sign = MARKS.get(status, "?")
    return _PLAIN_MARKS.get(sign, sign) if into.options.ascii_only else sign


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
