"""One night's tests far out in the tail: how often an equal challenger passes, and a better one.

Gains of rows, or sums of clusters, are drawn, with a mean of exactly 0 and losses that have a
bound, and judged three ways: by Student's t, by ours without the bound (Hall's correction for
skewness, Kish's units) and by ours with it (bets; for clusters Student's t has to agree).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr

from registry.methods.bounded import log_capital

Floats = npt.NDArray[np.float64]
# Gains and sizes of the units of many nights, (nights, units) each.
Draw = Callable[[np.random.Generator, tuple[int, int]], tuple[Floats, Floats]]

LEVEL = 1e-4
# Numbers drawn at once.
TOGETHER = 1_000_000
# Rows of a cluster of the usual size.
ROWS = 25
# The largest loss, where the losses' size is drawn.
MOST = 8.0


@dataclass(frozen=True, kw_only=True)
class Tail:
    """One kind of gains, and how many of them."""

    name: str
    draw: Draw
    units: tuple[int, ...]
    bound: float = 1.0
    clusters: bool = False


def tails() -> list[Tail]:
    """Challengers that are no better."""
    rows, units = (200, 1000, 5000), (20, 100, 400)
    return [
        Tail(name="normal (cut at 4 sd)", draw=_each(_normal), units=rows, bound=4.0),
        Tail(name="wins seldom and much", draw=_each(_wins_much), units=rows, bound=MOST),
        Tail(name="loses seldom and much", draw=_each(_loses_much), units=rows, bound=MOST),
        Tail(name="2 % of the rows lost (log loss)", draw=_lost(0.02), units=rows, bound=MOST),
        Tail(name="0.2 % of the rows lost", draw=_lost(0.002), units=rows, bound=MOST),
        *(
            Tail(name=f"clusters of {words}, {kind}", draw=draw, units=units, clusters=True)
            for words, own in (("25 rows", False), ("lognormal sizes", True))
            for kind, draw in (
                ("normal", _in_clusters(_normal_share, own)),
                ("2 % of them lost", _in_clusters(_lost_share, own)),
            )
        ),
    ]


def lines(nights: int, seed: int) -> Iterator[str]:
    """Both tables as Markdown, for so many simulated nights of a line (of rows: up to 1,000)."""
    yield "| gains of an equal challenger | n | plain t | ours without bound | ours with bound |"
    yield "|---|---|---|---|---|"
    for tail in tails():
        for units in tail.units:
            passed, drawn = _passed(tail, units, nights if units <= 1000 else nights // 3, seed)
            found = (_times(share, drawn) for share in passed)
            yield f"| {tail.name} | {units:,} | {' | '.join(found)} |"
    yield ""
    yield "| a better challenger | n | plain t | ours without bound | ours with bound |"
    yield "|---|---|---|---|---|"
    for tail in _better():
        for units in tail.units:
            passed, _ = _passed(tail, units, max(nights // 100, 300), seed)
            found = (f"{share:.0%}" for share in passed)
            yield f"| {tail.name} | {units:,} | {' | '.join(found)} |"


def _times(share: float, nights: int) -> str:
    """A share of errors in multiples of the level, with its standard error."""
    # Of no error: that of one.
    error = max(share * (1 - share) / nights, 1 / nights**2) ** 0.5 / LEVEL
    return f"{share / LEVEL:,.2g} ± {error:.1g}" if share < 0.01 else f"{share / LEVEL:,.0f}"


def _better() -> list[Tail]:
    return [
        Tail(name="accuracy +1 point, 6 % disagree", draw=_labels(0.01), units=(5000, 10_000)),
        *(
            Tail(name=name, draw=_customers(gain, spread), units=units, clusters=True)
            for gain, units in ((0.01, (400, 2000)), (0.02, (400, 2000)), (0.05, (100, 400)))
            for name, spread in (
                (f"+{100 * gain:g} points, clusters of 25 rows, each its own gain", 0.1),
                (f"+{100 * gain:g} points, clusters of 25 independent rows", 0.0),
            )
        ),
    ]


def _passed(tail: Tail, units: int, nights: int, seed: int) -> tuple[list[float], int]:
    """The share of nights that pass, by each test; and the nights."""
    rng, found, done = np.random.default_rng(seed), np.zeros(3), 0
    while done < nights:
        together = max(min(nights - done, TOGETHER // units), 1)
        gains, sizes = tail.draw(rng, (together, units))
        plain, corrected = _student(gains, sizes)
        most = sizes * tail.bound
        bets = log_capital(gains / tail.bound, sizes, level=LEVEL) >= -np.log(LEVEL)
        assert (np.abs(gains) <= most * (1 + 1e-9)).all()
        if tail.clusters:
            bets &= corrected
        found += [plain.sum(), corrected.sum(), bets.sum()]
        done += together
    return (found / done).tolist(), done


def _student(sums: Floats, sizes: Floats) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """By plain t, and by `registry.methods.paired.studentized`, for many nights at once."""
    count, rows = sums.shape[1], sizes.sum(axis=1)
    mean = sums.sum(axis=1) / rows
    off = (sums - sizes * mean[:, None]) * (count / rows)[:, None]
    squares = np.maximum(np.einsum("ij,ij->i", off, off) / count, 1e-300)
    skewness = np.einsum("ij,ij,ij->i", off, off, off) / count / squares**1.5
    units = rows**2 / np.einsum("ij,ij->i", sizes, sizes)
    t = mean / np.sqrt(squares / (count - 1))
    u = t / np.sqrt(units)
    cubic = u + skewness * u**2 / 3 + skewness**2 * u**3 / 27 + skewness / (6 * units)
    least = np.minimum(t, np.sqrt(units) * cubic)
    return stdtr(count - 1, -t) <= LEVEL, stdtr(np.maximum(units - 1, 1), -least) <= LEVEL


def _each(gains: Callable[[np.random.Generator, tuple[int, int]], Floats]) -> Draw:
    """Rows: units of one row."""
    return lambda rng, shape: (gains(rng, shape), np.ones(shape))


def _normal(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    return np.asarray(np.clip(rng.standard_normal(shape), -4.0, 4.0))


def _wins_much(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Exponential, cut at MOST, less its mean."""
    drawn: Floats = np.minimum(rng.standard_exponential(shape), MOST) - (1 - np.exp(-MOST))
    return drawn


