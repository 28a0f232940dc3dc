"""Compare the challenger, and the ones kept from earlier nights, with the champion.

All are scored on the same held-out rows, each with the features that it was trained with; the gate
(`registry.nights.night`) adds the evidence up and decides. What it keeps until the next night is
appended to the docket before the verdict leaves this job, so a repeated job decides the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from feature_store import FeatureStoreConfig
from ray_jobs.dependent import grouped
from ray_jobs.features import FeaturesConfig
from ray_jobs.gap import labels_until
from ray_jobs.kept_losses import keep_losses
from ray_jobs.own_metrics import declare_metrics
from ray_jobs.references import Challenger, Dataset, RunInfo
from ray_jobs.samples import Samples
from ray_jobs.training_errors import final
from registry import (
    GateConfig,
    LoadedModel,
    Registry,
    RegistryConfig,
    RegistryUnreachable,
    Verdict,
    connect,
)
from registry.approvals import awaiting
from registry.nights.betting import Sample
from registry.nights.night import Tonight, judged, opened

# So often another run may judge while this one does.
TRIES = 100


@final
def evaluate(
    challenger: Challenger,
    dataset: Dataset,
    gate: GateConfig,
    features: FeaturesConfig,
    *,
    registry: RegistryConfig,
    feature_store: FeatureStoreConfig,
    run: RunInfo,
    now: datetime,
    allowed_modules: Sequence[str] = (),
) -> Verdict:
    """Score the models on rows that are fresh to them, ask the gate, and record its verdict.

    The verdict's challenger is tonight's, or an older one that is proven now. A repeated run gets
    its verdict again, and no row counts twice. Each row's losses are kept as Parquet beside the
    dataset. Raises ChampionUnloadable rather than judge without the champion, UnfitData,
    LedgerBroken rather than judge by a docket that was cut off, FeatureError, GateError and the
    errors of registry and feature store.
    """
    modules = tuple(allowed_modules)
    gate = grouped(gate, features)
    declare_metrics(gate, modules)
    with connect(registry) as registered:
        registered.check(challenger.model)
        scorer: Samples | None = None
        tonight: Tonight | None = None
        for _ in range(TRIES):
            status = registered.champion(challenger.model)
            if scorer is None or tonight is None or tonight.epoch != status.epoch:
                champion = registered.load_champion(challenger.model, modules=modules)
                if (None if champion is None else champion.version) != status.version:
                    continue  # It changed between the two.
                scorer = Samples(
                    challenger=challenger,
                    model=registered.load(challenger.model, challenger.version, modules=modules),
                    champion=champion,
                    dataset=dataset,
                    features=features,
                    gate=gate,
                    feature_store=feature_store,
                    modules=modules,
                )
                tonight = _tonight(challenger, champion, features.gap, status.epoch, run, now)
                refused = frozenset(registered.refused(challenger.model))
                tonight = replace(tonight, rejected=refused)
            verdict = _judge(registered, scorer, tonight)
            if verdict is not None:
                return verdict
    raise RegistryUnreachable(
        f"{TRIES} other runs judged a challenger of {challenger.model} meanwhile.",
        hint="run fewer of them at once",
    )


def _tonight(
    challenger: Challenger,
    champion: LoadedModel | None,
    gap: timedelta,
    epoch: int,
    run: RunInfo,
    now: datetime,
) -> Tonight:
    return Tonight(
        model=challenger.model,
        challenger=challenger.version,
        trained_until=challenger.train_until,
        champion=None if champion is None else champion.version,
        gap=gap,
        champion_labels_until=None if champion is None else labels_until(champion.tags, gap),
        epoch=epoch,
        run_id=run.run_id,
        mlflow_run_id=challenger.mlflow_run_id,
        now=now,
    )


def _judge(registered: Registry, scorer: Samples, tonight: Tonight) -> Verdict | None:
    """The verdict, kept and recorded; None when another run judged meanwhile."""
    model, version, gate = tonight.model, tonight.challenger, scorer.gate
    nights, docket, made = registered.before_night(model, tonight.run_id, version)
    if docket.epoch > tonight.epoch and registered.champion(model).epoch != tonight.epoch:
        return None  # The champion has changed since it was loaded, and a night knows the new one.
    docket, gone = opened(docket, tonight, gate)
    samples = scorer.of(docket, tonight, registered)
    if made is not None:
        _record(registered, scorer, samples, made.verdict, tonight)
        return made.verdict
    docket, verdict = judged(docket, gone, samples, tonight, gate)
    if scorer.notes:
        verdict = replace(verdict, reason=f"{verdict.reason} {'. '.join(scorer.notes)}.")
    verdict = awaiting(verdict, gate.approval, tonight.now)
    if not registered.keep_night(
        docket,
        verdict,
        challenger=version,
        dataset=scorer.dataset.digest,
        expected=nights,
        now=tonight.now,
    ):
        return None
    _record(registered, scorer, samples, verdict, tonight)
    return verdict


def _record(
    registered: Registry,
    scorer: Samples,
    samples: dict[str, Sample | str],
    verdict: Verdict,
    tonight: Tonight,
) -> None:
    """Where reviewers look: tags, figures and plots in MLflow, losses beside the dataset."""
    shown = samples.get(verdict.challenger)
    comparison = shown.comparison if isinstance(shown, Sample) else None
    if comparison is not None and len(comparison.y) != verdict.rows:
        comparison = None  # The champion has changed since this run judged.
    registered.record_verdict(verdict, comparison)
    tracking, tracked = registered.tracking, tonight.mlflow_run_id
    own = samples.get(tonight.challenger)
    if isinstance(own, Sample):
        losses = keep_losses(
            scorer.rows_of(tonight.challenger),
            own.comparison,
            scorer.challenger,
            scorer.dataset,
            scorer.gate,
        )
        tracking.log_tags(tracked, {"ratchet.losses": losses})
    tracking.log_metrics(tracked, _figures(verdict, scorer, tonight), now=tonight.now)


def _figures(verdict: Verdict, scorer: Samples, tonight: Tonight) -> dict[str, float]:
    unmatched = 0 if scorer.pool is None else scorer.pool.unmatched
    evidence = [c.log_evidence for c in verdict.cases if c.challenger == tonight.challenger]
    figures = {
        f"holdout_{verdict.metric}": verdict.challenger_score,
        f"baseline_{verdict.metric}": verdict.baseline,
        "difference": verdict.difference,
        "holdout_unmatched": float(unmatched),
        "log_evidence": evidence[0] if evidence else None,
        "error_budget_left": verdict.budget_left,
    }
    return {name: value for name, value in figures.items() if value is not None}
