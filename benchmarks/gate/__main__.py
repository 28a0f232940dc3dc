"""The year of nights, simulated: every rule in every scenario, for docs/gate-figures.md.

python -m benchmarks.gate [--quick] [--repeats 400] [--seed 4] [--only TEXT]
"""

import argparse
import sys
import time
from dataclasses import replace

import numpy as np

from benchmarks.gate import overlap
from benchmarks.gate.days import tables
from benchmarks.gate.gains import (
    AccountedGains,
    AccumulatingGains,
    OneNight,
    Stored,
    at_least,
    customers,
    naive_p,
    single_night,
    skewed,
)
from benchmarks.gate.online_fdr import Lond, Lord, Saffron
from benchmarks.gate.rules import (
    Accounted,
    Accumulating,
    Nightly,
    NonInferior,
    Rule,
    Settings,
    StoredAtLeast,
    paired_at_least,
    significant,
)
from benchmarks.gate.tails import lines
from benchmarks.gate.world import POINT, Gains, Scenario
from benchmarks.gate.years import PATIENCE, Row, year
from registry.error_budget import Year
from registry.gate_config import GateConfig

HEAD = (
    "rule | promotions | false a year | false share | any false | nights to ship | <= 3 | <= 30 | "
    "never | point-nights of regret | slice harms | scored a night"
)
QUICK = 40
FULL = 400
FAR_TAIL = "one night in the far tail"
OVERLAP = "labels that look ahead"
# One for so many years of the others.
YEARS_AN_OVERLAP = 20
DAYS = "days that differ"
# Simulated challengers of each kind for each year of the others.
CHALLENGERS_A_YEAR = 50
# Simulated nights for each year of the others.
NIGHTS_A_YEAR = 250


def scenarios() -> list[Scenario]:
    """Years; better challengers come about six times a year, at random nights."""
    rare = 1 / 60
    return [
        Scenario(name="all equal"),
        Scenario(name="mixed, mostly worse", others=(-0.5 * POINT, 0.5 * POINT)),
        Scenario(name="+0.5 points", effect=0.5 * POINT, chance=rare),
        Scenario(name="+1 point", effect=POINT, chance=rare),
        Scenario(name="+2 points", effect=2 * POINT, chance=rare),
        Scenario(name="+1 point, 4 % disagree", effect=POINT, chance=rare, disagreement=0.04),
        Scenario(name="+1 point, 10 % disagree", effect=POINT, chance=rare, disagreement=0.1),
        Scenario(name="+1 point every night", effect=POINT, stream=True),
        Scenario(name="2 points harder", effect=POINT, chance=rare, drift=-2 * POINT),
        Scenario(name="2 points easier", effect=POINT, chance=rare, drift=2 * POINT),
        Scenario(name="daily blocks, equal", shock=0.3 * POINT),
        Scenario(name="daily blocks, +1", shock=0.3 * POINT, effect=POINT, chance=rare),
        Scenario(name="rolling 7 days, equal", window=7),
        Scenario(name="rolling 7 days, +1", window=7, effect=POINT, chance=rare),
        Scenario(name="rare positives, equal", disagreement=0.008, base=0.999),
        Scenario(
            name="rare positives, +0.2",
            disagreement=0.008,
            base=0.999,
            effect=0.2 * POINT,
            chance=rare,
        ),
        Scenario(
            name="slice -3, whole +1",
            effect=POINT,
            chance=rare,
            harm=-3 * POINT,
            allowed=(0.02, 0.05),
        ),
        Scenario(name="no slice harmed, +1", effect=POINT, chance=rare, allowed=(0.02, 0.05)),
        *of_losses("log loss (bound 7)", skewed(7.0, 0.05, 6.0, 0.0003), 0.01, rare),
        *of_losses("absolute loss (bound 10)", skewed(10.0, 0.2, 9.0, 0.0005), 0.04, rare),
        *of_losses("clusters of 25 rows", customers(0.1), POINT, rare),
        *of_losses("clusters of 25 rows", customers(0.1), 2 * POINT, rare)[1:],
        Scenario(name="not worse by 1 point: all equal", margin=POINT),
        Scenario(name="not worse by 1 point: all 0.5 worse", margin=POINT, others=(-0.005, 0.0)),
        Scenario(name="not worse by 1 point: all 1.1 worse", margin=POINT, others=(-0.011, 0.0)),
    ]


def of_losses(name: str, gains: Gains, effect: float, rare: float) -> list[Scenario]:
    """All equal, and some better by `effect`, in the loss's unit."""
    row = gains.rows * float(gains.chances @ gains.values**2)
    plain = Scenario(name=f"{name}, equal", gains=gains, disagreement=row, sought=effect)
    return [plain, replace(plain, name=f"{name}, +{effect:g}", effect=effect, chance=rare)]


