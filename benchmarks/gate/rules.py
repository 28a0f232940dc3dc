"""Decision rules side by side, each over many repeats of a simulated world at once."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy import stats

from benchmarks.gate.online_fdr import Account
from benchmarks.gate.world import POINT, Flags, Floats, World
from registry.error_budget import Year
from registry.gate_config import GateConfig
from registry.methods.blocks import log_value_of_sums
from registry.methods.evidence import bets_around, log_value_of_counts
from registry.nights.allowance import LUCK, within_allowance
from registry.nights.betting import EFFECT_OF_DISAGREEMENT, GIVE_UP
from registry.nights.docket import Docket
from registry.nights.no_harm import begun

Choice = npt.NDArray[np.int64]
# No challenger of this repeat is promoted tonight.
NONE = -1


class Rule(Protocol):
    """What is promoted tonight."""

    name: str
    slots: int
    """Challengers that may be compared at once."""

    def start(self, world: World) -> None:
        """Before the first night."""
        ...

    def seat(self, world: World) -> Choice:
        """The slot for tonight's new challenger, one for each repeat."""
        ...

    def decide(self, world: World) -> Choice:
        """The slot to promote, or NONE, one for each repeat."""
        ...

    def after(self, world: World, promoted: Choice) -> None:
        """What remains of the comparisons."""
        ...


class Nightly:
    """Judges each night's new challenger once, on that night's holdout, and forgets it."""

    slots = 1

    def __init__(self, name: str, passes: Callable[[World, Floats, Floats], Flags]) -> None:
        self.name = name
        self._passes = passes

    def start(self, world: World) -> None:
        pass

    def seat(self, world: World) -> Choice:
        return np.zeros(len(world.champion), dtype=np.int64)

    def decide(self, world: World) -> Choice:
        wins = world.slots.wins[:, 0].sum(axis=-1).astype(np.float64)
        losses = world.slots.losses[:, 0].sum(axis=-1).astype(np.float64)
        return np.where(self._passes(world, wins, losses), 0, NONE)

    def after(self, world: World, promoted: Choice) -> None:
        world.slots.active[:, 0] = False


def paired_at_least(margin: float) -> Callable[[World, Floats, Floats], Flags]:
    """The challenger's own figure is at least `margin` above the champion's on the same rows."""

    def passes(world: World, wins: Floats, losses: Floats) -> Flags:
        rows = world.scenario.rows * world.scenario.window
        return np.asarray(wins - losses >= margin * rows)

    return passes


def significant(level: float) -> Callable[[World, Floats, Floats], Flags]:
    """Exact one-sided McNemar test, every night anew."""

    def passes(world: World, wins: Floats, losses: Floats) -> Flags:
        return np.asarray(stats.binom.sf(wins - 1, wins + losses, 0.5) <= level)

    return passes


class StoredAtLeast(Nightly):
    """Compares with the figure that the champion had when it was promoted."""

    def __init__(self) -> None:
        super().__init__(">= on the stored metric", self._beats)
        self._stored: Floats | None = None

    def start(self, world: World) -> None:
        self._stored = None

    def _beats(self, world: World, wins: Floats, losses: Floats) -> Flags:
        rows = world.scenario.rows
        right = world.slots.right[:, 0, :, -1].sum(axis=-1)
        figure = (world.easy + right) / rows
        if self._stored is None:
            self._stored = (world.easy + world.correct[..., -1].sum(axis=-1)) / rows
        beats = np.asarray(figure >= self._stored)
        self._stored = np.where(beats, figure, self._stored)
        return beats


class Accounted(Nightly):
    """One account for each repeat judges each night's p-value."""

    def __init__(self, name: str, opening: Account, *, e_values: bool = False) -> None:
        super().__init__(name, self._within)
        self._opening = opening
        self._e_values = e_values
        self._accounts: list[Account] = []

    def start(self, world: World) -> None:
        self._accounts = [self._opening] * len(world.champion)

    def _within(self, world: World, wins: Floats, losses: Floats) -> Flags:
        if self._e_values:
            bets = bets_around(POINT, world.scenario.disagreement)
            p = np.exp(-np.maximum(log_value_of_counts(bets, wins, losses), 0.0))
        else:
            p = stats.binom.sf(wins - 1, wins + losses, 0.5)
        levels = np.array([account.level for account in self._accounts])
        self._accounts = [
            account.after(float(one)) for account, one in zip(self._accounts, p, strict=True)
        ]
        return np.asarray(p <= levels)


