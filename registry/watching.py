"""Watching a new champion: its predecessor is scored beside it on the rows that come after. Pure.

The comparison is the gate's own, with the roles exchanged: bets are placed on the predecessor,
against "the new champion is not worse than it by more than `harm`". `opened` begins a watch after
a promotion, `fresh_after` says which rows may judge it, `watched` adds a night's rows and decides;
`broken_off` ends a watch that cannot go on. Rows of a class that one of them never saw count as its
errors: whoever is live would be wrong on them.

A champion that is no worse is found harmful with a probability of at most `watch.alpha` for each
promotion, however many nights are looked at:

- A row-wise loss with a bound is bet on, by rows or by clusters (`registry.methods.evidence`), and
  blocks of time are judged by an anytime-valid t-test (`registry.methods.blocks`): the evidence
  ever exceeds 1 / alpha with a probability of at most alpha (Ville, 1939).
- Any other metric (a loss without a bound, AUC, F1): after each night Student's t of the nights'
  mean difference so far, weighted by rows, at alpha / nights (Bonferroni over the looks; repeated
  tests of accumulating data: Pocock, Biometrika 64 (1977); Jennison & Turnbull, Group Sequential
  Methods (2000), chapter 2, whose exact bounds for 7 looks are hardly lower).
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from registry.card.words import evidence as figure
from registry.error_budget import bar
from registry.errors import GateError
from registry.gate import comparable
from registry.gate_config import Dependence, GateConfig, NewClasses, check_config
from registry.methods.blocks import Spread
from registry.methods.bootstrap import Resampling, paired_difference
from registry.methods.comparison import ScoredPair, Spoilt, Unusable, unseen_words
from registry.methods.metrics import Metric, check_fits, digests_of, find_metric, score_of
from registry.methods.paired import studentized
from registry.methods.predictions import Task
from registry.nights.betting import (
    Sample,
    after_night,
    end_of_block,
    in_unit_of,
    with_capital,
)
from registry.nights.docket import Case, Docket
from registry.nights.wear import newest
from registry.watch import Subject, Sums, Watch, Watched, Watching, WatchState

# Endings that people are told of.
TOLD = (WatchState.HARMFUL, WatchState.UNWATCHED)


def watching(subject: Subject | None, latest: Watched | None, config: GateConfig) -> Watching:
    """Whether there is anything to watch tonight; costs nothing.

    `subject`: none when the champion did not come by a promotion over another one; `latest`: how
    its watch stood last, none before its first night.
    """
    check_config(config)
    if config.watch.nights == 0:
        return Watching(due=False, reason="The gate watches no champion (gate.watch.nights=0).")
    if subject is None:
        reason = "Nothing to watch: the champion was not promoted over another one."
        return Watching(due=False, reason=reason)
    if latest is None:
        reason = f"Version {subject.version} is new, and has not been watched yet."
        return Watching(due=True, reason=reason)
    if latest.state is WatchState.WATCHING:
        return Watching(due=True, reason=latest.reason)
    told = latest if latest.state in TOLD else None
    return Watching(due=False, reason=latest.reason, watched=told)


def opened(
    subject: Subject,
    docket: Docket,
    labels_until: datetime | None,
    config: GateConfig,
    now: datetime,
) -> Watch:
    """A watch before its first row.

    `docket`: the gate's, whose earlier comparisons tell where to bet, and which rows chose this
    champion; `labels_until`: newest row that either model was trained on and the gap, where known.
    """
    began, comparing = docket.epoch >= subject.epoch, _comparing(config)
    case = Case(
        challenger=subject.previous,
        share=config.watch.alpha,
        trained_until=labels_until or datetime.fromtimestamp(0, UTC),
        opened=now,
        after=docket.settled_until if began else docket.judged_until,
    )
    sums = None if _is_bet_on(config) else Sums()
    if sums is None:
        # A spread that was lent since may stem from blocks that judge here, too.
        docket = in_unit_of(config, replace(docket, spread=Spread()) if began else docket)
        case = with_capital(case, docket, comparing)
    return Watch(
        subject=subject, terms=_terms(config), planned=config.watch.nights, bets=case, sums=sums
    )


def resumed(watch: Watch, docket: Docket, config: GateConfig, now: datetime) -> Watch:
    """The watch by the present configuration: its evidence begins anew when another is compared.

    Its nights and the rows that it has used stay counted.
    """
    if watch.terms == _terms(config):
        return watch
    old = watch.bets
    anew = opened(watch.subject, docket, old.trained_until, config, now)
    after = newest(anew.bets.after, old.after, old.judged_until)
    bets = replace(anew.bets, after=after, nights=old.nights, opened=old.opened)
    return replace(watch, terms=anew.terms, bets=bets, sums=anew.sums)


def fresh_after(watch: Watch, config: GateConfig) -> datetime:
    """Only rows newer than this may judge it tonight."""
    case = watch.bets
    bound = end_of_block(newest(case.trained_until, case.after, case.judged_until), config.block)
    assert bound is not None
    return bound


def watched(
    watch: Watch, sample: Sample | str, config: GateConfig, *, dataset: str = ""
) -> tuple[Watch, Watched]:
    """The watch after tonight's rows, and how it stands.

    `sample`: the predecessor as challenger and the champion on the fresh rows; why there are none
    yet, which changes nothing; or (Unusable) why these cannot judge. Rows that did not judge wait
    for the next night; those with a prediction that is no number are spent. After as many nights
    as it was to last on which they could not, the watch breaks off; the same `dataset` (its digest)
    counts once. Raises GateError for rows that judged before.
    """
    if isinstance(sample, str):
        return _blank(watch, sample, config, dataset)
    if sample.first <= fresh_after(watch, config):
        raise GateError(f"The watch of version {watch.subject.version} was given rows twice.")
    comparing, metric = _comparing(config), find_metric(config.metric)
    pair = _pair(sample, comparing, metric)
    if isinstance(pair, (Spoilt, Unusable)):
        # Else these rows would spoil every later night.
        watch = replace(watch, bets=replace(watch.bets, judged_until=sample.last))
        pair = f"{pair}, so these {len(sample.times):,} rows are spent"
    if isinstance(pair, str):
        enough = len(sample.times) >= config.min_rows
        return _blank(watch, Unusable(pair) if enough else pair, config, dataset)
    if watch.sums is None:
        watch = replace(watch, bets=after_night(watch.bets, sample, pair, comparing))
    else:
        sums = _added(watch.sums, sample, pair, metric, config)
        if sums is None:
            why = Unusable(f"{metric.name} is not defined on these rows")
            return _blank(watch, why, config, dataset)
        watch = replace(watch, sums=sums, bets=_one_more(watch.bets, sample))
    watch = replace(watch, state=_state(watch, config))
    assert pair.champion is not None
    scores = score_of(metric, pair.champion), score_of(metric, pair.challenger)
    found = _figures(watch, config, fresh=len(sample.times), scores=scores)
    seen = [words.replace("challenger", "predecessor") for _, words in _unseen(sample, metric)]
    reason = " ".join([_sentence(found, config), *(f"{words}." for words in seen)])
    return watch, replace(found, reason=reason)


def broken_off(watch: Watch, why: str, config: GateConfig) -> tuple[Watch, Watched]:
    """The watch after its end before its time, on a night that could not judge it."""
    watch = replace(watch, state=WatchState.UNWATCHED, blanks=watch.blanks + 1)
    nights = f"{watch.bets.nights} of {_nights(watch.planned)}"
    reason = (
        f"Version {watch.subject.version} is not watched any more, after {nights}: {why}. "
        f"Nothing rolls it back by itself."
    )
    return watch, _figures(watch, config, reason=reason)


def _pair(sample: Sample, comparing: GateConfig, metric: Metric) -> ScoredPair | str:
    """Both models in the metric's terms, or why they do not fit them, which fails no run."""
    try:
        pair = comparable(sample.comparison, comparing)
        if isinstance(pair, ScoredPair):
            for scored in (pair.champion, pair.challenger):
                assert scored is not None
                check_fits(metric, scored)
            return pair
    except GateError as error:
        pair = str(error).rstrip(".")
    return type(pair)(pair.replace("challenger", "predecessor"))


