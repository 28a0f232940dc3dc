"""The simulated world: rows, models and nights, for many repeats at once.

Every model is right or wrong on each row. Most rows are easy for all or hard for all; on a share
of "contested" rows each model is right by its own luck, with a probability that rises with its
level. So two equal models disagree on about half of the contested rows, a level of +1 point wins
a net 1 % of all rows, and two challengers compared with the same champion on the same rows share
that champion's luck (their differences correlate by one half), as real ones do.

Counts are drawn, not rows: exact, and a year of 400 repeats takes a second.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

POINT = 0.01
# Part 0 is the slice, part 1 the other rows.
SLICE_SHARE = 0.1


@dataclass(frozen=True, kw_only=True, eq=False)
class Gains:
    """What a unit may gain: a row, or a cluster of rows as the mean over them."""

    values: Floats
    """In units of the bound, in [-1, 1]."""
    chances: Floats
    """Of an equal challenger: the mean gain is 0."""
    better: Floats
    """How the chances change for each unit of loss that the challenger is better by."""
    bound: float = 1.0
    """What a row's loss counts as at most."""
    rows: int = 1
    """Rows of a unit."""
    square: float = 0.0
    """Mean square of a row's gain, in bounds; 0: that of the unit, which is a row."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One kind of year."""

    name: str
    rows: int = 5000
    """Fresh holdout rows a night."""
    disagreement: float = 0.06
    """Share of rows on which two equal models disagree."""
    effect: float = 0.0
    """How much better the better challengers are than the champion of their night."""
    chance: float = 0.0
    """Probability that a night's challenger is a better one."""
    stream: bool = False
    """From a random night on every challenger is better, until one is shipped."""
    others: tuple[float, float] = (0.0, 0.0)
    """Mean and standard deviation of the other challengers' difference to the champion."""
    shock: float = 0.0
    """Standard deviation of the night's own effect on each model: rows in daily blocks."""
    window: int = 1
    """Nights of rows in the holdout that a new challenger meets."""
    drift: float = 0.0
    """Change of everybody's accuracy from night `drift_night` on."""
    drift_night: int = 120
    base: float = 0.9
    """Accuracy on the rows that are not contested."""
    harm: float = 0.0
    """Half of the better challengers differ by this (negative) on the slice."""
    allowed: tuple[float, ...] = ()
    """How much worse a slice may be, one contestant each; empty: nobody looks at slices."""
    margin: float = 0.0
    """Non-inferiority: a promotion is false when it is worse by more than this."""
    sought: float = POINT
    """The effect that ours is told to look for."""
    gains: Gains | None = None
    """Real-valued losses, or clusters (`benchmarks.gate.gains`); none: 0/1 losses of rows."""


@dataclass(kw_only=True)
class Slots:
    """Challengers being compared, (repeats, slots), and their counts against the champion."""

    active: Flags
    level: Floats
    """Difference of accuracy to the first champion, (repeats, slots, parts)."""
    wins: Counts
    losses: Counts
    """Since the comparison was opened, (repeats, slots, parts)."""
    gained: Floats
    gained_squares: Floats
    """Sums over nights of the mean gain, and of its square."""
    nights: Counts
    """Nights since the comparison was opened."""
    rows: Counts
    """Rows since the comparison was opened."""
    age: Counts
    """Nights since birth."""
    harmful: Flags
    """Worse on the slice than allowed."""
    right: Counts
    """Contested rows that the model got right in the window's nights."""


