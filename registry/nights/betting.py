"""What one comparison makes of a night's rows: bets placed, evidence added, how it stands. Pure."""

import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from registry.costs import Measure, free
from registry.gate_config import Dependence, GateConfig, bound_of, null_of
from registry.methods.blocks import BlockEvidence, Spread, after_block, effects_around
from registry.methods.comparison import Comparison, ScoredPair, row_gains
from registry.methods.days import Dispersion, after_days, at_rows, dispersion_of
from registry.methods.evidence import (
    Bets,
    Evidence,
    after_rows,
    after_units,
    bets_anywhere,
    bets_around,
)
from registry.methods.evidence import opened as capital
from registry.methods.metrics import Metric, digests_of, find_metric, score_of
from registry.methods.predictions import Floats
from registry.nights.docket import Case, Docket
from registry.verdict import CaseNote, CaseState

Times = npt.NDArray[np.datetime64]

DAY = timedelta(days=1)
# The capital of a night is looked at so often on the way.
LOOKS = 20
# No evidence is kept as more than this (natural logarithm).
MOST = 700.0
# Probability of giving up a challenger that is better by the useful effect.
GIVE_UP = 0.005
# A block is complete when the newest row of all lies in the last such part of it, or after it.
TAIL = 1 / 24
# The effect looked for is at most so much of the rows' differences: with 0.6 % of the rows in
# dispute nobody is better by a whole point.
EFFECT_OF_DISAGREEMENT = 1 / 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """One challenger and the champion on the rows that may judge them tonight, oldest first.

    Where blocks of time judge, these are complete ones (`complete_until`).
    """

    comparison: Comparison
    times: Times
    """Event time of each row."""
    costs: Measure = free
    """Measures what the challenger costs."""

    @property
    def first(self) -> datetime:
        """Its oldest event time."""
        return _moment(self.times.min())

    @property
    def last(self) -> datetime:
        """Its newest event time."""
        return _moment(self.times.max())


def unit_of(config: GateConfig) -> str:
    """What differences are measured in; a user's own metric, edited, is another unit."""
    parts = (config.metric, config.bound, config.cluster, config.block)
    return " ".join([*map(str, parts), digests_of([config.metric])]).rstrip()


def in_unit_of(config: GateConfig, docket: Docket) -> Docket:
    """The docket without what was measured in another unit, which tells nothing of this one."""
    unit = unit_of(config)
    if docket.unit == unit:
        return docket
    return replace(
        docket,
        unit=unit,
        rows=0,
        squares=0.0,
        spread=Spread(),
        dispersion=Dispersion(),
        donor=None,
    )


def days_known(docket: Docket) -> Dispersion:
    """How much days have been seen to differ until now: by what ended, and by who lends now."""
    lender = None if docket.donor is None else docket.case(docket.donor)
    if lender is None or lender.blocks is not None:
        return docket.dispersion
    return docket.dispersion.plus(dispersion_of(lender.days, lender.variance))


def with_capital(case: Case, docket: Docket, config: GateConfig) -> Case:
    """The comparison before the first row: where the bets lie, and which effect is useful.

    Both follow from how much two models of this loop differed in earlier comparisons. The first
    one of a loop knows of none: it bets on every scale, and its doubt begins after its first rows.
    """
    if config.block is not None:
        effects = effects_around(config.margin or config.effect, docket.spread)
        blocks = BlockEvidence(spread=docket.spread, effects=effects)
        useful = config.margin or config.useful_effect
        return replace(case, blocks=blocks, useful=useful)
    if Dependence(config.dependence) is Dependence.AUTO:
        case = replace(case, known=days_known(docket))
    bound = bound_of(config)
    if docket.rows == 0 or docket.squares == 0:
        bets = bets_anywhere()
        if config.margin == 0:
            return replace(case, evidence=capital(bets))
        return replace(case, evidence=capital(bets), doubt=capital(bets), useful=config.margin)
    disagreement = docket.squares / docket.rows
    if config.margin > 0:
        # An equal challenger gains a margin on the null, and is what must not be given up.
        room = config.margin / bound
        bets = bets_around(room, disagreement + room**2)
        return replace(case, evidence=capital(bets), doubt=capital(bets), useful=config.margin)
    bets, useful = _bets_by(disagreement, config)
    return replace(case, evidence=capital(bets), doubt=capital(bets), useful=useful)