def _comparing(config: GateConfig) -> GateConfig:
    """The gate's terms for the predecessor as a challenger: better by more than `harm`."""
    plain = GateConfig()
    return replace(
        config,
        min_effect=config.watch.harm,
        margin=plain.margin,
        floors=plain.floors,
        guards=plain.guards,
        slices=plain.slices,
        max_flips=plain.max_flips,
        new_classes=NewClasses.JUDGE,
    )


def _is_bet_on(config: GateConfig) -> bool:
    """Whether evidence can be added up over nights; else each night is tested."""
    if config.block is not None:
        return True
    metric = find_metric(config.metric)
    return metric.row_wise and (config.bound or metric.bound) is not None


def _terms(config: GateConfig) -> str:
    """What evidence must have in common to be added up."""
    parts = (config.metric, config.watch.harm, config.bound, config.cluster, config.block)
    words = " ".join([*map(str, parts), digests_of([config.metric])]).rstrip()
    by_days = config.block is None and Dependence(config.dependence) is Dependence.AUTO
    return f"{words} by days" if by_days else words


def _one_more(case: Case, sample: Sample) -> Case:
    """The count of one more night."""
    rows, nights = case.rows + len(sample.times), case.nights + 1
    return replace(case, rows=rows, nights=nights, judged_until=sample.last)


