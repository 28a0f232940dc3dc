"""A short race: `python -m tests.soak race` lets fifty challengers race, and kills more."""

from __future__ import annotations

import random

import pytest

from tests.soak.race import race


@pytest.mark.slow
def test_runs_that_race_to_promote_on_workers_that_are_killed_make_one_chain() -> None:
    seed = random.randrange(10_000)
    found = race(8, 3, seed, lambda line: None)
    assert found.problems == [], f"seed {seed}"
    assert found.counts["promotions"] == 8
    assert found.counts["runs that lost the race"] > 0, f"seed {seed}"
    assert found.counts["attempts lost"] > 0, f"seed {seed}"
