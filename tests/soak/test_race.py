"""A short race: `python -m tests.soak race` lets fifty challengers race, and kills more."""

from __future__ import annotations

import pytest

from tests.soak.race import race


@pytest.mark.slow
def test_runs_that_race_to_promote_on_workers_that_are_killed_make_one_chain() -> None:
    found = race(6, 3, 1, lambda line: None)
    assert found.problems == []
    assert found.counts["promotions"] == 6
    assert found.counts["runs that lost the race"] > 0
    assert found.counts["attempts lost"] > 0