def _added(
    sums: Sums, sample: Sample, pair: ScoredPair, metric: Metric, config: GateConfig
) -> Sums | None:
    """The sums after one more night; None where its difference is not defined."""
    assert pair.champion is not None
    clusters, rows = sample.comparison.clusters, len(sample.times)
    drawing = Resampling(confidence=config.confidence, resamples=config.resamples, seed=config.seed)
    found = paired_difference(metric, pair.champion, pair.challenger, clusters, drawing)
    if found.low is None or not math.isfinite(found.difference):
        return None
    return Sums(
        difference=sums.difference + rows * found.difference,
        variance=sums.variance + (rows * found.error) ** 2,
        units=sums.units + (rows if clusters is None else len(set(clusters.tolist()))),
    )


def _p(watch: Watch, config: GateConfig) -> float | None:
    """One-sided, against "not worse than its predecessor by more than `harm`"."""
    sums = watch.sums
    if sums is None or sums.units == 0:
        return None
    # Every unit is as large as the mean one here: `units` only tells the degrees of freedom.
    mean, error = sums.difference / watch.bets.rows, math.sqrt(sums.variance) / watch.bets.rows
    return studentized(mean, error, sums.units, null=config.watch.harm)


def _level(watch: Watch, config: GateConfig) -> float:
    return config.watch.alpha / watch.planned


def _state(watch: Watch, config: GateConfig) -> WatchState:
    p = _p(watch, config)
    proven = (
        watch.bets.log_peak >= bar(config.watch.alpha)
        if watch.sums is None
        else p is not None and p <= _level(watch, config)
    )
    if proven:
        return WatchState.HARMFUL
    return WatchState.OVER if watch.bets.nights >= watch.planned else WatchState.WATCHING


def _figures(
    watch: Watch,
    config: GateConfig,
    *,
    fresh: int = 0,
    scores: tuple[float, float] | None = None,
    reason: str = "",
) -> Watched:
    subject, case, bet = watch.subject, watch.bets, watch.sums is None
    return Watched(
        model=subject.model,
        epoch=subject.epoch,
        version=subject.version,
        previous=subject.previous,
        state=watch.state,
        harm=watch.state is WatchState.HARMFUL,
        reason=reason,
        nights=case.nights,
        planned=watch.planned,
        metric=config.metric,
        fresh=fresh,
        rows=case.rows,
        score=None if scores is None else _finite(scores[0]),
        previous_score=None if scores is None else _finite(scores[1]),
        log_evidence=case.log_value if bet else None,
        log_needed=bar(config.watch.alpha) if bet else None,
        p=_p(watch, config),
        level=None if bet else _level(watch, config),
    )


def _unseen(sample: Sample, metric: Metric) -> Iterator[tuple[int, str]]:
    return unseen_words(sample.comparison) if metric.task is Task.CLASSIFICATION else iter(())


def _blank(watch: Watch, why: str, config: GateConfig, dataset: str) -> tuple[Watch, Watched]:
    """The watch after a night whose rows did not judge it."""
    if isinstance(why, Unusable) and (not dataset or dataset != watch.blank_on):
        if watch.blanks + 1 >= watch.planned:
            often = f"{_nights(watch.planned)} could not judge it, the last one because {why}"
            return broken_off(watch, often, config)
        watch = replace(watch, blanks=watch.blanks + 1, blank_on=dataset)
    nights = f"{watch.bets.nights} of {_nights(watch.planned)}"
    reason = f"Version {watch.subject.version} is not watched tonight: {why}; {nights} so far."
    return watch, _figures(watch, config, reason=reason)


def _sentence(found: Watched, config: GateConfig) -> str:
    new, old = f"Version {found.version}", f"version {found.previous} before it"
    by = f" by more than {config.watch.harm:g}" if config.watch.harm else ""
    claim = {
        WatchState.WATCHING: f"{new} has been watched for {found.nights} of "
        f"{_nights(found.planned)}, and is not proven worse than {old}{by}",
        WatchState.OVER: f"{new} was watched for its {_nights(found.planned)}, and was not proven "
        f"worse than {old}{by}",
        WatchState.HARMFUL: f"{new} is worse than {old}{by}, as night {found.nights} of "
        f"{found.planned} proves",
        WatchState.UNWATCHED: f"{new} is not watched any more",
    }[found.state]
    scores = "" if found.score is None else f"{found.score:.4g} against {found.previous_score:.4g}"
    return (
        f"{claim}: {config.metric} {scores} on tonight's {found.fresh:,} fresh rows; "
        f"{_proof(found)}, from {found.rows:,} rows."
    )


def _proof(found: Watched) -> str:
    if found.log_evidence is not None and found.log_needed is not None:
        return f"evidence of harm {figure(found.log_evidence)} of {figure(found.log_needed)} needed"
    return f"p = {found.p or 0:.2g} of no harm, at most {found.level or 0:.2g} proves it"


def _nights(count: int) -> str:
    return f"{count} night" if count == 1 else f"{count} nights"


def _finite(score: float) -> float | None:
    return float(score) if math.isfinite(score) else None
