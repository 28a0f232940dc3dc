"""What promotions by non-inferiority may lose in a year: about one margin. Pure.

A chain of champions, each "not worse by more than the margin" than the one before, may end far
below the first (bio-creep: D'Agostino, Massaro & Sullivan, Statistics in Medicine 22 (2003)). So a
promotion concedes what it was seen to lose, with LUCK standard errors added, because who is
promoted was lucky, too; and what is left of the year's margin is the margin of the next. Gains pay
back. Below a part of it nothing is conceded any more: a challenger must be proven better, until
the year ends. No theorem: simulated (`make bench-gate`).
"""

import math
from dataclasses import replace

from registry.gate_config import GateConfig, bound_of, null_of
from registry.nights.docket import Case, Docket, Offer
from registry.verdict import Decision, Verdict

# Less of the margin than this is not worth proving: nights grow with its inverse square.
LEAST_PART = 0.25
# Standard errors taken off what a promotion was seen to gain: who is promoted was lucky, too.
LUCK = 1.5
# Offers that are remembered: a promotion that waits for approval comes some nights later.
REMEMBERED = 20


def within_allowance(config: GateConfig, docket: Docket) -> GateConfig:
    """The gate with what is left of the year's margin."""
    if config.margin == 0:
        return config
    left = config.margin - docket.year.conceded
    return replace(config, margin=left if left >= LEAST_PART * config.margin else 0.0)


def settled(docket: Docket, champion: str | None) -> Docket:
    """The docket after `champion` became champion: its offer is booked, the others are void."""
    offer = next((one for one in docket.offers if one.challenger == champion), None)
    year = docket.year if offer is None else docket.year.after_gain(offer.gain)
    plan = None if docket.plan is None else docket.plan.anew()
    return replace(docket, year=year, offers=(), plan=plan)


def offered(docket: Docket, verdict: Verdict, case: Case | None, config: GateConfig) -> Docket:
    """The docket after a verdict; `case`: the comparison behind it, none for a single night."""
    if config.margin == 0 or verdict.decision is Decision.HOLD or verdict.champion is None:
        return docket
    gain = _tonight(verdict) if case is None else _over_nights(case, config)
    offer = Offer(
        challenger=verdict.challenger, gain=gain if math.isfinite(gain) else -config.margin
    )
    others = [one for one in docket.offers if one.challenger != offer.challenger]
    return replace(docket, offers=(*others, offer)[-REMEMBERED:])


def _tonight(verdict: Verdict) -> float:
    from scipy.special import ndtri

    if verdict.difference is None or verdict.low is None:
        return -math.inf
    reach = float(ndtri((1 + verdict.confidence) / 2))
    return verdict.difference - LUCK * (verdict.difference - verdict.low) / max(reach, 1e-9)


def _over_nights(case: Case, config: GateConfig) -> float:
    if case.blocks is not None:
        count = case.blocks.blocks
        if count < 2:
            return -math.inf
        mean = case.blocks.total / count
        residual = max(case.blocks.squares - count * mean**2, 0.0)
        return mean + null_of(config) - LUCK * math.sqrt(residual / (count * (count - 1)))
    if not case.rows:
        return -math.inf
    return bound_of(config) * (case.gained - LUCK * math.sqrt(case.squares)) / case.rows
