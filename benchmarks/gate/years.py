"""One rule over many simulated years of one scenario.

A false promotion is one of a challenger that is truly no better than the champion it replaces.
The clock of "nights to ship" starts when a challenger that is better than the champion is born
and stops when the champion is as good as the best one born so far.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.gate.gains import GainWorld
from benchmarks.gate.rules import NONE, Rule
from benchmarks.gate.world import POINT, SLICE_SHARE, Scenario, World

NIGHTS = 365
# A better challenger that is not shipped within so many nights counts as never shipped.
PATIENCE = 100
WEIGHTS = np.array([SLICE_SHARE, 1 - SLICE_SHARE])


@dataclass(frozen=True, kw_only=True)
class Row:
    """One rule in one scenario; a column of its table each."""

    scenario: str
    rule: str
    promotions: float
    """A year."""
    false: float
    """False promotions a year."""
    false_share: float
    """Mean over years of false promotions / max(promotions, 1): the FDR."""
    false_share_error: float
    """Monte-Carlo standard error of it."""
    any_false: float
    """Years with any."""
    nights: float
    """Median nights to ship a better one (inf: not within PATIENCE)."""
    within_3: float
    within_30: float
    never: float
    """Not within PATIENCE."""
    regret: float
    """Point-nights that the champion was worse than the best challenger born so far."""
    slices: float
    """Promotions a year that harm the slice."""
    kept: float
    """Challengers scored a night, mean."""


def year(scenario: Scenario, rule: Rule, repeats: int, seed: int) -> Row:
    """Simulate `repeats` years."""
    make = World if scenario.gains is None else GainWorld
    world = make(scenario, repeats, rule.slots, seed)
    rule.start(world)
    rows = np.arange(repeats)
    promotions, false, slices = np.zeros(repeats), np.zeros(repeats), np.zeros(repeats)
    best, since = np.zeros(repeats), np.full(repeats, NONE)
    regret, scored = np.zeros(repeats), np.zeros(repeats)
    waits: list[npt.NDArray[np.int64]] = []
    for night in range(NIGHTS):
        world.begin()
        level, harmful = world.newcomers()
        world.enter(rule.seat(world), level, harmful)
        world.score()
        scored += world.slots.active.sum(axis=1)
        born = np.where(harmful, -np.inf, level @ WEIGHTS)
        best = np.maximum(best, born)
        opens = (since == NONE) & (best > world.champion @ WEIGHTS + 1e-9)
        since = np.where(opens, night, since)
        promoted = rule.decide(world)
        done = np.flatnonzero(promoted != NONE)
        chosen = promoted[done]
        old = world.champion[done] @ WEIGHTS
        new = world.slots.level[done, chosen] @ WEIGHTS
        promotions[done] += 1
        false[done] += new < old - scenario.margin - 1e-9 if scenario.margin else new <= old + 1e-9
        slices[done] += world.slots.harmful[done, chosen]
        rule.after(world, promoted)
        world.promote(done, chosen)
        now = world.champion @ WEIGHTS
        best = np.where(np.isin(rows, done) & (now > best), now, best)
        regret += np.maximum(best - now, 0.0) / POINT
        closes = (since != NONE) & (now >= best - 1e-9)
        countable = closes & (since < NIGHTS - PATIENCE)
        waits.append((night - since + 1)[countable])
        since = np.where(closes, NONE, since)
    waits.append(np.full(int(((since != NONE) & (since < NIGHTS - PATIENCE)).sum()), 10**6))
    wait = np.concatenate(waits)
    share = false / np.maximum(promotions, 1)
    return Row(
        scenario=scenario.name,
        rule=rule.name,
        promotions=float(promotions.mean()),
        false=float(false.mean()),
        false_share=float(share.mean()),
        false_share_error=float(share.std(ddof=1) / np.sqrt(repeats)),
        any_false=float((false > 0).mean()),
        nights=float(np.median(wait)) if len(wait) else float("nan"),
        within_3=float((wait <= 3).mean()) if len(wait) else float("nan"),
        within_30=float((wait <= 30).mean()) if len(wait) else float("nan"),
        never=float((wait > PATIENCE).mean()) if len(wait) else float("nan"),
        regret=float(regret.mean()),
        slices=float(slices.mean()),
        kept=float(scored.mean() / NIGHTS),
    )