@dataclass(kw_only=True)
class Settings:
    """How the accumulating gate is set, beside what `GateConfig` says."""

    budget: Year
    gate: GateConfig = field(default_factory=GateConfig)
    nights_as_blocks: bool = False
    """Rows of a night depend on each other: a night is one observation, a whole block."""


class Accumulating:
    """Keeps promising challengers and multiplies their evidence, within a year's budget."""

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self.slots = settings.gate.keep + 1
        self._settings = settings

    def start(self, world: World) -> None:
        shape = world.slots.active.shape
        world.spares_promoting_rows = True
        self._log_needed = np.full(shape, -np.log(self._settings.budget.share))
        gate, disagreement = self._settings.gate, world.scenario.disagreement
        scale = min(1.0, EFFECT_OF_DISAGREEMENT * disagreement / gate.effect)
        self._bets = bets_around(gate.effect * scale, disagreement)
        self._useful = gate.useful_effect * scale
        self._spread = np.zeros(shape[0])
        self._freedom = np.zeros(shape[0])
        self._borrowed = np.zeros(shape)
        self._borrowed_freedom = np.zeros(shape)
        self._donor = np.full(shape[0], NONE)
        self.compared = np.zeros(shape[0])

    def seat(self, world: World) -> Choice:
        """The first free slot, or that of the weakest evidence."""
        weakness = np.where(world.slots.active, self._log_values(world), -np.inf)
        where: Choice = np.argmin(weakness, axis=1)
        rows = np.arange(len(where))
        self._lend(world, self._donor == where)
        self._log_needed[rows, where] = -np.log(self._settings.budget.share)
        self._borrowed[rows, where] = self._spread
        self._borrowed_freedom[rows, where] = self._freedom
        self._donor = np.where(self._donor == NONE, where, self._donor)
        return where

    def decide(self, world: World) -> Choice:
        values = np.where(world.slots.active, self._log_values(world), -np.inf)
        values = np.where(self._harmless(world), values, -np.inf)
        over = np.where(values >= self._log_needed, values - self._log_needed, -np.inf)
        best = np.argmax(over, axis=1)
        return np.where(over[np.arange(len(best)), best] >= 0, best, NONE)

    def after(self, world: World, promoted: Choice) -> None:
        slots, settings = world.slots, self._settings
        done = promoted != NONE
        self.compared += slots.active.sum(axis=1)
        self._lend(world, done & (self._donor != NONE))
        self._borrowed = np.where(done[:, None], self._spread[:, None], self._borrowed)
        self._borrowed_freedom = np.where(
            done[:, None], self._freedom[:, None], self._borrowed_freedom
        )
        slots.active[np.flatnonzero(done), promoted[done]] = False
        # Other comparisons of those repeats go on against the new champion, with what is left.
        left = self._log_needed - np.minimum(self._log_values(world), 0.0)
        self._log_needed = np.where(done[:, None], left, self._log_needed)
        hopeless = (self._log_doubt(world) >= -np.log(GIVE_UP)) | self._harmful(world)
        over = slots.active & (hopeless | (slots.age >= settings.gate.expire_after))
        self._lend(world, (self._donor != NONE) & over[np.arange(len(done)), self._donor])
        slots.active &= ~over

    def _log_values(self, world: World) -> Floats:
        slots = world.slots
        if self._settings.nights_as_blocks:
            return log_value_of_sums(
                slots.nights.astype(np.float64),
                slots.gained,
                slots.gained_squares,
                self._borrowed,
                self._borrowed_freedom,
            )
        wins, losses = slots.wins.sum(axis=-1), slots.losses.sum(axis=-1)
        return log_value_of_counts(self._bets, wins.astype(np.float64), losses.astype(np.float64))

    def _log_doubt(self, world: World) -> Floats:
        """How strongly the rows speak against "better by the useful effect"."""
        slots, useful = world.slots, self._useful
        if self._settings.nights_as_blocks:
            nights = slots.nights.astype(np.float64)
            return log_value_of_sums(
                nights,
                nights * useful - slots.gained,
                nights * useful**2 - 2 * useful * slots.gained + slots.gained_squares,
                self._borrowed,
                self._borrowed_freedom,
            )
        wins = slots.wins.sum(axis=-1).astype(np.float64)
        losses = slots.losses.sum(axis=-1).astype(np.float64)
        ties = slots.rows - wins - losses
        return log_value_of_counts(self._bets, losses, wins, ties, null=-useful)

    def _harmless(self, world: World) -> Flags:
        """Both slices, the small and the large one, are proven no worse than allowed."""
        needed = np.log(1 / self._settings.gate.slice_alpha)
        return np.asarray((self._slice_values(world, sign=1) >= needed).all(axis=-1))

    def _harmful(self, world: World) -> Flags:
        """A slice is proven worse than allowed."""
        return np.asarray((self._slice_values(world, sign=-1) >= -np.log(GIVE_UP)).any(axis=-1))

    def _slice_values(self, world: World, *, sign: int) -> Floats:
        """Log evidence of each slice, against harm (1) or against none (-1)."""
        gate, slots = self._settings.gate, world.slots
        if not gate.slices:
            return np.full((*slots.active.shape, 1), np.inf if sign > 0 else -np.inf)
        allowed = gate.slice_max_drop
        kept = begun("", allowed=allowed, bound=1.0, square=world.scenario.disagreement)
        assert kept.evidence is not None
        pair = slots.wins.astype(np.float64), slots.losses.astype(np.float64)
        ties = slots.nights[..., None] * world.sizes - pair[0] - pair[1]
        wins, losses = pair[::sign]
        return log_value_of_counts(kept.evidence.bets, wins, losses, ties, null=-sign * allowed)

    def _lend(self, world: World, closed: Flags) -> None:
        """Take the spread between nights of the comparisons that end, one at a time."""
        if not self._settings.nights_as_blocks:
            return
        slots, rows = world.slots, np.arange(len(closed))
        where = np.maximum(self._donor, 0)
        nights = slots.nights[rows, where].astype(np.float64)
        total = slots.gained[rows, where]
        squares = slots.gained_squares[rows, where] - total**2 / np.maximum(nights, 1.0)
        take = closed & (nights >= 2)
        self._spread += np.where(take, squares, 0.0)
        self._freedom += np.where(take, nights - 1.0, 0.0)
        self._donor = np.where(closed, NONE, self._donor)


