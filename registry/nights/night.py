"""A night of the gate: every open comparison gets its fresh rows, and one may be promoted. Pure.

`opened` makes the docket ready for the night: the year's account, comparisons that begin anew
because the champion changed, and a seat for the new challenger. `fresh_after` says which rows may
judge each of them. `judged` adds those rows' evidence and decides.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from registry.draft import Draft
from registry.error_budget import carried
from registry.errors import GateError
from registry.gate import Examined, examined, first_verdict, single_night
from registry.gate_config import Dependence, GateConfig, GateMode, null_of
from registry.methods.blocks import residual
from registry.methods.comparison import ScoredPair, Spoilt, Unusable
from registry.methods.days import dispersion_of
from registry.methods.metrics import digests_of
from registry.nights.accumulated import accumulated
from registry.nights.allowance import offered, settled, within_allowance
from registry.nights.betting import (
    Sample,
    after_night,
    end_of_block,
    in_unit_of,
    note_of,
    state_of,
    with_capital,
)
from registry.nights.docket import Case, Docket
from registry.nights.harmless import after_rows_of, guard_results, slice_results, with_plan
from registry.nights.pairs import Pairs, pairs_of
from registry.nights.wear import looked_at, newest, with_look
from registry.verdict import CaseNote, CaseState, Verdict


@dataclass(frozen=True, kw_only=True)
class Tonight:
    """Who is compared with whom, and when."""

    model: str
    challenger: str
    """Version of the new challenger."""
    trained_until: datetime
    """Newest event time that it was trained on."""
    champion: str | None
    """Version of the champion; none: the challenger is the first model."""
    champion_labels_until: datetime | None
    """End of the gap after the champion's newest training row, where it is known."""
    epoch: int
    run_id: str
    mlflow_run_id: str
    now: datetime
    rejected: frozenset[str] = frozenset()
    """Versions that a person rejected: they are not compared any more."""
    gap: timedelta = timedelta(0)
    """Between the rows that train and those that judge."""

    def draft(self, config: GateConfig, *, challenger: str, rows: int) -> Draft:
        """A verdict on `challenger` whose decision is not known yet."""
        return Draft(
            model=self.model,
            challenger=challenger,
            champion=self.champion,
            epoch=self.epoch,
            metric=config.metric,
            confidence=config.confidence,
            rows=rows,
            run_id=self.run_id,
            mlflow_run_id=self.mlflow_run_id,
            null=null_of(config),
            gap_s=self.gap.total_seconds(),
        )


def opened(docket: Docket, tonight: Tonight, config: GateConfig) -> tuple[Docket, list[CaseNote]]:
    """The docket with a seat for tonight's challenger, and the comparisons that had to go."""
    docket, refused = _without_rejected(docket, tonight)
    accumulates = config.mode is GateMode.EVIDENCE
    number = tonight.now.astimezone(UTC).year
    year = docket.year.at(number, alpha=config.alpha, planned=config.planned)
    docket = replace(docket, year=year)
    if docket.epoch != tonight.epoch:
        docket = settled(docket, tonight.champion)
    config = within_allowance(config, docket)
    terms = _terms(config)
    kept = [case for case in docket.cases if case.challenger != tonight.champion]
    docket = in_unit_of(config, docket)
    if docket.epoch != tonight.epoch:
        docket = replace(docket, epoch=tonight.epoch, settled_until=docket.judged_until)
        docket, kept = _anew(docket, kept, config)
    elif docket.terms != terms:
        docket, kept = _anew(docket, kept, config, changed(docket.terms, terms))
    gone = [] if accumulates and tonight.champion else kept
    docket = replace(docket, terms=terms, cases=tuple(case for case in kept if case not in gone))
    if docket.case(tonight.challenger) is not None:
        return docket, refused
    docket, crowded = _seated(docket, tonight, config)
    return docket, [*refused, *crowded]


