"""Years of real-valued losses, and of clusters: a night's gains are counts over a few values.

A gain of a row is one of a few numbers, in units of the bound, so a night's rows are multinomial
counts: exact for sums, squares and bets of fixed stakes. A cluster of equal size is one unit whose
mean gain is such a number. The bets of a single night go by the order of the rows, which is random
given the counts; it is drawn for nights whose mean lies 2 standard errors above 0, and the others
pass no test at 1e-4. Challengers of one night do not share the champion's luck here.
"""

from collections.abc import Callable

import numpy as np
from scipy import stats

from benchmarks.gate.online_fdr import Account
from benchmarks.gate.rules import Accumulating, Nightly, Settings
from benchmarks.gate.world import Counts, Flags, Floats, Gains, Scenario, World
from registry.methods.bounded import log_capital
from registry.methods.evidence import (
    MAX_STAKE,
    agreed,
    bets_around,
    log_mixture,
    log_value_of_counts,
)

ROWS = 25
DISPUTED = 0.1
# A night with a smaller mean, in standard errors, is not looked at more closely.
WORTH_A_LOOK = 2.0


def skewed(bound: float, small: float, seldom: float, share: float) -> Gains:
    """Mean 0: ordinary gains of at most 2 * `small`, and a `share` of the rows that lose `seldom`.

    All in the loss's unit. A better challenger wins some of the ordinary rows that it lost.
    """
    steps = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    chances = np.full(5, (1.0 - share) / 5)
    # What is lost seldom is won back on the ordinary rows.
    win = share * seldom / (3.0 * small)
    chances += np.array([0.0, -win, 0.0, 0.0, win])
    values = np.append(steps * small, -seldom)
    return Gains(
        values=values / bound,
        chances=np.append(chances, share),
        better=np.array([-0.25, 0.0, 0.0, 0.0, 0.25, 0.0]) / small,
        bound=bound,
    )


def customers(spread: float) -> Gains:
    """Clusters of 25 rows, each with a mean gain of its own: (wins - losses) / 25."""
    contested, own = np.arange(ROWS + 1), np.linspace(-4.0, 4.0, 161)
    weights = stats.norm.pdf(own)
    mean = np.clip(spread * own, 0.01 - DISPUTED, DISPUTED - 0.01)
    chances = np.zeros(2 * ROWS + 1)
    for count in contested:
        wins = np.arange(count + 1)
        each = stats.binom.pmf(wins, count, 0.5 + mean[:, None] / (2 * DISPUTED))
        share = stats.binom.pmf(count, ROWS, DISPUTED) / weights.sum()
        chances[ROWS + 2 * wins - count] += share * (weights @ each)
    values = np.arange(-ROWS, ROWS + 1) / ROWS
    keep = chances > 1e-12
    chances, values = chances[keep] / chances[keep].sum(), values[keep]
    return Gains(
        values=values,
        chances=chances,
        better=chances * values / (chances @ values**2),
        rows=ROWS,
        square=DISPUTED,
    )


class GainWorld(World):
    """The world of one scenario with `gains`."""

    def __init__(self, scenario: Scenario, repeats: int, slots: int, seed: int) -> None:
        assert scenario.gains is not None
        self.gains = scenario.gains
        self.units = scenario.rows // self.gains.rows
        shape = (repeats, slots, len(self.gains.values))
        self.counts = np.zeros(shape, dtype=np.int64)
        self.tonight = np.zeros(shape, dtype=np.int64)
        self.luck = np.zeros(repeats)
        super().__init__(scenario, repeats, slots, seed)

    def score(self) -> None:
        """Draw what the rows say of every active challenger."""
        gains, slots = self.gains, self.slots
        gap = (slots.level - self.champion[:, None, :]).mean(axis=-1)
        chances = np.maximum(gains.chances + gap[..., None] * gains.better, 0.0)
        chances /= chances.sum(axis=-1, keepdims=True)
        drawn = self.rng.multinomial(self.units, chances)
        self.tonight = np.where(slots.active[..., None], drawn, 0)
        self.counts += self.tonight
        slots.nights += slots.active
        slots.rows += self.scenario.rows * slots.active
        slots.age += slots.active

    def sums(self) -> tuple[Floats, Floats]:
        """Sum of the units' gains tonight in the first slot, and of their squares."""
        counts, values = self.tonight[:, 0], self.gains.values
        return counts @ values, counts @ values**2

    def _restart(self, repeats: Counts, where: Counts) -> None:
        super()._restart(repeats, where)
        self.counts[repeats, where] = 0

    def _draw_rows(self) -> None:
        """The champion's luck tonight: its mean loss varies by the rows."""
        self.luck = self.rng.standard_normal(len(self.champion))


Passes = Callable[[GainWorld], Flags]


class OneNight(Nightly):
    """Judges each night's new challenger once."""

    def __init__(self, name: str, passes: Passes) -> None:
        super().__init__(name, lambda world, wins, losses: passes(_gainful(world)))


def at_least(margin: float) -> Passes:
    """The mean gain is at least `margin`, in the loss's unit."""

    def passes(world: GainWorld) -> Flags:
        return np.asarray(world.sums()[0] / world.units >= margin / world.gains.bound)

    return passes