class World:
    """`repeats` independent years of one scenario, night by night."""

    def __init__(self, scenario: Scenario, repeats: int, slots: int, seed: int) -> None:
        self.scenario = scenario
        self.rng = np.random.default_rng(seed)
        shape, window = (repeats, slots), scenario.window
        self.champion = np.zeros((repeats, 2))
        self.sizes = np.array(
            [int(scenario.rows * SLICE_SHARE), scenario.rows - int(scenario.rows * SLICE_SHARE)]
        )
        self.share = 2.0 * scenario.disagreement
        self.slots = Slots(
            active=np.zeros(shape, dtype=np.bool_),
            level=np.zeros((*shape, 2)),
            wins=np.zeros((*shape, 2), dtype=np.int64),
            losses=np.zeros((*shape, 2), dtype=np.int64),
            gained=np.zeros(shape),
            gained_squares=np.zeros(shape),
            nights=np.zeros(shape, dtype=np.int64),
            rows=np.zeros(shape, dtype=np.int64),
            age=np.zeros(shape, dtype=np.int64),
            harmful=np.zeros(shape, dtype=np.bool_),
            right=np.zeros((*shape, 2, window), dtype=np.int64),
        )
        self.contested = np.zeros((repeats, 2, window), dtype=np.int64)
        self.correct = np.zeros((repeats, 2, window), dtype=np.int64)
        self.reference = np.zeros((repeats, 2, window))
        self.easy = np.zeros(repeats, dtype=np.int64)
        self.night = -1
        # Whether rows that led to the champion's promotion are kept from judging newcomers.
        self.spares_promoting_rows = False
        self.promoted_on = np.full(repeats, -scenario.window)
        self.stream_from = self.rng.integers(20, 200, repeats)
        self.stream_level = np.full(repeats, np.nan)
        for _ in range(window - 1):
            self._draw_rows()

    def newcomers(self) -> tuple[Floats, Flags]:
        """Levels (repeats, parts) of tonight's new challengers, and whether they harm the slice."""
        scenario, repeats = self.scenario, len(self.champion)
        mean, sd = scenario.others
        level = self.champion + (mean + sd * self.rng.standard_normal(repeats))[:, None]
        harmful = np.zeros(repeats, dtype=np.bool_)
        if scenario.stream:
            begins = self.night == self.stream_from
            own = self.champion @ np.array([SLICE_SHARE, 1 - SLICE_SHARE])
            self.stream_level = np.where(begins, own + scenario.effect, self.stream_level)
            on = self.night >= self.stream_from
            return np.where(on[:, None], self.stream_level[:, None], level), harmful
        better = self.rng.random(repeats) < scenario.chance
        level = np.where(better[:, None], self.champion + scenario.effect, level)
        if scenario.harm:
            harmful = better & (self.rng.random(repeats) < 0.5)
            rest = (scenario.effect - SLICE_SHARE * scenario.harm) / (1 - SLICE_SHARE)
            level = np.where(
                harmful[:, None], self.champion + np.array([scenario.harm, rest]), level
            )
        return level, harmful

    def begin(self) -> None:
        """Draw tonight's rows and the champion's luck on them."""
        self.night += 1
        self._draw_rows()

    def enter(self, where: Counts, level: Floats, harmful: Flags) -> None:
        """Put tonight's new challengers into the slots `where` (one for each repeat)."""
        slots, rows = self.slots, np.arange(len(level))
        slots.active[rows, where] = True
        slots.level[rows, where] = level
        slots.harmful[rows, where] = harmful
        slots.age[rows, where] = 0
        self._restart(rows, where)
        if self.scenario.window == 1:
            return
        # The older nights of the window, which this challenger has never seen.
        chance = self._chance(level[..., None] - self.reference[..., :-1], 0.0)
        wrong = self.contested[..., :-1] - self.correct[..., :-1]
        wins = self.rng.binomial(wrong, chance)
        losses = self.rng.binomial(self.correct[..., :-1], 1 - chance)
        nights = self.night - np.arange(self.scenario.window - 1, 0, -1)
        judges = (nights > self.promoted_on[:, None]) | (not self.spares_promoting_rows)
        slots.rows[rows, where] = self.scenario.rows * judges.sum(axis=-1)
        slots.wins[rows, where] = (wins * judges[:, None]).sum(axis=-1)
        slots.losses[rows, where] = (losses * judges[:, None]).sum(axis=-1)
        slots.right[rows, where, :, :-1] = wins + self.correct[..., :-1] - losses

    def score(self) -> None:
        """Score every active challenger and the champion on tonight's rows."""
        slots = self.slots
        shock = self.scenario.shock * self.rng.standard_normal(slots.active.shape)
        gap = slots.level - self.reference[:, None, :, -1]
        chance = self._chance(gap, shock[..., None])
        right = self.correct[:, None, :, -1]
        wrong = self.contested[:, None, :, -1] - right
        live = slots.active[..., None]
        wins = np.where(live, self.rng.binomial(np.broadcast_to(wrong, gap.shape), chance), 0)
        losses = np.where(live, self.rng.binomial(np.broadcast_to(right, gap.shape), 1 - chance), 0)
        slots.wins += wins
        slots.losses += losses
        slots.right[..., -1] = wins + right - losses
        gain = (wins - losses).sum(axis=-1) / self.scenario.rows
        slots.gained += gain
        slots.gained_squares += gain**2
        slots.nights += slots.active
        slots.rows += self.scenario.rows * slots.active
        slots.age += slots.active

    def promote(self, repeats: Counts, where: Counts) -> None:
        """Make these challengers champions; the other comparisons of those repeats start anew."""
        slots = self.slots
        self.champion[repeats] = slots.level[repeats, where]
        self.correct[repeats] = slots.right[repeats, where]
        slots.active[repeats, where] = False
        self.promoted_on[repeats] = self.night
        for slot in range(slots.active.shape[1]):
            self._restart(repeats, np.full(len(repeats), slot))

    def _restart(self, repeats: Counts, where: Counts) -> None:
        slots = self.slots
        slots.wins[repeats, where] = 0
        slots.losses[repeats, where] = 0
        slots.gained[repeats, where] = 0.0
        slots.gained_squares[repeats, where] = 0.0
        slots.nights[repeats, where] = 0
        slots.rows[repeats, where] = 0

    def _draw_rows(self) -> None:
        repeats, scenario = len(self.champion), self.scenario
        slots = self.slots
        for kept in (self.contested, self.correct, self.reference, slots.right):
            kept[..., :-1] = kept[..., 1:]
        contested = self.rng.binomial(self.sizes, self.share, (repeats, 2))
        shock = scenario.shock * self.rng.standard_normal((repeats, 1))
        chance = self._chance(np.zeros((repeats, 2)), shock)
        self.contested[..., -1] = contested
        self.correct[..., -1] = self.rng.binomial(contested, chance)
        self.reference[..., -1] = self.champion
        base = scenario.base + (scenario.drift if self.night >= scenario.drift_night else 0.0)
        self.easy = self.rng.binomial(scenario.rows - contested.sum(axis=-1), base)

    def _chance(self, gap: Floats, shock: Floats | float) -> Floats:
        return np.clip(0.5 + (gap + shock) / self.share, 0.001, 0.999)