def after_night(case: Case, sample: Sample, pair: ScoredPair, config: GateConfig) -> Case:
    """The comparison after a night's rows; `pair`: both models on the sample's rows."""
    if case.blocks is not None:
        case = _bet_on_blocks(case, case.blocks, sample, pair, config)
    else:
        case = _bet(case, sample, pair, config)
    case = replace(
        case,
        rows=case.rows + len(sample.times),
        nights=case.nights + 1,
        judged_until=sample.last,
    )
    reached = case.log_value if case.blocks is not None else case.log_limit
    return replace(case, reached=max(case.reached, min(reached, MOST)))


def state_of(case: Case, config: GateConfig) -> CaseState:
    """How it stands."""
    if harm_of(case):
        return CaseState.GIVEN_UP
    if case.log_peak >= case.log_needed:
        return CaseState.PROVEN
    if _log_doubt(case) >= -math.log(GIVE_UP):
        return CaseState.GIVEN_UP
    return CaseState.EXPIRED if case.age >= config.expire_after else CaseState.KEPT


def harm_of(case: Case) -> str:
    """The slice or guard that it is proven to harm by more than is allowed; empty: none.

    One that it does not is found to be harmed with a probability of at most GIVE_UP.
    """
    for word, every in (("on", case.slices), ("in", case.guards)):
        for kept in every:
            if kept.log_doubt >= -math.log(GIVE_UP):
                return f"worse {word} {kept.name} by more than {kept.allowed:g}"
    return ""


def note_of(
    case: Case,
    state: CaseState,
    *,
    fresh: int = 0,
    note: str = "",
    config: GateConfig | None = None,
) -> CaseNote:
    """What the verdict shows of it."""
    needed = case.log_needed
    return CaseNote(
        challenger=case.challenger,
        state=state,
        log_evidence=case.log_peak if state is CaseState.PROVEN else case.log_value,
        log_needed=needed if math.isfinite(needed) else None,
        rows=case.rows,
        nights=case.nights,
        fresh=fresh,
        nights_left=None if config is None else _nights_left(case, config),
        nights_given=None if config is None else max(config.expire_after - case.age, 0),
        note=note,
        anew=case.anew,
        useful=case.useful,
        harmed=harm_of(case),
        **_days_of(case),
    )


def _days_of(case: Case) -> dict[str, float]:
    """What the verdict shows of how much days differ; nothing where nobody asks."""
    if case.known is None or case.evidence is None or not case.days.count:
        return {}
    usual = case.days.rows / case.days.count
    own = dispersion_of(case.days, case.variance)
    told = at_rows(case.known, usual, assuming=False).plus(own)
    return {
        "log_by_rows": case.evidence.log_value,
        "days_differ": case.phi(),
        "days_known": told.freedom,
    }


def end_of_block(moment: datetime | None, block: timedelta | None) -> datetime | None:
    """The last instant of the block that `moment` lies in: its other rows are never judged."""
    if moment is None or block is None:
        return moment
    return _start_of_block(moment, block) + block - timedelta(microseconds=1)


def complete_until(newest: datetime, block: timedelta) -> datetime:
    """The last instant of the newest complete block: later rows wait for a later night.

    Otherwise a part of a block would count like a whole one, and its other rows would be lost.
    `newest`: event time of the newest row with a mature label. A block is complete when that lies
    after it, or in its last 24th (of a day the last hour): then hardly a row can be missing. It is
    assumed that rows come in the order of their event times.
    """
    return _start_of_block(newest + block * TAIL, block) - timedelta(microseconds=1)


def _start_of_block(moment: datetime, block: timedelta) -> datetime:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return epoch + (moment - epoch) // block * block


def blocks_of(times: Times, block: timedelta) -> npt.NDArray[np.int64]:
    """The number of the block that each time lies in."""
    width = np.int64(block / timedelta(microseconds=1))
    return times.astype("datetime64[us]").astype(np.int64) // width


