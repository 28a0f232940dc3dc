"""Nights with random faults: the invariants hold, and the checks would see it if they did not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import postgres
from tests.simulation.database import Disk
from tests.simulation.mutations import MUTATIONS, Mutation, found_by
from tests.simulation.story import tell

ROOT = Path(__file__).parents[2]
SEEDS = {"sqlite": 300, "postgresql": 40}
"""`make soak` plays 10,000, and 1,000 on PostgreSQL."""


@pytest.fixture
def disk(caplog: pytest.LogCaptureFixture) -> Iterator[Disk]:
    caplog.set_level("CRITICAL")
    made = Disk()
    yield made
    made.remove()


@pytest.mark.slow
@pytest.mark.parametrize("database", SEEDS)
def test_nothing_is_lost_and_nothing_done_twice_whatever_goes_wrong(database: str) -> None:
    if database == "postgresql" and postgres.programs() is None:
        pytest.skip("PostgreSQL's programs are not installed")
    seeds = ["--seeds", str(SEEDS[database]), "--database", database]
    command = [sys.executable, "-m", "tests.simulation", *seeds]
    played = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert played.returncode == 0, played.stdout + played.stderr


def test_a_seed_always_tells_the_same_story(disk: Disk) -> None:
    first: list[str] = []
    again: list[str] = []
    told = tell(7, disk, first.append), tell(7, disk, again.append)
    assert told[0] == told[1]
    assert first == again
    assert len(first) > 20


@pytest.mark.slow
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_a_fault_in_ratchet_itself_is_found(disk: Disk, mutation: Mutation) -> None:
    assert found_by(mutation, disk, first=MUTATIONS[mutation]) is not None
