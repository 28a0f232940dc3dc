"""How the terminal says things: tables, marks and colours; and how it reads a length of time."""

from __future__ import annotations

import json
import os
import sys
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.config.duration import parse_duration
from flows.core.errors import Refused
from flows.wording import MARKS

WIDE = 200
"""Columns of what is not a terminal, where nobody folds lines."""

_STATUSES = {
    "dim": "queued pending ready skipped declared",
    "cyan": "running",
    "yellow": "cancelling retrying halted paused missed",
    "green": "succeeded delivered active started",
    "red": "failed timed_out lost disabled dead",
    "magenta": "cancelled",
}
COLOURS = {status: style for style, statuses in _STATUSES.items() for status in statuses.split()}
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


def outcome(
    what: str, ok: bool, sentence: str | None, into: Console, *, following: str | None = None
) -> Text:
    """A line about something that was looked at or tried: how it is, and what to do next."""
    status = "succeeded" if ok else "failed"
    line = Text(f"{mark(status, into)} ", COLOURS[status]) + Text(what)
    if sentence:
        line += Text(f": {sentence}", "dim" if ok else COLOURS[status])
    return line + Text(f"  next: {following}" if following else "", "yellow")


def span(text: str, option: str) -> timedelta:
    """What an option writes as `7d` or `12h`. Raises Refused for anything else, and below 0."""
    length = parse_duration(text)
    if length is None or length < timedelta(0):
        raise Refused(f"{text!r} is no length of time", hint=f"write it as 7d or 12h: {option} 7d")
    return length
