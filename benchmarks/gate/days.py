"""Days that differ: false promotions a year and nights to ship, by rows a night and daily spread.

Whole years by the production functions are `benchmarks.gate.production`; this is their vectorised
twin, because a false promotion in twenty years needs many of them. One challenger at a time: its
chance of ever being promoted in its nights, for every night of the year on which it may begin (what
is known of days grows until then), summed up.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.gate.world import POINT
from registry.error_budget import Year, bar
from registry.gate_config import GateConfig
from registry.methods.days import Dispersion, at_rows, log_limit_of_sums
from registry.methods.evidence import bets_around, log_value_of_counts

Floats = npt.NDArray[np.float64]

DISAGREE = 0.06
SPREADS = (0.0, 0.1, 0.43, 1.0)
ROWS = (500, 5_000, 50_000, 1_000_000)
# A challenger begins on one of these nights, for so many of the year.
BEGINS = {0: 2, 2: 2, 5: 3, 9: 3, 12: 4, 18: 10, 30: 26, 60: 60, 120: 120, 240: 135}


@dataclass(frozen=True, kw_only=True)
class Days:
    """Nights of one challenger."""

    rows: int
    spread: float
    """Standard deviation of a day's own effect on the gain."""
    known: int
    """Degrees of freedom that earlier comparisons lend."""
    gain: float = 0.0
    nights: int = 30
    share: float = Year().share


def ends(days: Days, repeats: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """The night on which each is proven (inf: never), by days, and by rows alone."""
    phi = 1.0 + days.rows * days.spread**2 / DISAGREE
    drawn = rng.chisquare(days.known, repeats) if days.known else np.zeros(repeats)
    lent, freedom = np.zeros(repeats), np.zeros(repeats)
    for i, one in enumerate((phi * drawn).tolist()):
        told = Dispersion(squares=one, freedom=float(days.known), rows=float(days.rows))
        told = at_rows(told, float(days.rows))
        lent[i], freedom[i] = told.squares, told.freedom
    bets, needed = bets_around(GateConfig().effect, DISAGREE), bar(days.share)
    wins, losses, squares = np.zeros(repeats), np.zeros(repeats), np.zeros(repeats)
    by_days, by_rows = np.full(repeats, np.inf), np.full(repeats, np.inf)
    for night in range(1, days.nights + 1):
        day = days.gain + days.spread * rng.standard_normal(repeats)
        disputed = rng.binomial(days.rows, DISAGREE, repeats)
        won = rng.binomial(disputed, np.clip(0.5 + day / (2 * DISAGREE), 0.0, 1.0))
        wins, losses = wins + won, losses + disputed - won
        squares += (2.0 * won - disputed) ** 2 / days.rows
        count, rows = np.full(repeats, float(night)), np.full(repeats, float(days.rows * night))
        variance = (wins + losses) / rows
        limit = log_limit_of_sums(
            count, rows, wins - losses, squares, variance * lent, freedom, count
        )
        value = log_value_of_counts(bets, wins, losses)
        by_rows = np.minimum(by_rows, np.where(value >= needed, night, np.inf))
        both = np.minimum(value, limit) >= needed
        by_days = np.minimum(by_days, np.where(both, night, np.inf))
    return by_days, by_rows


def tables(repeats: int, seed: int) -> Iterator[str]:
    """Both as Markdown; `repeats` challengers for each night on which one may begin."""
    rng = np.random.default_rng(seed)
    yield "| rows a night | daily spread, points | false a year | ± | by rows alone |"
    yield "|---|---|---|---|---|"
    for rows in ROWS:
        for spread in SPREADS:
            false, variance, alone = 0.0, 0.0, 0.0
            for known, nights in BEGINS.items():
                asked = Days(rows=rows, spread=spread * POINT, known=known)
                found, bare = ends(asked, repeats, rng)
                share = float(np.isfinite(found).mean())
                false += nights * share
                variance += nights**2 * share * (1 - share) / repeats
                alone += nights * float(np.isfinite(bare).mean())
            yield f"| {rows:,} | {spread:g} | {false:.3f} | {variance**0.5:.3f} | {alone:.3g} |"
    yield ""
    yield "| rows a night, +1 point | days known | nights, mean | median | by rows alone |"
    yield "|---|---|---|---|---|"
    for rows in ROWS[1:3]:
        for known in (0, 6, 12, 30, 60, 120, 240):
            asked = Days(rows=rows, spread=0.0, known=known, gain=POINT)
            found, bare = (np.minimum(one, 31) for one in ends(asked, max(repeats // 10, 500), rng))
            yield (
                f"| {rows:,} | {known} | {found.mean():.2f} | {np.median(found):g} | "
                f"{bare.mean():.2f} |"
            )
    yield ""
    yield "| watch: rows a night | daily spread, points | equal champion found harmful | ± |"
    yield "|---|---|---|---|"
    for rows in ROWS:
        for spread in SPREADS:
            asked = Days(rows=rows, spread=spread * POINT, known=60, nights=7, share=0.01)
            share = float(np.isfinite(ends(asked, repeats, rng)[0]).mean())
            error = (share * (1 - share) / repeats) ** 0.5
            yield f"| {rows:,} | {spread:g} | {share:.2%} | {error:.2%} |"
