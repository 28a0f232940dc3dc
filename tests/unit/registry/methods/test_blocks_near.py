"""Blocks look near the declared effect once their spread is known."""

import math

import numpy as np

from registry.methods.blocks import EFFECTS, BlockEvidence, Spread, after_block, effects_around

SPREAD = Spread(squares=40 * 0.005**2, freedom=40.0)


def nights(grid: tuple[float, ...], gains: np.ndarray) -> int:
    """Blocks until it is proven; one more than there are: never."""
    evidence = BlockEvidence(spread=SPREAD, effects=grid)
    for night, gain in enumerate(gains, start=1):
        evidence = after_block(evidence, float(gain))
        if evidence.log_value >= math.log(7684):
            return night
    return len(gains) + 1


def test_blocks_look_near_the_declared_effect_once_their_spread_is_known() -> None:
    assert effects_around(0.01, Spread()) == EFFECTS
    near = effects_around(0.01, SPREAD)
    assert sum(1.2 < effect < 3.4 for effect in near) >= 8  # 2 is effect / standard deviation
    rng = np.random.default_rng(1)
    gains = 0.01 + 0.005 * rng.standard_normal((60, 30))
    found = {grid: np.mean([nights(grid, one) for one in gains]) for grid in (EFFECTS, near)}
    assert found[near] < found[EFFECTS] - 0.3


def test_looking_near_the_declared_effect_proves_no_equal_challenger() -> None:
    near = effects_around(0.01, SPREAD)
    gains = 0.005 * np.random.default_rng(2).standard_normal((60, 30))
    assert all(nights(near, one) == 31 for one in gains)
