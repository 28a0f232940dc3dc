"""Where a command works, as the global options say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Place:
    """The project and its home."""

    project: Path | None  # None: the current folder
    home: Path | None  # None: what the config says