def _bet(case: Case, sample: Sample, pair: ScoredPair, config: GateConfig) -> Case:
    """Bets on rows, or on clusters of them, in units of the bound."""
    assert case.evidence is not None
    bound = bound_of(config)
    gains = row_gains(pair, find_metric(config.metric), bound) / bound
    null, clusters = null_of(config) / bound, sample.comparison.clusters
    codes = None if clusters is None else np.unique(clusters, return_inverse=True)[1].ravel()
    units: Floats = gains
    if codes is not None:
        units = np.bincount(codes, weights=gains).astype(np.float64)
    case = replace(
        case,
        evidence=_after(case.evidence, gains, codes, null),
        days=after_days(case.days, gains - null, blocks_of(sample.times, DAY)),
        gained=case.gained + float(units.sum()),
        squares=case.squares + float((units**2).sum()),
    )
    if case.useful is not None and case.doubt is not None:
        against = -case.useful / bound - null
        return replace(case, doubt=_after(case.doubt, -gains, codes, against))
    if case.squares == 0:
        return case
    # Only later rows are bet on by what these have told.
    bets, useful = _bets_by(case.squares / (case.rows + len(gains)), config)
    return replace(case, doubt=capital(bets), useful=useful)


def _after(
    evidence: Evidence, gains: Floats, codes: npt.NDArray[np.int64] | None, null: float
) -> Evidence:
    if codes is None:
        return after_rows(evidence, gains, null=null, looks=LOOKS)
    return after_units(evidence, gains, codes, null=null)


def _bets_by(disagreement: float, config: GateConfig) -> tuple[Bets, float]:
    """Where the bets lie, and the useful effect, between models that differ so much.

    `disagreement`: the mean square of a row's gain, in bounds.
    """
    wanted = config.effect / bound_of(config)
    scale = min(1.0, EFFECT_OF_DISAGREEMENT * disagreement / wanted)
    return bets_around(wanted * scale, disagreement), config.useful_effect * scale


def _bet_on_blocks(
    case: Case, blocks: BlockEvidence, sample: Sample, pair: ScoredPair, config: GateConfig
) -> Case:
    """Each block of time is one observation of the metric's difference."""
    assert pair.champion is not None
    assert config.block is not None
    metric, numbers = find_metric(config.metric), blocks_of(sample.times, config.block)
    for number in np.unique(numbers):
        rows = np.flatnonzero(numbers == number)
        gain = _gain(metric, pair, rows)
        if math.isfinite(gain):
            blocks = after_block(blocks, gain - null_of(config))
    return replace(case, blocks=blocks, gained=blocks.total, squares=blocks.squares)


def _gain(metric: Metric, pair: ScoredPair, rows: npt.NDArray[np.int64]) -> float:
    assert pair.champion is not None
    champion = score_of(metric, pair.champion.take(rows))
    return metric.improvement(champion, score_of(metric, pair.challenger.take(rows)))


def _log_doubt(case: Case) -> float:
    """How strongly the rows speak against "better by the useful effect"."""
    if case.useful is None or case.nights == 0:
        return 0.0
    if case.blocks is None:
        return 0.0 if case.doubt is None else case.doubt.tempered(case.phi())
    count, useful = case.blocks.blocks, case.useful
    squares = count * useful**2 - 2 * useful * case.blocks.total + case.blocks.squares
    spread = case.blocks.spread
    against = BlockEvidence(
        spread=spread, blocks=count, total=count * useful - case.blocks.total, squares=squares
    )
    return against.log_value


def _nights_left(case: Case, config: GateConfig) -> int | None:
    """Nights until it is proven, if the next ones are like those so far.

    A unit of evidence whose gain has mean m and mean square s lets the best bettor's capital grow
    by about m^2 / 2s (Waudby-Smith & Ramdas, 2024), and by less where days differ.
    """
    count = float(case.rows if case.blocks is None else case.blocks.blocks)
    if count == 0 or case.nights == 0:
        return None
    # The gains of blocks have had the null taken off already.
    null = 0.0 if case.blocks is not None else null_of(config) / bound_of(config)
    gain = case.gained / count
    mean, square = gain - null, case.squares / count - 2 * null * gain + null**2
    missing = case.log_needed - case.log_value
    if mean <= 0 or square <= 0 or not 0 < missing < math.inf:
        return None
    nights = missing * case.phi() / (mean**2 / (2 * square)) / (count / case.nights)
    return math.ceil(nights) if nights < 10_000 else None


def _moment(time: np.datetime64) -> datetime:
    found = time.astype("datetime64[us]").item()
    assert isinstance(found, datetime)
    return found.replace(tzinfo=UTC)
