"""Keyword arguments of `start` as overrides, so that a cell can say `gate={"min_effect": 0.01}`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any

from flows.core.errors import ConfigError

_BARE = re.compile(r"[A-Za-z_./][A-Za-z0-9_./-]*")
_KEYWORD = re.compile(r"true|false|yes|no|on|off|null|none|nan|inf", re.IGNORECASE)


def as_overrides(config: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """`model="digits", gate={"min_effect": 0.01}` as `model=digits`, `gate.min_effect=0.01`.

    Raises ConfigError for a value that no config file could hold.
    """
    for name, value in config.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from as_overrides(value, f"{key}.")
        else:
            yield f"{key}={_written(key, value)}"


def _written(key: str, value: Any) -> str:
    """A value as Hydra's grammar reads it back."""
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g}s"
    if isinstance(value, str | Path):
        return _quoted(str(value))
    if isinstance(value, list | tuple):
        return f"[{','.join(_written(key, item) for item in value)}]"
    raise ConfigError(
        f"{key}={value!r} is a {type(value).__name__}, which a config cannot hold",
        hint="give text, numbers, booleans, durations, and lists or dictionaries of these",
    )


def _quoted(text: str) -> str:
    if _BARE.fullmatch(text) and not _KEYWORD.fullmatch(text):
        return text
    quoted = re.sub(r"(\\*)'", r"\1\1\\'", text)  # Hydra: backslashes count before a quote only
    trailing = len(quoted) - len(quoted.rstrip("\\"))
    return f"'{quoted}{chr(92) * trailing}'"
