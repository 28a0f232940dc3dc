"""The judge of a race says what is wrong: it is shown what must not be."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from registry import ChampionStatus, LedgerEntry
from registry.ledger import Action
from tests.simulation.findings import Findings
from tests.soak.finish import MODEL, check_race

NOW = datetime(2026, 5, 1, 3, tzinfo=UTC)


def entry(epoch: int) -> LedgerEntry:
    before = str(epoch - 1) if epoch > 1 else None
    verdict = {"epoch": epoch - 1, "champion": before, "challenger": str(epoch)}
    return LedgerEntry(
        model=MODEL, version=str(epoch), previous_version=before, action=Action.PROMOTE,
        verdict=json.dumps(verdict), run_id=f"r{epoch}", actor="flow contend", reason="better",
        at=NOW, epoch=epoch, prev_hash="", hash="", settled_at=NOW,
    )  # fmt: skip


WELL = (entry(1), entry(2), entry(3))
LIVE = ChampionStatus(model=MODEL, version="3", epoch=3, settled=True)


def judged(entries: tuple[LedgerEntry, ...], status: ChampionStatus = LIVE) -> list[str]:
    versions = [SimpleNamespace(version=str(number)) for number in (1, 2, 3)]
    models: Any = SimpleNamespace(
        entries=lambda model: entries,
        champion=lambda model: status,
        verify=lambda model: None,
        models=SimpleNamespace(versions=lambda model: versions),
    )
    found = Findings()
    check_race(found, models, 3)
    return found.problems


def test_one_chain_of_all_is_well() -> None:
    assert judged(WELL) == []


@pytest.mark.parametrize(
    ("third", "problem"),
    [
        ({"epoch": 4}, "epochs [1, 2, 4]"),
        ({"version": "2"}, "promoted [1, 2, 2] of [1, 2, 3]"),
        ({"previous_version": "1"}, "epoch 3 follows another"),
        ({"verdict": WELL[1].verdict}, "epoch 3 was promoted by a verdict of (1, '1', '2')"),
        ({"settled_at": None}, "epoch 3 is pending"),
    ],
)
def test_what_must_not_be_is_found(third: dict[str, Any], problem: str) -> None:
    assert problem in judged((*WELL[:2], replace(WELL[2], **third)))


def test_a_lost_entry_and_an_outsider_are_found() -> None:
    assert "epochs [1, 2]" in judged(WELL[:2])
    (problem,) = judged(WELL, replace(LIVE, outsider="1"))
    assert "outsider='1'" in problem