def contestants(scenario: Scenario) -> list[Rule]:
    """The rules side by side; ours knows what the config says of the rows."""
    if scenario.gains is not None:
        return of_gains(scenario, scenario.gains)
    blocks = scenario.shock > 0
    alone = Year().share
    plain = Accumulating("**ours: evidence**", Settings(budget=Year(), nights_as_blocks=blocks))
    listed: list[Rule] = [
        StoredAtLeast(),
        Nightly("paired >=", paired_at_least(0.0)),
        Nightly("+0.5 points", paired_at_least(0.5 * POINT)),
        Nightly("p < 0.05 nightly", significant(0.05)),
        Nightly("the gate before (p < 0.025)", significant(0.025)),
        Accounted("LORD++ nightly", Lord(start=0.025, wealth=0.025)),
        Accounted("SAFFRON nightly", Saffron()),
        Accounted("e-LOND nightly", Lond(), e_values=True),
    ]
    if not blocks:
        # Where there are blocks a single night is judged by them, and McNemar's test is not.
        listed.append(Nightly(f"ours: single_night (p <= {alone:.2g})", significant(alone)))
    if blocks:
        naive = Settings(budget=Year())
        listed.append(plain)
        listed.append(Accumulating("ours: evidence, told rows are independent (wrong)", naive))
    elif scenario.allowed:
        for allowed in scenario.allowed:
            gate = GateConfig(slices=("part",), slice_max_drop=allowed)
            name = f"**ours: evidence, slices at most {allowed / POINT:g} points worse**"
            listed.append(Accumulating(name, Settings(budget=Year(), gate=gate)))
        listed.append(Accumulating("ours: evidence, no slice rule", Settings(budget=Year())))
    elif scenario.margin:
        gate = GateConfig(margin=scenario.margin)
        settings = Settings(budget=Year(), gate=gate)
        listed.append(NonInferior("**ours: evidence, margin 1 point**", settings))
        listed.append(plain)
    else:
        listed.append(plain)
    return listed


def of_gains(scenario: Scenario, gains: Gains) -> list[Rule]:
    """The same where losses are real-valued, or rows lie in clusters, which the naive ignore."""
    effect, alone = scenario.sought, Year().share
    gate = GateConfig(effect=effect / gains.bound, useful_effect=effect / 2 / gains.bound)
    settings = Settings(budget=Year(), gate=gate)
    listed: list[Rule] = [
        Stored(),
        OneNight("paired >=", at_least(0.0)),
        OneNight(f"+{effect / 2:g}", at_least(effect / 2)),
        OneNight("p < 0.05 nightly", lambda world: naive_p(world) <= 0.05),
        OneNight("the gate before (p < 0.025)", lambda world: naive_p(world) <= 0.025),
        AccountedGains("LORD++ nightly", Lord(start=0.025, wealth=0.025)),
        AccountedGains("SAFFRON nightly", Saffron()),
        AccountedGains("e-LOND nightly", Lond(), e_values=True),
        OneNight(f"ours: single_night (p <= {alone:.2g})", single_night(alone)),
        AccumulatingGains("**ours: evidence**", settings),
    ]
    if gains.rows > 1:
        name = "ours: evidence, told rows are independent (wrong)"
        listed.append(AccumulatingGains(name, settings, told=False))
    return listed


def main() -> None:
    """Print one table for each scenario."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} years instead of {FULL}")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--only", default="", help="only scenarios whose name contains this")
    parser.add_argument("--rule", default="", help="only rules whose name contains this")
    options = parser.parse_args()
    repeats = options.repeats or (QUICK if options.quick else FULL)
    began = time.perf_counter()
    for scenario in scenarios():
        if options.only not in scenario.name:
            continue
        print(f"**{scenario.name}**\n\n| {HEAD} |\n|{'---|' * (HEAD.count('|') + 1)}")
        for rule in contestants(scenario):
            if options.rule in rule.name:
                print(line(year(scenario, rule, repeats, options.seed)), flush=True)
        print()
    if options.only in FAR_TAIL:
        print(f"**{FAR_TAIL}**\n")
        for one in lines(NIGHTS_A_YEAR * repeats, options.seed):
            print(one, flush=True)
    if options.only in OVERLAP:
        print(f"\n**{OVERLAP}**\n")
        for one in overlap.lines(max(repeats // YEARS_AN_OVERLAP, 2), options.seed):
            print(one, flush=True)
    if options.only in DAYS:
        print(f"**{DAYS}**\n")
        for one in tables(CHALLENGERS_A_YEAR * repeats, options.seed):
            print(one, flush=True)
    print(f"{repeats} years each, {time.perf_counter() - began:.0f} s", file=sys.stderr)


def line(row: Row) -> str:
    """One row as Markdown."""
    nights = (
        "-" if np.isnan(row.nights) else "never" if row.nights > PATIENCE else f"{row.nights:g}"
    )
    shares = "- | - | -"
    if not np.isnan(row.within_3):
        shares = f"{row.within_3:.0%} | {row.within_30:.1%} | {row.never:.1%}"
    return (
        f"| {row.rule} | {row.promotions:.1f} | {row.false:.3f} | "
        f"{row.false_share:.1%} ± {row.false_share_error:.1%} | {row.any_false:.1%} | {nights} | "
        f"{shares} | {row.regret:.0f} | {row.slices:.2f} | {row.kept:.1f} |"
    )


if __name__ == "__main__":
    main()