class NonInferior(Accumulating):
    """The accumulating gate with a margin, and its yearly allowance."""

    def start(self, world: World) -> None:
        super().start(world)
        self._years = [self._settings.budget] * len(world.champion)
        self._margins = np.full(len(world.champion), self._settings.gate.margin)

    def after(self, world: World, promoted: Choice) -> None:
        for repeat in np.flatnonzero(promoted != NONE):
            counts = (world.slots.wins, world.slots.losses)
            wins, losses = (each[repeat, promoted[repeat]].sum() for each in counts)
            rows = world.slots.rows[repeat, promoted[repeat]]
            gain = (wins - losses - LUCK * np.sqrt(wins + losses)) / rows
            docket = Docket(year=self._years[repeat].after_gain(float(gain)))
            self._years[repeat] = docket.year
            self._margins[repeat] = within_allowance(self._settings.gate, docket).margin
        super().after(world, promoted)

    def _log_values(self, world: World) -> Floats:
        return self._of_counts(world, sign=1)

    def _log_doubt(self, world: World) -> Floats:
        return self._of_counts(world, sign=-1)

    def _of_counts(self, world: World, *, sign: int) -> Floats:
        """Against "worse by more than the margin" (1), or against "as good" (-1)."""
        slots, found = world.slots, np.zeros(world.slots.active.shape)
        pair = slots.wins.sum(axis=-1).astype(np.float64), slots.losses.sum(axis=-1).astype(float)
        ties = slots.rows - pair[0] - pair[1]
        wins, losses = pair[::sign]
        known = world.scenario.disagreement
        for margin in np.unique(self._margins):
            which = self._margins == margin
            bets = self._bets if margin == 0 else bets_around(margin, known + margin**2)
            null = 0.0 if sign < 0 and margin else -margin
            null = -self._useful if sign < 0 and margin == 0 else null
            found[which] = log_value_of_counts(
                bets, wins[which], losses[which], ties[which], null=float(null)
            )
        return found