def fresh_after(case: Case, docket: Docket, tonight: Tonight, config: GateConfig) -> datetime:
    """Only rows newer than this may judge this comparison tonight.

    Where blocks judge, it is the end of one: the rest of a block that was begun depends on it.
    """
    own = newest(case.labels_until, case.trained_until + tonight.gap)
    bounds = [own, tonight.champion_labels_until]
    if config.mode is GateMode.EVIDENCE:
        bounds += [docket.settled_until, case.after, case.judged_until]
    bound = end_of_block(newest(*bounds), config.block)
    assert bound is not None
    return bound


def judged(
    docket: Docket,
    gone: list[CaseNote],
    samples: Mapping[str, Sample | str],
    tonight: Tonight,
    config: GateConfig,
) -> tuple[Docket, Verdict]:
    """The docket after the night, and its verdict.

    `docket`, `gone`: from `opened`; `samples`: each version's fresh rows, or why it has none
    tonight; Unusable: why it never will.
    """
    for case in docket.cases:
        sample = samples.get(case.challenger)
        bound = fresh_after(case, docket, tonight, config)
        if isinstance(sample, Sample) and sample.first <= bound:
            raise GateError(f"Version {case.challenger} was given rows that judged it before.")
    config, asked = within_allowance(config, docket), config
    if config.mode is GateMode.SINGLE_NIGHT or tonight.champion is None:
        verdict = _alone(docket, samples.get(tonight.challenger, ""), tonight, config)
        docket = offered(docket, verdict, None, asked)
        return replace(_looked(docket, samples), cases=()), verdict
    pairs = pairs_of(samples, tonight.challenger, config)
    # Runs on the same data, such as a sweep, are one night.
    older = int(_is_newer(samples, docket.judged_until))
    docket = with_plan(docket, samples, pairs, config, nights=older)
    cases, notes = [], {}
    for case in docket.cases:
        sample = samples.get(case.challenger, "it was not scored tonight")
        pair = pairs.get(case.challenger, "it was not scored tonight")
        case = replace(case, age=case.age + older)
        after, notes[case.challenger] = _one(case, sample, pair, docket, config)
        cases.append(after)
    after_all = replace(docket, cases=tuple(cases))
    verdict = _together(after_all, samples, pairs, notes, gone, tonight, config)
    looks = _looks_of(docket, samples.get(verdict.challenger))
    verdict = replace(verdict, budget_left=docket.year.wealth, looks=looks)
    used = {
        v: s
        for v, s in samples.items()
        if v in notes and (notes[v].fresh or isinstance(pairs[v], Spoilt))
    }
    behind = after_all.case(verdict.challenger)
    docket = offered(_after(docket, cases, notes, used, config), verdict, behind, asked)
    return docket, verdict


def _terms(config: GateConfig) -> str:
    """What evidence must have in common to be added up."""
    known = {
        "metric": config.metric,
        "min_effect": config.min_effect,
        "margin": f"{config.margin:.6g}",
        "bound": config.bound,
        "cluster": config.cluster,
        "block": config.block,
        "code": digests_of([config.metric, *config.guards]) or None,
        "dependence": None if config.block else Dependence(config.dependence),
    }
    return "; ".join(f"{name}={value}" for name, value in known.items() if value is not None)


def changed(before: str, now: str) -> str:
    """ "gate.min_effect changed from 0.0 to 0.0005": why a comparison begins anew."""
    old, new = (dict(part.partition("=")[::2] for part in one.split("; ")) for one in (before, now))
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    said = (
        "the code of its metrics changed"
        if name == "code"
        else f"gate.{name} changed from {old.get(name)} to {new.get(name)}"
        for name in names
    )
    return ", ".join(said) if before else ""


def _without_rejected(docket: Docket, tonight: Tonight) -> tuple[Docket, list[CaseNote]]:
    """The docket without the comparisons that a person put an end to."""
    notes = []
    for case in docket.cases:
        if case.challenger in tonight.rejected:
            docket = _lent(docket, case)
            docket = replace(docket, cases=tuple(one for one in docket.cases if one is not case))
            notes.append(note_of(case, CaseState.REJECTED))
    return docket, notes


