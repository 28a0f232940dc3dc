"""Durations as people write them in a config: 90s, 15m, 6h, 7d, 2w, 1d12h."""

from __future__ import annotations

import re
from datetime import timedelta

_UNITS = {
    "w": timedelta(weeks=1),
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
    "us": timedelta(microseconds=1),
}
_SHOWN = ("d", "h", "m", "s", "ms", "us")  # weeks are read, and shown as days
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|us|[wdhms])")
_WHOLE = re.compile(rf"(-?)((?:{_PART.pattern})+)")


def parse_duration(text: str) -> timedelta | None:
    """The duration that `text` writes, such as "90s" or "1d12h"; None when it writes none."""
    whole = _WHOLE.fullmatch(text.replace(" ", ""))
    if whole is None:
        return timedelta(0) if text.strip() == "0" else None
    try:
        total = sum(
            (float(number) * _UNITS[unit] for number, unit in _PART.findall(whole[2])), timedelta(0)
        )
    except OverflowError:
        return None
    return -total if whole[1] else total


def format_duration(duration: timedelta) -> str:
    """The shortest text that `parse_duration` reads back as the same duration."""
    if duration < timedelta(0):
        return f"-{format_duration(-duration)}"
    parts = []
    for unit in _SHOWN:
        count, duration = divmod(duration, _UNITS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
