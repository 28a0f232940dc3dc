"""A short soak: `make soak` kills for longer."""

from __future__ import annotations

import random

import pytest

from benchmarks import postgres
from tests.soak.kills import kill_at_random
from tests.soak.recovery import restart_again_and_again

pytestmark = pytest.mark.slow


@pytest.mark.skipif(postgres.programs() is None, reason="PostgreSQL's programs are not installed")
def test_schedulers_workers_and_postgresql_are_killed_and_every_fire_runs_once() -> None:
    seed = random.randrange(10_000)
    found = kill_at_random(15.0, seed, lambda line: None)
    assert found.problems == [], f"seed {seed}"
    assert found.counts["runs"] >= 15


def test_a_killed_ratchet_up_goes_on_by_itself() -> None:
    seconds, found = restart_again_and_again(3, 1, lambda line: None)
    assert found.problems == []
    assert len(seconds) == 3