def _anew(
    docket: Docket, kept: list[Case], config: GateConfig, why: str = ""
) -> tuple[Docket, list[Case]]:
    """These comparisons with a capital of 1, and their evidence in what is left of their share."""
    again: list[Case] = []
    if config.mode is not GateMode.EVIDENCE:
        return docket, again
    for case in docket.cases:
        docket = _lent(docket, case)
    for case in kept:
        begun = Case(
            challenger=case.challenger,
            share=carried(case.share, case.log_value),
            anew=why,
            trained_until=case.trained_until,
            labels_until=case.labels_until,
            opened=case.opened,
            age=case.age,
            after=newest(case.after, case.judged_until),
        )
        again.append(with_capital(begun, docket, config))
    return docket, again


def _seated(docket: Docket, tonight: Tonight, config: GateConfig) -> tuple[Docket, list[CaseNote]]:
    notes, cases = [], list(docket.cases)
    if len(cases) > config.keep:
        # Of equals the newest: the others are nearer to their first block, or have more of them.
        weakest = min(reversed(cases), key=lambda case: case.log_value)
        cases.remove(weakest)
        docket = _lent(docket, weakest)
        notes.append(note_of(weakest, CaseState.CROWDED_OUT))
    first = tonight.champion is None
    case = Case(
        challenger=tonight.challenger,
        share=config.first_alpha if first else docket.year.share,
        trained_until=tonight.trained_until,
        labels_until=tonight.trained_until + tonight.gap,
        opened=tonight.now,
    )
    if config.mode is GateMode.EVIDENCE:
        case = with_capital(case, docket, config)
    lends = docket.donor if any(one.challenger == docket.donor for one in cases) else None
    docket = replace(
        docket,
        cases=(*cases, case),
        year=docket.year if first else docket.year.after_opening(),
        # One that was judged on a single night, as a first model is, left without lending.
        donor=lends or case.challenger,
    )
    return docket, notes


def _alone(docket: Docket, sample: Sample | str, tonight: Tonight, config: GateConfig) -> Verdict:
    """A test of this night only, at the challenger's share of the budget."""
    case = docket.case(tonight.challenger)
    assert case is not None
    if case.share <= 0:
        year = docket.year.number
        sample = f"nothing is left of the error budget of {year}; it begins anew with {year + 1}"
    if isinstance(sample, str):
        draft = tonight.draft(config, challenger=tonight.challenger, rows=0)
        return replace(draft.undecidable(sample), budget_left=docket.year.wealth)
    looks = looked_at(docket.looks, sample.first, sample.last)
    level = case.share / (1 + looks)
    draft = tonight.draft(config, challenger=case.challenger, rows=len(sample.times))
    if tonight.champion is None:
        verdict = first_verdict(sample.comparison, config, draft, level, sample.costs)
    else:
        verdict = single_night(sample.comparison, config, draft, level, sample.costs, looks)
    return replace(verdict, level=level, budget_left=docket.year.wealth, looks=looks)


def _is_newer(samples: Mapping[str, Sample | str], moment: datetime | None) -> bool:
    """Whether a row has come that no decision has looked at."""
    found = [sample.last for sample in samples.values() if isinstance(sample, Sample)]
    return bool(found) and (moment is None or max(found) > moment)


def _one(
    case: Case, sample: Sample | str, pair: ScoredPair | str, docket: Docket, config: GateConfig
) -> tuple[Case, CaseNote]:
    """One comparison after tonight's rows."""
    if isinstance(pair, Unusable):
        return case, note_of(case, CaseState.GIVEN_UP, note=str(pair))
    if isinstance(pair, Spoilt) and isinstance(sample, Sample):
        case = replace(case, judged_until=sample.last)  # else they would spoil every later night
        note = f"{pair}, so these {len(sample.times):,} rows are spent"
        return case, note_of(case, state_of(case, config), note=note)
    if isinstance(sample, str) or isinstance(pair, str):
        return case, note_of(case, state_of(case, config), note=str(pair))
    case = after_night(case, sample, pair, config)
    case = after_rows_of(case, sample, pair, docket, config)
    return case, note_of(case, state_of(case, config), fresh=len(sample.times), config=config)