def naive_p(world: GainWorld) -> Floats:
    """Of a t-test that takes the rows as independent."""
    total, squares = world.sums()
    mean = total / world.units
    rows = world.scenario.rows
    square = world.gains.square or squares / world.units
    error = np.sqrt(np.maximum(square - mean**2, 1e-12) / rows)
    return np.asarray(stats.t.sf(mean / error, rows - 1))


def single_night(level: float) -> Passes:
    """Bets on tonight's rows, or on clusters (and there Student's t agrees)."""

    def passes(world: GainWorld) -> Flags:
        total, squares = world.sums()
        mean = total / world.units
        error = np.sqrt(np.maximum(squares / world.units - mean**2, 1e-12) / (world.units - 1))
        t = mean / error
        found = np.zeros(len(mean), dtype=np.bool_)
        worth = np.flatnonzero(t >= WORTH_A_LOOK)
        if len(worth):
            counts = world.tonight[worth, 0].ravel()
            rows = np.repeat(np.tile(world.gains.values, len(worth)), counts)
            rows = world.rng.permuted(rows.reshape(len(worth), world.units), axis=1)
            capital = log_capital(rows, np.ones(world.units), level=level)
            found[worth] = capital >= -np.log(level)
        agrees = stats.t.sf(t, world.units - 1) <= level
        return np.asarray(found & (agrees | (world.gains.rows == 1)))

    return passes


class Stored(OneNight):
    """Compares with the figure that the champion had when it was promoted."""

    def __init__(self) -> None:
        super().__init__(">= on the stored metric", self._beats)
        self._stored: Floats | None = None

    def start(self, world: World) -> None:
        self._stored = None

    def _beats(self, world: GainWorld) -> Flags:
        # One model's own losses vary ten times as much as two models' differences.
        spread = 10.0 * np.sqrt(world.gains.chances @ world.gains.values**2 / world.units)
        before = world.champion.mean(axis=1) + world.gains.bound * spread * world.luck
        figure = before + world.gains.bound * world.sums()[0] / world.units
        if self._stored is None:
            self._stored = before
        beats = np.asarray(figure >= self._stored)
        self._stored = np.where(beats, figure, self._stored)
        return beats


class AccountedGains(OneNight):
    """One account for each repeat judges each night's naive p-value, or its e-value."""

    def __init__(self, name: str, opening: Account, *, e_values: bool = False) -> None:
        super().__init__(name, self._within)
        self._opening, self._e_values = opening, e_values
        self._accounts: list[Account] = []

    def start(self, world: World) -> None:
        self._accounts = [self._opening] * len(world.champion)

    def _within(self, world: GainWorld) -> Flags:
        p = naive_p(world)
        if self._e_values:
            fractions = np.geomspace(0.01, MAX_STAKE, 13)
            growth = np.log1p(fractions[:, None] * world.gains.values)
            parts = world.tonight[:, 0] @ growth.T
            top = parts.max(axis=1)
            p = np.exp(-np.maximum(top + np.log(np.exp(parts - top[:, None]).mean(axis=1)), 0.0))
        levels = np.array([account.level for account in self._accounts])
        self._accounts = [
            account.after(float(one)) for account, one in zip(self._accounts, p, strict=True)
        ]
        return np.asarray(p <= levels)


class AccumulatingGains(Accumulating):
    """Evidence over nights, by bets on rows or on clusters."""

    def __init__(self, name: str, settings: Settings, *, told: bool = True) -> None:
        super().__init__(name, settings)
        self._told = told

    def start(self, world: World) -> None:
        super().start(world)
        gains = _gainful(world).gains
        if not self._told:
            self._bets = bets_around(self._settings.gate.effect, gains.square)
        fractions = np.asarray(self._bets.fractions)
        stakes = np.minimum(fractions * gains.rows, MAX_STAKE)[:, None]
        self._growth = np.log1p(stakes * gains.values).T
        self._doubts = np.log1p(stakes * (self._useful - gains.values)).T

    def _log_values(self, world: World) -> Floats:
        if self._told:
            return self._capital(_gainful(world), self._growth, _gainful(world).gains.values)
        wins, losses = self._labels(_gainful(world))
        return log_value_of_counts(self._bets, wins, losses)

    def _log_doubt(self, world: World) -> Floats:
        if self._told:
            against = self._useful - _gainful(world).gains.values
            return self._capital(_gainful(world), self._doubts, against)
        wins, losses = self._labels(_gainful(world))
        ties = world.slots.rows - wins - losses
        return log_value_of_counts(self._bets, losses, wins, ties, null=-self._useful)

    def _capital(self, world: GainWorld, growth: Floats, values: Floats) -> Floats:
        found = log_mixture(self._bets, world.counts @ growth)
        if world.gains.rows == 1:
            return found
        total, squares = world.counts @ values, world.counts @ values**2
        return agreed(found, total, squares, world.slots.nights.astype(np.float64))

    def _labels(self, world: GainWorld) -> tuple[Floats, Floats]:
        """Wins and losses of rows that count as independent; as many in dispute as on average."""
        net = world.gains.rows * (world.counts @ world.gains.values)
        disputed = world.gains.square * world.slots.rows
        return (disputed + net) / 2, (disputed - net) / 2


def _gainful(world: World) -> GainWorld:
    assert isinstance(world, GainWorld)
    return world
