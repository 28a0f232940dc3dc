"""How often what a model says comes true: its reliability, as a card shows it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from registry.verdict import json_reader


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Rows of which the model said about the same."""

    said: float
    """Mean predicted probability."""
    came: float
    """Share of the rows on which it came true."""
    low: float
    """Lower end of that share's 95 % interval (Wilson 1927)."""
    high: float
    """Upper end of it."""
    rows: int


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """One model's."""

    name: str
    """`challenger v7`, `champion v4`."""
    about: str
    """What the probabilities are of."""
    bins: tuple[Bin, ...]
    gap: float
    """The expected calibration error, as the metric `ece` says."""


def calibration_json(models: Sequence[Reliability]) -> dict[str, Any]:
    """As JSON, to be kept beside the verdict."""
    return {"models": [asdict(each) for each in models]}


def calibration_from_json(text: str) -> tuple[Reliability, ...]:
    """Back from what `calibration_json` made."""
    read: tuple[Reliability, ...]
    read = json_reader(tuple[Reliability, ...]).validate_python(json.loads(text)["models"])
    return read
