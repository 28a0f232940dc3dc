"""Lengths of time as they are typed in an option."""

from __future__ import annotations

from datetime import timedelta

from flows.config import duration as durations
from flows.core.errors import Refused


def span(text: str, option: str) -> timedelta:
    """What `7d` or `12h` writes. Raises Refused for anything else, and for a negative one."""
    found = durations.parse_duration(text)
    if found is None or found < timedelta(0):
        raise Refused(f"{text!r} is no length of time", hint=f"write it as 7d or 12h: {option} 7d")
    return found