def _loses_much(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    return -_wins_much(rng, shape)


def _lost(share: float) -> Draw:
    """A little better on most rows, and on some of them worse by 1 to MOST - 1."""

    def gains(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
        cut = MOST - 2.0
        loss = 1.0 + np.minimum(2.0 * rng.standard_exponential(shape), cut)
        mean = 1.0 + 2.0 * (1 - np.exp(-cut / 2.0))
        lost = rng.random(shape) < share
        found: Floats = share * mean + 0.05 * _normal(rng, shape) - lost * loss
        return found

    return _each(gains)


def _in_clusters(
    share: Callable[[np.random.Generator, tuple[int, int]], Floats], own: bool
) -> Draw:
    """Mean gains of clusters, of equal or of lognormal sizes."""

    def draw(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[Floats, Floats]:
        sizes = np.full(shape, float(ROWS))
        if own:
            sizes = np.ceil(ROWS * np.exp(rng.standard_normal(shape) - 0.5))
        sums: Floats = sizes * share(rng, shape)
        return sums, sizes

    return draw


def _normal_share(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    return 0.1 * _normal(rng, shape)


def _lost_share(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """A cluster in fifty is lost entirely; on all others the challenger is a little better."""
    won = 0.02 / 0.98 + 0.005 * _normal(rng, shape)
    return np.asarray(np.where(rng.random(shape) < 0.02, -1.0, won))


def _labels(gain: float) -> Draw:
    """0/1 losses of independent rows, of which 6 % are in dispute."""

    def gains(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
        luck = rng.random(shape)
        return np.asarray((luck < 0.03 + gain / 2) * 1.0 - (luck > 0.97 + gain / 2))

    return _each(gains)


def _customers(gain: float, spread: float) -> Draw:
    """Wins less losses of clusters of 25 rows, 30 % of them in dispute (6 % without a spread)."""
    disputed = 0.3 if spread else 0.06

    def draw(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[Floats, Floats]:
        mean = np.clip(gain + spread * rng.standard_normal(shape), 0.01 - disputed, disputed - 0.01)
        contested = rng.binomial(ROWS, disputed, shape)
        wins = rng.binomial(contested, 0.5 + mean / (2 * disputed))
        sums: Floats = (2 * wins - contested).astype(np.float64)
        return sums, np.full(shape, float(ROWS))

    return draw