def _together(
    docket: Docket,
    samples: Mapping[str, Sample | str],
    pairs: Pairs,
    notes: Mapping[str, CaseNote],
    gone: list[CaseNote],
    tonight: Tonight,
    config: GateConfig,
) -> Verdict:
    """The best proven comparison that keeps every other rule; else tonight's, held."""
    proven = sorted(
        (case for case in docket.cases if notes[case.challenger].state is CaseState.PROVEN),
        key=lambda case: case.log_needed - case.log_peak,
    )
    # One that is proven, but held by a floor or a slice, is what there is to say otherwise.
    subject, found = None, None
    for case in (case for case in proven if notes[case.challenger].fresh):
        figures = _figures(case, samples[case.challenger], pairs, docket, config, proven=True)
        if subject is None or _keeps_rules(figures):
            subject, found = case, figures
        if _keeps_rules(figures):
            break
    if subject is None:
        subject = next(case for case in docket.cases if case.challenger == tonight.challenger)
    note = notes[subject.challenger]
    if found is None:
        found = note.note or _figures(subject, samples[subject.challenger], pairs, docket, config)
    every = (*(notes[case.challenger] for case in docket.cases), *gone)
    draft = tonight.draft(config, challenger=subject.challenger, rows=note.fresh)
    verdict = accumulated(draft, note, every, found, tonight.challenger)
    return replace(verdict, level=subject.share)


def _figures(
    case: Case,
    sample: Sample | str,
    pairs: Pairs,
    docket: Docket,
    config: GateConfig,
    *,
    proven: bool = False,
) -> Examined | str:
    """What the verdict shows; blocks are too few for an interval of one night."""
    if isinstance(sample, str):
        return sample
    found = examined(sample.comparison, config, pairs[case.challenger])
    if isinstance(found, str):
        return found
    found = replace(
        found,
        guards=guard_results(case, sample, found.pair, config),
        slices=slice_results(case, sample, docket.plan, config),
    ).priced(config, sample.costs, proven=proven)
    if config.block is None or found.whole is None:
        return found
    return replace(found, whole=replace(found.whole, low=None, high=None))


def _looks_of(docket: Docket, sample: Sample | str | None) -> int:
    """Earlier decisions that looked at some of these rows."""
    return looked_at(docket.looks, sample.first, sample.last) if isinstance(sample, Sample) else 0


def _keeps_rules(found: Examined | str) -> bool:
    return isinstance(found, Examined) and all(rule.passed for rule in found.rules)


def _after(
    docket: Docket,
    cases: list[Case],
    notes: Mapping[str, CaseNote],
    samples: Mapping[str, Sample | str],
    config: GateConfig,
) -> Docket:
    """What is kept; a proven one stays until the champion has changed, or for as long again."""
    stays = {CaseState.KEPT: config.expire_after, CaseState.PROVEN: 2 * config.expire_after}
    rows, squares = docket.rows, docket.squares
    for before, after in zip(docket.cases, cases, strict=True):
        if after.blocks is None:
            rows += after.rows - before.rows
            squares += after.squares - before.squares
    kept = tuple(case for case in cases if case.age < stays.get(notes[case.challenger].state, 0))
    for case in cases:
        if case not in kept:
            docket = _lent(docket, case)
    return replace(_looked(docket, samples), cases=kept, rows=rows, squares=squares)


def _lent(docket: Docket, case: Case) -> Docket:
    """The docket after a comparison ended: it lends the spread of its blocks, if it is its turn."""
    if docket.donor != case.challenger:
        return docket
    if case.blocks is None:
        lent_days = docket.dispersion.plus(dispersion_of(case.days, case.variance))
        return replace(docket, donor=None, dispersion=lent_days)
    lent, known = residual(case.blocks), docket.spread
    spread = replace(
        known, squares=known.squares + lent.squares, freedom=known.freedom + lent.freedom
    )
    return replace(docket, donor=None, spread=spread)


def _looked(docket: Docket, samples: Mapping[str, Sample | str]) -> Docket:
    """The docket, with one more look at the rows that were used tonight."""
    used = [sample for sample in samples.values() if isinstance(sample, Sample)]
    if not used:
        return docket
    since, until = min(one.first for one in used), max(one.last for one in used)
    looks = with_look(docket.looks, since, until)
    return replace(docket, looks=looks, judged_until=newest(docket.judged_until, until))
