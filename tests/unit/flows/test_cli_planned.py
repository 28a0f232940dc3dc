"""`ratchet check` holds `gate.planned` against how often a schedule fires."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from flows.cli.planned import misplanned, runs_a_year
from flows.core.schedule import Cron, Interval, OnRequest, Schedule, Trigger

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def told(trigger: Trigger, planned: int | None = 365) -> tuple[str, str] | None:
    data = {} if planned is None else {"gate": {"planned": planned}}
    ratchet: Any = SimpleNamespace(
        compose=lambda flow, overrides: SimpleNamespace(data=data),
        flows=SimpleNamespace(get=lambda name: name),
    )
    return misplanned(ratchet, Schedule(name="s", flow="retrain", trigger=trigger), NOW)


@pytest.mark.parametrize(
    ("trigger", "runs"),
    [
        (Cron(cron="0 3 * * *"), 365),
        (Cron(cron="@hourly"), 8760),
        (Cron(cron="0 3 * * 1"), 52),
        (Cron(cron="0 3 1 * *"), 12),
        (Interval(every=timedelta(hours=12)), 730),
    ],
)
def test_how_often_a_schedule_fires_in_a_year(trigger: Trigger, runs: int) -> None:
    assert runs_a_year(trigger, NOW) == runs


def test_a_gate_that_plans_for_another_number_than_its_schedule_makes_is_told() -> None:
    said = told(Cron(cron="@hourly"))
    assert said is not None
    assert "8,760 runs a year, and its gate plans for 365 challengers" in said[0]
    assert "gate.planned=8760" in said[1]
    assert told(Cron(cron="@hourly"), planned=8000) is None
    weekly = told(Cron(cron="0 3 * * 1"))
    assert weekly is not None
    assert "gate.planned=52" in weekly[1]


def test_nothing_is_told_where_it_fits_or_nobody_can_know() -> None:
    for cron in ("0 3 * * *", "0 3 * * 1-5"):
        assert told(Cron(cron=cron)) is None
    assert told(OnRequest()) is None
    assert told(Cron(cron="@hourly"), planned=None) is None
