"""What was measured, as a table for people and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.machine import Machine
from benchmarks.measure import Sample


class Kind(StrEnum):
    """What an aim bounds."""

    AT_MOST = "at most"  # the figure itself, such as a time
    AT_LEAST = "at least"  # the figure itself, such as a rate
    RATIO_AT_MOST = "at most, times the first figure beside it"


@dataclass(frozen=True, kw_only=True)
class Aim:
    """What a figure is to reach."""

    kind: Kind
    bound: float

    def met(self, own: float, ratio: float | None) -> bool:
        """Whether the figure, or its ratio, keeps the bound."""
        if self.kind is Kind.AT_LEAST:
            return own >= self.bound
        judged = own if self.kind is Kind.AT_MOST else ratio
        return judged is not None and judged <= self.bound

    def text(self, unit: str) -> str:
        """For the table."""
        if self.kind is Kind.RATIO_AT_MOST:
            return f"≤ {self.bound:g} ×"
        sign = "≤" if self.kind is Kind.AT_MOST else "≥"
        return f"{sign} {_number(self.bound)} {unit}"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One speed, and what was measured beside it in the same run."""

    name: str
    unit: str
    own: Sample
    beside: dict[str, Sample] = field(default_factory=dict)  # by name; the first is the floor
    aim: Aim | None = None

    @property
    def ratio(self) -> Sample | None:
        """Own to floor, pair by pair; None when nothing was measured pair by pair."""
        floor = next(iter(self.beside.values()), None)
        if floor is None or len(floor.values) != len(self.own.values):
            return None
        return self.own.over(floor)

    @property
    def met(self) -> bool | None:
        """Whether the aim is reached; None without one."""
        if self.aim is None:
            return None
        return self.aim.met(self.own.median, self.ratio.median if self.ratio else None)

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "name": self.name,
            "unit": self.unit,
            **_summary(self.own),
            "beside": {name: _summary(sample) for name, sample in self.beside.items()},
            "ratio": _summary(self.ratio) if self.ratio else None,
            "aim": asdict(self.aim) if self.aim else None,
            "met": self.met,
        }


def print_table(figures: Sequence[Figure], machine: Machine, console: Console) -> None:
    """The figures with what was measured beside them; quartiles in brackets."""
    table = Table(title="Benchmarks", title_justify="left", caption=machine.text)
    table.caption_justify = "left"
    for column in ("figure", "ratchet", "beside it", "ratio", "aim", "met"):
        table.add_column(column, overflow="fold")
    for figure in figures:
        beside = "\n".join(
            f"{name}: {_spread(sample, figure.unit)}" for name, sample in figure.beside.items()
        )
        table.add_row(
            figure.name,
            _spread(figure.own, figure.unit),
            beside,
            f"{figure.ratio.median:.2f} ×" if figure.ratio else "",
            figure.aim.text(figure.unit) if figure.aim else "",
            {True: "[green]yes[/]", False: "[red]no[/]", None: ""}[figure.met],
        )
    console.print(table)


def write_json(figures: Sequence[Figure], machine: Machine, path: Path, *, quick: bool) -> None:
    """The same, with every single measurement."""
    document = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": quick,
        "machine": asdict(machine),
        "figures": [figure.to_json() for figure in figures],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _summary(sample: Sample) -> dict[str, Any]:
    return {
        "median": sample.median,
        "low": sample.low,
        "high": sample.high,
        "values": list(sample.values),
    }


def _spread(sample: Sample, unit: str) -> str:
    return f"{_number(sample.median)} {unit} ({_number(sample.low)}–{_number(sample.high)})"


def _number(value: float) -> str:
    """Three digits that matter."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
